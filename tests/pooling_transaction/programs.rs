//! Random programs that make, unmake and lose settings, directly and through OneVault, where another session with settings of
//! its own has the backend after every transaction. `ONEVAULT_TEST_PROGRAMS` says how many; a failing one is told by its number.
//!
//! Source: sql-set, sql-savepoint, sql-discard, protocol-flow#PROTOCOL-FLOW-MULTI-STATEMENT

use crate::support::dice::Dice;
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};
use crate::support::wire::Wire;

const PROGRAMS: u64 = 25;
const STEPS: usize = 14;

/// Settings and values that they may have.
const SETTINGS: [(&str, [&str; 3]); 14] = [
    ("work_mem", ["3MB", "77kB", "5000"]),
    ("search_path", ["pg_catalog", "public, pg_catalog", "\"a b\", public"]),
    ("TimeZone", ["Asia/Tokyo", "UTC", "Europe/Rome"]),
    ("DateStyle", ["German", "ISO, DMY", "SQL"]),
    ("IntervalStyle", ["iso_8601", "sql_standard", "postgres"]),
    ("application_name", ["it''s", "back\\slash", ""]),
    ("custom.key", ["mine", "", "it''s \\ mine"]),
    ("custom.Other", ["1", "two", "3.5"]),
    ("statement_timeout", ["70s", "80s", "0"]),
    ("extra_float_digits", ["0", "3", "-2"]),
    ("bytea_output", ["escape", "hex", "nonsense"]),
    ("enable_seqscan", ["off", "on", "1"]),
    ("default_transaction_isolation", ["serializable", "repeatable read", "read committed"]),
    ("default_transaction_read_only", ["off", "false", "no"]),
];

/// What the other session makes of them.
const OTHERS: &str = "SET work_mem = '64kB'; SET search_path = thief; SET TimeZone = 'Asia/Kathmandu'; SET DateStyle = 'Postgres, MDY';
    SET IntervalStyle = postgres_verbose; SET application_name = 'other'; SET custom.key = 'stolen'; SET custom.Other = 'stolen';
    SET statement_timeout = '99s'; SET extra_float_digits = -15; SET bytea_output = escape; SET enable_seqscan = off;
    SET default_transaction_isolation = 'read uncommitted'; SET custom.third = 'stolen'";

/// Functions that set what no text shows.
const FUNCTIONS: &str = "CREATE FUNCTION sets(n text, v text) RETURNS text LANGUAGE plpgsql AS
    $$BEGIN RETURN set_config(n, v, false); END$$;
    CREATE FUNCTION sets_and_fails(n text, v text) RETURNS text LANGUAGE plpgsql AS
    $$BEGIN PERFORM set_config(n, v, false); RETURN 1/0; EXCEPTION WHEN division_by_zero THEN RETURN 'undone'; END$$";

/// Writes programs.
struct Writer(Dice);

impl Writer {
    fn setting(&mut self) -> (&'static str, &'static str) {
        let (name, values) = *self.0.choose(&SETTINGS);
        (name, *self.0.choose(&values))
    }

    fn statement(&mut self) -> String {
        let (name, value) = self.setting();
        let said = if name == "search_path" || name == "DateStyle" {
            value.to_owned()
        } else {
            format!("'{value}'")
        };
        let savepoint = *self.0.choose(&["a", "b", "\"B c\""]);
        match self.0.throw(34) {
            0..=5 => format!("SET {name} = {said}"),
            6 => format!("SET SESSION {name} TO {said}"),
            7 | 8 => format!("SET LOCAL {name} = {said}"),
            9 => format!("RESET {name}"),
            10 => format!("SET {name} TO DEFAULT"),
            11 => "RESET ALL".to_owned(),
            12 | 13 => format!("SELECT set_config('{name}', '{value}', false)"),
            14 => format!("SELECT set_config('{name}', '{value}', true)"),
            15 => format!("SELECT set_config('{name}', '{value}', false) WHERE random() < 0"),
            16 => format!("SELECT set_config('{name}', NULL, false)"),
            17 => {
                format!(
                    "SELECT set_config(lower('{name}'), '{value}', {})",
                    ["true", "false"][self.0.throw(2)]
                )
            }
            18 => format!("SELECT sets('{name}', '{value}')"),
            19 => format!("SELECT sets_and_fails('{name}', '{value}')"),
            20 => format!("DO $do$BEGIN PERFORM set_config('{name}', '{value}', false); END$do$"),
            21 => "SELECT 1/0".to_owned(),
            22 | 23 => "BEGIN".to_owned(),
            24 | 25 => "COMMIT".to_owned(),
            26 => "ROLLBACK".to_owned(),
            27 => ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN"][self.0.throw(2)].to_owned(),
            28 | 29 => format!("SAVEPOINT {savepoint}"),
            30 => format!("ROLLBACK TO {savepoint}"),
            31 => format!("RELEASE {savepoint}"),
            32 => ["DISCARD ALL;", "SET nonsense = 1", "SET standard_conforming_strings = on"]
                [self.0.throw(3)]
            .to_owned(),
            _ => "SELECT 1".to_owned(),
        }
    }

    /// One message or batch, up to its `ReadyForQuery`.
    fn step(&mut self) -> Vec<u8> {
        let count = 1 + self.0.throw(3);
        if self.0.throw(2) == 0 {
            let texts: Vec<_> = (0..count).map(|_| self.statement()).collect();
            return query(&texts.join("; "));
        }
        let mut batch = Vec::new();
        for _ in 0..count {
            let (name, value) = self.setting();
            let local = ["false", "false", "true"][self.0.throw(3)];
            match self.0.throw(4) {
                0 => {
                    batch.push(parse("", &format!("SELECT set_config('{name}', $1, {local})")));
                    batch.push(bind("", "", &[Some(value).filter(|_| self.0.throw(5) > 0)]));
                }
                1 => {
                    batch.push(parse("", &format!("SELECT set_config($1, $2, {local}), $3::text")));
                    batch.push(bind("", "", &[Some(name), Some(value), None]));
                }
                _ => {
                    batch.push(parse("", &self.statement()));
                    batch.push(bind("", "", &[]));
                }
            }
            batch.push(execute("", u32::from(self.0.throw(4) == 0)));
        }
        batch.push(sync());
        all(&batch)
    }
}

fn shown() -> String {
    let each =
        SETTINGS.map(|(name, _)| format!("coalesce(nullif(current_setting('{name}', true), ''), '-')"));
    format!("SELECT {}, '2001-02-03'::date, interval '1 day 2 hours'", each.join(", "))
}

/// What a session hears of a program: every answer, and after each all settings and what it was told of parameters.
fn heard(wire: &mut Wire, program: &[Vec<u8>], between: &mut dyn FnMut()) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    let shown = query(&shown());
    for step in program {
        let mut lines = say(wire, step);
        let is_idle = lines.last().is_some_and(|line| line == "B ReadyForQuery I");
        if is_idle {
            between();
        }
        lines.extend(say(wire, &shown));
        lines.retain(|line| !line.starts_with("B ParameterStatus"));
        lines.push(format!("{:?}", wire.parameters));
        all.push(lines);
        if is_idle {
            between();
        }
    }
    all
}

fn is_same(pooled: &Pooled, number: u64) {
    let mut writer = Writer(Dice::of(number));
    let program: Vec<_> = (0..STEPS).map(|_| writer.step()).collect();
    let directly = heard(&mut pooled.direct(), &program, &mut || ());
    let mut other = pooled.enter();
    let mut wire = pooled.enter();
    let through = heard(&mut wire, &program, &mut || {
        let frames = other.talk(&query(OTHERS));
        let error = frames.iter().find(|frame| frame.is_error()).map(|frame| frame.line());
        assert_eq!(error, None, "program {number}: the backend is held for {:?}", pooled.pins());
    });
    for (step, (through, directly)) in through.iter().zip(&directly).enumerate() {
        let said = || {
            program[..=step]
                .iter()
                .map(|step| format!("{:?}", String::from_utf8_lossy(step)))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            through,
            directly,
            "program {number}, step {step}: through OneVault (left) and directly (right): {:#?}",
            said()
        );
    }
}

#[test]
fn settings_are_as_on_a_connection_of_ones_own() {
    let pooled = Pooled::with("programs", serde_json::json!({ "pool": { "wait_timeout_ms": 5000 } }));
    pooled.direct().rows(FUNCTIONS);
    if is_transaction() {
        // Names with a dot must have been said once, as those that only functions say are not seen.
        pooled.enter().rows(OTHERS);
    }
    let first: u64 = std::env::var("ONEVAULT_TEST_FIRST_PROGRAM").map_or(0, |number| number.parse().unwrap());
    let count = std::env::var("ONEVAULT_TEST_PROGRAMS").map_or(PROGRAMS, |number| number.parse().unwrap());
    for number in first..first + count {
        is_same(&pooled, number);
    }
}
