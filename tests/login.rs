//! Who is let in, who is not, and that strangers learn nothing from the difference.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, House, Options, Vault, through};
use crate::support::wire::{Login, Wire};

fn refused(vault: &Vault, login: &Login) -> Frame {
    Wire::plain(vault.port).login(login).expect_err("it was let in")
}

/// Wrong password, unknown login, unknown customer, no customer: one answer, the one PostgreSQL gives.
#[test]
fn strangers_cannot_tell_what_exists() {
    let house = House::new("strangers");
    let id = &house.tenant.role;
    let direct = {
        let mut login = house.tenant.login();
        login.password = "wrong".into();
        Wire::plain(house.tenant.postgres.port).login(&login).unwrap_err().line()
    };
    let answer = direct.replace(&format!("\"{id}\""), "\"USER\"");
    for user in [
        format!("{id}@{id}"),
        format!("nobody@{id}"),
        format!("{id}@no_customer"),
        "nobody".into(),
        "a@b@c".into(),
    ] {
        let error = refused(&house.vault, &Login::new(&user, "wrong", id));
        assert_eq!(error.line().replace(&format!("\"{user}\""), "\"USER\""), answer, "{user}");
    }
    house.vault.records(&["--kind", "login_failed"], 5);
}

/// The SCRAM exchange itself does not tell either: mechanism, iterations and salt length are alike, and salts are stable.
#[test]
fn the_exchange_looks_the_same_for_nobody() {
    let house = House::new("mock");
    let id = &house.tenant.role;
    let challenge = |user: &str| {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&Login::new(user, "", id).startup());
        let offer = wire.frame().unwrap();
        let first = b"n,,n=,r=abcdefghijklmnop";
        wire.send(&message(b'p', &[&cstr("SCRAM-SHA-256")[..], &length(first.len()), first].concat()));
        let said = String::from_utf8(wire.frame().unwrap().body[4..].to_vec()).unwrap();
        let parts: Vec<String> = said.splitn(3, ',').map(str::to_owned).collect();
        (offer.body, parts[0].len(), parts[1].clone(), parts[2].clone())
    };
    let real = challenge(&format!("{id}@{id}"));
    for user in [format!("nobody@{id}"), format!("{id}@no_customer"), "nobody".to_owned()] {
        let mock = challenge(&user);
        assert_eq!(
            (&mock.0, mock.1, mock.2.len(), &mock.3),
            (&real.0, real.1, real.2.len(), &real.3),
            "{user}"
        );
        assert_eq!(challenge(&user).2, mock.2, "the salt of {user} changes from try to try");
    }
}

/// Timing: nobody's login takes as long as somebody's wrong password.
#[test]
fn the_answer_takes_as_long_for_nobody() {
    let house = House::new("timing");
    let id = &house.tenant.role;
    let users = [format!("{id}@{id}"), format!("nobody@{id}"), format!("{id}@no_customer")];
    let mut fastest = [Duration::MAX; 3];
    // Few enough that the guesser is not slowed down for guessing often.
    for _ in 0..3 {
        for (user, best) in users.iter().zip(&mut fastest) {
            let mut wire = Wire::plain(house.vault.port);
            let begun = Instant::now();
            wire.login(&Login::new(user, "wrong", id)).unwrap_err();
            *best = begun.elapsed().min(*best);
        }
    }
    let (least, most) = (fastest.iter().min().unwrap(), fastest.iter().max().unwrap());
    assert!(*most < *least + Duration::from_millis(20), "{fastest:?}");
}

/// Disabled and expired logins, and those of a suspended customer, are nobody's.
#[test]
fn a_login_counts_while_it_is_valid() {
    let tenant = Postgres::shared(ANY).tenant("valid");
    let customer = Customer::of(&tenant);
    let login = |changes| customer.clone().with(json!({ "logins": { tenant.role.clone(): changes } }));
    let vault = Vault::start(Options::new(&[login(json!({ "valid_until": "2099-01-01T00:00:00Z" }))]));
    vault.enter(&through(&tenant));
    let lapsed = [
        login(json!({ "valid_until": "2020-01-01T00:00:00Z" })),
        login(json!({ "disabled": true })),
        customer.clone().with(json!({ "status": "suspended" })),
    ];
    for customer in &lapsed {
        vault.write(customer);
        let begun = Instant::now();
        while Wire::plain(vault.port).login(&through(&tenant)).is_ok() {
            assert!(begun.elapsed() < Duration::from_secs(10), "still let in: {}", customer.yaml);
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(refused(&vault, &through(&tenant)).field('C'), "28P01");
        vault.write(&login(json!({})));
        let begun = Instant::now();
        while Wire::plain(vault.port).login(&through(&tenant)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(10), "not let in again");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A database that is not one's own does not exist, whoever else may have it.
#[test]
fn other_databases_do_not_exist() {
    let (one, two) = (Postgres::shared(ANY).tenant("own"), Postgres::shared(ANY).tenant("others"));
    let vault = Vault::start(Options::new(&[Customer::of(&one), Customer::of(&two)]));
    let names = [
        two.database.clone(),
        "postgres".into(),
        "template1".into(),
        "no_such".into(),
        one.database.to_uppercase(),
        format!("{} ", one.database),
        format!("dbname={}", two.database),
        format!("postgresql://localhost/{}", two.database),
        format!("{}\u{200b}", one.database),
        "../x".into(),
    ];
    for name in &names {
        let mut login = through(&one);
        login.database.clone_from(name);
        let error = refused(&vault, &login);
        assert_eq!(error.field('C'), "3D000", "{name}: {}", error.line());
        assert_eq!(error.field('M'), format!("database \"{name}\" does not exist"));
    }
}

/// Messages in the wrong order, of the wrong kind or size end a login, not the process.
#[test]
fn a_login_takes_only_what_it_asked_for() {
    let house = House::new("order");
    let first = |mechanism: &str, text: &[u8]| {
        message(b'p', &[&cstr(mechanism)[..], &length(text.len()), text].concat())
    };
    let good = first("SCRAM-SHA-256", b"n,,n=,r=abcdefghijkl");
    let tries: Vec<Vec<u8>> = vec![
        query("SELECT 1"),
        all(&[parse("", "SELECT 1"), sync()]),
        message(b'p', b""),
        message(b'p', b"SCRAM-SHA-256"),
        message(b'p', &cstr("clear text password")),
        first("SCRAM-SHA-1", b"n,,n=,r=abcdefghijkl"),
        first("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abcdefghijkl"),
        first("SCRAM-SHA-256", b"y"),
        first("SCRAM-SHA-256", b"n,,n=,r="),
        first("SCRAM-SHA-256", b"n,,m=ext,n=,r=abcdefghijkl"),
        first("SCRAM-SHA-256", &[&b"n,,n=,r="[..], &vec![b'x'; 60_000]].concat()),
        first("SCRAM-SHA-256", b"n,,n=,r=\xff\xfe\0abc"),
        [&cstr("SCRAM-SHA-256")[..], &[127, 255, 255, 255], b"n,,"].concat(),
        [vec![b'p', 0, 1, 0, 5], vec![b'x'; 70_000]].concat(),
        vec![b'p', 255, 255, 255, 255],
        vec![b'p', 0, 0, 0, 3],
        all(&[good.clone(), message(b'p', b"c=biws,r=abcdefghijkl,p=AAAA")]),
        all(&[good.clone(), message(b'p', b"")]),
        all(&[good.clone(), good]),
    ];
    for (number, bytes) in tries.iter().enumerate() {
        let mut wire = Wire::plain(house.vault.port);
        wire.send(&house.login().startup());
        wire.frame();
        let _ = wire.try_send(bytes);
        let frames = wire.rest();
        assert!(!frames.iter().any(|frame| frame.tag == b'Z'), "try {number}");
        let told = frames.iter().filter(|frame| frame.is_error()).count();
        assert!(
            told <= 1 && frames.iter().all(|frame| b"ER".contains(&frame.tag)),
            "try {number}: {frames:?}"
        );
    }
    assert_eq!(house.enter().value("SELECT 'fine'"), "fine");
}

/// Names are bytes: a long user or database, quotes and newlines in them harm nothing and come back as they were.
#[test]
fn odd_names_are_only_names() {
    let house = House::new("odd");
    for name in
        ["x".repeat(3000), "a\nb".into(), "'; DROP TABLE x; --".into(), "\u{202e}drow".into(), "%s%n".into()]
    {
        let error = refused(&house.vault, &Login::new(&name, "x", &name));
        assert_eq!(error.field('C'), "28P01", "{}", error.line());
    }
    assert_eq!(house.enter().value("SELECT 1"), "1");
    assert!(!house.vault.stderr().contains("\nb\""), "a name broke a log line");
}
