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

/// What one psql shows for each of these lines, and what it complains of.
fn session(house: &House, commands: &[&str]) -> Vec<(String, String)> {
    let script: String = commands.iter().map(|command| format!("\\echo @@\n{command}\n")).collect();
    let file = house.vault.dir.0.join("commands.psql");
    std::fs::write(&file, script).unwrap();
    let (shown, errors) = tried(house, &["-q", "-f", &file.display().to_string()]);
    let parts: Vec<&str> = shown.split("@@\n").skip(1).collect();
    assert_eq!(parts.len(), commands.len(), "{shown}\n{errors}");
    let of_line = |number: usize| {
        let here = format!("{}:{number}: ", file.display());
        errors.lines().filter(|line| line.contains(&here)).collect::<Vec<_>>().join("\n")
    };
    parts.iter().enumerate().map(|(at, part)| ((*part).to_owned(), of_line(2 * at + 2))).collect()
}

#[test]
fn psqls_commands_describe_the_tables() {
    let house = House::new();
    let told = session(&house, &COMMANDS);
    let failed: Vec<String> = COMMANDS
        .iter()
        .zip(&told)
        .filter(|(_, (_, errors))| errors.contains("ERROR"))
        .map(|(command, (_, errors))| format!("{command}: {errors}"))
        .collect();
    assert!(failed.is_empty(), "{} failed\n{}", failed.len(), failed.join("\n"));
    let shown = |command: &str| {
        let at = COMMANDS.iter().position(|known| *known == command).unwrap();
        told[at].0.as_str()
    };
    for command in ["\\d", "\\dt", "\\dt audit.*", "\\d+", "\\dt+"] {
        for table in ["statements", "sessions", "logins", "events"] {
            let line = format!("audit|{table}|table");
            assert!(shown(command).contains(&line), "{command}: {}", shown(command));
        }
    }
    for (command, expected) in [
        ("\\d audit.statements", "time|timestamp with time zone"),
        ("\\d audit.statements", "text|text"),
        ("\\d audit.statements", "duration_ns|bigint"),
        ("\\d audit.statements", "sqlstate|text"),
        ("\\dn", "audit|"),
        ("\\conninfo", "\"onevault\""),
        ("\\dAc btree int4", "|int4_ops|"),
        ("\\dAf btree", "|integer_ops|"),
        ("\\dAo btree", "btree|integer_ops|<(integer,integer)|1|search"),
        ("\\dAp btree", "btree|integer_ops|integer|integer|1|btint4cmp"),
        ("\\dconfig timezone", "TimeZone|UTC"),
        ("\\dconfig+ *time*", "TimeZone|UTC|string|user|"),
        ("\\df abs int4", "|abs|"),
        ("SELECT 1 AS a, 'x' AS b \\gdesc", "a|bigint\nb|text"),
        ("SELECT 7 AS seven \\gset\\\\ \\echo :seven", "7"),
        ("SELECT 'SELECT 8' \\gexec", "8"),
        ("SELECT 1 AS a, 2 AS b, 3 AS c \\crosstabview", "1|3"),
        ("SELECT text FROM statements WHERE kind = 'query' \\gx", "text|SELECT 'secret of the spa'"),
    ] {
        assert!(shown(command).contains(expected), "{command}: {}", shown(command));
    }
    let databases = shown("\\l");
    assert!(databases.starts_with("onevault|audrey|") && databases.lines().count() == 1, "{databases}");
}

/// All of psql's commands that describe, and those that send a query in their own way.
const COMMANDS: [&str; 120] = [
    "\\d",
    "\\d+",
    "\\d audit.*",
    "\\d audit.statements",
    "\\d+ audit.statements",
    "\\d usage.daily",
    "\\d+ usage.daily",
    "\\d live.pools",
    "\\d pg_catalog.pg_class",
    "\\dS",
    "\\da",
    "\\daS",
    "\\dA",
    "\\dA+",
    "\\dAc",
    "\\dAc+",
    "\\dAc btree int4",
    "\\dAf",
    "\\dAf+",
    "\\dAf btree",
    "\\dAo",
    "\\dAo+",
    "\\dAo btree",
    "\\dAp",
    "\\dAp+",
    "\\dAp btree",
    "\\db",
    "\\db+",
    "\\dc",
    "\\dc+",
    "\\dcS",
    "\\dC",
    "\\dC+",
    "\\dd",
    "\\ddS",
    "\\dD",
    "\\dD+",
    "\\ddp",
    "\\dE",
    "\\dE+",
    "\\des",
    "\\des+",
    "\\det",
    "\\det+",
    "\\deu",
    "\\deu+",
    "\\dew",
    "\\dew+",
    "\\df",
    "\\df+",
    "\\df abs int4",
    "\\dfw",
    "\\dF",
    "\\dF+",
    "\\dFd",
    "\\dFd+",
    "\\dFp",
    "\\dFp+",
    "\\dFt",
    "\\dFt+",
    "\\dg",
    "\\dg+",
    "\\di",
    "\\di+",
    "\\dl",
    "\\dl+",
    "\\dL",
    "\\dL+",
    "\\dm",
    "\\dm+",
    "\\dn",
    "\\dn+",
    "\\do",
    "\\do+",
    "\\do + int4 int4",
    "\\dO",
    "\\dO+",
    "\\dp",
    "\\dp audit.*",
    "\\dP",
    "\\dP+",
    "\\drds",
    "\\dRp",
    "\\dRp+",
    "\\dRs",
    "\\dRs+",
    "\\ds",
    "\\ds+",
    "\\dt",
    "\\dt+",
    "\\dt audit.*",
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
    "\\dX+",
    "\\dy",
    "\\dy+",
    "\\l",
    "\\l+",
    "\\sf now",
    "\\sf+ now",
    "\\sv usage.daily",
    "\\z",
    "\\conninfo",
    "\\dconfig",
    "\\dconfig timezone",
    "\\dconfig+ *time*",
    "\\encoding",
    "SELECT 1 AS a, 'x' AS b \\gdesc",
    "SELECT 7 AS seven \\gset\\\\ \\echo :seven",
    "SELECT 'SELECT 8' \\gexec",
    "SELECT 1 AS a, 2 AS b, 3 AS c \\crosstabview",
    "SELECT text FROM statements WHERE kind = 'query' \\gx",
];

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
    let frames = house.audrey().talk(&messages::query("COPY (SELECT 7 AS x) TO STDOUT (FORMAT binary)"));
    let data: Vec<_> =
        frames.iter().filter(|frame| frame.tag == b'd').map(|frame| frame.body.clone()).collect();
    let data = data.concat();
    assert!(data.starts_with(b"PGCOPY\n\xff\r\n\0") && data.ends_with(&[0xff, 0xff]), "{data:?}");
    let complete = frames.iter().find(|frame| frame.tag == b'C').unwrap();
    assert_eq!(complete.body, b"COPY 1\0");
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
const OPENING: [&str; 18] = [
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
    "SELECT pg_catalog.pg_total_relation_size(16384::bigint), pg_catalog.pg_relation_size(16384::bigint)",
    "SELECT * FROM information_schema.table_privileges WHERE table_schema = 'audit' AND table_name = 'statements'",
    "SELECT keys.constraint_name, parts.column_name FROM information_schema.table_constraints keys JOIN \
     information_schema.key_column_usage parts USING (constraint_name) WHERE keys.constraint_type = 'PRIMARY KEY'",
    "SELECT triggers.trigger_name FROM information_schema.triggers",
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
