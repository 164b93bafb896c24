//! What it costs to read a statement: its tokens, and what it leaves behind.
//!
//! `cargo bench --bench classify`

use std::hint::black_box;
use std::time::{Duration, Instant};

use onevault::session::count_effects;
use onevault::sql::{Lexer, Token};

const ROUNDS: u32 = 5;
const ROUND: Duration = Duration::from_millis(200);

fn main() {
    let select_1k = select_of_1_kib();
    let insert_100k = insert_of_100_kib();
    let texts = [
        ("pgbench -S", "SELECT abalance FROM pgbench_accounts WHERE aid = 1;"),
        ("pgbench update", "UPDATE pgbench_accounts SET abalance = abalance + -3012 WHERE aid = 18723;"),
        (
            "pgbench insert",
            "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1, 1, 18723, -3012, CURRENT_TIMESTAMP);",
        ),
        ("BEGIN", "BEGIN;"),
        ("END", "END;"),
        ("set", "SET search_path TO app, public"),
        ("select of 1 KiB", &select_1k),
        ("insert of 100 KiB", &insert_100k),
    ];
    for (name, text) in texts {
        let read = best(|| tokens(black_box(text.as_bytes())));
        let classified = best(|| count_effects(black_box(text.as_bytes())).1);
        let per_byte = classified / f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
        tell(&format!(
            "{name} ({} bytes): tokens {read:.0} ns, with effects {classified:.0} ns, {per_byte:.2} ns a byte",
            text.len()
        ));
    }
}

fn tokens(text: &[u8]) -> usize {
    let mut count = 0_usize;
    let mut sink = |token: Token<'_>| count = count.wrapping_add(token.text.len());
    let mut lexer = Lexer::new(true);
    lexer.feed(text, &mut sink);
    let whole = lexer.finish(&mut sink);
    count.wrapping_add(usize::from(whole))
}

/// Nanoseconds of one call, in the best of some rounds.
fn best(mut call: impl FnMut() -> usize) -> f64 {
    let mut least = f64::INFINITY;
    for _ in 0..ROUNDS {
        let (begun, mut calls) = (Instant::now(), 0_u32);
        while begun.elapsed() < ROUND {
            for _ in 0..64 {
                black_box(call());
            }
            calls = calls.saturating_add(64);
        }
        least = least.min(begun.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    least
}

/// As an ORM writes it: many columns with quotes and aliases, joins, parameters.
fn select_of_1_kib() -> String {
    let columns: Vec<_> = (0..18).map(|at| format!("\"order_lines\".\"column_{at}\" AS t1_r{at}")).collect();
    format!(
        "SELECT {} FROM \"order_lines\" LEFT OUTER JOIN \"orders\" ON \"orders\".\"id\" = \"order_lines\".\"order_id\" \
         WHERE \"orders\".\"state\" IN ($1, $2) AND lower(\"orders\".\"note\") LIKE $3 ORDER BY \"orders\".\"created_at\" DESC LIMIT $4",
        columns.join(", ")
    )
}

fn insert_of_100_kib() -> String {
    let rows: Vec<_> =
        (0..1700).map(|at| format!("({at}, 'the name of row {at}', 'it''s one', {at}.5, now())")).collect();
    format!("INSERT INTO items (id, name, note, price, made_at) VALUES {}", rows.join(", "))
}

fn tell(line: &str) {
    use std::io::Write as _;
    // Nobody to tell if standard output is gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}
