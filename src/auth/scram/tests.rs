//! Both ends of an exchange against each other, against the vectors of RFC 7677, and against liars.

use proptest::prelude::*;

use super::*;

const PLAIN: &[u8] = b"SCRAM-SHA-256";
const PLUS: &[u8] = b"SCRAM-SHA-256-PLUS";
const C_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const S_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

fn pencil() -> Verifier {
    let salt = crypto::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = ClientKeys::derive("pencil", &salt, 4096).unwrap();
    Verifier {
        iterations: 4096,
        salt: salt.into(),
        stored_key: keys.stored_key,
        server_key: keys.server_key,
        mock: false,
    }
}

fn bound() -> Binding {
    Binding::TlsServerEndPoint(vec![7; 32])
}

/// Both ends talk to each other; the server's answer is given to the client.
fn converse(password: &str, verifier: Verifier, server: Binding, client: &Binding) -> Result<(), ScramError> {
    let mut server = ServerExchange::new(verifier, server);
    let mut client = ClientExchange::new(server.mechanisms().iter().map(|m| m.as_bytes()), client)?;
    let first = server.client_first(client.mechanism().as_bytes(), &client.client_first())?;
    let challenge = client.server_first(&first)?;
    let keys = ClientKeys::derive(password, &challenge.salt, challenge.iterations)?;
    let last = server.client_final(&client.client_final(&keys)?)?;
    assert!(!client.is_finished());
    client.server_final(&last)?;
    assert!(client.is_finished());
    Ok(())
}

#[test]
fn the_vector_of_rfc_7677_holds_for_the_server() {
    let mut server = ServerExchange::new(pencil(), Binding::None);
    let first = format!("n,,n=user,r={C_NONCE}");
    assert_eq!(server.client_first_with(PLAIN, first.as_bytes(), S_NONCE).unwrap(), CHALLENGE.as_bytes());
    assert_eq!(server.client_final(CLIENT_FINAL.as_bytes()).unwrap(), SERVER_FINAL.as_bytes());
    assert_eq!(server.client_final(CLIENT_FINAL.as_bytes()), Err(ScramError::Order));
}

/// The vector names a user; ours stays empty, so the proof differs, but the keys are those of the vector.
#[test]
fn the_vector_of_rfc_7677_holds_for_the_keys() {
    let salt = crypto::decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let keys = ClientKeys::derive("pencil", &salt, 4096).unwrap();
    let signed = format!("n=user,r={C_NONCE},{CHALLENGE},{}", CLIENT_FINAL.split(",p=").next().unwrap());
    let proof = crypto::xor(&keys.client_key, &crypto::sign(&keys.stored_key, signed.as_bytes()));
    assert!(CLIENT_FINAL.ends_with(&crypto::encode(&proof)));
    assert!(SERVER_FINAL.ends_with(&crypto::encode(&crypto::sign(&keys.server_key, signed.as_bytes()))));
}

#[test]
fn both_ends_agree_with_and_without_binding() {
    for (server, client) in [(Binding::None, Binding::None), (bound(), bound()), (bound(), Binding::None)] {
        let result = converse("pencil", pencil(), server.clone(), &client);
        assert_eq!(result, Ok(()), "{server:?} {client:?}");
    }
    assert_eq!(converse("pen", pencil(), bound(), &bound()), Err(ScramError::Proof));
}

#[test]
fn a_client_that_was_talked_out_of_binding_fails() {
    // The server offers PLUS, someone on the way removed it: the client says "y".
    let mut server = ServerExchange::new(pencil(), bound());
    let client = ClientExchange::new([PLAIN].into_iter(), &bound()).unwrap();
    assert!(client.client_first().starts_with(b"y,,"));
    let refused = server.client_first(PLAIN, &client.client_first());
    assert!(matches!(refused, Err(ScramError::ChannelBinding(_))));
    // Without TLS end point at the server the same client is fine.
    assert!(ServerExchange::new(pencil(), Binding::None).client_first(PLAIN, &client.client_first()).is_ok());
}

#[test]
fn another_certificate_on_the_way_is_noticed() {
    let other = Binding::TlsServerEndPoint(vec![8; 32]);
    let result = converse("pencil", pencil(), other, &bound());
    assert!(matches!(result, Err(ScramError::ChannelBinding(_))), "{result:?}");
}

#[test]
fn header_and_mechanism_must_agree() {
    for (mechanism, first) in [
        (PLUS, "n,,n=,r=abc"),
        (PLUS, "y,,n=,r=abc"),
        (PLUS, "p=tls-unique,,n=,r=abc"),
        (PLAIN, "p=tls-server-end-point,,n=,r=abc"),
        (PLAIN, "y,,n=,r=abc"),
        (PLAIN, "n,a=other,n=,r=abc"),
        (PLAIN, "n,,m=x,n=,r=abc"),
        (PLAIN, "n,,n=,r="),
        (PLAIN, "n,,n=,r=a\u{e9}b"),
        (PLAIN, "n,,n="),
        (PLAIN, "n,,"),
        (PLAIN, "n"),
        (PLAIN, ""),
        (b"MD5", "n,,n=,r=abc"),
    ] {
        let mut server = ServerExchange::new(pencil(), bound());
        assert!(server.client_first(mechanism, first.as_bytes()).is_err(), "{first}");
        assert_eq!(server.client_first(PLAIN, b"n,,n=,r=abc"), Err(ScramError::Order), "an error ends it");
    }
    let mut plain = ServerExchange::new(pencil(), Binding::None);
    assert!(plain.client_first(PLUS, b"p=tls-server-end-point,,n=,r=abc").is_err(), "PLUS was not offered");
    let long = format!("n,,n=,r={}", "x".repeat(NONCE_BYTES_MAX + 1));
    assert!(ServerExchange::new(pencil(), bound()).client_first(PLAIN, long.as_bytes()).is_err());
}

#[test]
fn a_mock_is_stable_and_proves_nobody() {
    let mock = Verifier::mock("alice", b"secret");
    assert_eq!(mock, Verifier::mock("alice", b"secret"));
    assert_ne!(mock.salt, Verifier::mock("bob", b"secret").salt);
    assert_ne!(mock.salt, Verifier::mock("alice", b"other").salt);
    assert_eq!((mock.salt.len(), mock.iterations), (16, 4096));
    assert_eq!(converse("pencil", mock, Binding::None, &Binding::None), Err(ScramError::Proof));
    let known = Verifier { mock: true, ..pencil() };
    assert!(!known.accepts("pencil"));
    assert_eq!(converse("pencil", known, Binding::None, &Binding::None), Err(ScramError::Proof));
}

#[test]
fn a_verifier_reads_back_what_it_writes() {
    let made = Verifier::from_password("geheim", 4096).unwrap();
    assert_eq!(Verifier::parse(&made.to_string()).unwrap(), made);
    assert!(made.accepts("geheim") && !made.accepts("Geheim"));
    assert!(!format!("{made:?}").contains(&crypto::encode(&made.stored_key)));
    let text = made.to_string();
    for bad in [
        "",
        "md5abc",
        "SCRAM-SHA-256$4096:AAAA",
        &text.replace("$4096:", "$0:"),
        &text.replace("$4096:", "$+4096:"),
        &text.replace("$4096:", "$2147483648:"),
        &format!("{text}AA"),
        text.split_at(text.len() - 4).0,
    ] {
        assert!(Verifier::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn passwords_are_prepared_as_postgresql_does() {
    let keys = |password| ClientKeys::derive(password, b"salt", 1).unwrap().stored_key;
    assert_eq!(keys("I\u{AD}X"), keys("IX"), "a soft hyphen maps to nothing");
    assert_eq!(keys("\u{2168}"), keys("IX"), "compatibility forms are the same");
    assert_ne!(keys("a\u{7}b"), keys("ab"), "what SASLprep forbids is taken as it is");
    assert_ne!(keys("\u{AD}"), keys(""), "what SASLprep would empty is taken as it is");
}

#[test]
fn a_lying_server_is_refused() {
    let start = || ClientExchange::with_nonce([PLAIN].into_iter(), &Binding::None, "abc".into()).unwrap();
    let long = "x".repeat(100 * 1024);
    let salt = crypto::encode(&[1; SALT_BYTES_MAX + 1]);
    for bad in [
        "",
        "r=abc,s=AAAA,i=4096",
        "r=abX1,s=AAAA,i=4096",
        "r=abc1,s=AAAA,i=2147483648",
        "r=abc1,s=AAAA,i=1000001",
        "r=abc1,s=AAAA,i=0",
        "r=abc1,s=AAAA,i=-1",
        "r=abc1,s=AAAA,i=",
        "r=abc1,s=,i=4096",
        "r=abc1,s=A,i=4096",
        "r=abc1,s=AAAA",
        "m=x,r=abc1,s=AAAA,i=4096",
        &format!("r=abc{long},s=AAAA,i=4096"),
        &format!("r=abc1,s={salt},i=4096"),
    ] {
        let mut client = start();
        assert!(client.server_first(bad.as_bytes()).is_err(), "{}", bad.get(..40).unwrap_or(bad));
        assert!(!client.is_finished());
    }
    assert!(ClientExchange::new([b"OAUTHBEARER".as_slice()].into_iter(), &bound()).is_err());
}

#[test]
fn a_server_that_does_not_know_the_password_is_refused() {
    let challenged = || {
        let mut client =
            ClientExchange::with_nonce([PLAIN].into_iter(), &Binding::None, "abc".into()).unwrap();
        let challenge = client.server_first(b"r=abc1,s=AAAA,i=1").unwrap();
        let keys = ClientKeys::derive("pencil", &challenge.salt, 1).unwrap();
        client.client_final(&keys).unwrap();
        client
    };
    for lie in [SERVER_FINAL, "v=", "e=other-error", "", "v=!!"] {
        let mut client = challenged();
        assert!(client.server_final(lie.as_bytes()).is_err(), "{lie}");
        assert!(!client.is_finished());
    }
}

#[test]
fn the_end_point_follows_the_certificates_own_hash() {
    let key = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    let hash_bytes = |algorithm| {
        let key = key(algorithm);
        let made =
            rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        tls_server_end_point(made.der()).map(|hash| hash.len())
    };
    assert_eq!(hash_bytes(&rcgen::PKCS_ECDSA_P256_SHA256), Some(32));
    assert_eq!(hash_bytes(&rcgen::PKCS_ECDSA_P384_SHA384), Some(48));
    assert_eq!(hash_bytes(&rcgen::PKCS_ED25519), None);
    assert_eq!(tls_server_end_point(b"not a certificate"), None);
}

proptest! {
    #[test]
    fn hostile_messages_never_panic(first in proptest::collection::vec(any::<u8>(), 0..200), last in ".{0,200}") {
        let mut server = ServerExchange::new(pencil(), bound());
        let _ = server.client_first(PLAIN, &first);
        let mut server = ServerExchange::new(pencil(), Binding::None);
        server.client_first(PLAIN, b"n,,n=,r=abc").unwrap();
        prop_assert!(server.client_final(last.as_bytes()).is_err());
        let mut client = ClientExchange::new([PLAIN].into_iter(), &Binding::None).unwrap();
        prop_assert!(client.server_first(&first).is_err());
        let _ = Verifier::parse(&last);
    }

    #[test]
    fn framed_hostile_messages_never_prove(n in "[ -~]{0,40}", r in "[ -~]{0,40}", c in "[A-Za-z0-9+/=]{0,40}", p in "[A-Za-z0-9+/=]{0,60}") {
        let mut server = ServerExchange::new(pencil(), bound());
        if let Ok(challenge) = server.client_first(PLAIN, format!("n,,n={n},r={r}").as_bytes()) {
            let challenge = String::from_utf8(challenge).unwrap();
            let nonce = challenge.split(',').next().unwrap();
            let last = format!("c={c},{nonce},p={p}");
            prop_assert!(server.client_final(last.as_bytes()).is_err());
        }
    }
}
