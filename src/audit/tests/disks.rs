//! Real file systems that are full, lose writes, hang and become read-only, each in a mount namespace of its own.
//!
//! The test runs itself again inside `unshare -m`; where that or the mounting is not allowed, it says so and does nothing.

use std::process::{Command, Stdio};

use super::verify::verify;
use super::*;

/// Says to the child what its disk does.
const DISK: &str = "ONEVAULT_TEST_DISK";
/// The child could not make its file system.
const SKIPPED: &str = "cannot be tried here";

/// Runs a program and says whether it ended well.
fn ran(words: &str) -> bool {
    let mut words = words.split(' ');
    Command::new(words.next().unwrap()).args(words).status().is_ok_and(|status| status.success())
}

/// A folder of the child's own; the mounts on it go with the namespace, the loop device with its last user.
struct Place(PathBuf);

impl Place {
    fn new(disk: &str) -> Self {
        let path = std::env::temp_dir().join(format!("onevault-disk-{disk}-{}", std::process::id()));
        std::fs::create_dir_all(path.join("back")).unwrap();
        std::fs::create_dir_all(path.join("disk")).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn small(&self) -> bool {
        ran(&format!("mount -t tmpfs -o size=12m none {}", self.path("disk")))
    }

    /// ext4 without a journal of its own, on a sparse file on a small memory disk.
    fn ext4(&self) -> bool {
        let (back, image, disk) = (self.path("back"), self.path("back/image"), self.path("disk"));
        ran(&format!("mount -t tmpfs -o size=48m none {back}"))
            && ran(&format!("truncate -s 40M {image}"))
            && ran(&format!("mkfs.ext4 -q -F -O ^has_journal {image}"))
            && ran(&format!("mount -o loop,errors=remount-ro {image} {disk}"))
    }

    fn config(&self) -> Audit {
        let folder = std::mem::ManuallyDrop::new(Folder(self.0.join("disk/audit")));
        Audit { stall_timeout_ms: 500, ..folder.config() }
    }

    /// Takes all the room there is.
    fn fill(&self, name: &str) {
        let mut file = std::fs::File::create(self.0.join(name)).unwrap();
        let piece = vec![b'x'; 1 << 16];
        while std::io::Write::write_all(&mut file, &piece).is_ok() {}
        let small = vec![b'x'; 512];
        while std::io::Write::write_all(&mut file, &small).is_ok() {}
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ =
            [ran(&format!("umount {}", self.path("disk"))), ran(&format!("umount -l {}", self.path("back")))];
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Runs this disk's part in a namespace of its own.
fn on(disk: &str) {
    let run = Command::new("unshare")
        .arg("-m")
        .arg(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "audit::tests::disks::the_child_with_a_disk_of_its_own",
            "--ignored",
            "--nocapture",
        ])
        .env(DISK, disk)
        .output();
    let Ok(run) = run else {
        eprintln!("{disk}: {SKIPPED}: no unshare");
        return;
    };
    let said = String::from_utf8_lossy(&[run.stdout.as_slice(), &run.stderr].concat()).into_owned();
    if said.contains(SKIPPED) || said.contains("unshare failed") {
        eprintln!("{said}");
        return;
    }
    assert!(run.status.success() && said.contains("tried"), "{said}");
}

#[test]
#[ignore = "runs as a child of the tests below"]
fn the_child_with_a_disk_of_its_own() {
    let Ok(disk) = std::env::var(DISK) else { return };
    let place = Place::new(&disk);
    let is_mounted = if disk == "full" { place.small() } else { place.ext4() };
    if !is_mounted {
        println!("{disk}: {SKIPPED}: no file system could be mounted");
        return;
    }
    match disk.as_str() {
        "full" => full(&place),
        "losing" => losing(&place),
        "hanging" => hanging(&place),
        other => assert_eq!(other, "read-only", "unknown"),
    }
    if disk == "read-only" {
        read_only(&place);
    }
    println!("{disk} was tried");
}

/// Runs statements of 60 kB until one is refused; how many were not, and how long the last one took to be.
fn until_refused(session: &mut SessionLog, first: u64) -> (u64, Duration, Unavailable) {
    let text = vec![b'x'; 60_000];
    for sequence in first..first + 1_000 {
        let begun = Instant::now();
        let done = wait(|cx| session.poll_room(cx))
            .and_then(|()| session.intent(&Statement { text: &text, text_bytes: 0, ..select(sequence) }))
            .and_then(|ticket| wait(|cx| session.poll_durable(ticket, cx)));
        if let Err(why) = done {
            return (sequence - first, begun.elapsed(), why);
        }
        session.outcome(&select(sequence)).unwrap();
    }
    panic!("nothing was refused");
}

fn heals(log: &Log, session: &mut SessionLog, sequence: u64) {
    let begun = Instant::now();
    while log.health().state != State::Ok {
        assert!(begun.elapsed() < Duration::from_secs(20), "never well: {:?}", log.health());
        std::thread::sleep(Duration::from_millis(10));
    }
    let ticket = session.intent(&select(sequence)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    session.outcome(&select(sequence)).unwrap();
}

/// Everything is there once, and the gap was told.
fn is_whole(place: &Place, statements_min: u64) {
    let keyring = Arc::new(keys::Keyring::of_log(&place.config()).unwrap());
    let counts = verify(&place.config().directory, Some(keyring), |_| {}).unwrap();
    assert_eq!((counts.gaps, counts.torn_bytes), (1, 0), "{counts:?}");
    assert!(counts.statements >= statements_min && counts.intents_open <= 1, "{counts:?}");
}

/// Within the stall limit, and what a slow machine adds.
const SOON: Duration = Duration::from_millis(2_500);

fn full(place: &Place) {
    let log = Log::open(&place.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    place.fill("disk/filler");
    let (written, took, why) = until_refused(&mut session, 2);
    assert!(why == Unavailable::Failing && took < SOON, "{why:?} after {took:?}");
    assert_eq!(log.session(&who(2)).opened(), Err(Unavailable::Failing));
    // What was running is told all the same: there is a reserve.
    let ticket = session.outcome(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    std::fs::remove_file(place.0.join("disk/filler")).unwrap();
    heals(&log, &mut session, 5_000);
    drop((session, log));
    is_whole(place, written + 2);
}

/// The device takes no more writes, as a volume without blocks left; the system learns it after the write, from the sync,
/// and forgets what was written.
fn losing(place: &Place) {
    let log = Log::open(&place.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    session.outcome(&select(1)).unwrap();
    let begun = Instant::now();
    while log.health().waiting_bytes > 0 && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    // The zeros of the segments lose their blocks below the file system, and there are none to be had.
    assert!(ran(&format!("sync -f {}", place.path("disk"))));
    assert!(ran(&format!("fallocate --dig-holes {}", place.path("back/image"))));
    place.fill("back/filler");
    let (written, took, why) = until_refused(&mut session, 2);
    assert!(why == Unavailable::Failing && took < SOON, "{why:?} after {took:?}");
    let State::Failing { reason, .. } = log.health().state else { panic!("it is well") };
    assert!(reason.contains("No space left on device") && !reason.contains("next segment"), "{reason}");
    std::fs::remove_file(place.0.join("back/filler")).unwrap();
    heals(&log, &mut session, 5_000);
    drop((session, log));
    is_whole(place, written + 2);
}

fn hanging(place: &Place) {
    let log = Log::open(&place.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    session.outcome(&select(1)).unwrap();
    // A process that waits for a frozen file system cannot be killed, so it thaws whatever becomes of this one.
    let thaw = format!("sleep 30; fsfreeze -u {}", place.path("disk"));
    let mut thawing =
        Command::new("sh").args(["-c", &thaw]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(ran(&format!("fsfreeze -f {}", place.path("disk"))));
    let (_, took, why) = until_refused(&mut session, 2);
    assert!(why == Unavailable::Stalled && took < SOON, "{why:?} after {took:?}");
    assert_eq!(log.session(&who(2)).opened(), Err(Unavailable::Stalled));
    assert!(ran(&format!("fsfreeze -u {}", place.path("disk"))));
    heals(&log, &mut session, 5_000);
    drop((session, log));
    is_whole(place, 2);
    thawing.kill().unwrap();
    thawing.wait().unwrap();
}

/// The kernel makes a file system read-only when it finds it damaged; only mounting it anew ends that.
fn read_only(place: &Place) {
    let log = Log::open(&place.config(), "n").unwrap();
    let mut session = log.session(&who(1));
    let ticket = session.intent(&select(1)).unwrap();
    wait(|cx| session.poll_durable(ticket, cx)).unwrap();
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let device = mounts.lines().find(|line| line.contains(&place.path("disk"))).unwrap();
    let device = device.split(' ').next().unwrap().trim_start_matches("/dev/").to_owned();
    if std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").is_err() {
        println!("read-only: {SKIPPED}: no trigger_fs_error");
        return;
    }
    let (_, took, why) = until_refused(&mut session, 2);
    assert!(why == Unavailable::Failing && took < SOON, "{why:?} after {took:?}");
    assert_eq!(log.session(&who(2)).opened(), Err(Unavailable::Failing));
    let begun = Instant::now();
    log.close();
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    drop((session, log));
    // The writer lets go of its files a little later than of those that wait for it.
    let begun = Instant::now();
    while !ran(&format!("umount {}", place.path("disk"))) {
        assert!(begun.elapsed() < Duration::from_secs(10), "its files are still open");
        std::thread::sleep(Duration::from_millis(100));
    }
    let (image, disk) = (place.path("back/image"), place.path("disk"));
    Command::new("e2fsck").args(["-fyq", &image]).output().unwrap();
    assert!(ran(&format!("mount -o loop {image} {disk}")));
    drop(Log::open(&place.config(), "n").unwrap());
    let keyring = Arc::new(keys::Keyring::of_log(&place.config()).unwrap());
    let counts = verify(&place.config().directory, Some(keyring), |_| {}).unwrap();
    assert!(counts.starts == 2 && counts.starts_after_crash == 1 && counts.statements >= 1, "{counts:?}");
}

#[test]
fn a_full_disk_refuses_in_time_and_heals_by_itself() {
    on("full");
}

#[test]
fn a_device_that_loses_writes_refuses_in_time_and_heals_by_itself() {
    on("losing");
}

#[test]
fn a_hanging_disk_refuses_in_time_and_heals_by_itself() {
    on("hanging");
}

#[test]
fn a_disk_that_became_read_only_refuses_in_time_and_goes_on_when_it_is_mounted_anew() {
    on("read-only");
}
