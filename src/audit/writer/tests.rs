//! Disks that are full, that lose what they were given, that hang: nothing accepted is lost, nobody waits for ever.

use std::sync::{Condvar, Mutex};

use super::super::disk::Directory;
use super::super::keys::Keyring;
use super::super::log::Log;
use super::super::recovery::recover;
use super::super::tests::{Folder, bodies, keyring, select, statements, wait, who};
use super::super::{SessionLog, State, Statement, TEXT_INLINE_BYTES_MAX, Ticket, Unavailable};
use super::*;
use crate::config::Audit;

/// What the disk does wrong at the moment.
#[derive(Debug, Default, Clone, Copy)]
struct Faults {
    /// Writes fail as on a full disk.
    full: bool,
    /// Syncs fail, and what was written since the last one is lost.
    loses: bool,
    /// Syncs do not return.
    hangs: bool,
    /// No next segment can be made.
    no_next: bool,
}

#[derive(Debug, Default)]
struct Faulty {
    faults: Mutex<Faults>,
    changed: Condvar,
}

impl Faulty {
    fn set(&self, faults: Faults) {
        *self.faults.lock().unwrap() = faults;
        self.changed.notify_all();
    }
}

struct FaultyDisk {
    disk: Directory,
    faulty: Arc<Faulty>,
    unsynced: Vec<(u64, usize)>,
}

impl Disk for FaultyDisk {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if self.faulty.faults.lock().unwrap().full {
            // Some of it arrives, as it does.
            self.disk.write(offset, &bytes[..bytes.len() / 2])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.unsynced.push((offset, bytes.len()));
        self.disk.write(offset, bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let faults = self.faulty.faults.lock().unwrap();
        let faults = *self.faulty.changed.wait_while(faults, |faults| faults.hangs).unwrap();
        if faults.loses {
            for (offset, bytes) in self.unsynced.drain(..) {
                self.disk.write(offset, &vec![0; bytes])?;
            }
            return Err(io::Error::from_raw_os_error(5));
        }
        self.unsynced.clear();
        self.disk.sync()
    }

    fn rotate(&mut self, header: &Header) -> io::Result<()> {
        if self.faulty.faults.lock().unwrap().no_next {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.rotate(header)
    }

    fn next(&self) -> Next {
        if self.faulty.faults.lock().unwrap().no_next {
            return Next::Failed("next segment: no space left".into());
        }
        self.disk.next()
    }
}

fn open(config: &Audit) -> (Log, Arc<Faulty>) {
    let disk = Directory::open(&config.directory, config.segment_bytes).unwrap();
    let (disk, recovered) = recover(disk, ([7; 16], "n"), config.segment_bytes).unwrap().unwrap();
    let faulty = Arc::<Faulty>::default();
    let disk = FaultyDisk { disk, faulty: Arc::clone(&faulty), unsynced: Vec::new() };
    let keyring = Arc::new(Keyring::prepare(config).unwrap());
    (Log::start(disk, &recovered, config, ([7; 16], "n"), keyring).unwrap(), faulty)
}

fn durable(session: &mut SessionLog, ticket: Ticket) -> Result<(), Unavailable> {
    wait(|cx| session.poll_durable(ticket, cx))
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The sequences in the log, in order, after it was closed.
fn sequences(folder: &Folder) -> Vec<u64> {
    statements(folder).iter().map(|line| line["ov.sequence"].as_u64().unwrap()).collect()
}

fn gaps(folder: &Folder) -> usize {
    let is_gap = |body: &Vec<u8>| {
        matches!(super::super::entry::decode(body), Ok(super::super::entry::Entry::LogGap(_)))
    };
    bodies(folder).iter().filter(|body| is_gap(body)).count()
}

#[test]
fn a_full_disk_refuses_statements_and_loses_none() {
    for faults in [Faults { full: true, ..Faults::default() }, Faults { loses: true, ..Faults::default() }] {
        let folder = Folder::new();
        let (log, faulty) = open(&folder.config());
        let mut session = log.session(&who(1));
        let ticket = session.intent(&select(1)).unwrap();
        durable(&mut session, ticket).unwrap();
        faulty.set(faults);
        let ticket = session.intent(&select(2)).unwrap();
        assert_eq!(durable(&mut session, ticket), Err(Unavailable::Failing));
        assert_eq!(wait(|cx| session.poll_room(cx)), Err(Unavailable::Failing));
        assert_eq!(session.intent(&select(3)), Err(Unavailable::Failing));
        assert_eq!(log.session(&who(2)).opened(), Err(Unavailable::Failing));
        // What happened already is taken.
        session.outcome(&select(1)).unwrap();
        assert!(matches!(log.health().state, State::Failing { since_ns, .. } if since_ns > 0));
        faulty.set(Faults::default());
        until("healed", || log.health().state == State::Ok);
        durable(&mut session, ticket).unwrap();
        wait(|cx| session.poll_room(cx)).unwrap();
        let ticket = session.statement(&select(4)).unwrap();
        durable(&mut session, ticket).unwrap();
        drop((session, log));
        assert_eq!(sequences(&folder), [1, 4, 2], "the second never got an outcome and reads unknown, last");
        assert_eq!(gaps(&folder), 1);
        super::super::verify::verify(&folder.0, Some(keyring(&folder)), |_| {}).unwrap();
    }
}

#[test]
fn a_hanging_disk_is_noticed_from_outside() {
    let folder = Folder::new();
    let (log, faulty) = open(&Audit { stall_timeout_ms: 100, ..folder.config() });
    let mut session = log.session(&who(1));
    faulty.set(Faults { hangs: true, ..Faults::default() });
    let begun = Instant::now();
    let ticket = session.statement(&select(1)).unwrap();
    assert_eq!(durable(&mut session, ticket), Err(Unavailable::Stalled));
    assert!(begun.elapsed() >= Duration::from_millis(100) && begun.elapsed() < Duration::from_secs(2));
    assert_eq!(wait(|cx| session.poll_room(cx)), Err(Unavailable::Stalled));
    faulty.set(Faults::default());
    until("healed", || log.health().state == State::Ok);
    durable(&mut session, ticket).unwrap();
    drop((session, log));
    assert_eq!((sequences(&folder), gaps(&folder)), (vec![1], 1));
}

#[test]
fn a_full_buffer_makes_statements_wait_and_takes_no_more_than_its_limit() {
    let folder = Folder::new();
    let config = Audit { stall_timeout_ms: 60_000, buffer_bytes: 1 << 17, ..folder.config() };
    let (log, faulty) = open(&config);
    let mut session = log.session(&who(1));
    faulty.set(Faults { hangs: true, ..Faults::default() });
    let text = vec![b'x'; 10_000];
    let mut sequence = 0;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    while session.poll_room(&mut cx).is_ready() {
        sequence += 1;
        session.statement(&Statement { text: &text, ..select(sequence) }).unwrap();
    }
    assert!(log.health().waiting_bytes < (1 << 17) + 11_000);
    let mut extra = sequence;
    // Beyond twice the limit nothing is taken, whoever asks.
    while session.statement(&Statement { text: &text, ..select(extra + 1) }).is_ok() {
        extra += 1;
    }
    assert!(log.health().waiting_bytes < (1 << 18) + 11_000);
    faulty.set(Faults::default());
    wait(|cx| session.poll_room(cx)).unwrap();
    let ticket = session.statement(&select(extra + 1)).unwrap();
    durable(&mut session, ticket).unwrap();
    drop((session, log));
    assert_eq!(sequences(&folder), (1..=extra + 1).collect::<Vec<_>>());
}

#[test]
fn the_last_segment_keeps_room_for_what_is_running() {
    let folder = Folder::new();
    let (log, faulty) = open(&folder.config());
    let mut session = log.session(&who(1));
    session.intent(&select(1)).unwrap();
    faulty.set(Faults { no_next: true, ..Faults::default() });
    let text = vec![b'x'; TEXT_INLINE_BYTES_MAX];
    let mut sequence = 1;
    let refused = loop {
        if let Err(refused) = wait(|cx| session.poll_room(cx)) {
            break refused;
        }
        sequence += 1;
        let ticket = session.statement(&Statement { text: &text, ..select(sequence) }).unwrap();
        durable(&mut session, ticket).unwrap();
        assert!(sequence < 100);
    };
    assert_eq!(refused, Unavailable::Failing);
    let ticket = session.outcome(&select(1)).unwrap();
    durable(&mut session, ticket).unwrap();
    let ticket = session.closed("no room").unwrap();
    durable(&mut session, ticket).unwrap();
    faulty.set(Faults::default());
    until("healed", || log.health().state == State::Ok);
    drop((session, log));
    assert_eq!(gaps(&folder), 1);
    assert_eq!(u64::try_from(sequences(&folder).len()).unwrap(), sequence);
}

#[test]
fn a_log_that_cannot_be_written_closes_in_time() {
    for faults in [Faults { full: true, ..Faults::default() }, Faults { hangs: true, ..Faults::default() }] {
        let folder = Folder::new();
        let (log, faulty) = open(&Audit { stall_timeout_ms: 100, ..folder.config() });
        faulty.set(faults);
        let mut session = log.session(&who(1));
        session.statement(&select(1)).unwrap();
        let begun = Instant::now();
        log.close();
        assert!(begun.elapsed() < Duration::from_secs(3));
        faulty.set(Faults::default());
        until("closed", || log.health().state == State::Closed);
        assert_eq!(session.statement(&select(2)), Err(Unavailable::Closed));
    }
}

#[test]
fn many_sessions_on_many_threads_share_syncs_and_keep_their_order() {
    let folder = Folder::new();
    let log = Log::open(&Audit { segment_bytes: 4 << 20, ..folder.config() }, "n").unwrap();
    std::thread::scope(|scope| {
        for number in 1..=8 {
            let log = log.clone();
            scope.spawn(move || {
                let mut session = log.session(&who(number));
                for sequence in 1..=50 {
                    wait(|cx| session.poll_room(cx)).unwrap();
                    let ticket = session.intent(&select(sequence)).unwrap();
                    durable(&mut session, ticket).unwrap();
                    session.outcome(&select(sequence)).unwrap();
                }
            });
        }
    });
    drop(log);
    let read = statements(&folder);
    assert_eq!(read.len(), 400);
    for number in 1..=8 {
        let own = read.iter().filter(|line| line["actor.session.uid"] == number);
        let order: Vec<_> = own.map(|line| line["ov.sequence"].as_u64().unwrap()).collect();
        assert_eq!(order, (1..=50).collect::<Vec<_>>());
    }
    assert!(read.iter().all(|line| line["ov.outcome"] == "ok"));
}
