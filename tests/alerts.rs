//! Alerts, at a web hook that a real HTTPS server is.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac::{HMAC_SHA256, Key, verify};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::support::vault::House;
use crate::support::wire::Login;
use crate::support::{TemporaryDir, eventually};

const SECRET: &str = "a shared secret";

/// A request as it came: its headers in lower case, and its body.
type Request = (HashMap<String, String>, String);

struct Hook {
    dir: TemporaryDir,
    port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
    /// So many requests are answered with 503.
    refusals: Arc<AtomicU32>,
}

impl Hook {
    fn start(refusals: u32) -> Self {
        let dir = TemporaryDir::new("hook");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(dir.0.join("root.pem"), made.cert.pem()).unwrap();
        fs::write(dir.0.join("secret"), SECRET).unwrap();
        fs::set_permissions(dir.0.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config =
            config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, refusals) = (Arc::default(), Arc::new(AtomicU32::new(refusals)));
        let hook = Self { dir, port, seen: Arc::clone(&seen), refusals: Arc::clone(&refusals) };
        let config = Arc::new(config);
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let tls = ServerConnection::new(Arc::clone(&config)).unwrap();
                let mut stream = BufReader::new(StreamOwned::new(tls, tcp.unwrap()));
                while answer(&mut stream, &seen, &refusals).is_some() {}
            }
        });
        hook
    }

    fn settings(&self) -> Value {
        let path = |name: &str| self.dir.0.join(name).display().to_string();
        json!({
            "url": format!("https://localhost:{}/hook", self.port),
            "secret": format!("file:{}", path("secret")),
            "root_cert": path("root.pem"),
            "failed_logins": 3,
        })
    }

    /// The alerts of a rule that were taken, by id: each once, however often it came.
    fn taken(&self, rule: &str) -> Vec<Value> {
        let mut by_id = HashMap::new();
        for (_, body) in self.seen.lock().unwrap().iter() {
            let alert: Value = serde_json::from_str(body).unwrap();
            by_id.insert(alert["id"].to_string(), alert);
        }
        by_id.into_values().filter(|alert| alert["rule"] == rule).collect()
    }
}

fn answer(
    stream: &mut (impl BufRead + ReadWrite),
    seen: &Mutex<Vec<Request>>,
    refusals: &AtomicU32,
) -> Option<()> {
    let mut line = String::new();
    stream.read_line(&mut line).ok().filter(|length| *length > 0)?;
    assert!(line.starts_with("POST /hook HTTP/1.1"), "{line}");
    let mut headers = HashMap::new();
    loop {
        line.clear();
        stream.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    let is_refused =
        refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    if !is_refused {
        seen.lock().unwrap().push((headers, String::from_utf8(body).unwrap()));
    }
    let status = if is_refused { "503 Service Unavailable" } else { "204 No Content" };
    stream.say(&format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"))
}

trait ReadWrite {
    fn say(&mut self, text: &str) -> Option<()>;
}

impl<S: Read + Write> ReadWrite for BufReader<S> {
    fn say(&mut self, text: &str) -> Option<()> {
        let stream = self.get_mut();
        stream.write_all(text.as_bytes()).and_then(|()| stream.flush()).ok()
    }
}

#[test]
fn what_somebody_should_hear_of_arrives_signed_though_the_hook_is_down_at_first() {
    let hook = Hook::start(3);
    let house = House::with("alerts", |options| {
        let audit = json!({ "digest": { "interval_s": 1, "bulk_rows_statement": 100 } });
        options.with(json!({ "alerts": hook.settings(), "audit": audit }))
    });
    let secret = "Trillian";
    let mut wire = house.enter();
    wire.sqlstate(&format!("CREATE TABLE kept AS SELECT '{secret}' AS name"));
    wire.sqlstate(&format!("SELECT '{secret}' FROM generate_series(1, 250)"));
    for _ in 0..4 {
        let wrong = Login { password: "wrong".into(), ..house.login() };
        assert!(crate::support::wire::Wire::plain(house.vault.port).login(&wrong).is_err());
    }
    for (rule, what) in
        [("new_address", ""), ("ddl", "CREATE TABLE"), ("bulk_read", "at once"), ("failed_logins", "28P01")]
    {
        eventually(rule, || !hook.taken(rule).is_empty());
        let alerts = hook.taken(rule);
        assert_eq!(alerts.len(), 1, "{alerts:?}");
        assert_eq!((&alerts[0]["what"], &alerts[0]["customer"]), (&json!(what), &json!(house.tenant.role)));
    }
    assert_eq!(hook.taken("bulk_read")[0]["rows"], 250);
    assert_eq!(hook.taken("failed_logins")[0]["count"], 3);
    let key = Key::new(HMAC_SHA256, SECRET.as_bytes());
    for (headers, body) in hook.seen.lock().unwrap().iter() {
        assert!(!body.contains(secret) && !body.contains("SELECT"), "{body}");
        let signature = &headers["x-onevault-signature"];
        let (time, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        let digit = |digit: u8| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap();
        let mac: Vec<u8> =
            mac.as_bytes().chunks(2).map(|pair| digit(pair[0]) * 16 + digit(pair[1])).collect();
        assert!(verify(&key, format!("{time}.{body}").as_bytes(), &mac).is_ok());
        let alert: Value = serde_json::from_str(body).unwrap();
        assert_eq!(alert["id"], json!(headers["x-onevault-alert"]));
    }
    let metrics = house.vault.http("/metrics");
    let counted = format!("onevault_audit_alerts_total{{rule=\"ddl\",customer=\"{}\"}} 1", house.tenant.role);
    assert!(metrics.contains(&counted), "{metrics}");
    eventually("nothing waits", || {
        house.vault.http("/health").contains("\"alerts\":{\"trouble\":null,\"waiting\":0}")
    });
}

#[test]
fn an_alert_outlives_the_process_while_the_hook_is_down_and_statements_do_not_wait() {
    let hook = Hook::start(u32::MAX);
    let mut house = House::with("alerts_kept", |options| {
        options.with(json!({ "alerts": hook.settings(), "audit": { "digest": { "interval_s": 1 } } }))
    });
    house.enter().value("SELECT 1");
    eventually("the trouble is told", || house.vault.http("/health").contains("the hook answers 503"));
    assert_eq!(house.enter().value("SELECT 2"), "2");
    assert!(house.vault.http("/health").starts_with("HTTP/1.1 200"));
    house.vault.kill();
    hook.refusals.store(0, Ordering::SeqCst);
    house.vault.launch();
    eventually("it comes after the restart", || hook.taken("new_address").len() == 1);
}
