#![no_main]
//! A journal that somebody without a key has forged: what is read of it can be shown, hashed, exported and put into batches.

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onevault::audit::arrow::{Builder, Leaf, Rows};
use onevault::audit::export::{Exporter, Format};
use onevault::audit::fuzzing::journal;
use onevault::audit::join::{BadBody, Joiner, Shown, Whole};
use onevault::audit::keys::Keyring;
use onevault::audit::reader::{Pieces, Reader};
use onevault::audit::row::Row;
use onevault::audit::{Copied, Event, EventKind, Log, Long, Statement, Who, render};
use onevault::config;
use onevault::proof::record;

struct Good {
    folder: PathBuf,
    bodies: Vec<Vec<u8>>,
}

/// One body of each kind that a log writes.
static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let folder = PathBuf::from(format!("/dev/shm/onevault-fuzz-joins-{}", std::process::id()));
    let directory = folder.join("good");
    std::fs::create_dir_all(&folder).unwrap();
    let audit =
        config::Audit { directory: directory.clone(), segment_bytes: 1 << 20, ..config::Audit::default() };
    let log = Log::open(&audit, "fuzz").unwrap();
    let mut session = log.session(&Who {
        session: 1,
        customer: "one_spa",
        login: "anna",
        role: "spa",
        database: "spa",
        credential: "scram",
        client_address: "192.0.2.7:5123".parse().unwrap(),
        tls: Some("TLSv1.3"),
        application_name: b"psql",
        backend_pid: 4711,
    });
    session.opened().unwrap();
    let long = b"SELECT ".repeat(20_000);
    let parameters = [0, 1, 0, 0, 0, 23, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, b'7'];
    for (sequence, text) in [(1, &b"SELECT $1"[..]), (2, &long), (3, b"COPY t FROM STDIN")] {
        let text_bytes = u64::try_from(text.len()).unwrap();
        let statement = Statement {
            sequence,
            text,
            text_bytes,
            started_ns: 1_772_323_200_000_000_000,
            duration_ns: 1_000,
            tag: b"SELECT 1",
            transaction_status: b'I',
            parameters: Long { here: &parameters, bytes: 17, ..Long::default() },
            copied: (sequence == 3).then_some(Copied { bytes: 7, digest: Some([3; 32]) }),
            ..Statement::default()
        };
        session.intent(&statement).unwrap();
        if sequence != 3 {
            session.outcome(&statement).unwrap();
        }
        session.statement(&Statement { sequence: sequence + 10, ..statement }).unwrap();
    }
    log.event(&Event { customer: "one_spa", detail: b"a reason", ..Event::new(EventKind::LoginFailed) })
        .unwrap();
    drop(session);
    log.close();
    drop(log);
    let keyring = Keyring::of_log(&audit).unwrap();
    let mut reader = Reader::open(&directory).unwrap().with_keys(std::sync::Arc::new(keyring));
    let mut bodies = Vec::new();
    while let Some(raw) = reader.next_record().unwrap() {
        bodies.push(raw.plain().unwrap().to_vec());
    }
    // Long pieces make everything slow.
    bodies.retain(|body| body.len() < 2_000);
    let forged = folder.join("forged");
    std::fs::create_dir_all(&forged).unwrap();
    Good { folder: forged, bodies }
});

#[derive(Debug, arbitrary::Arbitrary)]
enum Body {
    Good(u8, Vec<(u8, u8)>),
    /// Two of them with other bytes between.
    Bent(u8, u8, Vec<u8>),
    Raw(Vec<u8>),
}

impl Body {
    fn bytes(self) -> Vec<u8> {
        let good = |which: u8| &GOOD.bodies[usize::from(which) % GOOD.bodies.len()];
        match self {
            Self::Good(which, changes) => {
                let mut body = good(which).clone();
                for (at, byte) in changes {
                    let at = usize::from(at) % body.len();
                    body[at] = byte;
                }
                body
            }
            Self::Bent(which, at, more) => {
                let body = good(which);
                let (head, tail) = body.split_at(usize::from(at).min(body.len()));
                [head, &more, tail].concat()
            }
            Self::Raw(body) => body,
        }
    }
}

struct Out {
    pieces: Pieces,
    batch: Builder,
    exports: [Exporter<Vec<u8>>; 2],
    shown: u64,
}

impl Out {
    fn take(&mut self, shown: &Shown<'_>) -> Result<(), BadBody> {
        let row = Row::of(shown);
        let whole = shown.load(&self.pieces).unwrap_or_default();
        let here = Whole { text: whole.text.clone(), parameters: whole.parameters.clone() };
        assert!(!render::json(&row, &here).contains('\n') && !render::human(&row, &here).contains('\u{1b}'));
        let mut canonical = Vec::new();
        row.canonical(&mut canonical);
        row.canonical_long((&whole.text, &whole.parameters), |bytes| canonical.extend_from_slice(bytes));
        // Who checks reads what was written, with code of its own.
        let fields = record::fields(&canonical);
        assert!(fields.is_ok(), "{fields:?} of {canonical:?}");
        self.batch.push(Leaf { index: self.shown, check: [0; 4], key: 0 }, &row, &whole).unwrap();
        for export in &mut self.exports {
            export.take(&row, &whole).unwrap();
        }
        self.shown += 1;
        Ok(())
    }
}

fuzz_target!(|bodies: Vec<Body>| {
    let bodies: Vec<Vec<u8>> = bodies.into_iter().take(64).map(Body::bytes).collect();
    if bodies.iter().map(|body| body.len() + 60).sum::<usize>() > 60_000 || bodies.iter().any(Vec::is_empty) {
        return;
    }
    journal(&GOOD.folder, bodies.iter().map(Vec::as_slice)).unwrap();
    let mut reader = Reader::open(&GOOD.folder).unwrap();
    let mut joiner = Joiner::new(&reader);
    let exports = [Format::Csv, Format::Ocsf].map(|format| Exporter::begin(format, Vec::new()).unwrap());
    let mut out = Out { pieces: reader.pieces(), batch: Builder::new(), exports, shown: 0 };
    while let Some(raw) = reader.next_record().unwrap() {
        if joiner.take(&raw, |shown| out.take(shown)).is_err() {
            break;
        }
        let _ = joiner.oldest();
    }
    joiner.finish(|shown| out.take(shown)).unwrap();
    let batch = out.batch.finish().unwrap();
    let rows = Rows::of(&batch).unwrap();
    for at in 0..rows.len() {
        let _ = rows.get(at).unwrap();
    }
    let [csv, ocsf] = out.exports.map(|export| export.finish().unwrap().1);
    for line in ocsf.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        serde_json::from_slice::<serde_json::Value>(line).unwrap();
    }
    assert!(std::str::from_utf8(&csv).is_ok());
});
