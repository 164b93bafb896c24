//! Database servers that lie to who logs in harm their own customer: it is told something fit for it, its backend is
//! closed, and every other customer of the same OneVault works on meanwhile.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::liar::*;
use crate::support::messages::*;
use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::scram::Server;
use crate::support::transcript::Frame;
use crate::support::vault::{Customer, Options, Vault, through};
use crate::support::wire::{Login, Wire};

/// A liar's customer and an honest one behind one OneVault.
pub(super) struct Pair {
    pub(super) liar: Liar,
    pub(super) vault: Vault,
    tenant: Tenant,
    pub(super) login: Login,
    other: Option<Wire>,
}

impl Pair {
    fn new(liar: Liar) -> Self {
        Self::with(liar, |customer| customer)
    }

    /// With this pooling.
    pub(super) fn pooled(liar: Liar, mode: &str) -> Self {
        Self::with(liar, |customer| customer.pooled(mode))
    }

    fn with(liar: Liar, change: impl Fn(Customer) -> Customer) -> Self {
        let tenant = Postgres::shared(ANY).tenant("honest");
        let customer = change(liar.customer());
        let login = Login::new(&format!("app@{}", customer.id), PASSWORD, "app");
        let changes = json!({
            "pool": { "connect_timeout_ms": 1000, "wait_timeout_ms": 1500, "scrub_timeout_ms": 700 },
            "listen": { "workers": 1 },
        });
        let vault = Vault::start(Options::new(&[customer, Customer::of(&tenant)]).with(changes));
        let other = vault.enter(&through(&tenant));
        Self { liar, vault, tenant, login, other: Some(other) }
    }

    /// Logs the liar's customer in, which must fail with this SQLSTATE and without the server's secrets.
    fn refused(&mut self, sqlstate: &str) -> Frame {
        let begun = Instant::now();
        let error = Wire::plain(self.vault.port).login(&self.login).expect_err("the server lied");
        assert_eq!(error.field('C'), sqlstate, "{}\n{}", error.line(), self.vault.stderr());
        assert!(begun.elapsed() < Duration::from_secs(5), "it took {:?}", begun.elapsed());
        self.others_work();
        error
    }

    pub(super) fn others_work(&mut self) {
        let begun = Instant::now();
        assert_eq!(self.other.as_mut().unwrap().value("SELECT 'unharmed'"), "unharmed");
        assert_eq!(self.vault.enter(&through(&self.tenant)).value("SELECT 'new'"), "new");
        assert!(begun.elapsed() < Duration::from_secs(3), "others waited {:?}", begun.elapsed());
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Before the database is dropped.
        self.other.take();
        if !std::thread::panicking() {
            self.vault.stop();
        }
    }
}

fn liar_refused(script: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static, sqlstate: &str) -> Frame {
    Pair::new(Liar::new(script)).refused(sqlstate)
}

#[test]
fn a_server_that_does_not_prove_the_password_is_left() {
    // AuthenticationOk at once, after the challenge, and with a signature of somebody else.
    let mut pair = Pair::new(Liar::new(|talk| match talk.number {
        0 => talk.say(&all(&[authentication(0, b""), talk.greeting()])),
        1 => {
            talk.challenge(&mut Server::new(PASSWORD), "suffix")?;
            talk.hear()?;
            talk.say(&all(&[authentication(0, b""), talk.greeting()]))
        }
        _ => {
            talk.challenge(&mut Server::new(PASSWORD), "suffix")?;
            talk.hear()?;
            let forged = authentication(12, b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
            talk.say(&all(&[forged, authentication(0, b""), talk.greeting()]))
        }
    }));
    for _ in 0..3 {
        pair.refused("08006");
    }
}

#[test]
fn a_password_is_given_to_no_weaker_method() {
    let given = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&given);
    let liar = Liar::new(move |talk| {
        let asked = if talk.number == 0 { authentication(3, b"") } else { authentication(5, b"salt") };
        talk.say(&asked)?;
        seen.lock().unwrap().push(talk.hear()?);
        talk.say(&all(&[authentication(0, b""), talk.greeting()]))
    });
    let mut pair = Pair::new(liar);
    pair.refused("08006");
    pair.refused("08006");
    assert_eq!(given.lock().unwrap().len(), 0, "nothing was said to a server that asks for a password");
}

#[test]
fn a_challenge_that_costs_too_much_is_refused_at_once() {
    let mut pair = Pair::new(Liar::new(|talk| {
        let mut scram = Server::new(PASSWORD);
        let long = "n".repeat(60_000);
        let nonce = match talk.number {
            0 => {
                scram.iterations = u32::MAX >> 1;
                "suffix"
            }
            1 => {
                scram.iterations = 1_000_001;
                "suffix"
            }
            2 => {
                scram.salt = vec![7; 5000];
                "suffix"
            }
            3 => &long,
            _ => "",
        };
        talk.challenge(&mut scram, nonce)?;
        talk.hear()?;
        Some(())
    }));
    for _ in 0..5 {
        let begun = Instant::now();
        pair.refused("08006");
        assert!(begun.elapsed() < Duration::from_millis(900), "it took {:?}", begun.elapsed());
    }
}

/// A count within the limit is worked off beside the sessions: the only worker serves others meanwhile.
#[test]
fn a_costly_challenge_delays_nobody_else() {
    let liar = Liar::new(|talk| {
        let mut scram = Server::new(PASSWORD);
        scram.iterations = 1_000_000;
        scram.salt = unique_salt(talk.number);
        talk.challenge(&mut scram, "suffix")?;
        talk.hear()?;
        talk.say(&error(&[('S', "FATAL"), ('V', "FATAL"), ('C', "53300"), ('M', "no room")]))
    });
    let mut pair = Pair::new(liar);
    let logins: Vec<_> = (0..4)
        .map(|_| {
            let (port, login) = (pair.vault.port, pair.login.clone());
            std::thread::spawn(move || Wire::plain(port).login(&login).is_err())
        })
        .collect();
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    let mut rounds = 0;
    while begun.elapsed() < Duration::from_millis(600) {
        assert_eq!(pair.other.as_mut().unwrap().value("SELECT 1"), "1");
        rounds += 1;
    }
    assert!(rounds > 20, "only {rounds} statements in 600 ms");
    assert!(logins.into_iter().all(|login| login.join().unwrap()));
    pair.others_work();
}

pub(super) fn unique_salt(number: usize) -> Vec<u8> {
    format!("salt {number}").into_bytes()
}

#[test]
fn bytes_behind_the_answer_to_sslrequest_end_the_dial() {
    let liar = Liar::new(|talk| {
        // The first packet was SSLRequest.
        assert_eq!(talk.startup, 80_877_103_u32.to_be_bytes());
        match talk.number {
            0 => talk.say(&all(&[b"S".to_vec(), authentication(0, b""), talk.greeting()])),
            1 => talk.say(b"N"),
            2 => talk.say(&error(&[('S', "FATAL"), ('C', "XX000"), ('M', "no TLS here")])),
            3 => talk.say(b"?"),
            _ => talk.say(b"S nonsense instead of a handshake"),
        }
    });
    let tls = |customer: Customer| customer.with(json!({ "server": { "ssl_mode": "require" } }));
    let mut pair = Pair::with(liar, tls);
    for _ in 0..5 {
        let told = pair.refused("08006");
        assert!(!told.line().contains("no TLS here"), "words from before the handshake: {}", told.line());
    }
}

#[test]
fn an_error_without_its_fields_is_an_error_all_the_same() {
    for fields in [
        &[][..],
        &[('M', "no code")],
        &[('C', "28P01")],
        &[('S', "FATAL"), ('C', "123"), ('M', "short code")],
    ] {
        let fields: Vec<(char, String)> =
            fields.iter().map(|(letter, text)| (*letter, (*text).to_owned())).collect();
        let told = liar_refused(
            move |talk| {
                let fields: Vec<_> = fields.iter().map(|(letter, text)| (*letter, text.as_str())).collect();
                talk.say(&error(&fields))
            },
            "08006",
        );
        assert!(!told.field('M').is_empty());
    }
}

/// The role's failure is never shown as the client's own.
#[test]
fn a_refused_role_is_not_the_clients_wrong_password() {
    let told = liar_refused(
        |talk| {
            let fields =
                [('S', "FATAL"), ('V', "FATAL"), ('C', "28P01"), ('M', "password of role liar is wrong")];
            talk.say(&error(&fields))
        },
        "08006",
    );
    assert!(!told.line().contains("role liar"), "{}", told.line());
}

#[test]
fn what_comes_before_ready_is_bounded_in_bytes_and_time() {
    let mut pair = Pair::new(Liar::new(|talk| match talk.number {
        // Never ready; endless parameters; a length that never comes; garbage; bytes behind ReadyForQuery.
        0 => talk.prove(),
        1 => {
            talk.prove()?;
            loop {
                talk.say(&parameter("endless", &"x".repeat(1000)))?;
            }
        }
        2 => talk.say(&[b'R', 0x3f, 0xff, 0xff, 0xff]),
        3 => talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        4 => {
            talk.prove()?;
            talk.say(&all(&[talk.greeting(), error(&[('S', "ERROR"), ('C', "XX000"), ('M', "behind")])]))
        }
        _ => {
            talk.prove()?;
            talk.say(&ready(b'T'))
        }
    }));
    pair.refused("57P03");
    for _ in 1..6 {
        // A server that hung is left alone for a moment.
        std::thread::sleep(Duration::from_millis(300));
        pair.refused("08006");
    }
}
