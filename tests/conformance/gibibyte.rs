//! The largest message that a PostgreSQL takes: recorded whole, in parts, while memory stays what it was.

use std::fs;

use serde_json::json;

use crate::support::messages::message;
use crate::support::vault::House;

/// What the server's own limit leaves for a text: 1 GiB - 2 with the length itself and the NUL.
const TEXT_BYTES: usize = (1 << 30) - 2 - 4 - 1;

/// The most memory the process has had, in KiB.
fn peak_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
#[ignore = "a gibibyte through a server, a journal and back: a minute and more, and 4 GiB of memory at the server"]
fn a_message_of_a_gibibyte_is_recorded_whole_and_memory_stays_bounded() {
    let house = House::with("gibibyte", |options| {
        options.with(json!({ "audit": { "mode": "write_ahead", "segment_bytes": 64 << 20 } }))
    });
    let mut wire = house.enter();
    wire.value("SELECT 'before'");
    let before = peak_kib(house.vault.pid());
    let text = [b"SELECT 'whole' /*", vec![b'x'; TEXT_BYTES - 19].as_slice(), b"*/", b"\0"].concat();
    let frames = wire.talk(&message(b'Q', &text));
    drop(text);
    assert!(
        frames.iter().all(|frame| frame.tag != b'E'),
        "{:?}",
        frames.iter().map(|frame| frame.tag).collect::<Vec<_>>()
    );
    let grown = peak_kib(house.vault.pid()) - before;
    println!("{grown} KiB more than before");
    assert!(grown < 200 << 10, "{grown} KiB");
    let shown = house.vault.command(&["audit", "show", "--grep", "'whole'"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.lines().count() == 1 && shown.len() < 64 << 10, "{}", shown.len());
    let verified = house.vault.command(&["audit", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}
