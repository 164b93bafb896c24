#![no_main]
//! Configuration, a customer's file, an issuer's keys and what a client says of itself: read, or refused with the place.

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use onevault::auth::{jwt, token};
use onevault::config::{Age, load, parse_yaml};
use onevault::customers::files::{References, parse};
use onevault::ids::{CustomerId, LoginName};
use onevault::protocol::{rewrite, startup};
use onevault::routing::{Arrival, Hints};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| PathBuf::from(format!("/dev/shm/onevault-fuzz-settings-{}.yaml", std::process::id())));

const CONFIGURATION: &str = include_str!("../../config/onevault.yaml");
const CUSTOMER: &str = include_str!("../../customers/configurations/one_spa/config.yaml");

/// A text in which some lines are others.
fn bent(good: &str, changes: &[(u8, String)]) -> String {
    let mut lines: Vec<&str> = good.lines().collect();
    for (at, line) in changes {
        let at = usize::from(*at) % lines.len();
        lines[at] = line;
    }
    lines.join("\n")
}

fuzz_target!(|input: (u8, bool, String, Vec<(u8, String)>)| {
    let (which, is_bent, text, changes) = input;
    let of = |good| if is_bent { bent(good, &changes) } else { text.clone() };
    match which % 6 {
        0 => {
            let text = of(CONFIGURATION);
            std::fs::write(&*FILE, &text).unwrap();
            if let Err(problems) = load(&FILE) {
                assert!(!problems.0.is_empty() && !problems.to_string().is_empty());
            }
        }
        1 => {
            if let Err(faults) = parse("one_spa", &FILE, &of(CUSTOMER), References::Leave) {
                assert!(!faults.is_empty());
            }
        }
        2 => _ = parse_yaml(&text).map(|node| format!("{node:?}").len()),
        3 => {
            let algorithms = ["RS256", "ES256", "EdDSA"].map(str::to_owned);
            let _ = jwt::Keys::parse(text.as_bytes(), &algorithms);
            if let Some(prefix) = token::prefix(&text) {
                assert!(text.starts_with(prefix) && token::is_prefix(prefix));
            }
        }
        4 => {
            if let Ok(age) = Age::parse(&text) {
                assert_eq!(Age::parse(&age.to_string()), Ok(age));
            }
            let _ = (CustomerId::parse(&text), LoginName::parse(&text));
        }
        _ => {
            let (raw, mut out) = (text.as_bytes(), Vec::new());
            for tag in *b"PBDC" {
                let _ = rewrite::statement(tag, raw, b"_ov_1", &mut out);
            }
            if let Ok(startup::Request::Startup(startup)) = startup::parse(raw) {
                let arrival = Arrival { is_tls: true, sni: Some(&text), base_domain: "db.example.com" };
                let _ = Hints::collect(&startup, arrival).map(|hints| hints.settings().len());
            }
        }
    }
});
