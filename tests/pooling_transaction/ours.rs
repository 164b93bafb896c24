//! Statements that OneVault shares among sessions are nobody's by name: no client sees, runs or removes them by saying it.
//!
//! Source: sql-prepare, sql-execute, sql-deallocate

use crate::support::both::{count, says};
use crate::support::messages::*;
use crate::support::pooled::{Pooled, is_transaction, say};

fn once(name: &str) -> Vec<u8> {
    all(&[bind("", name, &[]), execute("", 0), sync()])
}

/// Each name of ours that the backend has.
fn shared(pooled: &Pooled) -> Vec<String> {
    let rows =
        pooled.enter().rows("SELECT name FROM pg_prepared_statements WHERE name LIKE '\\_ov\\_%' ORDER BY 1");
    rows.into_iter().filter_map(|row| row[0].clone()).collect()
}

/// Whatever name of ours SQL says: it is not there, and whose statement it is goes on with it.
#[test]
fn a_shared_statement_has_no_name_that_sql_could_say() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::new("ours");
    let mut owner = pooled.enter();
    says(&mut owner, &[parse("s1", "SELECT 'shared'"), parse("s1", "SELECT 'refused'"), sync()], 1);
    says(&mut owner, &[once("s1")], 1);
    for way in ["simple", "extended"] {
        for verb in ["DEALLOCATE", "EXECUTE", "DEALLOCATE PREPARE", "PREPARE"] {
            let names = shared(&pooled);
            assert!(!names.is_empty());
            let mut wire = pooled.enter();
            says(&mut wire, &[parse("own", "SELECT 'own'"), sync()], 1);
            for name in names {
                let text = if verb == "PREPARE" {
                    format!("PREPARE {name} AS SELECT 'new'")
                } else {
                    format!("{verb} {name}")
                };
                let heard = match way {
                    "simple" => say(&mut wire, &query(&text)),
                    _ => say(&mut wire, &all(&[parse("", &text), bind("", "", &[]), execute("", 0), sync()])),
                };
                if verb == "PREPARE" {
                    assert_eq!(count(&heard, "B CommandComplete PREPARE"), 1, "{text}: {heard:#?}");
                    let all_names = "SELECT string_agg(name, ',' ORDER BY name) FROM pg_prepared_statements";
                    assert_eq!(wire.value(all_names), format!("{name},own"));
                    assert_eq!(wire.value(&format!("EXECUTE {name}")), "new");
                    assert_eq!(count(&say(&mut wire, &once(&name)), "B DataRow new"), 1);
                    assert_eq!(
                        count(&say(&mut wire, &all(&[close_statement(&name), sync()])), "B CloseComplete"),
                        1
                    );
                }
                let expected =
                    format!("B ErrorResponse S=ERROR C=26000 M=prepared statement \"{name}\" does not exist");
                let heard = if verb == "PREPARE" {
                    say(&mut wire, &query(&format!("EXECUTE {name}")))
                } else {
                    heard
                };
                assert_eq!(count(&heard, &expected), 1, "{text}: {heard:#?}");
            }
            assert_eq!(count(&says(&mut wire, &[once("own")], 1), "B DataRow own"), 1, "{verb}, {way}");
            pooled.steal();
            for _ in 0..2 {
                let heard = says(&mut owner, &[once("s1")], 1);
                assert_eq!(count(&heard, "B DataRow shared"), 1, "{verb}, {way}: {heard:#?}");
            }
            assert_eq!(count(&says(&mut wire, &[once("own")], 1), "B DataRow own"), 1, "{verb}, {way}");
        }
    }
}

/// Nor does a text that is too large to be looked at before it runs.
#[test]
fn what_a_large_text_takes_away_is_made_again() {
    if !is_transaction() {
        return;
    }
    let pooled = Pooled::new("ours_large");
    let mut owner = pooled.enter();
    says(&mut owner, &[parse("s1", "SELECT 'shared'"), sync()], 1);
    for name in shared(&pooled) {
        let heard = says(
            &mut pooled.enter(),
            &[query(&format!("SELECT '{}'; DEALLOCATE {name}", "x".repeat(200_000)))],
            1,
        );
        assert_eq!(count(&heard, "B CommandComplete DEALLOCATE"), 1, "{name}");
    }
    assert_eq!(count(&says(&mut owner, &[once("s1")], 1), "B DataRow shared"), 1);
}

/// A client may call its own statements like ours, and reads its own names in errors.
#[test]
fn a_client_may_use_names_like_ours() {
    let pooled = Pooled::new("like_ours");
    let mut other = pooled.enter();
    for number in 0..12 {
        says(&mut other, &[parse(&format!("s{number}"), &format!("SELECT {number}")), sync()], 1);
    }
    let mut steps = Vec::new();
    for number in [0, 1, 2, 5, 9, 1_000_000] {
        let name = format!("_ov_{number}");
        steps.push(once(&name));
        steps.push(all(&[describe_statement(&name), sync()]));
        steps.push(all(&[close_statement(&name), sync()]));
        steps.push(query(&format!("DEALLOCATE {name}")));
        steps.push(all(&[parse(&name, &format!("SELECT 'mine {number}'")), sync()]));
        steps.push(once(&name));
        steps.push(all(&[parse(&name, "SELECT 'again'"), sync()]));
        steps.push(query(&format!("DEALLOCATE {name}")));
        steps.push(once(&name));
        steps.push(all(&[
            parse(&name, "SELECT 'anew'"),
            describe_statement(&name),
            close_statement(&name),
            sync(),
        ]));
        steps.push(once(&name));
    }
    for name in ["_ov_none", "_ov_settled", "_ov_examine", "_ov_", "_ov_x"] {
        steps.push(once(name));
        steps.push(query(&format!("DEALLOCATE {name}")));
        steps.push(all(&[
            parse(name, "SELECT 'mine'"),
            bind("", name, &[]),
            execute("", 0),
            close_statement(name),
            sync(),
        ]));
    }
    let heard = pooled.stolen(&steps);
    assert_eq!(count(&heard, "B DataRow mine"), 11, "{heard:#?}");
    for number in 0..12 {
        let heard = says(&mut other, &[once(&format!("s{number}"))], 1);
        assert_eq!(count(&heard, &format!("B DataRow {number}")), 1, "{heard:#?}");
    }
}
