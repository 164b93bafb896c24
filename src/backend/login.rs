//! Logs OneVault's role in at a customer's server, up to the first `ReadyForQuery`.
//!
//! What always holds: the password is never sent, nor turned into anything but a SCRAM proof, unless the customer's
//! configuration allows weak logins; a server that says `AuthenticationOk` before it has proven that it knows the
//! password is left; whatever it sends is bounded. A refusal of the role is never shown as the client's fault.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-START-UP, sasl-authentication

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::{hmac, rand};
use tokio::sync::Semaphore;

use super::connect::{ConnectError, Destination};
use super::limits::lock;
use super::wire::{Conversation, Message};
use super::{ParameterMap, Settings};
use crate::auth::scram::{Binding, Challenge, ClientExchange, ClientKeys, ScramError};
use crate::customers::Server;
use crate::ids::{BackendKey, Secret};
use crate::protocol::fields::Fields;
use crate::protocol::report::ServerReport;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::startup::{CANCEL_SECRET_BYTES_MAX, Version};
use crate::protocol::tag::backend as tag;
use crate::protocol::write;
use crate::stream::Stream;

/// What a server may say before it is ready, in bytes.
const LOGIN_CONVERSATION_BYTES_MAX: usize = 256 * 1024;
/// Notices kept for the client, in bytes; later ones are dropped.
const NOTICES_BYTES_MAX: usize = 8 * 1024;
/// Up to here a derivation is done on the worker itself: it takes some milliseconds at most.
const ITERATIONS_INLINE_MAX: u32 = 10_000;
/// Derivations off the worker at one time.
const DERIVATIONS_MAX: usize = 2;
/// SCRAM keys kept in all.
const KEYS_MAX: usize = 16 * 1024;

/// What a login yields.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) key: BackendKey,
    pub(super) parameters: ParameterMap,
    pub(super) notices: Box<[u8]>,
}

/// How far the proof is.
enum Proof {
    /// The server has asked for nothing yet.
    Unasked,
    /// The server was given the password, as the configuration allows.
    Given,
    Exchange(Box<ClientExchange>),
}

/// What a login proves itself with, and whom it tells that the server speaks.
#[derive(Clone, Copy)]
pub(super) struct Proofs<'a> {
    pub(super) keys: &'a KeyCache,
    pub(super) binding: &'a Binding,
    pub(super) answered: &'a AtomicBool,
}

/// Sends the startup message and does what the server asks until it is ready. Its caller limits the time.
pub(super) async fn login(
    stream: &mut Stream,
    to: &Destination,
    settings: &Settings,
    proofs: Proofs<'_>,
) -> Result<Ready, ConnectError> {
    let Proofs { keys, binding, answered } = proofs;
    let mut conversation = Conversation::new(stream, LOGIN_CONVERSATION_BYTES_MAX);
    let mut out = Vec::new();
    let who = [("user", to.server.role.as_str()), ("database", to.database.as_str())];
    write::startup_message(&mut out, Version::V3_0, who.into_iter().chain(settings.iter()));
    conversation.send(&out).await?;
    let mut notices = Vec::new();
    let mut proof = Proof::Unasked;
    loop {
        let message = conversation.next().await?;
        answered.store(true, Ordering::Relaxed);
        match message.tag {
            tag::AUTHENTICATION => {
                out.clear();
                if authenticate(&message, &mut proof, &mut out, (&to.server, keys, binding)).await? {
                    break;
                }
                if !out.is_empty() {
                    conversation.send(&out).await?;
                }
            }
            tag::ERROR_RESPONSE => return Err(refusal(message)),
            tag::NOTICE_RESPONSE => keep_notice(&mut notices, &message),
            tag::NEGOTIATE_PROTOCOL_VERSION => {
                return Err(violation("protocol 3.0 was answered with a negotiation"));
            }
            _ => return Err(violation("a message out of turn during authentication")),
        }
    }
    until_ready(conversation, notices).await
}

fn violation(what: &'static str) -> ConnectError {
    ConnectError::Protocol(what.to_owned())
}

fn keep_notice(notices: &mut Vec<u8>, message: &Message) {
    if notices.len().saturating_add(message.raw.len()) <= NOTICES_BYTES_MAX {
        notices.extend_from_slice(&message.raw);
    }
}

/// An `ErrorResponse` during the login. Only a complete one is worth showing.
fn refusal(message: Message) -> ConnectError {
    let report = ServerReport::parse(message.body());
    let complete =
        !report.message.is_empty() && !report.severity.is_empty() && message.body().ends_with(b"\0\0");
    match report.code {
        Some(code) if matches!(code, SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION) => {
            let message = String::from_utf8_lossy(report.message).into_owned();
            ConnectError::LoginRefused { code, message }
        }
        Some(code) if complete => ConnectError::Refused { code, raw: message.raw.into() },
        Some(_) | None => violation("an incomplete error"),
    }
}

/// Answers one Authentication message into `out`; true when the server is content and has proven itself.
async fn authenticate(
    message: &Message,
    proof: &mut Proof,
    out: &mut Vec<u8>,
    (server, keys, binding): (&Server, &KeyCache, &Binding),
) -> Result<bool, ConnectError> {
    let mut fields = Fields::of(message.body());
    let code = fields.i32("authentication").map_err(|_| violation("a short authentication message"))?;
    let data = fields.rest();
    match (code, &mut *proof) {
        (0, Proof::Exchange(exchange)) if !exchange.is_finished() => {
            return Err(ScramError::ServerSignature.into());
        }
        (0, Proof::Unasked) if !server.allow_weak_login => {
            return Err(ConnectError::WeakLogin("no proof at all"));
        }
        (0, _) => return Ok(true),
        (3, Proof::Unasked) if server.allow_weak_login => {
            write::password_message(out, server.password.expose().as_bytes());
            *proof = Proof::Given;
        }
        (5, Proof::Unasked) if server.allow_weak_login => {
            let salt = data.try_into().map_err(|_| violation("an MD5 salt of a bad length"))?;
            let (role, password) = (server.role.as_str().as_bytes(), server.password.expose().as_bytes());
            let hash = postgres_protocol::authentication::md5_hash(role, password, salt);
            write::password_message(out, hash.as_bytes());
            *proof = Proof::Given;
        }
        (3, _) => return Err(ConnectError::WeakLogin("a clear-text password")),
        (5, _) => return Err(ConnectError::WeakLogin("an MD5 password")),
        (10, Proof::Unasked) => {
            let offered = data.split(|&byte| byte == 0).take_while(|name| !name.is_empty());
            let exchange = ClientExchange::new(offered, binding)?;
            write::sasl_initial_response(out, exchange.mechanism(), &exchange.client_first());
            *proof = Proof::Exchange(Box::new(exchange));
        }
        (11, Proof::Exchange(exchange)) => {
            let challenge = exchange.server_first(data)?;
            write::sasl_response(out, &exchange.client_final(&keys.derived(server, &challenge).await?)?);
        }
        (12, Proof::Exchange(exchange)) => exchange.server_final(data)?,
        (_, _) => return Err(violation("an authentication request that is unknown or out of turn")),
    }
    Ok(false)
}

/// From `AuthenticationOk` to `ReadyForQuery`.
async fn until_ready(
    mut conversation: Conversation<'_>,
    mut notices: Vec<u8>,
) -> Result<Ready, ConnectError> {
    let (mut parameters, mut key) = (ParameterMap::default(), None);
    loop {
        let message = conversation.next().await?;
        let mut fields = Fields::of(message.body());
        match message.tag {
            tag::PARAMETER_STATUS => match (fields.cstr("name"), fields.cstr("value"), fields.end()) {
                (Ok(name), Ok(value), Ok(())) => parameters.update(name, value),
                (_, _, _) => return Err(violation("a malformed parameter")),
            },
            tag::BACKEND_KEY_DATA => {
                let process_id = fields.i32("process id").map_err(|_| violation("a short cancel key"))?;
                let secret = fields.rest();
                if key.is_some() || !(4..=CANCEL_SECRET_BYTES_MAX).contains(&secret.len()) {
                    return Err(violation("a second cancel key, or one of a bad length"));
                }
                key = Some(BackendKey { process_id, secret: secret.into() });
            }
            tag::NOTICE_RESPONSE => keep_notice(&mut notices, &message),
            tag::ERROR_RESPONSE => return Err(refusal(message)),
            tag::READY_FOR_QUERY if message.body() == b"I" => break,
            tag::READY_FOR_QUERY => return Err(violation("a new session that is not idle")),
            _ => return Err(violation("a message out of turn before the session is ready")),
        }
    }
    if !conversation.is_empty() {
        return Err(violation("bytes behind the first ReadyForQuery"));
    }
    let key = key.ok_or_else(|| violation("no cancel key"))?;
    Ok(Ready { key, parameters, notices: notices.into() })
}

/// SCRAM keys by (server, role, password, salt, count), so that a new backend costs no PBKDF2.
#[derive(Debug)]
pub(super) struct KeyCache {
    kept: Mutex<HashMap<[u8; 32], Arc<Place>>>,
    /// Names places: whoever reads memory learns nothing from a name.
    secret: hmac::Key,
    turns: Arc<Semaphore>,
}

/// One role's keys. It derives one at a time, so that a server which always asks for something new, and much of it,
/// leaves the other turns to other customers.
#[derive(Debug)]
struct Place {
    keys: Mutex<Option<ClientKeys>>,
    turn: Arc<Semaphore>,
}

impl Place {
    fn fitting(&self, challenge: &Challenge) -> Option<ClientKeys> {
        lock(&self.keys).as_ref().filter(|keys| keys.fit(&challenge.salt, challenge.iterations)).cloned()
    }
}

impl Default for KeyCache {
    fn default() -> Self {
        let mut secret = [0; 32];
        // Without randomness names are guessable, which alone gives nothing away.
        let _ = rand::fill(&mut secret);
        Self {
            kept: Mutex::default(),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            turns: Arc::new(Semaphore::new(DERIVATIONS_MAX)),
        }
    }
}

impl KeyCache {
    /// The keys that answer `challenge`, derived off the worker when that takes long.
    async fn derived(&self, server: &Server, challenge: &Challenge) -> Result<ClientKeys, ScramError> {
        let place = self.place(server);
        if let Some(keys) = place.fitting(challenge) {
            return Ok(keys);
        }
        let keys = if challenge.iterations <= ITERATIONS_INLINE_MAX {
            ClientKeys::derive(server.password.expose(), &challenge.salt, challenge.iterations)?
        } else {
            self.derived_elsewhere(&place, server.password.clone(), challenge).await?
        };
        *lock(&place.keys) = Some(keys.clone());
        Ok(keys)
    }

    async fn derived_elsewhere(
        &self,
        place: &Place,
        password: Secret,
        challenge: &Challenge,
    ) -> Result<ClientKeys, ScramError> {
        let own = Arc::clone(&place.turn).acquire_owned().await;
        if let Some(keys) = place.fitting(challenge) {
            return Ok(keys);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let Challenge { salt, iterations } = challenge.clone();
        let derivation = move || {
            // Held until the work is done, even when nobody waits for it any more.
            let _turns = (own, turn);
            ClientKeys::derive(password.expose(), &salt, iterations)
        };
        tokio::task::spawn_blocking(derivation).await.unwrap_or(Err(ScramError::Iterations))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        lock(&self.kept).len()
    }

    fn place(&self, server: &Server) -> Arc<Place> {
        let mut context = hmac::Context::with_key(&self.secret);
        for part in [&server.host, server.role.as_str(), server.password.expose(), &server.port.to_string()] {
            context.update(part.as_bytes());
            context.update(&[0]);
        }
        let name = context.sign().as_ref().first_chunk().copied().unwrap_or_default();
        let mut kept = lock(&self.kept);
        if kept.len() >= KEYS_MAX && !kept.contains_key(&name) {
            kept.clear();
        }
        let empty = || Arc::new(Place { keys: Mutex::default(), turn: Arc::new(Semaphore::new(1)) });
        Arc::clone(kept.entry(name).or_insert_with(empty))
    }
}
