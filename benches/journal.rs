//! What a record costs: the session's part, the writer's part, the wait for the disk, reading it all again.
//!
//! `cargo bench --bench journal [folder]`; the folder (default: the temporary one) should lie on the disk in question.

use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use onevault::audit::keys::Keyring;
use onevault::audit::verify::verify;
use onevault::audit::{Log, Outcome, SessionLog, Statement, Unavailable, Who};
use onevault::config::{Audit, AuditMode};

const TEXT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";

fn main() -> ExitCode {
    let parent = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let folder = parent.map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("onevault-bench-{}", std::process::id()));
    let result = measure(&folder);
    let removed = std::fs::remove_dir_all(&folder);
    match result.and(removed.map_err(|error| error.to_string())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(folder: &Path) -> Result<(), String> {
    for threads in [1_u32, 2] {
        let records = pushed(&folder.join(format!("push{threads}")), threads)?;
        tell(&records);
    }
    for sessions in [1_u64, 8, 64] {
        tell(&waited(&folder.join(format!("wait{sessions}")), sessions)?);
    }
    let keyring = Keyring::of_log(&config(&folder.join("push1"))).map_err(|error| error.to_string())?;
    let keyring = std::sync::Arc::new(keyring);
    let begun = Instant::now();
    let counts = verify(&folder.join("push1"), Some(keyring), |_| {}).map_err(|error| error.to_string())?;
    let nanos = begun.elapsed().as_nanos() / u128::from(counts.records.max(1));
    tell(&format!("verify: {} records in {} segments, {nanos} ns each", counts.records, counts.segments));
    Ok(())
}

fn config(folder: &Path) -> Audit {
    Audit { directory: folder.to_owned(), mode: AuditMode::Buffered, ..Audit::default() }
}

fn session(log: &Log, session: u64) -> SessionLog {
    log.session(&Who {
        session,
        customer: "one_spa",
        login: "reception",
        role: "one_spa_app",
        database: "one_spa",
        credential: "scram",
        client_address: std::net::SocketAddr::from(([192, 0, 2, 7], 50_000)),
        tls: Some("TLSv1.3"),
        application_name: b"pgbench",
        backend_pid: 4711,
    })
}

fn statement(sequence: u64) -> Statement<'static> {
    Statement {
        sequence,
        text: TEXT,
        started_ns: 1_700_000_000_000_000_000,
        duration_ns: 90_000,
        commands: 1,
        tag: b"SELECT 1",
        rows: 1,
        bytes_in: 60,
        bytes_out: 80,
        transaction_status: b'I',
        outcome: Outcome::Ok,
        ..Statement::default()
    }
}

/// `buffered`: each thread pushes 500 records every 5 ms, 100,000 a second, and counts only the time inside the calls.
fn pushed(folder: &Path, threads: u32) -> Result<String, String> {
    const ROUNDS: u64 = 600;
    const BURST: u64 = 500;
    let log = Log::open(&config(folder), "bench").map_err(|error| error.to_string())?;
    let spent: Result<Vec<Duration>, String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|number| {
                let mut session = session(&log, u64::from(number));
                scope.spawn(move || bursts(&mut session, ROUNDS, BURST))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().map_err(|_| "panicked".to_owned())?).collect()
    });
    let spent: Duration = spent?.into_iter().sum();
    let writer = thread_cpu("audit-writer");
    log.close();
    let records = u128::from(log.health().records);
    let each = |time: Duration| time.as_nanos() / records.max(1);
    Ok(format!(
        "buffered, {threads} threads: encode and push {} ns, writer {} ns of CPU a record ({records} records)",
        each(spent),
        each(writer)
    ))
}

fn bursts(session: &mut SessionLog, rounds: u64, burst: u64) -> Result<Duration, String> {
    let mut spent = Duration::ZERO;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for round in 0..rounds {
        let begun = Instant::now();
        for at in 0..burst {
            let sequence = round.saturating_mul(burst).saturating_add(at).saturating_add(1);
            if session.poll_room(&mut cx).is_pending() {
                return Err("the buffer is full".into());
            }
            session.statement(&statement(sequence)).map_err(|error| error.to_string())?;
        }
        spent = spent.saturating_add(begun.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(spent)
}

/// `write_ahead`: sessions on two threads, each waits for its intent, records the outcome, and begins again.
fn waited(folder: &Path, sessions: u64) -> Result<String, String> {
    const TIME: Duration = Duration::from_secs(3);
    let log = Log::open(&config(folder), "bench").map_err(|error| error.to_string())?;
    let threads = sessions.min(2);
    let waits: Result<Vec<Vec<Duration>>, String> = std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                let own = (0..sessions).filter(move |number| number % threads == thread);
                let sessions: Vec<_> = own.map(|number| session(&log, number)).collect();
                scope.spawn(move || run_sessions(sessions, TIME))
            })
            .collect();
        started.into_iter().map(|thread| thread.join().map_err(|_| "panicked".to_owned())?).collect()
    });
    let mut waits: Vec<Duration> = waits?.into_iter().flatten().collect();
    waits.sort_unstable();
    let at =
        |percent: usize| waits.get(waits.len().saturating_mul(percent) / 100).copied().unwrap_or_default();
    let per_second = waits.len() / usize::try_from(TIME.as_secs()).unwrap_or(1);
    Ok(format!(
        "write_ahead, {sessions} sessions: {per_second} statements/s, wait p50 {:?}, p99 {:?}",
        at(50),
        at(99)
    ))
}

fn run_sessions(sessions: Vec<SessionLog>, time: Duration) -> Result<Vec<Duration>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|error| error.to_string())?;
    let local = tokio::task::LocalSet::new();
    let mut waits = Vec::new();
    let tasks: Vec<_> = sessions.into_iter().map(|session| local.spawn_local(one(session, time))).collect();
    runtime.block_on(local.run_until(async {
        for task in tasks {
            let own = task.await.map_err(|error| error.to_string())?;
            waits.extend(own.map_err(|error| error.to_string())?);
        }
        Ok(waits)
    }))
}

async fn one(mut session: SessionLog, time: Duration) -> Result<Vec<Duration>, Unavailable> {
    let begun = Instant::now();
    let mut waits = Vec::new();
    let mut sequence = 0;
    while begun.elapsed() < time {
        sequence = u64::saturating_add(sequence, 1);
        let asked = Instant::now();
        let ticket = session.intent(&statement(sequence))?;
        poll_fn(|cx| session.poll_durable(ticket, cx)).await?;
        waits.push(asked.elapsed());
        session.outcome(&statement(sequence))?;
    }
    Ok(waits)
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

fn tell(line: &str) {
    use std::io::Write as _;
    // Nobody to tell if standard output is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}
