//! Many customers, many clients, few backends, and everything goes wrong all the time: each answer still carries the marker of its own
//! customer and its own session, and each statement is in the log as often as it was said.
//!
//! A usual run is short; `ONEVAULT_MARKERS` asks for so many answers, `ONEVAULT_MARKERS_CLIENTS` for so many clients of each customer.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::dice::Dice;
use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::wire::Wire;

const CUSTOMERS: usize = 20;
/// What may be heard when backends are killed, statements cancelled and waits limited.
const EXPECTED: [&str; 6] = ["57014", "57P01", "08006", "53300", "25P02", "22012"];

fn asked(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What all clients share.
struct Stage<'a> {
    vault: &'a Vault,
    answers: AtomicU64,
    wanted: u64,
    over: AtomicBool,
    /// Cancel keys of sessions, by client.
    keys: Mutex<HashMap<u64, (i32, Vec<u8>)>>,
}

impl Stage<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.answers.load(Ordering::Relaxed) >= self.wanted
    }
}

/// How often a text was said: with an answer, and without one (then the server may have run it or not).
#[derive(Default, Clone, Copy)]
struct Said {
    answered: u64,
    unanswered: u64,
}

struct Client<'a> {
    stage: &'a Stage<'a>,
    tenant: &'a Tenant,
    number: u64,
    sessions: u64,
    next: u64,
    dice: Dice,
    said: HashMap<String, Said>,
}

/// Ends a session: what was said last was not answered.
struct Lost;

/// One session's connection and marker.
struct Session {
    wire: Wire,
    marker: String,
    status: u8,
}

impl Client<'_> {
    /// A text that nobody else says, nor this client a second time.
    fn unique(&mut self, sql: &str) -> String {
        self.next += 1;
        format!("{sql} /* {}-{} */", self.number, self.next)
    }

    /// Says messages that execute `texts` and hears their `ReadyForQuery`s. Answers whether nothing failed.
    fn say(
        &mut self,
        session: &mut Session,
        bytes: &[u8],
        texts: &[&str],
        ready: usize,
    ) -> Result<bool, Lost> {
        let mut frames = Vec::new();
        if session.wire.try_send(bytes).is_ok() {
            for _ in 0..ready {
                frames.extend(session.wire.until_ready());
            }
        }
        let whole = frames.iter().filter(|frame| frame.tag == b'Z').count() == ready;
        for text in texts {
            let said = self.said.entry((*text).to_owned()).or_default();
            *(if whole { &mut said.answered } else { &mut said.unanswered }) += 1;
        }
        for (at, error) in frames.iter().filter(|frame| frame.is_error()).enumerate() {
            let code = error.field('C');
            // Behind a Parse that came to nothing there is no statement.
            let is_expected = EXPECTED.contains(&code.as_str()) || (at > 0 && code == "26000");
            assert!(is_expected, "{}: {texts:?}: {}", session.marker, error.line());
        }
        self.check(session, &frames);
        if !whole {
            return Err(Lost);
        }
        session.status = frames.last().map_or(0, |last| last.body[0]);
        self.stage.answers.fetch_add(u64::try_from(texts.len().max(1)).unwrap(), Ordering::Relaxed);
        Ok(!frames.iter().any(Frame::is_error))
    }

    /// Each row begins with the database and the session's marker, once from the text and once from the setting.
    fn check(&self, session: &Session, frames: &[Frame]) {
        for frame in frames {
            let values = match frame.tag {
                b'D' => frame.values().into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>(),
                b'd' => {
                    String::from_utf8_lossy(&frame.body).trim_end().split('\t').map(str::to_owned).collect()
                }
                _ => continue,
            };
            let expected = [&self.tenant.database, &session.marker, &session.marker];
            assert!(
                values.iter().take(3).eq(expected),
                "{} got a row of somebody else: {values:?}",
                session.marker
            );
        }
    }

    fn query(&mut self, session: &mut Session, sql: &str) -> Result<bool, Lost> {
        let text = self.unique(sql);
        self.say(session, &query(&text), &[&text], 1)
    }

    /// One session from login to one of several ends.
    fn session(&mut self) -> Result<(), Lost> {
        self.sessions += 1;
        let marker = format!("m{}s{}", self.number, self.sessions);
        let mut wire = Wire::try_plain(self.stage.vault.port).map_err(|_| Lost)?;
        if wire.login(&through(self.tenant)).is_err() {
            // Session pooling may have no backend for it; later, then.
            std::thread::sleep(Duration::from_millis(20));
            return Err(Lost);
        }
        self.stage.keys.lock().unwrap().insert(self.number, wire.key.clone());
        let mut session = Session { wire, marker: marker.clone(), status: b'I' };
        if !self.query(&mut session, &format!("SET marker.session = '{marker}'"))? {
            return Ok(());
        }
        // Everybody calls it s1.
        let mine =
            format!("SELECT current_database(), '{marker}', current_setting('marker.session'), $1::text");
        if !self.say(&mut session, &all(&[parse("s1", &mine), sync()]), &[], 1)? {
            return Ok(());
        }
        for _ in 0..self.dice.throw(40) {
            if self.stage.is_over() {
                break;
            }
            self.step(&mut session, &mine)?;
            if session.status != b'I' {
                self.query(&mut session, "ROLLBACK")?;
            }
        }
        self.leave(session)
    }

    fn step(&mut self, session: &mut Session, mine: &str) -> Result<(), Lost> {
        let marked =
            format!("SELECT current_database(), '{}', current_setting('marker.session')", session.marker);
        match self.dice.throw(10) {
            0 | 1 => self.query(session, &marked).map(drop),
            2..=4 => {
                let runs = self.dice.throw(4) + 1;
                let run = all(&[bind("", "s1", &[Some("x")]), execute("", 0), sync()]);
                self.say(session, &run.repeat(runs), &vec![mine; runs], runs).map(drop)
            }
            5 => {
                let text = self.unique(&marked);
                let bytes = all(&[parse("", &text), sync(), bind("", "", &[]), execute("", 0), sync()]);
                if !self.say(session, &bytes, &[&text], 2)? {
                    // Its Parse failed, perhaps, and there was nothing to execute.
                    self.said.insert(text, Said { answered: 0, unanswered: 1 });
                }
                Ok(())
            }
            6 => {
                let end = if self.dice.throw(2) == 0 { "COMMIT" } else { "ROLLBACK" };
                for sql in [
                    "BEGIN",
                    "SET LOCAL marker.other = 'x'",
                    &marked,
                    "UPDATE mine SET n = n + 1 WHERE n < 3",
                    end,
                ] {
                    self.query(session, sql)?;
                }
                Ok(())
            }
            7 => {
                // State that holds its backend.
                if self.query(session, "CREATE TEMP TABLE IF NOT EXISTS held AS SELECT 1 AS x")? {
                    self.query(session, &format!("{marked} FROM held"))?;
                    self.query(session, "DISCARD TEMP")?;
                }
                Ok(())
            }
            8 => self.query(session, &format!("COPY ({marked}, n FROM mine) TO STDOUT")).map(drop),
            _ => {
                self.query(session, "BEGIN; SET LOCAL statement_timeout = '15ms'")?;
                self.query(session, &format!("{marked}, pg_sleep(0.1)"))?;
                self.query(session, "SELECT 1/0 WHERE false")?;
                Ok(())
            }
        }
    }

    /// Politely, suddenly, in a transaction, in the middle of an answer.
    fn leave(&mut self, mut session: Session) -> Result<(), Lost> {
        match self.dice.throw(4) {
            0 => drop(session.wire.try_send(&terminate())),
            1 => session.wire.vanish(),
            2 => {
                self.query(&mut session, "BEGIN")?;
                session.wire.vanish();
            }
            _ => {
                let text =
                    self.unique("SELECT 'somebody else', repeat('x', 1000) FROM generate_series(1, 20000)");
                self.said.entry(text.clone()).or_default().unanswered += 1;
                let _ = session.wire.try_send(&query(&text));
                session.wire.vanish();
            }
        }
        Ok(())
    }
}

/// Kills backends and cancels statements, at random, until everything is over.
fn disturb(stage: &Stage<'_>, postgres: &Postgres) -> (u64, u64) {
    let mut wire = Wire::plain(postgres.port);
    wire.login(&postgres.superuser("postgres")).unwrap();
    let (mut dice, mut kills, mut cancels) = (Dice::of(77), 0, 0);
    while !stage.is_over() {
        let killed = wire.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname LIKE 'marker%' AND pid <> pg_backend_pid()
             ORDER BY random() LIMIT 1",
        );
        kills += u64::try_from(killed.len()).unwrap();
        for _ in 0..5 {
            let key = {
                let keys = stage.keys.lock().unwrap();
                let at = dice.throw(keys.len().max(1));
                keys.values().nth(at).cloned()
            };
            if let (Some(key), Ok(mut wire)) = (key, Wire::try_plain(stage.vault.port)) {
                let _ = wire.try_send(&cancel_request(key.0, &key.1));
                cancels += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    (kills, cancels)
}

#[test]
fn every_answer_carries_its_own_sessions_marker() {
    everything_goes_wrong("session");
}

#[test]
fn every_answer_carries_its_own_sessions_marker_in_transaction_pooling() {
    everything_goes_wrong("transaction");
}

fn everything_goes_wrong(mode: &str) {
    let wanted = asked("ONEVAULT_MARKERS", 6_000);
    let clients = asked("ONEVAULT_MARKERS_CLIENTS", 3);
    let postgres = Postgres::shared(ANY);
    let tenants: Vec<Tenant> = (0..CUSTOMERS).map(|_| postgres.tenant("marker")).collect();
    for tenant in &tenants {
        tenant.direct().rows("CREATE TABLE mine AS SELECT n FROM generate_series(1, 20) n");
    }
    let few = json!({ "pool": { "mode": mode }, "limits": { "backends_max": 2 } });
    let customers: Vec<Customer> =
        tenants.iter().map(|tenant| Customer::of(tenant).with(few.clone())).collect();
    let config = json!({ "audit": { "segment_bytes": 64 << 20 }, "pool": { "wait_timeout_ms": 3000 }, "limits": { "backends_max": 40 } });
    let mut vault = Vault::start(Options::new(&customers).with(config));
    let stage = Stage {
        vault: &vault,
        answers: AtomicU64::new(0),
        wanted,
        over: AtomicBool::new(false),
        keys: Mutex::default(),
    };
    let begun = Instant::now();
    let (said, (kills, cancels)) = std::thread::scope(|scope| {
        let total = clients * u64::try_from(CUSTOMERS).unwrap();
        let running: Vec<_> = (0..total)
            .map(|number| {
                let (stage, tenant) = (&stage, &tenants[usize::try_from(number).unwrap() % CUSTOMERS]);
                scope.spawn(move || run(stage, tenant, number))
            })
            .collect();
        let disturbed = disturb(&stage, postgres);
        let said: Vec<_> = running.into_iter().map(|client| client.join().unwrap()).collect();
        (said, disturbed)
    });
    let answers = stage.answers.load(Ordering::Relaxed);
    vault.stop();
    let statements = check_log(&vault, said);
    eprintln!(
        "{answers} answers, {statements} statements in the log, {kills} kills, {cancels} cancels, {:?}",
        begun.elapsed()
    );
    assert!(kills > 2 && cancels > 10, "{kills} kills, {cancels} cancels");
}

/// Sessions of one client until there are answers enough, or one client has something to complain of.
fn run(stage: &Stage<'_>, tenant: &Tenant, number: u64) -> HashMap<String, Said> {
    struct Alarm<'a>(&'a AtomicBool);
    impl Drop for Alarm<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                self.0.store(true, Ordering::Relaxed);
            }
        }
    }
    let _alarm = Alarm(&stage.over);
    let dice = Dice::of(number);
    let mut client = Client { stage, tenant, number, sessions: 0, next: 0, dice, said: HashMap::new() };
    while !stage.is_over() {
        let _ = client.session();
    }
    client.said
}

/// The log has each answered statement as often as it was answered, each unanswered one at most as often as it was said, and nothing else.
fn check_log(vault: &Vault, said: Vec<HashMap<String, Said>>) -> u64 {
    assert!(vault.command(&["audit", "verify"]).status.success());
    let mut logged: HashMap<String, (u64, u64)> = HashMap::new();
    let mut statements = 0;
    vault.each_record(&["--kind", "statement"], |record| {
        // What was kept from running has a record too: of a failed `Parse` or `Bind`, and of the execution that was skipped.
        // So has an `Execute` behind a `Bind` of a statement that is not there, if the server was gone before it could say so.
        let nothing = record["db.query.text"] == "" && record["ov.outcome"] == "unknown";
        let executed = !["parse", "bind"].contains(&record["ov.kind"].as_str().unwrap())
            && record["ov.outcome"] != "skipped"
            && !nothing;
        if let Some(text) = record["db.query.text"].as_str() {
            let found = logged.entry(text.to_owned()).or_default();
            *(if executed { &mut found.0 } else { &mut found.1 }) += 1;
            statements += u64::from(executed);
        }
    });
    let mut wrong = Vec::new();
    for (text, said) in said.into_iter().flatten() {
        let (executed, kept_from) = logged.remove(&text).unwrap_or_default();
        let right = said.answered..=said.answered + said.unanswered;
        if executed > *right.end() || executed + kept_from < *right.start() {
            eprintln!("{executed} (and {kept_from} that did not run) in the log, {right:?} said: {text}");
            wrong.push(text);
        }
    }
    // A cancelled `Parse` alone leaves its record; it executed nothing.
    wrong.extend(logged.into_iter().filter(|(_, (executed, _))| *executed > 0).map(|(text, _)| text));
    if !wrong.is_empty() {
        vault.each_record(&["--kind", "statement"], |record| {
            if wrong.iter().any(|text| record["db.query.text"] == text.as_str()) {
                eprintln!("{record}");
            }
        });
    }
    assert!(wrong.is_empty(), "{} texts are not in the log as they were said", wrong.len());
    statements
}
