//! Random programs of the extended protocol, each held on a direct connection at the same time, with a thief and a twin in the house.
//!
//! The twin says the same texts as the program does, under names of its own, so that what sessions share is shared. A program
//! that reads otherwise tells its seed; `ONEVAULT_TEST_SEED` begins there, `ONEVAULT_TEST_PROGRAMS` says how many there are.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, protocol-flow#PROTOCOL-FLOW-PIPELINING

use serde_json::json;

use crate::support::messages::*;
use crate::support::pooled::{Pooled, say};
use crate::support::wire::Wire;

/// How many programs a plain run has, and how many steps each.
const PROGRAMS: u64 = 40;
const STEPS: usize = 14;

const NAMES: [&str; 4] = ["", "s1", "s2", "a name"];

/// What statements say. The first ones are what most of them say.
const TEXTS: [&str; 15] = [
    "SELECT 'one'",
    "SELECT 'two', 2",
    "SELECT $1::text",
    "SELECT * FROM shifting",
    "SELECT 'three' FROM generate_series(1, 3)",
    "SELECT * FROM shifting WHERE a = $1",
    "SELEC",
    "SELECT 1/0",
    "SELECT * FROM nowhere",
    "",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DEALLOCATE s1",
    "BEGIN",
    "ROLLBACK",
];

const QUERIES: [&str; 10] = [
    "SELECT 'simple'",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "DEALLOCATE ALL",
    "DEALLOCATE s2",
    "DISCARD ALL",
    "SELECT 1/0",
    "",
    "SELECT 1; DEALLOCATE s1; SELECT 2",
];

/// What befalls the table that statements speak of.
const CHANGES: [&str; 3] = [
    "ALTER TABLE shifting ADD COLUMN IF NOT EXISTS b int DEFAULT 8",
    "ALTER TABLE shifting DROP COLUMN IF EXISTS b",
    "DROP TABLE shifting; CREATE TABLE shifting (a int); INSERT INTO shifting VALUES (7)",
];

/// Numbers that look like chance and come again with their seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len())]
    }

    /// The statement without a name is not told of a table that has changed since it was parsed.
    fn text(&mut self, name: &str) -> &'static str {
        let text = if self.one_in(4) { self.of(&TEXTS) } else { self.of(&TEXTS[..6]) };
        if name.is_empty() && text.contains("shifting") { TEXTS[0] } else { text }
    }

    fn message(&mut self) -> Vec<u8> {
        let name = self.of(&NAMES);
        let portal = if self.one_in(5) { "p1" } else { "" };
        let values: &[Option<&str>] = if self.one_in(4) { &[Some("7")] } else { &[] };
        match self.below(16) {
            0..=2 => parse(name, self.text(name)),
            3..=4 => all(&[close_statement(name), parse(name, self.text(name))]),
            5..=7 => all(&[bind(portal, name, values), execute(portal, 0)]),
            8 => bind(portal, name, values),
            9 => execute(portal, u32::from(self.one_in(2))),
            10 => describe_statement(name),
            11 => describe_portal(portal),
            12 => close_statement(name),
            13 => close_portal(portal),
            14 => flush(),
            _ => all(&[
                parse(name, self.text(name)),
                describe_statement(name),
                bind("", name, values),
                execute("", 0),
            ]),
        }
    }

    /// What is sent in one piece: batches behind each other, and simple queries between them.
    fn step(&mut self) -> Vec<Vec<u8>> {
        let mut said = Vec::new();
        for _ in 0..=self.below(4) {
            if self.one_in(5) {
                said.push(query(self.of(&QUERIES)));
            } else {
                said.extend((0..self.below(6)).map(|_| self.message()));
                said.push(sync());
            }
        }
        said
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap())
}

/// Every conversation reads as on a connection of its own, whatever comes between its steps.
#[test]
fn conversations_read_as_on_a_connection_of_their_own() {
    let changes = json!({ "pool": { "wait_timeout_ms": 400, "prepared_statements_max": 4 } });
    let pooled = Pooled::with("conversations", changes);
    let mut owner = pooled.direct();
    owner.rows("CREATE TABLE shifting (a int); INSERT INTO shifting VALUES (7)");
    let mut twin = pooled.enter();
    let first = number("ONEVAULT_TEST_SEED", 1);
    for seed in first..first + number("ONEVAULT_TEST_PROGRAMS", PROGRAMS) {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (mut direct, mut through) = (pooled.direct(), pooled.enter());
        let mut told = Vec::new();
        for step in 0..STEPS {
            let said = chance.step();
            let expected = alike(say(&mut direct, &said.concat()), &told);
            let heard = alike(say(&mut through, &said.concat()), &told);
            told.push((said, expected.clone()));
            if heard != expected {
                panic!(
                    "seed {seed}, step {step}\n{}\nthrough OneVault:\n  {}",
                    shown(&told),
                    heard.join("\n  ")
                );
            }
            if expected.last().is_some_and(|line| line == "B ReadyForQuery I") {
                between(&mut chance, &pooled, &mut twin);
                if chance.one_in(6) {
                    owner.rows(chance.of(&CHANGES));
                }
            }
        }
        through.send(&terminate());
    }
}

/// Where two things are wrong, which of them is told first is not the same: that a transaction has failed and what a statement
/// is missed for; too few parameters and a changed table.
fn alike(mut heard: Vec<String>, told: &[(Vec<Vec<u8>>, Vec<String>)]) -> Vec<String> {
    // A server says what a statement takes before it finds that what it gives has changed.
    let errors: Vec<_> = heard.iter().skip(1).map(|line| line.starts_with("B ErrorResponse")).collect();
    let mut behind = errors.into_iter().chain([false]);
    heard.retain(|line| !(behind.next().unwrap() && line.starts_with("B ParameterDescription")));
    let before = told.iter().flat_map(|(_, heard)| heard.last()).last();
    let mut failed = before.is_some_and(|line| line == "B ReadyForQuery E");
    for line in &mut heard {
        if line.starts_with("B ReadyForQuery") {
            failed = line == "B ReadyForQuery E";
        } else if line.starts_with("B ErrorResponse")
            && (failed || ["C=08P01", "C=0A000"].iter().any(|code| line.contains(code)))
        {
            "B ErrorResponse ...".clone_into(line);
        }
    }
    heard
}

/// Nobody's transaction is open.
fn between(chance: &mut Chance, pooled: &Pooled, twin: &mut Wire) {
    match chance.below(8) {
        0..=2 => drop(pooled.try_steal()),
        3..=4 => {
            let name = chance.of(&NAMES);
            let text = chance.text(name);
            if !["BEGIN", "DEALLOCATE s1"].contains(&text) {
                let run = all(&[bind("", name, &[]), execute("", 0)]);
                say(twin, &all(&[close_statement(name), parse(name, text), run, sync()]));
            }
        }
        _ => {}
    }
}

/// What was said and heard, for people.
fn shown(told: &[(Vec<Vec<u8>>, Vec<String>)]) -> String {
    let mut text = String::new();
    for (said, heard) in told {
        for message in said {
            let plain: String = message
                .iter()
                .map(|byte| if byte.is_ascii_graphic() || *byte == b' ' { char::from(*byte) } else { '.' })
                .collect();
            text.push_str(&format!("  F {plain}\n"));
        }
        heard.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text
}
