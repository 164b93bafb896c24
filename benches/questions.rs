//! Fills an audit log with the records of a month, for `scripts/questions`; and says the same records as CSV.
//!
//! ```text
//! cargo bench --bench questions -- fill FOLDER RECORDS    through the log itself: writer, notary, archive
//! cargo bench --bench questions -- csv RECORDS            columns as in scripts/questions, to standard output
//! ```
//!
//! Twenty customers, thirty days, ten logins of each, forty texts with a parameter; every thousandth statement fails, every
//! ten-thousandth reads much. The records follow from their number alone, so both ways have the same ones.

use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use onevault::audit::{Log, Long, Outcome, SessionLog, Statement, Who};
use onevault::config::{Archive, Audit, AuditMode};

const CUSTOMERS: u64 = 20;
const LOGINS: u64 = 10;
/// 2026-10-01 00:00 UTC, in ns.
const FIRST_NS: u64 = 1_790_812_800_000_000_000;
const DAYS: u64 = 30;
const DAY_NS: u64 = 86_400_000_000_000;
const TABLES: [&str; 8] =
    ["patients", "appointments", "invoices", "rooms", "therapists", "notes", "payments", "products"];

/// One record, as it follows from its number.
struct Made {
    customer: u64,
    login: u64,
    started_ns: u64,
    text: String,
    parameter: String,
    rows: u64,
    duration_ns: u64,
    sqlstate: Option<[u8; 5]>,
}

/// Spreads numbers as chance would (the finaliser of splitmix64).
const fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn made(number: u64, records: u64) -> Made {
    let chance = mixed(number.wrapping_add(1));
    let table = TABLES.get(usize::try_from(chance % 8).unwrap_or(0)).copied().unwrap_or("rooms");
    let text = match chance / 8 % 5 {
        0 => format!("SELECT * FROM business.{table} WHERE id = $1"),
        1 => format!("SELECT count(*) FROM business.{table} WHERE owner = $1 AND ended IS NULL"),
        2 => format!("UPDATE business.{table} SET changed = now() WHERE id = $1"),
        3 => format!("INSERT INTO business.{table} (owner) VALUES ($1) RETURNING id"),
        _ => format!(
            "SELECT id, owner, changed FROM business.{table} WHERE owner = $1 ORDER BY changed DESC LIMIT 50"
        ),
    };
    let is_ddl = number % 1_000_003 == 17;
    Made {
        customer: chance / 64 % CUSTOMERS,
        login: chance / 4_096 % LOGINS,
        started_ns: FIRST_NS.wrapping_add(span(number, records)),
        text: if is_ddl {
            format!("ALTER TABLE business.{table} ADD COLUMN note{number} text")
        } else {
            text
        },
        parameter: (chance / 65_536 % 1_000_000).to_string(),
        rows: if number % 10_007 == 5 { 50_000 } else { chance / 16 % 20 },
        duration_ns: 90_000_u64.wrapping_add(chance % 700_000),
        sqlstate: (number % 1_009 == 3).then_some(*b"23505"),
    }
}

/// How far into the month the record lies.
fn span(number: u64, records: u64) -> u64 {
    let whole = u128::from(number).saturating_mul(u128::from(DAYS.saturating_mul(DAY_NS)));
    u64::try_from(whole / u128::from(records.max(1))).unwrap_or(u64::MAX)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["fill", folder, records] => records
            .parse()
            .map_err(|_| "RECORDS".to_owned())
            .and_then(|records| fill(Path::new(folder), records)),
        ["csv", records] => records.parse().map_err(|_| "RECORDS".to_owned()).and_then(csv),
        // `cargo bench` without words runs every bench.
        _ => Ok(()),
    };
    if let Err(error) = done {
        let _ = writeln!(std::io::stderr(), "failed: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn csv(records: u64) -> Result<(), String> {
    let mut out = BufWriter::with_capacity(1 << 20, std::io::stdout().lock());
    for number in 0..records {
        let Made { customer, login, started_ns, text, parameter, rows, duration_ns, sqlstate } =
            made(number, records);
        let (at, micros) =
            (started_ns.wrapping_sub(FIRST_NS) / 1_000_000_000, started_ns / 1_000 % 1_000_000);
        let (day, hour, minute, second) = (at / 86_400 + 1, at / 3_600 % 24, at / 60 % 60, at % 60);
        let state = sqlstate.map(|state| String::from_utf8_lossy(&state).into_owned()).unwrap_or_default();
        let outcome = if sqlstate.is_some() { "error" } else { "ok" };
        writeln!(
            out,
            "2026-10-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}+00,customer_{customer:02},login_{login},\"{text}\",\"[\"\"{parameter}\"\"]\",{rows},{duration_ns},{outcome},{state}"
        )
        .map_err(|error| error.to_string())?;
    }
    out.flush().map_err(|error| error.to_string())
}

fn sessions(log: &Log) -> Vec<SessionLog> {
    (0..CUSTOMERS.saturating_mul(LOGINS))
        .map(|number| {
            let (customer, login) =
                (format!("customer_{:02}", number / LOGINS), format!("login_{}", number % LOGINS));
            log.session(&Who {
                session: number.saturating_add(1),
                customer: &customer,
                login: &login,
                role: &customer,
                database: &customer,
                credential: "scram",
                client_address: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 7), 50_000)),
                tls: Some("TLSv1.3"),
                application_name: b"app",
                backend_pid: 4711,
            })
        })
        .collect()
}

fn fill(folder: &Path, records: u64) -> Result<(), String> {
    let archive = Archive { enabled: true, journal_bytes_max: 256 << 20, ..Archive::default() };
    let config =
        Audit { directory: folder.to_owned(), mode: AuditMode::Buffered, archive, ..Audit::default() };
    let log = Log::open(&config, "bench").map_err(|error| error.to_string())?;
    let mut sessions = sessions(&log);
    let begun = Instant::now();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for number in 0..records {
        let made = made(number, records);
        let place = made.customer.saturating_mul(LOGINS).saturating_add(made.login);
        let session =
            usize::try_from(place).ok().and_then(|place| sessions.get_mut(place)).ok_or("no session")?;
        while session.poll_room(&mut cx).is_pending() {
            std::thread::sleep(Duration::from_micros(500));
        }
        put(session, number, &made)?;
        if number % 100_000 == 0 {
            wait_for_the_archive(&log)?;
        }
    }
    let pushed = begun.elapsed();
    let [writer, notary, archive] = ["audit-writer", "audit-notary", "audit-archive"].map(thread_cpu);
    log.close();
    let whole = begun.elapsed();
    let _ = writeln!(
        std::io::stdout(),
        "{records} records in {whole:.1?} ({pushed:.1?} until the last was taken); CPU until then: writer {writer:.1?}, \
         notary {notary:.1?}, archive {archive:.1?}"
    );
    Ok(())
}

/// So that no more than a few segments of the journal wait for it.
fn wait_for_the_archive(log: &Log) -> Result<(), String> {
    const SEGMENTS: u64 = 24;
    let begun = Instant::now();
    while log.health().segment.saturating_sub(log.first_unarchived_segment()) > SEGMENTS {
        if begun.elapsed() > Duration::from_secs(600) {
            return Err(format!("the archive does not come along: {:?}", log.health()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn put(session: &mut SessionLog, number: u64, made: &Made) -> Result<(), String> {
    let mut list = vec![0, 1, 0, 0, 0, 23, 0, 0, 0, 1];
    list.extend(u32::try_from(made.parameter.len()).unwrap_or(0).to_be_bytes());
    list.extend(made.parameter.as_bytes());
    let statement = Statement {
        sequence: number.saturating_add(1),
        kind: onevault::audit::Kind::Execute,
        text: made.text.as_bytes(),
        parameters: Long::here(&list),
        started_ns: made.started_ns,
        duration_ns: made.duration_ns,
        commands: 1,
        tag: b"SELECT 1",
        rows: made.rows,
        bytes_in: 60,
        bytes_out: 80,
        sqlstate: made.sqlstate,
        message: if made.sqlstate.is_some() {
            b"duplicate key value violates unique constraint"
        } else {
            b""
        },
        transaction_status: b'I',
        outcome: if made.sqlstate.is_some() { Outcome::Error } else { Outcome::Ok },
        ..Statement::default()
    };
    session.statement(&statement).map(drop).map_err(|error| error.to_string())
}

/// CPU time of the threads with this name.
fn thread_cpu(name: &str) -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let named = tasks.flatten().filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
    });
    let nanos = named.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
