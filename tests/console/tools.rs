//! psql and what other tools ask of a server's catalogue when they connect.

use std::process::Command;

use super::House;
use crate::support::messages;
use crate::support::transcript::lines;

/// What psql shows, and what it complains of.
fn tried(house: &House, arguments: &[&str]) -> (String, String) {
    let login = house.auditor(&house.one);
    let mut command = Command::new("psql");
    command.args([
        "-X",
        "-A",
        "-t",
        "-h",
        "127.0.0.1",
        "-p",
        &house.vault.port.to_string(),
        "-d",
        "onevault",
    ]);
    command.args(["-U", &login.user]).args(arguments).env("PGPASSWORD", &house.one.password);
    let output = command.env("PGSSLMODE", "disable").output().unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (words(&output.stdout), words(&output.stderr))
}

fn psql(house: &House, arguments: &[&str]) -> String {
    let (shown, errors) = tried(house, arguments);
    assert!(errors.is_empty(), "{arguments:?}: {errors}");
    shown
}

#[test]
fn psqls_commands_describe_the_tables() {
    let house = House::new();
    for command in ["\\d", "\\dt", "\\dt audit.*", "\\d+", "\\dt+"] {
        let shown = psql(&house, &["-c", command]);
        for table in ["statements", "sessions", "logins", "events"] {
            assert!(shown.contains(&format!("audit|{table}|table")), "{command}: {shown}");
        }
    }
    let columns = psql(&house, &["-c", "\\d audit.statements"]);
    for column in ["time|timestamp with time zone", "text|text", "duration_ns|bigint", "sqlstate|text"] {
        assert!(columns.contains(column), "{columns}");
    }
    let databases = psql(&house, &["-c", "\\l"]);
    assert!(databases.starts_with("onevault|audrey|") && databases.lines().count() == 1, "{databases}");
    assert!(psql(&house, &["-c", "\\dn"]).contains("audit|"));
    assert!(psql(&house, &["-c", "\\conninfo"]).contains("\"onevault\""));
    let wide = psql(&house, &["-x", "-c", "SELECT text FROM statements WHERE kind = 'query'"]);
    assert_eq!(wide.trim(), "text|SELECT 'secret of the spa'");
    let failed: Vec<String> = COMMANDS.iter().filter_map(|command| psql_fails(&house, command)).collect();
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
}

/// All of psql's commands that describe.
const COMMANDS: [&str; 60] = [
    "\\d",
    "\\d+",
    "\\d audit.*",
    "\\d+ audit.statements",
    "\\da",
    "\\dA",
    "\\db",
    "\\db+",
    "\\dc",
    "\\dC",
    "\\dd",
    "\\dD",
    "\\ddp",
    "\\dE",
    "\\des",
    "\\det",
    "\\deu",
    "\\dew",
    "\\df",
    "\\df+",
    "\\dF",
    "\\dFd",
    "\\dFp",
    "\\dFt",
    "\\dg",
    "\\di",
    "\\di+",
    "\\dl",
    "\\dL",
    "\\dm",
    "\\dn",
    "\\dn+",
    "\\do",
    "\\dp",
    "\\dp audit.*",
    "\\dP",
    "\\drds",
    "\\dRp",
    "\\dRs",
    "\\ds",
    "\\dS",
    "\\dt",
    "\\dt+",
    "\\dt *.*",
    "\\dT",
    "\\dT+",
    "\\du",
    "\\du+",
    "\\dv",
    "\\dv+",
    "\\dx",
    "\\dx+",
    "\\dX",
    "\\dy",
    "\\l",
    "\\l+",
    "\\z",
    "\\encoding",
    "\\d usage.daily",
    "\\d+ usage.daily",
];

/// Why a command fails, if it does.
fn psql_fails(house: &House, command: &str) -> Option<String> {
    let (_, errors) = tried(house, &["-c", command]);
    errors.contains("ERROR").then(|| format!("{command}: {errors}"))
}

#[test]
fn rows_are_copied_to_a_file_by_the_client() {
    let house = House::new();
    let file = house.vault.dir.0.join("copied.csv");
    let copy = format!(
        "\\copy (SELECT kind, text, sqlstate FROM statements WHERE kind = 'query') to '{}' with (format csv, header)",
        file.display()
    );
    psql(&house, &["-c", &copy]);
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "kind,text,sqlstate\nquery,SELECT 'secret of the spa',\n"
    );
    let text = "SELECT 'a' || chr(9) || 'b' || chr(10) || 'c\\' AS x, NULL AS y";
    assert_eq!(psql(&house, &["-c", &format!("COPY ({text}) TO STDOUT")]), "a\\tb\\nc\\\\\t\\N\n");
}

#[test]
fn psql_fetches_in_parts_and_goes_back_to_savepoints() {
    let house = House::new();
    let parts = psql(&house, &["-v", "FETCH_COUNT=2", "-c", "SELECT value FROM generate_series(1, 5)"]);
    assert_eq!(parts.lines().collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    let session = ["-v", "ON_ERROR_ROLLBACK=on", "-c", "BEGIN", "-c", "SELECT nothing", "-c", "SELECT 1"];
    let (shown, errors) = tried(&house, &session);
    assert_eq!((shown.as_str(), errors.matches("ERROR").count()), ("BEGIN\n1\n", 1), "{errors}");
}

/// What drivers and tools ask first, as they write it.
const OPENING: [&str; 14] = [
    // psql's completion.
    "SELECT pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'S', 'v', 'm', 'f', 'p') \
     AND substring(pg_catalog.quote_ident(c.relname),1,2)='st' AND pg_catalog.pg_table_is_visible(c.oid) LIMIT 1000",
    // JDBC: getSchemas, getTables, getColumns.
    "SELECT nspname AS TABLE_SCHEM, current_database() AS TABLE_CATALOG FROM pg_catalog.pg_namespace WHERE nspname <> \
     'pg_toast' AND (nspname !~ '^pg_temp_' OR nspname = (pg_catalog.current_schemas(true))[1]) AND (nspname !~ \
     '^pg_toast_temp_' OR nspname = replace((pg_catalog.current_schemas(true))[1], 'pg_temp_', 'pg_toast_temp_')) ORDER BY \
     TABLE_SCHEM",
    "SELECT current_database() AS TABLE_CAT, n.nspname AS TABLE_SCHEM, c.relname AS TABLE_NAME, c.relkind, d.description AS \
     REMARKS FROM pg_catalog.pg_namespace n, pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_description d ON (c.oid = \
     d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass) WHERE c.relnamespace = n.oid AND n.nspname LIKE \
     'audit' ORDER BY TABLE_SCHEM, TABLE_NAME",
    "SELECT n.nspname, c.relname, a.attname, a.atttypid, a.attnotnull, a.atttypmod, a.attlen, a.attnum, t.typname FROM \
     pg_catalog.pg_namespace n JOIN pg_catalog.pg_class c ON (c.relnamespace = n.oid) JOIN pg_catalog.pg_attribute a ON \
     (a.attrelid = c.oid) JOIN pg_catalog.pg_type t ON (a.atttypid = t.oid) WHERE c.relkind IN ('r','p','v','f','m') AND \
     a.attnum > 0 AND NOT a.attisdropped AND n.nspname LIKE 'audit' ORDER BY nspname, c.relname, attnum",
    // psycopg: types by name.
    "SELECT typname AS name, oid, typarray AS array_oid, oid::regtype::text AS regtype, typdelim AS delimiter FROM \
     pg_type t WHERE t.oid = 1184 ORDER BY t.oid",
    // DBeaver.
    "SHOW search_path",
    "SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datname='onevault'",
    "SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON \
     d.objoid=n.oid AND d.objsubid=0 AND d.classoid='pg_namespace'::regclass ORDER BY nspname",
    "SELECT current_schema(), session_user",
    "SET application_name = 'DBeaver 24.0'",
    // pgAdmin.
    "SET DateStyle=ISO; SET client_min_messages=notice; SELECT set_config('bytea_output','hex',false) FROM pg_settings \
     WHERE name = 'bytea_output'",
    "SELECT version()",
    "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema = 'audit'",
    "SELECT column_name, data_type, is_nullable FROM information_schema.columns WHERE table_name = 'statements'",
];

#[test]
fn the_opening_questions_of_known_tools_are_answered() {
    let house = House::new();
    let mut audrey = house.audrey();
    let mut failed = Vec::new();
    for text in OPENING {
        let code = audrey.sqlstate(text);
        if !code.is_empty() {
            failed.push((code, lines(&audrey.talk(&messages::query(text))).join("\n")));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
