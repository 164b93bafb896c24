//! The thread that sends alerts, and looks for what no record shows: a log that cannot be written, signed, or has no key.
//!
//! What always holds: an attempt has a limit on time; after a failure it waits, longer and longer up to [`RETRY_MAX`]; an alert has a
//! bounded number of attempts, and those behind it are sent meanwhile.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use reqwest::{Certificate, Client, Url, redirect};
use tokio::runtime::Runtime;

use super::super::digest::store::Store;
use super::super::gate::{Gate, lock, now_ns};
use super::super::health::State;
use super::super::keys::{Keyring, OWN};
use super::super::render::hex;
use super::queue::Queue;
use super::{Alert, Alerts, Rule, sent};
use crate::config;
use crate::customers::{Catalogues, follow_reference};
use crate::ids::Secret;
use crate::telemetry;

/// How often it looks how the log is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After a failure it waits so long, then twice as long, and so on.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// It never waits longer.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Dialling, which is a part of an attempt's time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where alerts go.
struct Hook {
    runtime: Runtime,
    client: Client,
    url: Url,
    key: Key,
}

/// What the thread is made of.
pub(in crate::audit) struct Plan<'a> {
    pub(in crate::audit) audit: &'a config::Audit,
    pub(in crate::audit) settings: &'a config::Alerts,
    pub(in crate::audit) gate: Arc<Gate>,
    pub(in crate::audit) keyring: Arc<Keyring>,
    pub(in crate::audit) catalogues: Catalogues,
    /// Why nothing is signed, asked now and then.
    pub(in crate::audit) unsigned: Box<dyn Fn() -> Option<String> + Send>,
}

/// Begins the thread, which ends with the writer of the log: what is not sent then is sent after the next start.
///
/// # Errors
/// A sentence: a setting that cannot be used, or a thread or file that cannot be had.
pub(in crate::audit) fn start(plan: Plan<'_>) -> Result<Arc<Alerts>, String> {
    let Plan { audit, settings, gate, keyring, catalogues, unsigned } = plan;
    let hook = settings.url.as_deref().map(|url| Hook::new(url, settings)).transpose()?;
    let folder = super::folder_of(&audit.directory);
    let queue = hook
        .as_ref()
        .map(|_| Queue::open(folder.clone(), Store::new(folder.clone(), keyring), settings.queue_max));
    let queue = queue.transpose().map_err(|error| error.to_string())?;
    let alerts = Arc::new(Alerts::new(settings.clone(), audit.origin.clone(), catalogues, queue));
    let living = Living {
        alerts: Arc::clone(&alerts),
        gate,
        hook,
        unsigned,
        attempts: HashMap::new(),
        known: BTreeMap::new(),
    };
    let thread = std::thread::Builder::new().name("audit-alerts".into()).spawn(move || living.live());
    let thread = thread.map_err(|error| error.to_string())?;
    *lock(&alerts.sender) = Some(thread.thread().clone());
    Ok(alerts)
}

impl Hook {
    fn new(url: &str, settings: &config::Alerts) -> Result<Self, String> {
        let here = Path::new(".");
        let follow = |text: &str| follow_reference(text, here);
        let is_reference = text_is_reference(url);
        let url = if is_reference { follow(url)? } else { Secret::new(url.to_owned()) };
        // What is wrong is not repeated: an address may be a secret.
        let url = Url::parse(url.expose()).map_err(|_| "alerts.url is no address".to_owned())?;
        let is_near = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if !(url.scheme() == "https" || (url.scheme() == "http" && is_near)) {
            return Err("alerts.url must begin with https://; http:// only leads to this machine".into());
        }
        let secret =
            settings.secret.as_deref().ok_or("alerts.secret is missing: alerts are signed with it")?;
        let key = Key::new(HMAC_SHA256, follow(secret)?.expose().as_bytes());
        let mut client = Client::builder()
            .timeout(Duration::from_millis(settings.timeout_ms))
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("OneVault/", env!("CARGO_PKG_VERSION")));
        for certificate in roots(settings.root_cert.as_ref())? {
            client = client.add_root_certificate(certificate);
        }
        let client = client.build().map_err(|error| format!("alerts: {error}"))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error: io::Error| error.to_string())?;
        Ok(Self { runtime, client, url, key })
    }

    /// Sends one; why it did not arrive.
    fn send(&self, alert: &Alert) -> Result<(), String> {
        let body = serde_json::to_string(alert).map_err(|error| error.to_string())?;
        let time = telemetry::unix_seconds();
        let signature = sign(&self.key, format!("{time}.{body}").as_bytes());
        let request = self
            .client
            .post(self.url.clone())
            .header("Content-Type", "application/json")
            .header("X-OneVault-Alert", &alert.id)
            .header("X-OneVault-Signature", format!("t={time},v1={}", hex(signature.as_ref())))
            .body(body);
        // Made inside: its clock needs the runtime.
        let answer = self.runtime.block_on(async { request.send().await });
        let status = answer.map_err(|error| causes(&error.without_url()))?.status();
        if status.is_success() { Ok(()) } else { Err(format!("the hook answers {status}")) }
    }
}

fn text_is_reference(text: &str) -> bool {
    text.starts_with("env:") || text.starts_with("file:")
}

fn roots(path: Option<&PathBuf>) -> Result<Vec<Certificate>, String> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = config::read_text(path).map_err(|problem| problem.to_string())?;
    let told = |error| format!("alerts.root_cert {}: {error}", path.display());
    Certificate::from_pem_bundle(text.as_bytes()).map_err(told)
}

/// An error with what led to it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

struct Living {
    alerts: Arc<Alerts>,
    gate: Arc<Gate>,
    hook: Option<Hook>,
    unsigned: Box<dyn Fn() -> Option<String> + Send>,
    attempts: HashMap<String, u32>,
    /// Troubles that were told and are not over.
    known: BTreeMap<(Rule, String), u64>,
}

impl Living {
    fn live(mut self) {
        let mut retry = RETRY_FIRST;
        let mut due_ns = 0;
        while !self.gate.wait_finished(Duration::ZERO) {
            self.look();
            if now_ns() >= due_ns {
                match self.send_all() {
                    Ok(()) => retry = RETRY_FIRST,
                    Err(trouble) => {
                        self.tell(Some(trouble));
                        due_ns = now_ns().saturating_add(u64::try_from(retry.as_nanos()).unwrap_or(u64::MAX));
                        retry = retry.saturating_mul(2).min(RETRY_MAX);
                    }
                }
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// One attempt for each that waits, until the end of the process; the first trouble.
    fn send_all(&mut self) -> Result<(), String> {
        let Some(hook) = &self.hook else { return Ok(()) };
        let Some(queue) = &self.alerts.queue else { return Ok(()) };
        let (mut behind, mut first) = (None, None);
        while let Some((key, alert)) = { lock(queue).next(behind.as_ref()) } {
            match hook.send(&alert) {
                Ok(()) => {
                    lock(queue).remove(&key);
                    self.attempts.remove(&alert.id);
                    sent("delivered");
                }
                Err(trouble) => {
                    let attempts = self.attempts.entry(alert.id.clone()).or_default();
                    *attempts = attempts.saturating_add(1);
                    if *attempts >= self.alerts.settings.attempts_max {
                        lock(queue).remove(&key);
                        self.attempts.remove(&alert.id);
                        sent("failed");
                        tracing::error!(id = alert.id, rule = alert.rule, trouble, "an alert was given up");
                    }
                    // A hook that does not answer at all is not asked for each of thousands.
                    let is_silent = !trouble.starts_with("the hook answers");
                    first.get_or_insert(trouble);
                    if is_silent {
                        break;
                    }
                }
            }
            if self.gate.wait_finished(Duration::ZERO) {
                break;
            }
            behind = Some(key);
        }
        if let Some(trouble) = first {
            return Err(trouble);
        }
        self.tell(None);
        Ok(())
    }

    /// Says a trouble once, and its end.
    fn tell(&self, trouble: Option<String>) {
        let mut known = lock(&self.alerts.trouble);
        if *known == trouble {
            return;
        }
        match &trouble {
            Some(trouble) => {
                tracing::error!(trouble, "alerts of the audit log are not delivered; they are kept");
            }
            None => tracing::warn!("alerts of the audit log are delivered again"),
        }
        *known = trouble;
    }

    /// Raises what no record shows, once for each trouble.
    fn look(&mut self) {
        let now = now_ns();
        let mut found = Vec::new();
        match self.gate.health().state {
            State::Failing { since_ns, .. } => found.push((Rule::LogFailing, OWN.to_owned(), since_ns)),
            State::Ok | State::Disabled | State::Closed => {}
        }
        found.extend((self.unsigned)().map(|_| (Rule::SigningFailure, OWN.to_owned(), now)));
        for (customer, since_ns) in self.gate.logs.troubled() {
            found.push((Rule::KeyTrouble, customer.as_ref().to_owned(), since_ns));
        }
        let is_found = |rule: &Rule, customer: &String| {
            found.iter().any(|(other, whose, _)| (other, whose) == (rule, customer))
        };
        self.known.retain(|(rule, customer), _| is_found(rule, customer));
        for (rule, customer, since_ns) in found {
            let key = (rule, customer);
            if !self.known.contains_key(&key) {
                self.alerts.raise(rule, &key.1, "", since_ns);
                self.known.insert(key, since_ns);
            }
        }
    }
}
