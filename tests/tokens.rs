//! A token or a JWT opens its customer's databases, over TLS, until it ends; a host name says whose a client is; and
//! what changes in a customer's file is in force without a restart.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use onevault::auth::token;
use serde_json::{Value, json};

use crate::support::postgres::{ANY, Postgres, Tenant};
use crate::support::vault::{Customer, Options, Vault};
use crate::support::wire::{Login, Wire};

const BASE: &str = "db.example.test";

/// A vault with one customer, whose file is written as an operator would write it, and its issuer of JWTs.
struct House {
    vault: Vault,
    tenant: Tenant,
    issuer: Ed25519KeyPair,
}

impl House {
    fn new(word: &str) -> Self {
        let (tenant, issuer) = (Postgres::shared(ANY).tenant(word), Ed25519KeyPair::generate().unwrap());
        let options =
            Options::new(&[Customer::of(&tenant)]).with(json!({ "listen": { "base_domain": BASE } }));
        let house = Self { vault: Vault::start(options), tenant, issuer };
        let key = URL_SAFE_NO_PAD.encode(house.issuer.public_key());
        let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": key }] });
        fs::write(house.file().with_file_name("jwks.json"), jwks.to_string()).unwrap();
        house.write(&house.yaml());
        house
    }

    fn file(&self) -> PathBuf {
        self.vault.dir.0.join("customers").join(&self.tenant.role).join("config.yaml")
    }

    fn yaml(&self) -> String {
        let (role, database) = (&self.tenant.role, &self.tenant.database);
        let (port, verifier) = (self.tenant.postgres.port, self.tenant.verifier());
        format!(
            "\
# An operator's own words.
identity: {{ id: {role}, display_name: A customer }}
industry: spa
region: here
domains: [own.example.test]
server: {{ host: 127.0.0.1, port: {port}, role: {role}, password: 'file:password', ssl_mode: disable }}
databases:
  - {{ name: app, server_name: {database} }}
logins:
  {role}: {{ verifier: '{verifier}' }}
  batch: {{}} # no password
jwt:
  issuer: https://id.example.test
  audience: vault
  jwks_file: jwks.json
  algorithms: [EdDSA]
  customer_claim: org
  login_claim: sub
"
        )
    }

    fn write(&self, yaml: &str) {
        let draft = self.file().with_file_name(".draft");
        fs::write(&draft, yaml).unwrap();
        fs::rename(&draft, self.file()).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> String {
        let output = self.vault.command(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The SQLSTATE of a login; empty when it is let in and the database is the customer's.
    fn log_in(&self, user: &str, password: &str, host: &str) -> String {
        let mut wire = Wire::tls(self.vault.port, host, &self.vault.ca()).unwrap();
        match wire.login(&Login::new(user, password, "app")) {
            Err(error) => error.field('C'),
            Ok(()) => {
                assert_eq!(wire.value("SELECT current_database()"), self.tenant.database);
                String::new()
            }
        }
    }

    /// Waits until a login answers so: a change of a file is taken over by itself.
    fn until(&self, sqlstate: &str, user: &str, password: &str) {
        let begun = Instant::now();
        while self.log_in(user, password, "localhost") != sqlstate {
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{user} is not {sqlstate:?}: {}",
                self.vault.stderr()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn jwt(&self, claims: &Value) -> String {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"k"}"#);
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(self.issuer.sign(signed.as_bytes())))
    }
}

#[expect(clippy::disallowed_methods, reason = "a test's token is made for now")]
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_token_opens_its_customers_database_until_it_is_revoked() {
    let house = House::new("token");
    let customer = house.tenant.role.as_str();
    let create = ["token", "create", "--customer", customer, "--login", "batch", "--expires", "1h"];
    let token = house.command(&create);
    assert!(fs::read_to_string(house.file()).unwrap().starts_with("# An operator's own words."));
    house.until("", "token", &token);
    assert_eq!(house.log_in(&format!("token@{customer}"), &token, "localhost"), "");
    assert_eq!(house.log_in("token@another", &token, "localhost"), "28P01");
    assert_eq!(house.log_in(&format!("batch@{customer}"), &token, "localhost"), "28P01");
    let shorter = token.get(..token.len() - 1).unwrap();
    let other = if token.ends_with('b') { "c" } else { "b" };
    for changed in [shorter.to_owned(), format!("{shorter}{other}"), format!("{token}{other}")] {
        assert_eq!(house.log_in("token", &changed, "localhost"), "28P01", "of {} letters", changed.len());
    }

    let error = Wire::plain(house.vault.port).login(&Login::new("token", &token, "app")).unwrap_err();
    assert_eq!(error.field('C'), "28000", "no token is asked for without TLS");

    assert!(house.command(&["token", "list"]).contains("good"));
    house.command(&["token", "revoke", token::prefix(&token).unwrap()]);
    house.until("28P01", "token", &token);
    assert!(house.command(&["token", "list"]).contains("revoked"));

    // The last refusal may be on its way to the disk.
    let written = || Value::from(house.vault.audit(&[])).to_string();
    let text = (0..100)
        .map(|_| written())
        .find(|text| {
            text.contains("token revoked") || {
                std::thread::sleep(Duration::from_millis(30));
                false
            }
        })
        .unwrap_or_else(written);
    assert!(!text.contains(&token) && !house.vault.stderr().contains(&token), "a token is in no log");
    assert!(text.contains("token revoked"), "the log has the reason: {text}");
}

#[test]
fn a_jwt_opens_its_customers_database() {
    let house = House::new("jwt");
    let customer = house.tenant.role.as_str();
    let claims = json!({ "iss": "https://id.example.test", "aud": "vault", "org": customer, "sub": "batch",
                         "exp": now() + 60 });
    house.until("", "token", &house.jwt(&claims));
    for (claim, value) in [
        ("exp", json!(now() - 60)),
        ("aud", json!("another")),
        ("org", json!("another")),
        ("sub", json!("nobody")),
    ] {
        let mut wrong = claims.clone();
        wrong[claim] = value;
        assert_eq!(house.log_in("token", &house.jwt(&wrong), "localhost"), "28P01", "{claim}");
    }
    let mut forged = house.jwt(&claims);
    forged.replace_range(..forged.find('.').unwrap(), &URL_SAFE_NO_PAD.encode(r#"{"alg":"none","kid":"k"}"#));
    assert_eq!(house.log_in("token", &forged, "localhost"), "28P01");
}

#[test]
fn a_host_names_the_customer() {
    let house = House::new("host");
    let (login, password) = (house.tenant.role.as_str(), house.tenant.password.as_str());
    house.until("", &format!("{login}@{login}"), password);
    let host = format!("{}.{BASE}", login.replace('_', "-"));
    assert_eq!(house.log_in(login, password, &host), "");
    assert_eq!(house.log_in(&format!("{login}@{login}"), password, &host), "");
    assert_eq!(house.log_in(login, password, &format!("another.{BASE}")), "28P01");
    assert_eq!(house.log_in(&format!("{login}@another"), password, &host), "28P01");
}

#[test]
fn a_customers_file_is_in_force_without_a_restart() {
    let house = House::new("reload");
    let (login, password) = (house.tenant.role.as_str(), house.tenant.password.as_str());
    let user = format!("{login}@{login}");
    house.until("", &user, password);
    let good = house.yaml();
    house.write(&format!("{good}status: suspended\n"));
    house.until("28P01", &user, password);
    house.write(&good);
    house.until("", &user, password);
    house.write("identity: [");
    let begun = Instant::now();
    while !house.vault.stderr().contains("config.yaml:") {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the bad file is not told: {}",
            house.vault.stderr()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(house.log_in(&user, password, "localhost"), "", "the last good version stays");
    fs::remove_dir_all(house.file().parent().unwrap()).unwrap();
    house.until("28P01", &user, password);
}
