//! From the file to a [`Config`]: typed, then checked for ranges.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::Path;

use super::{Config, Fault, Node, PoolMode, Problem, Problems, parse_yaml, read_text, read_typed};

/// Said where both are asked for at once.
pub(crate) const FRESH_IS_SESSION: &str = "`mode` cannot be transaction where `fresh_backends` is true: a session keeps its own backend; did you mean `session`?";

/// A day in milliseconds: no wait is longer.
pub(crate) const DAY_MS: u64 = 86_400_000;

/// Reads a configuration file; what it leaves out has its default. An empty file is a configuration.
///
/// # Errors
/// All that is wrong with it, each with file, line and column.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let text = read_text(path).map_err(|problem| Problems(vec![problem]))?;
    parse(&text)
        .map_err(|faults| Problems(faults.into_iter().map(|fault| Problem::in_file(path, fault)).collect()))
}

impl Config {
    /// [`load`] for callers that want one sentence.
    ///
    /// # Errors
    /// All that is wrong, one problem a line.
    pub fn read(path: &Path) -> Result<Self, String> {
        load(path).map_err(|problems| problems.to_string())
    }
}

fn parse(text: &str) -> Result<Config, Vec<Fault>> {
    let tree = parse_yaml(text).map_err(|fault| vec![fault])?;
    let config: Config = read_typed(&tree)?;
    let mut faults = Vec::new();
    for (path, value, range) in numbers(&config) {
        if !range.contains(&value) {
            let (low, high) = (range.start(), range.end());
            let key = path.join(".");
            let text = format!("`{key}` is {value}; it must be from {low} to {high}");
            faults.push(Fault::new(tree.place(&path), text));
        }
    }
    check_texts(&config, &tree, &mut faults);
    check_servers(&config, &tree, &mut faults);
    check_pool(&tree, &config, &mut faults);
    faults.sort_by_key(|fault| fault.place);
    if faults.is_empty() { Ok(config) } else { Err(faults) }
}

/// Every number with the range it may have.
fn numbers(config: &Config) -> Vec<([&'static str; 2], u64, RangeInclusive<u64>)> {
    let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let Config { listen, limits, pool, audit, alerts, console, .. } = config;
    let count = 1..=10_000_000;
    let time_ms = 1..=DAY_MS;
    vec![
        (["listen", "workers"], wide(listen.workers), 0..=1024),
        (["limits", "clients_max"], wide(limits.clients_max), count.clone()),
        (["limits", "clients_per_address_max"], wide(limits.clients_per_address_max), count.clone()),
        (["limits", "backends_max"], wide(limits.backends_max), count.clone()),
        (["limits", "login_timeout_ms"], limits.login_timeout_ms, 1..=600_000),
        (["limits", "message_bytes_max"], limits.message_bytes_max.into(), 1024..=(1 << 30) - 1),
        (["limits", "drain_timeout_ms"], limits.drain_timeout_ms, time_ms.clone()),
        (["limits", "cancels_in_flight_max"], wide(limits.cancels_in_flight_max), count.clone()),
        (["limits", "statement_timeout_ms"], limits.statement_timeout_ms, 0..=DAY_MS),
        (["limits", "idle_in_transaction_timeout_ms"], limits.idle_in_transaction_timeout_ms, 0..=DAY_MS),
        (["limits", "idle_session_timeout_ms"], limits.idle_session_timeout_ms, 0..=DAY_MS),
        (["limits", "server_backends_max"], limits.server_backends_max.map_or(1, wide), count),
        (["pool", "prepared_statements_max"], wide(pool.prepared_statements_max), 1..=100_000),
        (["pool", "connect_timeout_ms"], pool.connect_timeout_ms, time_ms.clone()),
        (["pool", "wait_timeout_ms"], pool.wait_timeout_ms, time_ms.clone()),
        (["pool", "idle_timeout_ms"], pool.idle_timeout_ms, time_ms.clone()),
        (["pool", "lifetime_ms"], pool.lifetime_ms, 1..=DAY_MS.saturating_mul(365)),
        (["pool", "scrub_timeout_ms"], pool.scrub_timeout_ms, time_ms.clone()),
        (["audit", "stall_timeout_ms"], audit.stall_timeout_ms, time_ms.clone()),
        (["audit", "flush_interval_ms"], audit.flush_interval_ms, 1..=50),
        (["audit", "segment_bytes"], audit.segment_bytes, 1 << 20..=1 << 40),
        (["audit", "checkpoint_interval_ms"], audit.checkpoint_interval_ms, 100..=DAY_MS),
        (["audit", "buffer_bytes"], wide(audit.buffer_bytes), 4 << 10..=1 << 40),
        (["alerts", "timeout_ms"], alerts.timeout_ms, 1..=60_000),
        (["alerts", "attempts_max"], alerts.attempts_max.into(), 1..=1_000_000),
        (["alerts", "queue_max"], wide(alerts.queue_max), 1..=1_000_000),
        (["alerts", "most_per_hour"], alerts.most_per_hour, 1..=1_000_000),
        (["alerts", "failed_logins"], wide(alerts.failed_logins), 1..=10_000),
        (["alerts", "failed_logins_window_s"], alerts.failed_logins_window_s, 1..=86_400),
        (["console", "sessions_max"], wide(console.sessions_max), 1..=10_000),
        (["console", "queries_max"], wide(console.queries_max), 1..=10_000),
        (["console", "statement_timeout_ms"], console.statement_timeout_ms, time_ms),
        (["console", "memory_bytes"], wide(console.memory_bytes), 1 << 20..=1 << 40),
        (["console", "rows_max"], console.rows_max, 1..=1 << 40),
    ]
}

fn check_texts(config: &Config, tree: &Node, faults: &mut Vec<Fault>) {
    let mut check = |path: &[&str], is_good: bool, text: &str| {
        if !is_good {
            faults.push(Fault::new(tree.place(path), text));
        }
    };
    let base = &config.listen.base_domain;
    check(&["listen", "base_domain"], base.is_empty() || is_host_name(base), "`base_domain` is no host name");
    let password = config.provision.password.as_deref();
    let is_reference = password.is_none_or(|text| text.starts_with("env:") || text.starts_with("file:"));
    let text = "`password` must be a reference (env:NAME or file:PATH), not the secret itself";
    check(&["provision", "password"], is_reference, text);
    let audit = &config.audit;
    let is_origin = (1..=100).contains(&audit.origin.len())
        && audit.origin.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let text = "`origin` must have 1 to 100 of a-z A-Z 0-9 - . _";
    check(&["audit", "origin"], is_origin, text);
    for (key, source) in
        [("platform_key", &audit.platform_key), ("platform_key_previous", &audit.platform_key_previous)]
    {
        check(&["audit", key], source.count() <= 1, "name one of `file`, `env` and `command`");
    }
    let archive = &audit.archive;
    let is_url =
        |url: &String| ["s3://", "gs://", "az://", "file:///"].iter().any(|kind| url.starts_with(kind));
    let text = "`url` must begin with s3://, gs://, az:// or file:///";
    check(&["audit", "archive", "url"], archive.url.as_ref().is_none_or(is_url), text);
    let is_endpoint = |url: &String| url.starts_with("https://") || url.starts_with("http://");
    let text = "`endpoint` must begin with https:// or http://";
    check(&["audit", "archive", "endpoint"], archive.endpoint.as_ref().is_none_or(is_endpoint), text);
    let is_interval = (1..=86_400).contains(&archive.interval_s);
    let is_time = archive.journal_keep_h <= 876_000;
    check(&["audit", "archive", "journal_keep_h"], is_time, "`journal_keep_h` must be from 0 to 876000");
    check(&["audit", "archive", "interval_s"], is_interval, "`interval_s` must be from 1 to 86400");
    let is_size = (1 << 20..=1 << 50).contains(&archive.journal_bytes_max);
    let text = "`journal_bytes_max` must be from 1048576 to 1125899906842624";
    check(&["audit", "archive", "journal_bytes_max"], is_size, text);
    let digest = &audit.digest;
    let is_interval = (1..=3_600).contains(&digest.interval_s);
    check(&["audit", "digest", "interval_s"], is_interval, "`interval_s` must be from 1 to 3600");
    let are_rows = digest.bulk_rows_statement > 0 && digest.bulk_rows_day > 0;
    check(&["audit", "digest"], are_rows, "`bulk_rows_statement` and `bulk_rows_day` must be from 1");
    check_outside(audit, &mut check);
    let alerts = &config.alerts;
    let is_reference = |text: &String| text.starts_with("env:") || text.starts_with("file:");
    let is_signed = alerts.url.is_none() || alerts.secret.is_some();
    check(&["alerts"], is_signed, "`url` needs a `secret`, with which alerts are signed");
    let text = "`secret` must be a reference (env:NAME or file:PATH), not the secret itself";
    check(&["alerts", "secret"], alerts.secret.as_ref().is_none_or(is_reference), text);
    check(&["log", "level"], !config.log.level.trim().is_empty(), "`level` is empty");
}

fn check_outside(audit: &super::Audit, check: &mut impl FnMut(&[&str], bool, &str)) {
    for (at, witness) in audit.witnesses.iter().enumerate() {
        let at = at.to_string();
        let is_url = witness.url.starts_with("https://") || witness.url.starts_with("http://");
        check(&["audit", "witnesses", &at, "url"], is_url, "`url` must begin with https:// or http://");
        let is_key = crate::proof::cosignature::Witness::parse(&witness.key).is_ok();
        let text = "`key` must be a witness's: <name>+<8 hex digits>+<base64>";
        check(&["audit", "witnesses", &at, "key"], is_key, text);
    }
    let is_count = audit.witnesses_required <= audit.witnesses.len();
    let text = "`witnesses_required` is more than there are witnesses";
    check(&["audit", "witnesses_required"], is_count, text);
    let is_url =
        |url: &String| ["s3://", "gs://", "az://", "file:///"].iter().any(|kind| url.starts_with(kind));
    let text = "`url` must begin with s3://, gs://, az:// or file:///";
    check(&["audit", "anchor", "url"], audit.anchor.url.as_ref().is_none_or(is_url), text);
    let is_interval = (1..=86_400).contains(&audit.anchor.interval_s);
    check(&["audit", "anchor", "interval_s"], is_interval, "`interval_s` must be from 1 to 86400");
}

fn check_servers(config: &Config, tree: &Node, faults: &mut Vec<Fault>) {
    let mut seen = HashSet::new();
    for (at, server) in config.limits.servers.iter().enumerate() {
        let at = at.to_string();
        let path = ["limits", "servers", &at];
        if !seen.insert((&server.host, server.port)) {
            let text = format!("server {}:{} appears twice", server.host, server.port);
            faults.push(Fault::new(tree.place(&path), text));
        }
        if !(1..=10_000_000).contains(&server.backends_max) {
            let [limits, servers, at] = path;
            let text = format!("`backends_max` is {}; it must be from 1 to 10000000", server.backends_max);
            faults.push(Fault::new(tree.place(&[limits, servers, at, "backends_max"]), text));
        }
    }
}

/// A backend that is dialled for one session cannot go from session to session. Where no mode is said, it is the one that
/// `fresh_backends` means.
fn check_pool(tree: &Node, config: &Config, faults: &mut Vec<Fault>) {
    let is_said = tree.has(&["pool", "mode"]);
    if config.pool.fresh_backends && config.pool.mode == PoolMode::Transaction && is_said {
        faults.push(Fault::new(tree.place(&["pool", "mode"]), FRESH_IS_SESSION));
    }
}

/// Letters, digits and `-` in labels of 1 to 63 bytes, at most 253 in all.
#[must_use]
pub fn is_host_name(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= 253
        && text.split('.').all(|label| (1..=63).contains(&label.len()) && label.bytes().all(good))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{AuditMode, TlsVersion, absent_keys};

    fn faults(text: &str) -> Vec<String> {
        let shown = |fault: Fault| format!("{}:{}: {}", fault.place.line, fault.place.column, fault.text);
        parse(text).map(|_| ()).unwrap_err().into_iter().map(shown).collect()
    }

    #[test]
    fn what_is_left_out_has_its_default() {
        assert_eq!(format!("{:?}", parse("").unwrap()), format!("{:?}", Config::default()));
        assert_eq!(
            format!("{:?}", parse("# nothing\nlimits:\n").unwrap()),
            format!("{:?}", Config::default())
        );
        let config = parse("limits: { clients_max: 7 }\ntls: { min_version: 1.3 }\n").unwrap();
        assert_eq!((config.limits.clients_max, config.tls.min_version), (7, TlsVersion::V1_3));
        assert_eq!(config.limits.backends_max, 1_000);
        assert_eq!(parse("audit: {mode: write_ahead}").unwrap().audit.mode, AuditMode::WriteAhead);
    }

    #[test]
    fn fresh_backends_need_no_word_about_the_mode() {
        for text in ["pool: {fresh_backends: true}", "pool: {fresh_backends: true, mode: session}"] {
            assert!(parse(text).unwrap().pool.fresh_backends, "{text}");
        }
        let place = "1:14: ";
        assert_eq!(
            faults("pool: {mode: transaction, fresh_backends: true}"),
            [format!("{place}{FRESH_IS_SESSION}")]
        );
    }

    #[test]
    fn the_documented_file_has_every_key_with_its_default() {
        let text = include_str!("../../config/onevault.yaml");
        let tree = parse_yaml(text).unwrap();
        assert_eq!(absent_keys::<Config>(&tree), Vec::<String>::new());
        let mut config = parse(text).unwrap();
        // The one key that is not at its default, as its comment says.
        assert_eq!(config.tls.development_dir.take(), Some("var/certificates".into()));
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }

    #[test]
    fn every_fault_is_told_with_its_place_and_a_suggestion() {
        let text = "\
listen:
  adress: 127.0.0.1:1
limits:
  clinets_max: 3
  backends_max: many
  message_bytes_max: 3
pool:
  mode: sesion
zzz: 1
";
        assert_eq!(
            faults(text),
            [
                "2:3: unknown key `adress`, did you mean `address`?",
                "4:3: unknown key `clinets_max`, did you mean `clients_max`?",
                "5:17: `backends_max`: invalid type: string \"many\", expected usize",
                "8:9: `mode`: unknown value `sesion`, did you mean `session`?",
                "9:1: unknown key `zzz`, expected one of `listen`, `tls`, `customers`, `limits`, `pool`, \
                 `audit`, `alerts`, `console`, `operators`, `http`, `provision`, `log`",
            ]
        );
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let found = faults(
            "limits:\n  message_bytes_max: 1073741824\n  clients_max: 0\npool: {wait_timeout_ms: 0}\n",
        );
        assert_eq!(
            found,
            [
                "2:22: `limits.message_bytes_max` is 1073741824; it must be from 1024 to 1073741823",
                "3:16: `limits.clients_max` is 0; it must be from 1 to 10000000",
                "4:25: `pool.wait_timeout_ms` is 0; it must be from 1 to 86400000",
            ]
        );
        let found = faults(
            "limits:\n  server_backends_max: 0\n  servers:\n    - {host: a, backends_max: 0}\n    - {host: a, \
             backends_max: 1}\npool:\n  fresh_backends: true\n  mode: transaction\n",
        );
        assert_eq!(
            found,
            [
                "2:24: `limits.server_backends_max` is 0; it must be from 1 to 10000000".to_owned(),
                "4:31: `backends_max` is 0; it must be from 1 to 10000000".to_owned(),
                "5:7: server a:5432 appears twice".to_owned(),
                format!("8:9: {FRESH_IS_SESSION}"),
            ]
        );
        let found = faults("audit: {platform_key: {file: a, env: B}}").join("");
        assert!(found.ends_with("name one of `file`, `env` and `command`"), "{found}");
        let secret = faults("provision: {password: hunter2}").join("");
        assert!(secret.contains("reference") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn bombs_and_double_keys_are_refused() {
        let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n";
        assert_eq!(faults(bomb), ["1:4: anchors and tags are not allowed"]);
        assert!(faults("limits: !!map {}")[0].contains("tags"));
        assert_eq!(faults("log: {}\nhttp: {}\nlog: {}"), ["3:1: key `log` appears twice, first in line 1"]);
        assert!(faults("log: {}\n---\nlog: {}")[0].contains("one document"));
        assert!(faults(&format!("{}{}", "[".repeat(40), "]".repeat(40)))[0].contains("deeper than 32"));
        assert!(faults(&"[".repeat(100_000))[0].contains("invalid YAML"));
        let deep: String = (0..40).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        assert!(faults(&deep)[0].contains("deeper than 32"));
        assert!(faults("? [a]\n: b")[0].contains("a key must be a text"));
        assert!(faults("a: [")[0].contains("invalid YAML"));
    }

    #[test]
    fn a_file_is_not_read_without_bound() {
        let path = std::env::temp_dir().join(format!("onevault-config-{}.yaml", std::process::id()));
        std::fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
        let error = Config::read(&path).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("larger than 1048576 bytes"), "{error}");
        assert!(Config::read(Path::new("/nonexistent/x.yaml")).unwrap_err().contains("could not open"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "[a-z\\-:\\[\\]{}&*!|>'\"#\n\t ,?%@0-9]{0,200}") {
            let _ = parse(&text);
        }
    }
}
