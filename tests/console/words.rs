//! PgBouncer's words: its columns and types, what is true of the process, and for whom.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{House, refused};
use crate::support::messages;
use crate::support::postgres::{ANY, Postgres};
use crate::support::transcript::lines;
use crate::support::vault::{Customer, Options, Vault};
use crate::support::wire::{Login, Wire};

/// Names and types of PgBouncer 1.24: `s` text, `i` int4, `N` numeric.
const WORDS: [(&str, &str, &str); 9] = [
    (
        "POOLS",
        "ssiiiiiiiiiiiiiss",
        "database user cl_active cl_waiting cl_active_cancel_req cl_waiting_cancel_req sv_active sv_active_cancel \
         sv_being_canceled sv_idle sv_used sv_tested sv_login maxwait maxwait_us pool_mode load_balance_hosts",
    ),
    ("CLIENTS", "ssssssisissiiississii", SOCKETS),
    ("SERVERS", "ssssssisissiiississii", SOCKETS),
    (
        "STATS",
        "sNNNNNNNNNNNNNNNNNNNNNN",
        "database total_server_assignment_count total_xact_count total_query_count total_received total_sent \
         total_xact_time total_query_time total_wait_time total_client_parse_count total_server_parse_count \
         total_bind_count avg_server_assignment_count avg_xact_count avg_query_count avg_recv avg_sent avg_xact_time \
         avg_query_time avg_wait_time avg_client_parse_count avg_server_parse_count avg_bind_count",
    ),
    (
        "DATABASES",
        "ssissiiiissiiiiii",
        "name host port database force_user pool_size min_pool_size reserve_pool_size server_lifetime pool_mode \
         load_balance_hosts max_connections current_connections max_client_connections current_client_connections \
         paused disabled",
    ),
    ("LISTS", "si", "list items"),
    ("CONFIG", "ssss", "key value default changeable"),
    ("VERSION", "s", "version"),
    ("server_version", "s", "server_version"),
];

const SOCKETS: &str = "type user database replication state addr port local_addr local_port connect_time request_time \
                       wait wait_us close_needed ptr link remote_pid tls application_name prepared_statements id";

#[test]
fn the_answers_have_pgbouncers_columns_and_types_in_its_order() {
    let house = House::new();
    for mut reader in [house.audrey(), house.vault.enter(&house.operator())] {
        for (word, types, names) in WORDS {
            let oids = types.chars().map(|letter| match letter {
                's' => 25,
                'i' => 23,
                _ => 1700,
            });
            let expected: Vec<String> =
                names.split_whitespace().zip(oids).map(|(name, oid)| format!("{name}:{oid}:0")).collect();
            for text in [format!("SHOW {word};"), format!("show {}", word.to_lowercase())] {
                let told = lines(&reader.talk(&messages::query(&text)));
                assert_eq!(told[0], format!("B RowDescription {}", expected.join(" ")), "{text}");
            }
        }
    }
}

/// What a reader is told of `column` by a word, one for each row, once it is what was expected or a while has passed.
fn told(reader: &mut Wire, word: &str, columns: &[&str], expected: &[&str]) -> Vec<String> {
    let begun = Instant::now();
    loop {
        let frames = reader.talk(&messages::query(&format!("SHOW {word}")));
        let head = lines(&frames).remove(0);
        let names: Vec<&str> = head.split(' ').skip(2).filter_map(|name| name.split(':').next()).collect();
        let at: Vec<usize> =
            columns.iter().map(|column| names.iter().position(|name| name == column).unwrap()).collect();
        let rows = frames.iter().filter(|frame| frame.tag == b'D').map(|frame| {
            let values = frame.values();
            let cells = at.iter().map(|at| values[*at].clone().unwrap_or_else(|| "NULL".to_owned()));
            cells.collect::<Vec<_>>().join(" ")
        });
        let mut rows: Vec<String> = rows.collect();
        rows.sort();
        if rows == expected || begun.elapsed() > Duration::from_secs(10) {
            return rows;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn clients_servers_and_pools_are_those_of_the_process_and_auditors_see_their_customers() {
    let pool = json!({ "pool": { "mode": "transaction" }, "limits": { "server_backends_max": 1 } });
    let house = House::with(pool);
    let (one, two) = (&house.one, &house.two);
    let mut holder = house.vault.enter(&one.login());
    assert_eq!(holder.sqlstate("BEGIN"), "");
    let pid = holder.value("SELECT pg_backend_pid()");
    let mut waiter = house.vault.enter(&one.login());
    waiter.send(&messages::query("SELECT 1"));
    let mut audrey = house.audrey();
    let name = |tenant: &crate::support::postgres::Tenant| format!("{}/{}", tenant.role, tenant.database);
    let plain = format!("{} {}", one.database, one.role);
    let columns = ["database", "user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "pool_mode"];
    let expected = [format!("{plain} 1 1 1 0 transaction")];
    let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
    assert_eq!(told(&mut audrey, "POOLS", &columns, &expected), expected);
    let clients = [format!("{plain} active"), format!("{plain} waiting")];
    let clients: Vec<&str> = clients.iter().map(String::as_str).collect();
    assert_eq!(told(&mut audrey, "CLIENTS", &["database", "user", "state"], &clients), clients);
    let servers = [format!("{plain} active {pid}")];
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    assert_eq!(told(&mut audrey, "SERVERS", &["database", "user", "state", "remote_pid"], &servers), servers);
    let wait = "SELECT wait * 1000000 + wait_us > 0 FROM live.clients WHERE state = 'waiting'";
    assert_eq!(audrey.value(wait), "t");
    let link = "SELECT count(*) FROM live.clients c JOIN live.servers s ON c.link = s.ptr AND s.link = c.ptr";
    assert_eq!(audrey.value(link), "1");
    assert_eq!(holder.sqlstate("COMMIT"), "");
    waiter.until_ready();
    // One statement ahead of these, by the house.
    let stats = ["database", "total_xact_count", "total_query_count", "total_server_assignment_count"];
    let own = format!("{} 3 5 3", one.database);
    assert_eq!(told(&mut audrey, "STATS", &stats, &[&own]), [own.as_str()]);
    assert_eq!(
        audrey.value("SELECT total_wait_time > 0 AND total_received > 0 AND total_sent > 0 FROM live.stats"),
        "t"
    );
    let mut olga = house.vault.enter(&house.operator());
    // The console's own is there from the begin.
    let mut both = [format!("{} {}", name(one), 5), format!("{} {}", name(two), 1), "pgbouncer 0".to_owned()];
    both.sort();
    let both: Vec<&str> = both.iter().map(String::as_str).collect();
    assert_eq!(told(&mut olga, "STATS", &["database", "total_query_count"], &both), both);
    assert_eq!(olga.value("SELECT items FROM live.lists WHERE list = 'pools'"), "2");
    assert_eq!(audrey.value("SELECT items FROM live.lists WHERE list = 'pools'"), "1");
    assert_eq!(audrey.value("SELECT count(*) FROM live.config"), "0");
    assert_eq!(olga.value("SELECT value FROM live.config WHERE key = 'pool_mode'"), "transaction");
}

#[test]
fn there_are_pools_and_databases_for_exporters_before_anybody_came() {
    let tenant = Postgres::shared(ANY).tenant("unvisited");
    let operators = json!({ "operators": [{ "login": "olga", "verifier": tenant.verifier() }] });
    let vault = Vault::start(Options::new(&[Customer::of(&tenant)]).with(operators));
    let mut olga = vault.enter(&Login::new("olga", &tenant.password, "pgbouncer"));
    let own = ["pgbouncer pgbouncer 1 statement"];
    assert_eq!(told(&mut olga, "POOLS", &["database", "user", "cl_active", "pool_mode"], &own), own);
    assert_eq!(told(&mut olga, "STATS", &["database", "total_sent"], &["pgbouncer 0"]), ["pgbouncer 0"]);
    assert_eq!(
        told(&mut olga, "DATABASES", &["name", "database"], &["pgbouncer pgbouncer"]),
        ["pgbouncer pgbouncer"]
    );
    assert_eq!(olga.value("SELECT count(*) FROM live.pools"), "0");
}

#[test]
fn operators_may_call_the_console_pgbouncer_and_nobody_else() {
    let house = House::new();
    let of = |user: &str| Login::new(user, &house.one.password, "pgbouncer");
    let mut olga = house.vault.enter(&of("olga"));
    assert!(olga.value("SHOW VERSION").starts_with("PgBouncer 1.24"));
    assert!(refused(&house.vault, &of(&format!("audrey@{}", house.one.role))).contains("42501"));
    assert!(refused(&house.vault, &of("nobody")).contains("28P01"));
}
