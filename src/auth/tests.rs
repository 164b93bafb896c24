//! Tokens and JWTs that are good, that have ended, that were tampered with; and what a JWKS may hold.

use std::fs;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::*;
use crate::customers::files::{self, tests::Folder};
use crate::protocol::sqlstate::SqlState;
use crate::routing::tests::{NOW, hints, yaml};
use crate::routing::{candidate, route};

/// Of header and claims.
type Change = fn(&mut Value, &mut Value);
/// Of a JWKS.
type KeysChange = fn(&mut Value);

fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An issuer with a key of each kind.
struct Issuer {
    rsa: RsaKeyPair,
    ec: EcdsaKeyPair,
    ed: Ed25519KeyPair,
}

impl Issuer {
    fn new() -> Self {
        Self {
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ec: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    fn modulus(&self) -> Vec<u8> {
        self.rsa.public_key().modulus().big_endian_without_leading_zero().to_vec()
    }

    fn jwks(&self) -> Value {
        let point = self.ec.public_key().as_ref();
        json!({"keys": [
            {"kty": "RSA", "kid": "r", "use": "sig", "n": base64url(self.modulus()), "e": "AQAB"},
            {"kty": "EC", "kid": "e", "crv": "P-256", "x": base64url(&point[1..33]), "y": base64url(&point[33..65])},
            {"kty": "OKP", "kid": "d", "crv": "Ed25519", "alg": "EdDSA", "x": base64url(self.ed.public_key())},
            {"kty": "RSA", "kid": "enc", "use": "enc", "n": base64url(self.modulus()), "e": "AQAB"},
            {"kty": "XYZ", "kid": "future"},
        ]})
    }

    fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", base64url(header), base64url(claims));
        let kid =
            serde_json::from_str::<Value>(header).map(|header| header["kid"].clone()).unwrap_or_default();
        let message = signed.as_bytes();
        let signature = match kid.as_str() {
            Some("e") => self.ec.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Some("d") => self.ed.sign(message).as_ref().to_vec(),
            _ => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        };
        format!("{signed}.{}", base64url(signature))
    }
}

/// The catalogue of routing's tests, with an issuer for `one_spa` and `two`, and a token of each.
struct World {
    issuer: Issuer,
    catalogue: Catalogue,
    one: token::Fresh,
    two: token::Fresh,
}

fn entry(fresh: &token::Fresh, more: &str) -> String {
    let hash: String = fresh.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("tokens: [{{prefix: {}, hash: 'sha256:{hash}', login: app{more}}}]\n", fresh.prefix)
}

impl World {
    fn new() -> Self {
        Self::with_token("")
    }

    /// `more` is put into the token of customer `two`.
    fn with_token(more: &str) -> Self {
        let (issuer, folder) = (Issuer::new(), Folder::new());
        let (one, two) = (token::create("prod").unwrap(), token::create("prod").unwrap());
        for (name, token) in [("one_spa", entry(&one, "")), ("two", entry(&two, more))] {
            let jwt = "jwt: {issuer: 'https://id', audience: vault, jwks_file: jwks.json, \
                       algorithms: [RS256, ES256, EdDSA], customer_claim: org, login_claim: sub}\n";
            folder.put(name, "");
            fs::write(folder.path().join(name).join("jwks.json"), issuer.jwks().to_string()).unwrap();
            folder.put(name, &yaml(name, &format!("{jwt}{token}")));
        }
        let catalogue = files::load(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
        Self { issuer, catalogue, one, two }
    }

    fn show(&self, user: &str, password: &str) -> Result<Proof, Refusal> {
        let candidate = candidate(&self.catalogue, &hints(&[("user", user)], None), NOW);
        by_password(&self.catalogue, &candidate, &Secret::new(password.to_owned()), NOW)
    }

    fn why(&self, user: &str, password: &str) -> &'static str {
        let refusal = self.show(user, password).map(|proof| panic!("{proof:?}")).unwrap_err();
        let report = refusal.report();
        assert_eq!(report.code, SqlState::INVALID_PASSWORD);
        assert_eq!(report.message, format!("password authentication failed for user \"{user}\""));
        refusal.reason()
    }

    fn jwt(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let mut header = json!({"typ": "JWT", "alg": "RS256", "kid": "r"});
        let mut claims =
            json!({"iss": "https://id", "aud": "vault", "org": "two", "sub": "app", "exp": NOW + 60});
        change(&mut header, &mut claims);
        self.issuer.sign(&header.to_string(), &claims.to_string())
    }
}

#[test]
fn a_token_is_its_customers_login() {
    let world = World::new();
    for user in ["token", "token@two"] {
        let proof = world.show(user, world.two.text.expose()).unwrap();
        assert_eq!((proof.customer().unwrap().as_str(), proof.login().as_str()), ("two", "app"));
        assert_eq!((proof.credential(), proof.token()), (Credential::Token, Some(world.two.prefix.as_str())));
        let candidate = candidate(&world.catalogue, &hints(&[("user", user)], None), NOW);
        let route = route(&world.catalogue, &candidate, proof, Some("two_main")).unwrap();
        assert_eq!(route.customer().id.as_str(), "two");
    }
    assert_eq!(world.why("token@one_spa", world.two.text.expose()), "hints name different customers");
    assert_eq!(world.why("token@nobody", world.two.text.expose()), "unknown customer");
    assert_eq!(world.why("app@two", world.two.text.expose()), "not a token");
}

#[test]
fn a_token_has_one_text() {
    let world = World::new();
    let text = world.two.text.expose();
    for at in 0..text.len() {
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'a' { b'b' } else { b'a' };
        assert_eq!(world.why("token", std::str::from_utf8(&bytes).unwrap()), "unknown token", "byte {at}");
        assert_eq!(world.why("token", text.get(..at).unwrap()), "unknown token");
    }
    let secret = text.strip_prefix(&world.two.prefix).unwrap();
    for forged in [
        format!("{text}a"),
        format!(" {text}"),
        format!("{}{secret}", world.one.prefix),
        text.replace("_prod_", "_test_"),
        world.two.prefix.clone(),
        String::new(),
        "ovt__".into(),
        "é".repeat(51),
    ] {
        assert_eq!(world.why("token", &forged), "unknown token", "{forged}");
    }
}

#[test]
fn tokens_end() {
    let at = |time: i64| crate::customers::edit::rfc3339(time).unwrap();
    for (more, why) in [
        (format!(", expires_at: '{}'", at(NOW)), Some("token expired")),
        (format!(", expires_at: '{}'", at(NOW + 1)), None),
        (format!(", revoked_at: '{}'", at(NOW)), Some("token revoked")),
        (format!(", revoked_at: '{}'", at(NOW + 1)), None),
    ] {
        let world = World::with_token(&more);
        match why {
            Some(why) => assert_eq!(world.why("token", world.two.text.expose()), why),
            None => drop(world.show("token", world.two.text.expose()).unwrap()),
        }
        assert_eq!(world.why("token", &format!("{}x", world.two.text.expose())), "unknown token");
    }
    for (login, why) in [("off", "login disabled"), ("old", "login expired")] {
        let folder = Folder::new();
        let fresh = token::create("prod").unwrap();
        let entry = entry(&fresh, "").replace("login: app", &format!("login: {login}"));
        folder.put("two", &yaml("two", &entry));
        let catalogue = files::load(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
        let world = World { catalogue, ..World::new() };
        assert_eq!(world.why("token", fresh.text.expose()), why);
    }
}

#[test]
fn made_tokens_have_their_form_and_differ() {
    let (one, two) = (token::create("dev").unwrap(), token::create("dev").unwrap());
    assert_ne!(one.prefix, two.prefix);
    assert_eq!(one.text.expose().len(), "ovt_dev_".len() + 8 + 43);
    assert_eq!(token::prefix(one.text.expose()), Some(one.prefix.as_str()));
    assert!(!format!("{one:?}").contains(one.text.expose()), "Debug hides the token");
    for bad in ["", "a", "PROD", "pro d", "prod1", "production"] {
        assert!(token::create(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_jwt_is_its_customers_login() {
    let world = World::new();
    for (algorithm, kid) in [("RS256", "r"), ("ES256", "e"), ("EdDSA", "d")] {
        let jwt = world.jwt(|header, _| *header = json!({"alg": algorithm, "kid": kid}));
        for user in ["token", "token@two"] {
            let proof = world.show(user, &jwt).unwrap();
            assert_eq!((proof.customer().unwrap().as_str(), proof.login().as_str()), ("two", "app"));
            assert_eq!((proof.credential(), proof.until()), (Credential::Jwt, Some(NOW + 60)));
        }
        assert_eq!(world.why("token@one_spa", &jwt), "hints name different customers");
    }
    let good: [Change; 4] = [
        |_, claims| claims["aud"] = json!(["other", "vault"]),
        |_, claims| claims["exp"] = json!(NOW - 29),
        |_, claims| claims["nbf"] = json!(NOW + 30),
        |header, _| header["jku"] = json!("https://evil/jwks.json"),
    ];
    for change in good {
        world.show("token", &world.jwt(change)).unwrap();
    }
}

#[test]
fn jwts_that_are_not_right_are_refused() {
    let world = World::new();
    let table: [(Change, &str); 33] = [
        (|header, _| header["alg"] = json!("none"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("None"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("nOnE"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!(""), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!(["RS256"]), "JWT algorithm not allowed"),
        (|header, _| drop(header.as_object_mut().unwrap().remove("alg")), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("HS256"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("rs256"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("RS384"), "JWT algorithm not allowed"),
        (|header, _| header["alg"] = json!("ES256"), "JWT algorithm not allowed"),
        (|header, _| header["kid"] = json!("e"), "JWT algorithm not allowed"),
        (|header, _| header["kid"] = json!("enc"), "JWT key unknown"),
        (|header, _| header["kid"] = json!("../../etc/passwd"), "JWT key unknown"),
        (|header, _| header["kid"] = json!(1), "JWT key unknown"),
        (|header, _| drop(header.as_object_mut().unwrap().remove("kid")), "JWT key unknown"),
        (|header, _| header["crit"] = json!(["exp"]), "JWT demands an extension"),
        (|header, _| header["crit"] = json!([]), "JWT demands an extension"),
        (
            |_, claims| drop(claims.as_object_mut().unwrap().remove("exp")),
            "JWT time claim missing or mistyped",
        ),
        (|_, claims| claims["exp"] = json!((NOW + 60).to_string()), "JWT time claim missing or mistyped"),
        (|_, claims| claims["exp"] = json!(1e10), "JWT time claim missing or mistyped"),
        (|_, claims| claims["exp"] = json!(null), "JWT time claim missing or mistyped"),
        (|_, claims| claims["exp"] = json!(-1), "JWT time claim missing or mistyped"),
        (|_, claims| claims["nbf"] = json!("now"), "JWT time claim missing or mistyped"),
        (|_, claims| claims["exp"] = json!(NOW - 30), "JWT expired"),
        (|_, claims| claims["nbf"] = json!(NOW + 31), "JWT not valid yet"),
        (|_, claims| claims["aud"] = json!("vault2"), "JWT audience wrong"),
        (|_, claims| claims["aud"] = json!(["vault", 1]), "JWT audience wrong"),
        (|_, claims| drop(claims.as_object_mut().unwrap().remove("aud")), "JWT audience wrong"),
        (|_, claims| claims["iss"] = json!("https://id/"), "JWT issuer or customer unknown"),
        (|_, claims| claims["iss"] = json!(["https://id"]), "JWT issuer or customer unknown"),
        (|_, claims| claims["org"] = json!("nobody"), "JWT issuer or customer unknown"),
        (|_, claims| claims["sub"] = json!(7), "JWT without login"),
        (|_, claims| claims["sub"] = json!("nobody"), "unknown login"),
    ];
    for (at, (change, why)) in table.into_iter().enumerate() {
        assert_eq!(world.why("token", &world.jwt(change)), why, "row {at}");
    }
}

#[test]
fn jwts_that_were_tampered_with_are_refused() {
    let world = World::new();
    let good = world.jwt(|_, _| {});
    world.show("token", &good).unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let other = world.jwt(|_, claims| claims["org"] = json!("one_spa"));
    let other_claims = other.split('.').nth(1).unwrap();
    assert_eq!(
        world.why("token", &format!("{}.{other_claims}.{}", parts[0], parts[2])),
        "JWT signature wrong"
    );
    assert_eq!(world.why("token", &format!("{}.{}.", parts[0], parts[1])), "JWT signature wrong");

    // The RSA key's public modulus as an HMAC secret, in the three forms attackers try.
    let header = base64url(r#"{"alg":"HS256","kid":"r"}"#);
    let secrets = [
        world.issuer.modulus(),
        base64url(world.issuer.modulus()).into_bytes(),
        world.issuer.jwks().to_string().into_bytes(),
    ];
    for secret in secrets {
        let signed = format!("{header}.{}", parts[1]);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), signed.as_bytes());
        assert_eq!(world.why("token", &format!("{signed}.{}", base64url(tag))), "JWT algorithm not allowed");
    }
    // ES256 with r = s = 0.
    let zero = format!("{}.{}.{}", base64url(r#"{"alg":"ES256","kid":"e"}"#), parts[1], base64url([0; 64]));
    assert_eq!(world.why("token", &zero), "JWT signature wrong");
    let foreign = World { issuer: Issuer::new(), ..World::new() };
    assert_eq!(world.why("token", &foreign.jwt(|_, _| {})), "JWT signature wrong");
    for malformed in [
        format!("{good}="),
        format!("{good}."),
        good.replace('.', ""),
        format!("{good}\n"),
        "eyJ".into(),
        "eyJ..".into(),
        world.issuer.sign(r#"{"alg":"RS256","kid":"r","alg":"none"}"#, "{}"),
        world.issuer.sign(r#"{"alg":"RS256","kid":"r"}"#, r#"{"iss":"https://id","iss":"https://id"}"#),
        world.issuer.sign(r#"{"alg":"RS256","kid":"r"}"#, r#"{"exp":1e400}"#),
        world
            .issuer
            .sign(r#"{"alg":"RS256","kid":"r"}"#, &format!("{}1{}", r#"{"a":"#.repeat(9), "}".repeat(9))),
        world.issuer.sign(r#"{"alg":"RS256","kid":"r"}"#, "{} {}"),
    ] {
        let why = world.why("token", &malformed);
        assert!(["JWT malformed", "unknown token"].contains(&why), "{malformed}: {why}");
    }
    let long = world.jwt(|_, claims| claims["x"] = json!("x".repeat(jwt::JWT_BYTES_MAX)));
    assert_eq!(world.why("token", &long), "JWT too long");
}

#[test]
fn a_jwks_holds_good_public_keys_only() {
    let issuer = Issuer::new();
    let parse = |jwks: &Value, algorithms: &[&str]| {
        let algorithms: Vec<String> = algorithms.iter().map(|name| (*name).to_owned()).collect();
        jwt::Keys::parse(jwks.to_string().as_bytes(), &algorithms).map(|_| ())
    };
    let keys = issuer.jwks();
    parse(&keys, &["RS256", "PS512"]).unwrap();
    for (algorithm, why) in [("none", "not allowed"), ("HS256", "not allowed"), ("ES384", "no key for")] {
        assert!(parse(&keys, &[algorithm]).unwrap_err().contains(why), "{algorithm}");
    }
    let changes: [(KeysChange, &str); 6] = [
        (|keys| keys["keys"][0]["d"] = json!("AQAB"), "holds a secret"),
        (|keys| keys["keys"][4] = json!({"kty": "oct", "k": "AQAB"}), "holds a secret"),
        (|keys| keys["keys"][1]["kid"] = json!("r"), "same \"kid\""),
        (|keys| keys["keys"][0]["n"] = json!("AQAB"), "weak"),
        (|keys| keys["keys"][0]["e"] = json!("AQ"), "weak"),
        (|keys| keys["keys"][1]["x"] = json!("AQAB"), "wrong size"),
    ];
    for (change, why) in changes {
        let mut keys = issuer.jwks();
        change(&mut keys);
        let error = parse(&keys, &["RS256", "ES256", "EdDSA"]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let large = vec![b' '; jwt::JWKS_BYTES_MAX + 1];
    assert!(jwt::Keys::parse(&large, &["RS256".into()]).unwrap_err().contains("larger"));
}

proptest::proptest! {
    #[test]
    fn any_password_is_refused_without_a_panic(password in "(eyJ|ovt_prod_)?[A-Za-z0-9_.=-]{0,120}") {
        static WORLD: std::sync::LazyLock<World> = std::sync::LazyLock::new(World::new);
        WORLD.why("token", &password);
    }
}
