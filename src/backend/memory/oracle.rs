//! Catching up, against a real server: whatever backend a session comes to, it finds its own settings there.

use proptest::prelude::*;

use super::*;
use crate::backend::Backend;
use crate::backend::tests::cluster::{Cluster, exchange};
use crate::protocol::tag::frontend;

/// One statement of a session.
#[derive(Debug, Clone, Copy)]
enum Say {
    Tail(&'static str, &'static str),
    Config(&'static str, &'static str),
    Reset(&'static str),
    ResetAll,
}

use Say::{Config, Reset, ResetAll, Tail};

const WORDS: [Say; 66] = [
    Tail("timezone", "utc"),
    Tail("timezone", "'Asia/Tokyo'"),
    Tail("timezone", "INTERVAL '+05:30' HOUR TO MINUTE"),
    Tail("timezone", "interval(3)'-08:00'"),
    Tail("timezone", "-7"),
    Tail("TimeZone", "3.5"),
    Config("timezone", "'Europe/Paris'"),
    Tail("datestyle", "sql"),
    Tail("datestyle", "'dmy'"),
    Tail("datestyle", "German"),
    Tail("datestyle", "iso, ymd"),
    Tail("datestyle", "mdy, german"),
    Tail("datestyle", "\"Postgres\", 'european'"),
    Tail("datestyle", "'SQL, US'"),
    Tail("datestyle", "noneuropean"),
    Tail("datestyle", "'default'"),
    Tail("datestyle", "ymd, 'default'"),
    Tail("datestyle", "german, 'default'"),
    Tail("datestyle", "'default', german"),
    Config("DateStyle", "'german'"),
    Config("datestyle", "'ISO,MDY'"),
    Config("datestyle", "'postgresql , dmy'"),
    Reset("datestyle"),
    Reset("datestyle"),
    Tail("search_path", "\"$user\", public"),
    Tail("search_path", "\"We\"\"ird, one\", 'x', y"),
    Tail("search_path", "'We, ird'"),
    Tail("search_path", "''"),
    Config("search_path", "'\"We\"\"ird\", a'"),
    Config("search_path", "''"),
    Reset("search_path"),
    Tail("application_name", "'o''neil; RESET ALL --'"),
    Tail("application_name", "E'a\\\\b\\'c'"),
    Tail("application_name", "\"Quo'ted\""),
    Tail("application_name", "$a$it's$a$"),
    Config("application_name", "'a\\b'"),
    Reset("application_name"),
    Tail("a.x", "'1'"),
    Tail("A.X", "on"),
    Tail("a.x", "'\u{e9}\u{20ac}'"),
    Config("a.x", "'''\u{1f600}'''"),
    Config("a.X", "E'\\u00e9\"'"),
    Config("a.x", "''"),
    Reset("a.x"),
    Tail("user.local", "-0.5"),
    Tail("user.local", "'t''wo'"),
    Tail("a.\u{fc}", "'v'"),
    Tail("a.b_$1.c", "1.50"),
    Config("all.session", "'\u{df}'"),
    Tail("client_encoding", "'LATIN1'"),
    Tail("client_encoding", "utf8"),
    Config("client_encoding", "'WIN1252'"),
    Reset("client_encoding"),
    Tail("work_mem", "8192"),
    Tail("work_mem", "'1MB'"),
    Reset("work_mem"),
    Tail("bytea_output", "escape"),
    Tail("extra_float_digits", "-3"),
    Tail("enable_seqscan", "off"),
    Tail("enable_seqscan", "true"),
    Tail("statement_timeout", "'100s'"),
    Tail("intervalstyle", "iso_8601"),
    Tail("xmloption", "document"),
    Tail("default_transaction_isolation", "'repeatable read'"),
    Config("geqo_threshold", "'13'"),
    ResetAll,
];

impl Say {
    /// As a client may write it.
    fn sql(self) -> String {
        let name = |name: &str| format!("\"{}\"", name.replace('.', "\".\""));
        match self {
            Tail(_, value) if value.to_lowercase().starts_with("interval") => {
                format!("SET TIME ZONE {value}")
            }
            Tail(setting, value) => format!("SET {} = {value}", name(setting)),
            Config(setting, value) => format!("SELECT set_config('{setting}', {value}, false)"),
            Reset(setting) => format!("RESET {}", name(setting)),
            ResetAll => "RESET ALL".into(),
        }
    }

    fn apply(self, to: &Carried) -> Carried {
        match self {
            Tail(name, value) => to.with(name.as_bytes(), Value::Tail(value.as_bytes().into())),
            Config(name, value) => to.with(name.as_bytes(), Value::Config(value.as_bytes().into())),
            Reset(name) => to.without(name.as_bytes()),
            ResetAll => Carried::default(),
        }
    }
}

/// Every setting that a user can make and every placeholder above, in letters that no encoding changes.
const TRUTH: &str = "SELECT encode(convert_to(concat_ws('|', (SELECT string_agg(name || '=' || setting, '|' ORDER BY name) \
    FROM pg_settings WHERE context = 'user'), coalesce(current_setting('a.x', true), ''), \
    coalesce(current_setting('user.local', true), ''), coalesce(current_setting(U&'a.\\00fc', true), ''), \
    coalesce(current_setting('a.b_$1.c', true), ''), coalesce(current_setting('all.session', true), '')), 'UTF8'), 'hex')";

async fn query(backend: &mut Backend, sql: &[u8]) -> Vec<String> {
    let length = u32::try_from(sql.len() + 5).unwrap();
    let message = [&[frontend::QUERY], &length.to_be_bytes()[..], sql, &[0]].concat();
    let reply = exchange(backend, &message).await.unwrap();
    assert_eq!(reply.error, None, "{}", String::from_utf8_lossy(sql));
    reply.rows
}

async fn truth(backend: &mut Backend) -> String {
    let digits = query(backend, TRUTH.as_bytes()).await.concat();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    String::from_utf8(digits.as_bytes().chunks(2).map(byte).collect()).unwrap()
}

async fn catch_up(backend: &mut Backend, from: &Carried, to: &Carried) {
    let mut sql = Vec::new();
    match to.by_way_of(from) {
        Some(first) => {
            first.catch_up(from, &mut sql);
            query(backend, &sql).await;
            sql.clear();
            to.catch_up(&first, &mut sql);
        }
        None => to.catch_up(from, &mut sql),
    }
    query(backend, &sql).await;
}

/// Each session runs on a connection of its own and comes to one shared backend after the others.
async fn run(direct: &mut Backend, shared: &mut Backend, sessions: &[Vec<Say>]) {
    let mut held = Carried::default();
    query(shared, b"DISCARD ALL").await;
    for session in sessions {
        query(direct, b"DISCARD ALL").await;
        let mut settings = Carried::default();
        for say in session {
            let next = say.apply(&settings);
            if next.is_certain() {
                query(direct, say.sql().as_bytes()).await;
                settings = next;
            }
        }
        catch_up(shared, &held, &settings).await;
        held = settings;
        let (seen, expected) = (truth(shared).await, truth(direct).await);
        let wrong: Vec<_> =
            seen.split('|').zip(expected.split('|')).filter(|(one, two)| one != two).collect();
        assert!(wrong.is_empty(), "{wrong:?} in {sessions:?}");
    }
}

#[test]
fn a_session_finds_its_settings_on_any_backend() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let startup = [("datestyle", "SQL, YMD"), ("timezone", "America/Lima"), ("search_path", "base")];
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(60);
    for startup in [&startup[..], &[]] {
        let connect = || runtime.block_on(Cluster::shared().session("postgres", startup));
        let pair = std::cell::RefCell::new((connect(), connect()));
        let word = prop::sample::select(WORDS.to_vec());
        let sessions = prop::collection::vec(prop::collection::vec(word, 0..6), 1..6);
        proptest!(ProptestConfig { failure_persistence: None, cases, ..ProptestConfig::default() }, |(sessions in sessions)| {
            let (direct, shared) = &mut *pair.borrow_mut();
            runtime.block_on(run(direct, shared, &sessions));
        });
    }
}
