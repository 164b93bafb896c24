//! Database servers that lie harm their own customer: it is told something fit for it, its backend is closed, and every
//! other customer of the same OneVault works on meanwhile.

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
struct Pair {
    liar: Liar,
    vault: Vault,
    tenant: Tenant,
    login: Login,
    other: Option<Wire>,
}

impl Pair {
    fn new(liar: Liar) -> Self {
        Self::with(liar, |customer| customer)
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

    fn others_work(&mut self) {
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

/// Opens a session with a liar that misbehaves when it is asked `lie`, and gives what is heard.
fn asked_to_lie(lie: impl Fn(&mut Talk) -> Option<()> + Send + Sync + 'static) -> (Pair, Wire, Vec<Frame>) {
    let liar = Liar::new(move |talk| {
        talk.login()?;
        loop {
            let (tag, body) = talk.hear()?;
            match (tag, &body[..]) {
                (b'Q', b"lie\0") => lie(talk)?,
                (b'Q', b"DISCARD ALL\0") => talk.say(&all(&[complete("DISCARD ALL"), ready(b'I')]))?,
                (b'Q', _) => talk.say(&all(&[answer("honest"), ready(b'I')]))?,
                _ => return None,
            }
        }
    });
    let pair = Pair::new(liar);
    let mut wire = pair.vault.enter(&pair.login);
    assert_eq!(wire.value("truth"), "honest");
    wire.send(&query("lie"));
    let heard = wire.until(|frame| frame.tag == b'Z' || frame.is_error());
    (pair, wire, heard)
}

#[test]
fn a_row_with_impossible_lengths_is_passed_on_by_its_outer_length() {
    let (mut pair, mut wire, heard) = asked_to_lie(|talk| {
        let impossible =
            message(b'D', &[&[0, 9][..], &(-2_i32).to_be_bytes(), &i32::MAX.to_be_bytes(), b"x"].concat());
        talk.say(&all(&[impossible, complete("SELECT 1"), ready(b'I')]))
    });
    let tags: Vec<u8> = heard.iter().map(|frame| frame.tag).collect();
    assert_eq!((tags.as_slice(), heard[0].body.len()), (&b"DCZ"[..], 11));
    assert_eq!(wire.value("truth"), "honest", "the stream is in step");
    pair.others_work();
}

#[test]
fn a_copy_in_both_directions_ends_the_session() {
    let (mut pair, mut wire, heard) = asked_to_lie(|talk| talk.say(&message(b'W', &[0, 0, 0])));
    assert!(heard.last().is_none_or(Frame::is_error), "{heard:?}");
    assert!(wire.rest().is_empty());
    pair.others_work();
}

#[test]
fn a_length_that_cannot_be_ends_the_session() {
    for length in [0_u32, 3, 1 << 30, u32::MAX] {
        let (mut pair, _wire, heard) = asked_to_lie(move |talk| {
            talk.say(&all(&[row("before"), vec![b'D'], length.to_be_bytes().to_vec()]))
        });
        let last = heard.last().expect("a word about it");
        assert_eq!((heard[0].tag, last.tag, last.field('C').as_str()), (b'D', b'E', "08006"), "{heard:?}");
        pair.others_work();
    }
}

/// A server that dies in the middle of a row leaves half a row and the end of the stream, never words inside the row.
#[test]
fn nothing_is_injected_into_half_a_row() {
    for cut in [1_usize, 4, 5, 20_000, 200_000] {
        let (mut pair, mut wire, heard) = asked_to_lie(move |talk| {
            let whole = row(&"r".repeat(300_000));
            talk.say(&row("before"))?;
            talk.say(&whole[..cut])?;
            std::thread::sleep(Duration::from_millis(50));
            talk.leave()
        });
        assert_eq!(heard[0].tag, b'D');
        if cut < 5 {
            // What was held back was never begun: there the loss may be told.
            assert!(heard.get(1).is_none_or(|frame| frame.field('C') == "08006"), "{heard:?}");
        } else {
            assert!(
                heard.len() == 1 || heard[1].field('C') == "08006" && cut < 16_384,
                "{} messages",
                heard.len()
            );
        }
        let rest = wire.bytes(400_000);
        assert!(rest.iter().skip(11).all(|byte| *byte == b'r'), "words inside a row, cut at {cut}");
        pair.others_work();
    }
}

/// Whatever a server sends that fits no request, its backend serves nobody else.
#[test]
fn a_server_out_of_step_serves_nobody_else() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        match talk.number {
            // A second ReadyForQuery, a row nobody asked for, an unknown message, a broken status.
            0 => {
                talk.hear()?;
                talk.say(&all(&[answer("x"), ready(b'I'), ready(b'I')]))?;
            }
            1 => {
                talk.hear()?;
                talk.say(&all(&[answer("x"), ready(b'I'), row("late")]))?;
            }
            2 => {
                talk.hear()?;
                talk.say(&all(&[answer("x"), message(b'?', b"what"), ready(b'I')]))?;
            }
            3 => {
                talk.hear()?;
                talk.say(&all(&[answer("x"), ready(b'Q')]))?;
            }
            _ => {}
        }
        talk.serve()
    });
    let mut pair = Pair::new(liar);
    for number in 0..4 {
        let mut wire = pair.vault.enter(&pair.login);
        wire.send(&query("x"));
        wire.until_ready();
        std::thread::sleep(Duration::from_millis(30));
        wire.send(&terminate());
        wire.rest();
        let begun = Instant::now();
        while pair.liar.closed() <= number {
            assert!(begun.elapsed() < Duration::from_secs(3), "backend {number} was kept");
            std::thread::sleep(Duration::from_millis(10));
        }
        pair.others_work();
    }
    assert_eq!(pair.vault.enter(&pair.login).value("honest again"), "honest again");
}

/// A server that speaks while its backend lies in the pool has spent it, be it garbage, a notification or its own end.
#[test]
fn what_is_said_to_an_idle_backend_reaches_no_client() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        let number = talk.number;
        while talk.serve_one()? != "DISCARD ALL" {}
        // It lies in the pool now.
        let notification = message(b'A', &[&[0, 0, 0, 1][..], &cstr("channel"), &cstr("payload")].concat());
        match number {
            0 => talk.say(&all(&[row("of somebody else"), ready(b'I')])),
            1 => talk.say(&notification),
            2 => talk.say(&error(&[('S', "FATAL"), ('V', "FATAL"), ('C', "57P01"), ('M', "ended")])),
            3 => talk.leave(),
            _ => Some(()),
        }?;
        talk.serve()
    });
    let pair = Pair::new(liar);
    for number in 0..5 {
        let mut wire = pair.vault.enter(&pair.login);
        assert_eq!(wire.greeting.iter().filter(|frame| !b"SKZ".contains(&frame.tag)).count(), 0);
        let text = format!("session {number}");
        assert_eq!(wire.value(&text), text);
        wire.send(&terminate());
        assert!(wire.rest().is_empty());
        std::thread::sleep(Duration::from_millis(60));
    }
}

/// A server that never says it is ready keeps its client waiting, and lets it go when it leaves.
#[test]
fn a_server_that_is_never_ready_holds_its_own_client_only() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        talk.hear()?;
        talk.say(&answer("all but ready"))
    });
    let mut pair = Pair::new(liar);
    let mut wire = pair.vault.enter(&pair.login);
    wire.send(&query("x"));
    assert_eq!(wire.until(|frame| frame.tag == b'C').len(), 3);
    assert!(wire.within(Duration::from_millis(200)).is_empty());
    pair.others_work();
    wire.vanish();
    let begun = Instant::now();
    while pair.liar.closed() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(8), "the backend is kept for a client that left");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(pair.liar.cancels.lock().unwrap().len(), 1, "what ran was cancelled");
}

/// One that does not answer the scrub is closed in time, and its client is not kept waiting for ever.
#[test]
fn a_scrub_that_is_never_answered_closes_the_backend() {
    let liar = Liar::new(|talk| {
        talk.login()?;
        while talk.hear()?.1 != b"DISCARD ALL\0" {}
        match talk.number {
            0 => Some(()),
            1 => talk.say(&all(&[error(&[('S', "ERROR"), ('C', "25001"), ('M', "no")]), ready(b'I')])),
            2 => talk.say(&all(&[complete("DISCARD ALL"), ready(b'T')])),
            _ => talk.say(&all(&[complete("DISCARD ALL"), ready(b'I'), complete("DISCARD ALL")])),
        }
    });
    let mut pair = Pair::new(liar);
    for number in 0..4 {
        let mut wire = pair.vault.enter(&pair.login);
        wire.send(&terminate());
        assert!(wire.rest().is_empty());
        let begun = Instant::now();
        while pair.liar.closed() <= number {
            assert!(begun.elapsed() < Duration::from_secs(4), "backend {number} was kept");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
    pair.others_work();
}
