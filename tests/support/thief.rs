//! A second client of the same customer that takes every backend the moment it is free, and leaves all it can behind.
//!
//! It lives by the same promises as its victim: whatever it finds that is not its own is a complaint, told when it stops.
//! What it says is its own kind of text (`stolen`), so that a row of it in the victim's hands is seen at once. Its tables,
//! sequences and channels are in a schema or have names of its own: only the session's state is shared, never data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::messages::*;
use super::transcript::Frame;
use super::wire::{Login, Wire};

/// What the thief needs in the database, owned by the customer's role.
pub(crate) const SCENE: &str =
    "CREATE SCHEMA thief; CREATE SEQUENCE thief.stolen START 900001; CREATE TABLE thief.t AS
    SELECT 'stolen'::text AS x; CREATE TABLE thief.serial (id serial, x text)";

/// Names that clients like to give: the thief gives them to texts of its own.
const NAMES: [&str; 8] = ["s1", "s2", "S_1", "_p1", "p1", "lrupsc_1_0", "__asyncpg_stmt_1__", "a"];

/// What stands before its texts; the others say `stolen`.
const MARK: &str = "/* thief */";

/// A thief may be loose for this long, and for this many thefts.
const LOOSE_TIME_MAX: Duration = Duration::from_secs(900);
const LOOSE_THEFTS_MAX: usize = 1_000_000;
/// Between two thefts; its victims have to come by the backend, too.
const LOOSE_PAUSE: Duration = Duration::from_millis(3);

/// Why a theft was none.
#[derive(Debug)]
enum Failure {
    /// 53300: somebody holds all backends and keeps them.
    Held,
    /// The connection ended: its backend was killed, or OneVault is gone.
    Ended,
}

/// Whether a text is a thief's.
pub(crate) fn is_a_thiefs(text: &str) -> bool {
    text.starts_with(MARK) || text.contains("'stolen")
}

/// Whether it only gives names to statements: `ONEVAULT_TEST_THIEF=tame` tells a fault of names from one of everything else.
fn is_tame() -> bool {
    std::env::var("ONEVAULT_TEST_THIEF").is_ok_and(|kind| kind == "tame")
}

/// A client that wants what others have.
pub(crate) struct Thief {
    port: u16,
    login: Login,
    wire: Option<Wire>,
    /// How many thefts were begun.
    turn: usize,
    /// What its session's settings were made to be; nothing before the first time.
    dressed: Option<String>,
}

impl Thief {
    pub(crate) fn new(port: u16, login: Login) -> Self {
        Self { port, login, wire: None, turn: 0, dressed: None }
    }

    /// One theft, up to leaving the backend to others. Answers the backend's pid; nothing when all backends are held.
    pub(crate) fn steal_once(&mut self) -> Option<String> {
        match self.theft() {
            Ok(pid) => Some(pid),
            Err(Failure::Held) => None,
            Err(Failure::Ended) => {
                self.leave();
                None
            }
        }
    }

    /// Ends its session; the next theft begins a new one.
    pub(crate) fn leave(&mut self) {
        self.dressed = None;
        if let Some(mut wire) = self.wire.take() {
            let _ = wire.try_send(&terminate());
        }
    }

    fn theft(&mut self) -> Result<String, Failure> {
        if self.wire.is_none() {
            let mut wire = Wire::try_plain(self.port).map_err(|_| Failure::Ended)?;
            match wire.login(&self.login) {
                Ok(()) => self.wire = Some(wire),
                Err(error) if error.field('C') == "53300" => return Err(Failure::Held),
                Err(_) => return Err(Failure::Ended),
            }
        }
        self.turn += 1;
        let pid = self.look_around()?;
        if is_tame() {
            self.leave_names()?;
            self.say(&all(&[parse("", "SELECT 'stolen unnamed'"), sync()]))?;
            return Ok(pid);
        }
        self.dress()?;
        match self.turn % 11 {
            0 => self.discard()?,
            1 => self.leave_names()?,
            2 => {
                self.by_sql(&["CREATE TEMP TABLE t AS SELECT 'stolen'::text AS x", "DROP TABLE pg_temp.t"])?;
            }
            3 => self.by_sql(&["LISTEN theft", "NOTIFY theft, 'stolen'", "UNLISTEN theft"])?,
            4 => self.by_sql(&["SELECT pg_advisory_lock(4242)", "SELECT pg_advisory_unlock(4242)"])?,
            5 => {
                self.by_sql(&["PREPARE s1 AS SELECT 'stolen'", "EXECUTE s1", "DEALLOCATE s1"])?;
                self.discard()?;
            }
            6 => self.by_sql(&["BEGIN", "SET LOCAL search_path = pg_catalog", "SELECT 1/0", "ROLLBACK"])?,
            7 => self.by_sql(&["DECLARE c CURSOR WITH HOLD FOR SELECT 'stolen'", "CLOSE c"])?,
            8 => self.by_sql(&["RESET work_mem; RESET application_name; RESET statement_timeout"])?,
            9 => self.fail_in_a_batch()?,
            _ => {}
        }
        self.step_sequences()?;
        // The unnamed statement stays behind, too.
        self.say(&all(&[parse("", "SELECT 'stolen unnamed'"), sync()]))?;
        Ok(pid)
    }

    /// Nothing that this session sees is anybody else's.
    fn look_around(&mut self) -> Result<String, Failure> {
        let seen = "SELECT pg_backend_pid(), current_setting('TimeZone') || '|' || current_setting('search_path') ||
            '|' || current_setting('DateStyle') || '|' || current_setting('bytea_output') || '|' ||
            coalesce(nullif(current_setting('custom.key', true), ''), 'none') || '|' || current_setting('role')";
        let frames = self.say(&query(&format!("{MARK} {seen}")))?;
        let row = frames.iter().find(|frame| frame.tag == b'D').map(Frame::values).unwrap_or_default();
        let (pid, found) = (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default());
        if let Some(dressed) = &self.dressed {
            assert_eq!(&found, dressed, "the thief was robbed in turn {}", self.turn);
        }
        Ok(pid)
    }

    /// Gives every setting that matters another value than anybody's.
    fn dress(&mut self) -> Result<(), Failure> {
        let zone = ["Pacific/Kiritimati", "America/St_Johns", "Asia/Kathmandu"][self.turn % 3];
        let turn = self.turn;
        self.by_sql(&[&format!(
            "SET TimeZone = '{zone}'; SET search_path = thief; SET DateStyle = 'German';
             SET bytea_output = escape; SET application_name = 'thief {turn}'; SET custom.key = 'stolen {turn}';
             SET work_mem = '64kB'; SET statement_timeout = '77s'; SET default_transaction_isolation = serializable;
             SET extra_float_digits = -15; SET IntervalStyle = iso_8601; SET enable_seqscan = off"
        )])?;
        self.dressed = Some(format!("{zone}|thief|German, DMY|escape|stolen {turn}|none"));
        Ok(())
    }

    fn discard(&mut self) -> Result<(), Failure> {
        // Not written as OneVault writes it, so that who counts statements can tell them apart.
        self.by_sql(&["DISCARD ALL;"])?;
        self.dressed = None;
        Ok(())
    }

    /// Every well-known name means something else now; some are closed, some stay.
    fn leave_names(&mut self) -> Result<(), Failure> {
        for (number, name) in NAMES.iter().enumerate() {
            self.say(&all(&[
                close_statement(name),
                parse(name, &format!("SELECT 'stolen {name}'")),
                sync(),
            ]))?;
            let frames = self.say(&all(&[bind("p1", name, &[]), execute("p1", 0), sync()]))?;
            let row = frames.iter().find(|frame| frame.tag == b'D').map(Frame::values).unwrap_or_default();
            assert_eq!(row, [Some(format!("stolen {name}"))], "the thief's own statement is another");
            if number % 2 == 0 {
                self.say(&all(&[close_statement(name), sync()]))?;
            }
        }
        Ok(())
    }

    fn fail_in_a_batch(&mut self) -> Result<(), Failure> {
        let batch = [
            parse("s2", "SELECT 'stolen', 1/0"),
            bind("", "s2", &[]),
            execute("", 0),
            parse("lost", "SELECT 1"),
            sync(),
        ];
        self.say(&all(&[close_statement("s2"), batch.concat()]))?;
        Ok(())
    }

    fn step_sequences(&mut self) -> Result<(), Failure> {
        self.by_sql(&["SELECT nextval('thief.stolen'), setval('thief.stolen', 900001)"])?;
        self.by_sql(&["INSERT INTO thief.serial (x) VALUES ('stolen')"])
    }

    fn by_sql(&mut self, texts: &[&str]) -> Result<(), Failure> {
        for text in texts {
            self.say(&query(&format!("{MARK} {text}")))?;
        }
        Ok(())
    }

    fn say(&mut self, bytes: &[u8]) -> Result<Vec<Frame>, Failure> {
        let wire = self.wire.as_mut().ok_or(Failure::Ended)?;
        wire.try_send(bytes).map_err(|_| Failure::Ended)?;
        let frames = wire.until_ready();
        let error = frames.iter().find(|frame| frame.is_error()).map(|frame| frame.field('C'));
        match error.as_deref() {
            Some("53300") => Err(Failure::Held),
            _ if frames.last().is_none_or(|last| last.tag != b'Z') => Err(Failure::Ended),
            // What it provokes itself.
            None | Some("22012" | "25P02") => Ok(frames),
            Some(other) => {
                let said = String::from_utf8_lossy(bytes).into_owned();
                let heard: Vec<String> = frames.iter().map(Frame::line).collect();
                panic!("the thief hears {other} in turn {}: {said:?}\n{}", self.turn, heard.join("\n"))
            }
        }
    }

    /// Steals on and on in a thread of its own, until the answer is dropped.
    pub(crate) fn loose(self) -> Loose {
        let (over, thefts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (until, count) = (Arc::clone(&over), Arc::clone(&thefts));
        let mut thief = self;
        let thread = std::thread::spawn(move || {
            let begun = Instant::now();
            while !until.load(Ordering::SeqCst)
                && begun.elapsed() < LOOSE_TIME_MAX
                && count.load(Ordering::SeqCst) < LOOSE_THEFTS_MAX
            {
                if thief.steal_once().is_some() {
                    count.fetch_add(1, Ordering::SeqCst);
                } else {
                    std::thread::sleep(Duration::from_millis(5));
                }
                std::thread::sleep(LOOSE_PAUSE);
            }
            thief.leave();
        });
        Loose { over, thefts, thread: Some(thread) }
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        self.leave();
    }
}

/// A thief at work. Dropped, it is caught, and what it had to complain of fails the test.
pub(crate) struct Loose {
    over: Arc<AtomicBool>,
    thefts: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

impl Loose {
    /// How many transactions it has had so far.
    pub(crate) fn thefts(&self) -> usize {
        self.thefts.load(Ordering::SeqCst)
    }

    /// Waits until it has had so many.
    pub(crate) fn until(&self, thefts: usize) {
        let begun = Instant::now();
        while self.thefts() < thefts {
            assert!(begun.elapsed() < Duration::from_secs(30), "{} of {thefts} thefts", self.thefts());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it and answers how many thefts there were.
    pub(crate) fn catch(mut self) -> usize {
        self.end();
        self.thefts()
    }

    fn end(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let told = thread.join();
            if !std::thread::panicking() {
                told.unwrap();
            }
        }
    }
}

impl Drop for Loose {
    fn drop(&mut self) {
        self.end();
    }
}
