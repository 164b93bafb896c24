//! `kill -9` at any moment: what was said to be on disk is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::super::verify::verify;
use super::*;

/// Names the folder in which [`the_child_that_is_killed`] writes.
const FOLDER: &str = "ONEVAULT_TEST_KILLED";

/// Not a test of its own: the process that is killed. It says each sequence whose intent is on disk.
#[test]
#[ignore = "runs as a child of the test below"]
fn the_child_that_is_killed() {
    let Some(path) = std::env::var_os(FOLDER) else { return };
    let folder = std::mem::ManuallyDrop::new(Folder(path.into()));
    let log = Log::open(&folder.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let mut out = std::io::stdout();
    writeln!(out, "\nboot {}", render::hex(&log.boot())).unwrap();
    for sequence in 1.. {
        let text = vec![b'x'; usize::try_from(sequence * 7919 % 5000).unwrap()];
        let ticket = session.intent(&Statement { text: &text, ..select(sequence) }).unwrap();
        wait(|cx| session.poll_durable(ticket, cx)).unwrap();
        writeln!(out, "durable {sequence}").unwrap();
        session.outcome(&select(sequence)).unwrap();
    }
}

#[test]
fn what_was_said_to_be_on_disk_outlives_a_kill() {
    let folder = Folder::new();
    let mut told = Vec::new();
    for round in 0_u64..8 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "audit::tests::killed::the_child_that_is_killed", "--ignored", "--nocapture"])
            .env(FOLDER, &folder.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut lines = lines.map_while(Result::ok).skip_while(|line| !line.starts_with("boot "));
        let boot = lines.next().unwrap().replace("boot ", "");
        let stop_at = round * 37 + 1;
        for line in lines {
            let sequence: u64 = line.strip_prefix("durable ").unwrap().parse().unwrap();
            told.push((boot.clone(), sequence));
            if sequence == stop_at {
                // More lines may be in the pipe: they are read to the end, for they were said.
                std::thread::sleep(Duration::from_millis(round));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
    }
    drop(Log::open(&folder.config(), "n").unwrap());
    let counts = verify(&folder.0, Some(keyring(&folder)), |_| {}).unwrap();
    assert_eq!((counts.starts, counts.torn_bytes), (9, 0));
    let read: std::collections::HashSet<_> = statements(&folder)
        .iter()
        .map(|line| (line["ov.boot"].as_str().unwrap().to_owned(), line["ov.sequence"].as_u64().unwrap()))
        .collect();
    let lost: Vec<_> = told.iter().filter(|told| !read.contains(*told)).collect();
    assert!(told.len() >= 8 && lost.is_empty(), "lost {lost:?}");
}
