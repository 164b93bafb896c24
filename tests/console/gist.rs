//! Which tables a statement touches and its fingerprint: from the journal, from the archive, and whatever the text is.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::House;
use crate::support::wire::Wire;

const TEXT_BYTES_MAX: usize = 256 << 10;

/// The process that reads texts, asked as the program asks it.
struct Reader(Child);

impl Reader {
    fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onevault"));
        command.arg("read-texts").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn ask(&mut self, text: &str) -> Value {
        let questions = self.0.stdin.as_mut().unwrap();
        questions.write_all(&u32::try_from(text.len()).unwrap().to_le_bytes()).unwrap();
        questions.write_all(text.as_bytes()).unwrap();
        let answers = self.0.stdout.as_mut().unwrap();
        let mut head = [0; 4];
        answers.read_exact(&mut head).unwrap();
        let mut answer = vec![0; usize::try_from(u32::from_le_bytes(head)).unwrap()];
        answers.read_exact(&mut answer).unwrap();
        serde_json::from_slice(&answer).unwrap()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As long as a text may be, each that many bytes of the same again and again, or of an opening and its closing.
fn hostile() -> Vec<(&'static str, String)> {
    let again = |begin: &str, piece: &str, end: &str| {
        let room = TEXT_BYTES_MAX - begin.len() - end.len();
        format!("{begin}{}{end}", piece.repeat(room / piece.len()))
    };
    let within = |begin: &str, open: &str, inner: &str, close: &str| {
        let room = TEXT_BYTES_MAX - begin.len() - inner.len();
        let count = room / (open.len() + close.len());
        format!("{begin}{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    vec![
        ("parentheses", within("SELECT ", "(", "1", ")")),
        ("parentheses that stay open", again("SELECT ", "(", "")),
        ("cases", within("SELECT ", "CASE WHEN ", "true", " THEN 1 END")),
        ("minus", again("SELECT ", "- ", "1")),
        ("not", again("SELECT ", "NOT ", "true")),
        ("sums", again("SELECT 1", "+1", "")),
        ("casts", again("SELECT 1", "::a", "")),
        ("collations", again("SELECT 'x'", " COLLATE a", "")),
        ("conjunctions", again("SELECT 1 WHERE a", " AND a", "")),
        ("unions", again("SELECT 1", " UNION SELECT 1", "")),
        ("joins", again("SELECT * FROM a", ", a", "")),
        ("natural joins", again("SELECT * FROM a", " NATURAL JOIN a", "")),
        ("subqueries", within("SELECT * FROM ", "(SELECT * FROM ", "business.patients", ") a")),
        ("sublinks", within("SELECT ", "(SELECT ", "1", ")")),
        ("withs", within("", "WITH a AS (", "SELECT 1", ") SELECT 1")),
        ("arrays", within("SELECT ", "ARRAY[", "1", "]")),
        ("functions", within("SELECT ", "f(", "1", ")")),
        ("elements", again("SELECT a", "[1]", "")),
        ("fields", again("SELECT a", ".b", "")),
        ("statements", again("", "SELECT 1;", "")),
        ("cursors of sums", again("DECLARE c CURSOR FOR SELECT 1", "+1", "")),
        ("explanations", again("", "EXPLAIN ", "SELECT 1")),
        ("comments", within("SELECT 1 ", "/* ", "", "*/ ")),
        ("quotes", again("SELECT '", "''", "'")),
        ("operators", again("SELECT 1 ", "@", " 1")),
        ("operators and comments", again("SELECT 1 ", &["@/**/".repeat(200).as_str(), " "].concat(), " 1")),
        ("pluses", again("SELECT 1 ", &["+".repeat(1020).as_str(), " "].concat(), " 1")),
        ("comments without a space", again("SELECT 1 ", &["/*".repeat(510).as_str(), " "].concat(), "")),
        ("digits", again("SELECT ", "9", "")),
        ("a name", again("SELECT * FROM \"", "n", "\"")),
        ("names", again("SELECT * FROM a", ",\"\"\"\"", "")),
        ("types", again("SELECT 1::a", "[]", "")),
        ("withs in a row", again("WITH a AS (SELECT 1)", ",a AS (SELECT 1)", "SELECT 1")),
    ]
}

#[test]
fn no_text_harms_the_process_that_reads_texts_or_keeps_it_long() {
    let mut reader = Reader::start();
    let pid = reader.0.id();
    let mut slow = Vec::new();
    for (name, text) in hostile() {
        assert!(text.len() <= TEXT_BYTES_MAX, "{name}");
        let begun = Instant::now();
        let answer = reader.ask(&text);
        let taken = begun.elapsed();
        slow.push((taken, name));
        println!("{name}: {taken:?} {}", answer.to_string().chars().take(80).collect::<String>());
        let small = reader.ask("SELECT * FROM business.patients");
        assert_eq!(small["tables"], json!(["business.patients"]), "after {name}");
    }
    let (slowest, name) = slow.into_iter().max().unwrap();
    // A bound on what hangs, not on what a busy machine takes.
    assert!(slowest < Duration::from_secs(60), "{name}: {slowest:?}");
    assert_eq!(reader.0.id(), pid);
    assert!(reader.0.try_wait().unwrap().is_none());
}

#[test]
fn the_process_that_reads_texts_ends_with_who_asks_and_takes_nothing_too_long() {
    let mut reader = Reader::start();
    drop(reader.0.stdin.take());
    assert!(reader.0.wait().unwrap().success());
    let mut reader = Reader::start();
    let questions = reader.0.stdin.as_mut().unwrap();
    questions.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert!(!reader.0.wait().unwrap().success());
}

const NAMED: &str = "SELECT text, tables, fingerprint FROM audit.statements \
                     WHERE 'gisted.patients' = ANY(tables) ORDER BY record";
const HAS: &str = "SELECT count(*) FROM audit.statements WHERE array_has(tables, 'gisted.patients')";
const NAMING: [&str; 4] = [
    "CREATE TABLE gisted.patients (id int, name text)",
    "INSERT INTO gisted.patients VALUES (1, 'x')",
    "SELECT name FROM gisted.patients WHERE id = 1",
    "SELECT name FROM gisted.patients WHERE id = 22",
];

type Rows = Vec<Vec<Option<String>>>;

/// Asks until there are so many.
fn rows_of(wire: &mut Wire, sql: &str, count: usize) -> Rows {
    let begun = Instant::now();
    loop {
        let found = wire.rows(sql);
        if found.len() == count {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{found:?}");
    }
}

/// What is asked of the journal and of the archive.
fn ask(audrey: &mut Wire, found: &Rows) {
    let print = found[2][2].clone().unwrap();
    let by_print = format!("SELECT count(*) FROM audit.statements WHERE fingerprint = '{print}'");
    let questions = [
        (by_print.as_str(), "2"),
        (
            "SELECT count(*) FROM audit.statements WHERE tables IS NULL AND text LIKE 'SELECT FROM WHERE%'",
            "1",
        ),
        ("SELECT tables FROM audit.statements WHERE text = 'SELECT ''gisted.patients'''", "{}"),
        (HAS, "4"),
    ];
    for (question, expected) in questions {
        assert_eq!(audrey.value(question), expected, "{question}");
    }
    assert_eq!(audrey.rows(NAMED), *found);
}

#[test]
fn who_touched_a_table_is_told_from_the_journal_and_from_the_archive_alike() {
    let house = House::with(json!({ "audit": { "archive": { "enabled": true, "interval_s": 1 } } }));
    let mut wire = house.vault.enter(&house.one.login());
    wire.rows("CREATE SCHEMA gisted");
    for text in NAMING.into_iter().chain(["SELECT 'gisted.patients'"]) {
        wire.rows(text);
    }
    assert_eq!(wire.sqlstate("SELECT FROM WHERE gisted.patients"), "42601");
    let mut audrey = house.audrey();
    let found = rows_of(&mut audrey, NAMED, 4);
    assert!(found.iter().zip(NAMING).all(|(row, text)| row[0].as_deref() == Some(text)), "{found:?}");
    assert!(found.iter().all(|row| row[1].as_deref() == Some("{gisted.patients}")), "{found:?}");
    assert_eq!(found[2][2], found[3][2]);
    assert_ne!(found[1][2], found[2][2]);
    ask(&mut audrey, &found);
    let begun = Instant::now();
    while !has_file(&house.vault.dir.0.join("audit")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "no file: {}", house.vault.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    ask(&mut audrey, &found);
    let verified = house.vault.command(&["audit", "verify", "--customer", &house.one.role]);
    assert!(verified.status.success(), "{verified:?}");
    // Somebody ends the process that reads: another one is there for the next question.
    let reads = readers(&house.vault.pid().to_string());
    assert_eq!(reads.len(), 1, "{reads:?}");
    assert!(Command::new("kill").args(["-9", &reads[0]]).status().unwrap().success());
    wire.rows("SELECT 1 FROM gisted.patients WHERE name = 'new text'");
    rows_of(&mut audrey, NAMED, 5);
    wire.rows("DROP SCHEMA gisted CASCADE");
}

fn has_file(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries.flatten().any(|entry| {
            let path = entry.path();
            path.is_dir() && has_file(&path) || path.extension().is_some_and(|ending| ending == "parquet")
        })
    })
}

/// Processes that read texts for this one.
fn readers(parent: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let pid = entry.file_name().to_string_lossy().into_owned();
        let read = |name: &str| std::fs::read_to_string(entry.path().join(name)).unwrap_or_default();
        let is_ours =
            read("stat").rsplit_once(") ").is_some_and(|(_, rest)| rest.split(' ').nth(1) == Some(parent));
        if is_ours && read("cmdline").contains("read-texts") {
            found.push(pid);
        }
    }
    found
}
