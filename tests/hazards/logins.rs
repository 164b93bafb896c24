//! Logins that lie, guess, or come too early; and what a stranger learns from them.
//!
//! Source: sasl-authentication#SASL-SCRAM-SHA-256

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::liar::{Liar, PASSWORD};
use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres};
use crate::support::scram::{Client, verifier};
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, House, Options, Vault};
use crate::support::wire::{Binding, Login, Wire};

fn initial(mechanism: &str, length: i32, data: &[u8]) -> Vec<u8> {
    message(b'p', &[&cstr(mechanism)[..], &length.to_be_bytes(), data].concat())
}

/// The last words to a client that sends these messages, one after each request of the server.
fn last_words(port: u16, login: &Login, says: &[Vec<u8>]) -> Frame {
    let mut wire = Wire::plain(port);
    wire.send(&login.startup());
    for said in says {
        let frame = wire.frame().expect("a request");
        if frame.is_error() {
            return frame;
        }
        wire.send(said);
    }
    wire.rest().last().cloned().unwrap_or(Frame { tag: 0, body: Vec::new() })
}

#[test]
fn a_scram_message_with_lying_lengths_harms_its_sender_only() {
    let house = House::new("scram_lengths");
    let first = b"n,,n=,r=abcdefghijkl";
    for length in [-2, i32::MIN, i32::MAX, 0, 5, 21, 1 << 24, -1] {
        let told = last_words(house.vault.port, &house.login(), &[initial("SCRAM-SHA-256", length, first)]);
        assert_eq!(told.field('C'), "08P01", "length {length}: {}", told.line());
    }
    for (mechanism, data) in [
        ("SCRAM-SHA-256-PLUS", &b"p=tls-server-end-point,,n=,r=abc"[..]),
        ("OAUTHBEARER", b"n,,\x01auth=Bearer x\x01\x01"),
        ("", first),
        ("SCRAM-SHA-256", b""),
        ("SCRAM-SHA-256", b"n,,n=,r="),
        ("SCRAM-SHA-256", b"n,,n=,r=\xff\xfe"),
        ("SCRAM-SHA-256", b"n,a=postgres,n=,r=abc"),
        ("SCRAM-SHA-256", b"n,,m=x,n=,r=abc"),
        ("SCRAM-SHA-256", &[b'n'; 60_000]),
    ] {
        let length = i32::try_from(data.len()).unwrap();
        let told = last_words(house.vault.port, &house.login(), &[initial(mechanism, length, data)]);
        assert_eq!(told.field('C'), "08P01", "{mechanism}: {}", told.line());
    }
    let first = initial("SCRAM-SHA-256", 20, b"n,,n=,r=abcdefghijkl");
    for last in
        [&b""[..], b"c=biws,r=other,p=AAAA", b"c=biws", b"p=", b"c=biws,r=abcdefghijkl,p=!!", &[0; 300]]
    {
        let told = last_words(house.vault.port, &house.login(), &[first.clone(), message(b'p', last)]);
        assert!(["28P01", "08P01"].contains(&told.field('C').as_str()), "{}", told.line());
    }
    // The first message again where the last one is due, and SQL in place of either.
    for says in [vec![first.clone(), first.clone()], vec![query("SELECT 1")], vec![first, query("SELECT 1")]]
    {
        let told = last_words(house.vault.port, &house.login(), &says);
        assert!(["28P01", "08P01"].contains(&told.field('C').as_str()), "{}", told.line());
    }
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

/// All that is said to a failing login, nonces and salts blotted out; and the salt.
fn failing(port: u16, user: &str) -> (Vec<Vec<u8>>, String) {
    let mut wire = Wire::plain(port);
    let login = Login::new(user, "a guess", "app");
    wire.send(&login.startup());
    let mut heard = vec![wire.frame().expect("mechanisms")];
    let mut client = Client::new(&login.password, "n,,", b"");
    let first = client.first();
    wire.send(&initial("SCRAM-SHA-256", i32::try_from(first.len()).unwrap(), first.as_bytes()));
    let challenge = wire.frame().expect("a challenge");
    let text = String::from_utf8(challenge.body[4..].to_vec()).unwrap();
    wire.send(&message(b'p', client.last(&text).as_bytes()));
    heard.extend(wire.rest());
    let mut bytes: Vec<Vec<u8>> =
        heard.iter().map(|frame| [&[frame.tag][..], &frame.body].concat()).collect();
    let parts: Vec<&str> = text.split(',').collect();
    let lengths = format!("r={} s={} {}", parts[0].len(), parts[1].len(), parts[2]);
    bytes.push(lengths.into_bytes());
    (bytes, parts[1].to_owned())
}

/// Names of one length, so that nothing but what is known of them could differ.
#[test]
fn a_stranger_cannot_list_customers_or_logins() {
    let liar = Liar::honest();
    let (mut open, mut closed) = (liar.customer(), liar.customer());
    let verifier = verifier("the password", &[7; 16], 4096);
    for customer in [&mut open, &mut closed] {
        *customer = customer.clone().login("known", &verifier);
        customer.yaml["logins"]["gone1"] = json!({ "verifier": verifier, "disabled": true });
        customer.yaml["logins"]["gone2"] =
            json!({ "verifier": verifier, "valid_until": "2001-01-01T00:00:00Z" });
        customer.yaml["logins"]["bare1"] = json!({});
    }
    closed.yaml["status"] = json!("suspended");
    let vault = Vault::start(Options::new(&[open.clone(), closed.clone()]));
    let mut nobody = open.id.clone();
    nobody.pop();
    nobody.push('_');
    let mut answers = Vec::new();
    for user in [
        format!("known@{}", open.id),
        format!("other@{}", open.id),
        format!("gone1@{}", open.id),
        format!("gone2@{}", open.id),
        format!("bare1@{}", open.id),
        format!("known@{}", closed.id),
        format!("known@{nobody}"),
        format!("other@{nobody}"),
        "known".to_owned(),
    ] {
        let begun = Instant::now();
        let (heard, salt) = failing(vault.port, &user);
        assert!(begun.elapsed() >= Duration::from_millis(95), "{user}: answered after {:?}", begun.elapsed());
        assert_eq!(failing(vault.port, &user).1, salt, "the salt of {user} changes");
        let neutral: Vec<String> =
            heard.iter().map(|bytes| String::from_utf8_lossy(bytes).replace(&user, "<user>")).collect();
        answers.push((user, neutral, salt));
    }
    for (user, heard, _) in &answers[1..] {
        assert_eq!(*heard, answers[0].1, "{user} differs from a wrong password");
    }
    let mut salts: Vec<&String> = answers[5..].iter().map(|(_, _, salt)| salt).collect();
    salts.sort();
    salts.dedup();
    assert!(salts.len() >= 3, "every nobody has a salt of its own");
    assert_eq!(liar.sessions.load(std::sync::atomic::Ordering::SeqCst), 0, "no server was asked");
}

/// The right password does not help where the login or its customer is not to be used.
#[test]
fn a_login_that_is_over_is_over_with_the_right_password_too() {
    let tenant = Postgres::shared(ANY).tenant("over");
    let verifier = tenant.verifier();
    let mut customer = Customer::of(&tenant);
    customer.yaml["logins"]["expired"] =
        json!({ "verifier": verifier, "valid_until": "2001-01-01T00:00:00Z" });
    customer.yaml["logins"]["disabled"] = json!({ "verifier": verifier, "disabled": true });
    customer.yaml["logins"]["usable"] =
        json!({ "verifier": verifier, "valid_until": "2999-01-01T00:00:00Z" });
    let vault = Vault::start(Options::new(std::slice::from_ref(&customer)));
    let login =
        |name: &str| Login::new(&format!("{name}@{}", customer.id), &tenant.password, &tenant.database);
    assert_eq!(vault.enter(&login("usable")).value("SELECT 'in'"), "in");
    for name in ["expired", "disabled", "postgres", "", "token"] {
        let error = Wire::plain(vault.port).login(&login(name)).unwrap_err();
        assert!(["28P01", "28000"].contains(&error.field('C').as_str()), "{name}: {}", error.line());
    }
    // Switched off while OneVault runs, and its backend lies warm in the pool.
    customer.yaml["logins"]["usable"]["disabled"] = json!(true);
    vault.write(&customer);
    let begun = Instant::now();
    while Wire::plain(vault.port).login(&login("usable")).is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(8), "the change is not taken");
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(vault);
}

#[test]
fn names_of_any_length_and_any_letters_harm_nobody() {
    let house = House::new("names");
    let long = "n".repeat(9_000);
    let mut users = vec![long.clone(), "n".repeat(64), format!("{long}@{}", house.tenant.role)];
    for user in [
        "x'; DROP TABLE t; --",
        "\u{202e}\u{0}x",
        "a@b@c",
        "@",
        "%s%n",
        "../../etc/passwd",
        "x\n2026 INFO forged",
    ] {
        users.push(format!("{user}@{}", house.tenant.role));
        users.push(user.to_owned());
    }
    for user in users.iter().map(|user| user.replace('\0', "")) {
        let error = Wire::plain(house.vault.port).login(&Login::new(&user, "x", "app")).expect_err(&user);
        assert!(["28P01", "28000"].contains(&error.field('C').as_str()), "{}", error.line());
    }
    for database in [long.as_str(), "x'; DROP DATABASE y", "a b c", "\u{1F980}"] {
        let mut login = house.login();
        database.clone_into(&mut login.database);
        let error = Wire::plain(house.vault.port).login(&login).expect_err(database);
        assert_eq!(error.field('C'), "3D000", "{}", error.line());
    }
    let mut many = house.login();
    for number in 0..300 {
        many = many.with(&format!("s.{number}"), "v");
    }
    let _ = Wire::plain(house.vault.port).login(&many);
    assert!(
        !house.vault.stderr().lines().any(|line| line.starts_with("2026 INFO forged")),
        "a log line was forged"
    );
    assert_eq!(house.enter().value("SELECT 'unharmed'"), "unharmed");
}

/// Nothing a client says reaches a server before the client has proven its login.
#[test]
fn no_server_is_asked_before_the_login_is_proven() {
    let liar = Liar::honest();
    let customer = liar.customer();
    let vault = Vault::start(Options::new(std::slice::from_ref(&customer)));
    let login = Login::new(&format!("app@{}", customer.id), "wrong", "app")
        .with("options", "-c search_path=evil")
        .with("search_path", "evil");
    for _ in 0..3 {
        assert_eq!(Wire::plain(vault.port).login(&login).unwrap_err().field('C'), "28P01");
    }
    assert_eq!(liar.sessions.load(std::sync::atomic::Ordering::SeqCst), 0);
    let mut right = login;
    PASSWORD.clone_into(&mut right.password);
    vault.enter(&right);
    assert_eq!(liar.sessions.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[test]
fn channel_binding_cannot_be_talked_away() {
    let house = House::new("binding");
    for (binding, fits) in
        [(Binding::Prefer, true), (Binding::Never, true), (Binding::Denied, false), (Binding::Wrong, false)]
    {
        let mut login = house.login();
        login.binding = binding;
        let mut wire = Wire::tls(house.vault.port, "localhost", &house.vault.ca()).unwrap();
        assert_eq!(wire.login(&login).is_ok(), fits, "{binding:?}");
    }
    // Without TLS it is not offered, and saying so is right.
    let mut login = house.login();
    login.binding = Binding::Denied;
    assert_eq!(house.vault.enter(&login).value("SELECT 'in'"), "in");
}

/// The program at its most talkative, and everything secret that goes through it.
#[test]
fn no_secret_and_no_statement_is_ever_logged() {
    let house = House::with("talkative", |options| options.with(json!({ "log": { "level": "trace" } })));
    let token = format!("ovt_test_abcdefgh{}", "Tk9".repeat(15));
    let guess = "guess-XYZZY-password";
    let _ = Wire::plain(house.vault.port).login(&Login { password: guess.to_owned(), ..house.login() });
    let mut wire = Wire::tls(house.vault.port, "localhost", &house.vault.ca()).unwrap();
    let _ = wire.login(&Login::new(&format!("token@{}", house.tenant.role), &token, "app"));
    let mut wire = house.vault.enter_tls(&house.login().with("options", "-c my.startup=STARTUP-XYZZY"));
    wire.rows("SELECT 'LITERAL-XYZZY'");
    wire.talk(&all(&[
        parse("STATEMENT-XYZZY", "SELECT $1::text, 'PARSED-XYZZY'"),
        bind("", "STATEMENT-XYZZY", &[Some("BOUND-XYZZY")]),
        execute("", 0),
        sync(),
    ]));
    wire.sqlstate("SELECT 'ERROR-XYZZY'::int");
    wire.sqlstate("ALTER ROLE nobody PASSWORD 'ROLE-XYZZY'");
    wire.rows("CREATE TABLE t (x text)");
    wire.send(&query("COPY t FROM STDIN"));
    wire.frame();
    wire.talk(&all(&[copy_data(b"COPIED-XYZZY\n"), copy_done()]));
    wire.send(&query("SELECT pg_sleep(20), 'CANCELLED-XYZZY'"));
    std::thread::sleep(Duration::from_millis(100));
    let key = wire.key.clone();
    let mut cancel = Wire::plain(house.vault.port);
    cancel.send(&cancel_request(key.0, &key.1));
    cancel.rest();
    wire.until_ready();
    wire.send(b"!\0\0\0\x04");
    wire.rest();
    let metrics = house.vault.http("/metrics");
    let log = house.vault.stderr();
    assert!(log.contains("client turned away"), "it was not talkative: {log}");
    let verifier = house.tenant.verifier();
    let keys = verifier.rsplit('$').next().unwrap();
    let (stored, server) = keys.split_once(':').unwrap();
    for secret in ["XYZZY", &token, &house.tenant.password, stored, server, "SCRAM-SHA-256$", ",p="] {
        for (place, text) in [("the log", &log), ("the metrics", &metrics)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} is in {place}: {line:?}");
        }
    }
    // Neither can it be had from a core dump.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", house.vault.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
