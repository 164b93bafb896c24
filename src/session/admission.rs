//! From a startup packet to a session that holds a backend: who, where to, within which limits.
//!
//! What always holds: the order is negotiate, prove, route, count, lease; a client that is turned away is told
//! why in PostgreSQL's words, and the log has the true reason.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-START-UP

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::audit::{Decision, Event, EventKind, Outcome, Unavailable, Who};
use crate::backend::memory::Carried;
use crate::backend::{Answer, Lease, LeaseError, ParameterMap, Registration, Seat, Settings};
use crate::config::{Parameters, PoolMode};
use crate::customers::{Customer, Timeouts};
use crate::ids::{BackendKey, SessionId};
use crate::protocol::report::{Report, ServerReport};
use crate::protocol::sqlstate::SqlState;
use crate::protocol::startup::{Startup, Version};
use crate::protocol::write;
use crate::routing::{self, Arrival, Candidate, Hints, Refusal, Route};
use crate::stream::Stream;
use crate::telemetry;
use crate::telemetry::live;

use super::census::Counted;
#[cfg(feature = "console")]
use super::counter;
use super::ledger::Ledger;
use super::login::{self, LoginError};
use super::mask::Mask;
use super::pooled::Pooled;
use super::tally::Tally;
use super::{Registered, Shared, error};
#[cfg(feature = "console")]
use crate::auth::Proof;
#[cfg(feature = "console")]
use crate::console::Console;
#[cfg(feature = "console")]
use crate::customers::{Catalogue, RESERVED_DATABASE};

/// A client that was greeted.
pub(crate) struct Arrived {
    pub(crate) stream: Stream,
    pub(crate) startup: Startup,
    pub(crate) peer: SocketAddr,
    pub(crate) sni: Option<String>,
    pub(crate) end_point: Option<Vec<u8>>,
    pub(crate) tls_version: Option<&'static str>,
    pub(crate) deadline: Instant,
}

/// A session that may begin.
pub(crate) struct Admitted {
    /// Held for their end: the place in the count and the cancel key. First, so that both are free when the client
    /// sees its connection end.
    pub(crate) _held: (Counted, Option<Registration>),
    pub(crate) registered: Registered,
    pub(crate) timeouts: Timeouts,
    pub(crate) ledger: Ledger,
    /// What its relay begins with.
    pub(crate) held: Held,
    pub(crate) stream: Stream,
}

/// A backend for the whole session, or what transaction pooling needs instead.
#[derive(Debug, Default)]
pub(crate) struct Held {
    lease: Option<Lease>,
    pooled: Option<Box<Pooled>>,
}

impl Held {
    /// Takes both out.
    pub(crate) const fn take(&mut self) -> (Option<Lease>, Option<Box<Pooled>>) {
        (self.lease.take(), self.pooled.take())
    }
}

/// What a client that is turned away is told, and what is recorded.
struct TurnedAway {
    kind: EventKind,
    answer: Told,
    reason: String,
    decision: Decision,
}

pub(super) enum Told {
    Nothing,
    Report(Report),
    /// A server's own message, whole.
    AsSent(Vec<u8>),
}

impl TurnedAway {
    fn refused(report: Report, reason: impl Into<String>, decision: Decision) -> Self {
        let (kind, answer) = (EventKind::ConnectionRefused, Told::Report(report));
        Self { kind, answer, reason: reason.into(), decision }
    }

    fn limited(limit: &str) -> Self {
        Self::refused(error::too_many_clients(limit), format!("limit {limit}"), Decision::ClientLimit)
    }

    fn routed(refusal: &Refusal) -> Self {
        Self::refused(refusal.report(), refusal.reason(), error::refused_by(refusal))
    }
}

impl From<LoginError> for TurnedAway {
    fn from(error: LoginError) -> Self {
        let (answer, reason, decision) = match error {
            LoginError::Left => {
                (Told::Nothing, "client left during the login".to_owned(), Decision::Greeting)
            }
            LoginError::Violation(report) => {
                let reason = report.message.clone().into_owned();
                (Told::Report(report), reason, Decision::Greeting)
            }
            LoginError::Refused(refusal) => {
                (Told::Report(refusal.report()), refusal.reason().to_owned(), error::refused_by(&refusal))
            }
        };
        Self { kind: EventKind::LoginFailed, answer, reason, decision }
    }
}

impl From<LeaseError> for TurnedAway {
    fn from(error: LeaseError) -> Self {
        let answer = match &error {
            LeaseError::Limit { name } => Told::Report(error::no_backend(name)),
            LeaseError::Settings => Told::Report(error::no_lease(&error)),
            LeaseError::Connect(cause) => match cause.answer() {
                Answer::AsSent(frame) => Told::AsSent(frame.to_vec()),
                Answer::Report(report) => Told::Report(report),
            },
        };
        let (kind, decision) = (EventKind::ConnectionRefused, error::no_lease_by(&error));
        Self { kind, answer, reason: error.to_string(), decision }
    }
}

/// Takes a client in, or tells it why not and closes its connection.
pub(crate) async fn admit(shared: &Arc<Shared>, mut arrived: Arrived) -> Option<Admitted> {
    let arrival = Arrival {
        is_tls: arrived.stream.is_tls(),
        sni: arrived.sni.as_deref(),
        base_domain: &shared.config.listen.base_domain,
    };
    let hints = Hints::collect(&arrived.startup, arrival);
    let turned_away = match hints {
        Ok(hints) => {
            let catalogue = shared.catalogues.load_full();
            let now = telemetry::unix_seconds();
            let candidate = if hints.mean_an_operator(&catalogue) {
                routing::operator(&shared.operators, &hints, now)
            } else {
                routing::candidate(&catalogue, &hints, now)
            };
            match enter(shared, &mut arrived, (&hints, &candidate)).await {
                Ok(Admission::Session(entered)) => return begin(shared, arrived, *entered).await,
                #[cfg(feature = "console")]
                Ok(Admission::Reading(entered)) => {
                    Box::pin(counter::serve(shared, arrived, *entered)).await;
                    return None;
                }
                Err(turned_away) => {
                    record(shared, &arrived, Some((&hints, &candidate)), &turned_away);
                    turned_away
                }
            }
        }
        Err(refusal) => {
            let turned_away = TurnedAway::routed(&refusal);
            record(shared, &arrived, None, &turned_away);
            turned_away
        }
    };
    say_no(&mut arrived.stream, turned_away.answer).await;
    None
}

/// Where a proven client goes.
enum Admission {
    /// To a database of its customer.
    Session(Box<Entered>),
    /// To the console.
    #[cfg(feature = "console")]
    Reading(Box<counter::Entered>),
}

/// A client whose place is ready.
struct Entered {
    route: Route,
    place: Place,
    counted: Counted,
    session: SessionId,
}

/// Where its statements will run.
enum Place {
    /// On this backend, for the whole session.
    Backend(Lease),
    /// On any backend of this seat; the server's parameters and notices are known from one of them.
    Seat(Seat, ParameterMap, Box<[u8]>),
}

async fn enter(
    shared: &Arc<Shared>,
    arrived: &mut Arrived,
    (hints, candidate): (&Hints, &Candidate),
) -> Result<Admission, TurnedAway> {
    if shared.is_draining() {
        return Err(TurnedAway::refused(error::shutting_down(), "draining", Decision::Draining));
    }
    if arrived.startup.get("replication").is_some_and(|value| !means_false(value)) {
        let report = error::replication_refused();
        return Err(TurnedAway::refused(report, "replication", Decision::Replication));
    }
    let login = async {
        negotiate(&mut arrived.stream, &arrived.startup).await.map_err(LoginError::from)?;
        let catalogue = shared.catalogues.load_full();
        let end_point = arrived.end_point.take();
        login::prove(&mut arrived.stream, &catalogue, candidate, &shared.mock_key, end_point).await
    };
    let began = Instant::now();
    let proof = match timeout_at(arrived.deadline, login).await {
        Ok(Err(LoginError::Refused(refusal))) => {
            let delay = shared.throttle.failed(arrived.peer.ip(), began.into_std());
            tokio::time::sleep_until(began + delay).await;
            return Err(LoginError::Refused(refusal).into());
        }
        Ok(proof) => proof?,
        Err(_) => {
            let report = error::login_timeout();
            return Err(TurnedAway::refused(report, "login timeout", Decision::LoginTimeout));
        }
    };
    let catalogue = shared.catalogues.load_full();
    #[cfg(feature = "console")]
    if (hints.database() == Some(RESERVED_DATABASE) || hints.mean_an_operator(&catalogue))
        && let Some(console) = &shared.console
    {
        return read(shared, console, &catalogue, candidate, proof).map(Box::new).map(Admission::Reading);
    }
    let route = routing::route(&catalogue, candidate, proof, hints.database())
        .map_err(|refusal| TurnedAway::routed(&refusal))?;
    let counted = shared.census.enter(&route).map_err(TurnedAway::limited)?;
    let settings = Settings::new(hints.settings().iter().map(|(name, value)| (&**name, &**value)));
    let place = place(shared, &route, &settings).await?;
    let session = shared.next_session();
    Ok(Admission::Session(Box::new(Entered { route, place, counted, session })))
}

/// A place at the console for somebody who may read the log.
#[cfg(feature = "console")]
fn read(
    shared: &Shared,
    console: &Console,
    catalogue: &Catalogue,
    candidate: &Candidate,
    proof: Proof,
) -> Result<counter::Entered, TurnedAway> {
    let reading =
        routing::reading(catalogue, candidate, proof).map_err(|refusal| TurnedAway::routed(&refusal))?;
    let counted =
        reading.customer().map(|customer| shared.census.enter_login(customer, reading.proof().login()));
    let counted = counted.transpose().map_err(TurnedAway::limited)?;
    let place = console.enter().map_err(|_| TurnedAway::limited("console.sessions_max"))?;
    Ok(counter::Entered { reading, counted, place, session: shared.next_session() })
}

/// A backend, or a seat and what a server says of itself.
async fn place(shared: &Shared, route: &Route, settings: &Settings) -> Result<Place, LeaseError> {
    let mode = route.customer().pool_mode(route.login(), &shared.pools.config().pool);
    if mode == PoolMode::Session {
        return Ok(Place::Backend(shared.pools.lease(route, settings).await?));
    }
    let mut seat = shared.pools.seat(route, settings, mode);
    if let Some(parameters) = seat.parameters() {
        return Ok(Place::Seat(seat, parameters, Box::default()));
    }
    let lease = seat.lease(&Carried::default()).await?;
    let (parameters, notices) = (lease.parameters.clone(), lease.notices.clone());
    // Of a kind that the server ends when it is idle, none is kept for later.
    if settings.idle_limit() != Ok(Duration::ZERO) {
        lease.discard();
    } else if let Err(lease) = lease.release() {
        lease.discard();
    }
    Ok(Place::Seat(seat, parameters, notices))
}

/// The last messages before the session: what the server reports, the key to cancel, ready.
async fn begin(shared: &Arc<Shared>, mut arrived: Arrived, entered: Entered) -> Option<Admitted> {
    let Entered { route, place, counted, session } = entered;
    let registered = shared.register(session, Some(route.customer().id.clone()));
    let secret_bytes = secret_bytes(&arrived.startup);
    let mut out = Vec::with_capacity(1024);
    let Some((held, registration)) = settle(shared, (&route, session), place, secret_bytes, &mut out) else {
        say_no(&mut arrived.stream, Told::Report(error::no_randomness())).await;
        return None;
    };
    let mode = route.customer().audit_mode(shared.config.audit.mode);
    let log = shared.audit.session(&who(&arrived, &route, &held, session));
    let tally = tally(shared, &arrived, &route, (&held, session));
    let opened = mask(shared, route.customer()).and_then(|mask| {
        let mut ledger = Ledger::new(log, (mode, mask), tally);
        ledger.log().opened().map(|_| ledger)
    });
    let ledger = match opened {
        Ok(ledger) => ledger,
        Err(unavailable) => {
            say_no(&mut arrived.stream, Told::Report(error::audit_unavailable(unavailable))).await;
            return None;
        }
    };
    if timeout_at(arrived.deadline, login::send(&mut arrived.stream, &mut out)).await.is_err() {
        return None;
    }
    telemetry::login("ok");
    let Arrived { stream, .. } = arrived;
    let timeouts = route.customer().timeouts(&shared.pools.config().limits);
    Some(Admitted { stream, held, ledger, registered, timeouts, _held: (counted, registration) })
}

/// What the session counts; the board shows it from now on.
fn tally(shared: &Shared, arrived: &Arrived, route: &Route, (held, session): (&Held, SessionId)) -> Tally {
    let customer = route.customer();
    let who = who(arrived, route, held, session);
    let seen = shared.pools.board().enter(live::Arrival {
        number: session,
        pool: live::Pool {
            customer: customer.id.clone(),
            database: route.database().clone(),
            role: route.server().role.clone(),
        },
        login: route.login().clone(),
        client: arrived.peer,
        local: arrived.stream.tcp().local_addr().ok(),
        tls: arrived.tls_version,
        application_name: String::from_utf8_lossy(who.application_name).into_owned(),
        mode: if held.lease.is_some() { PoolMode::Session } else { PoolMode::Transaction },
    });
    let tally = Tally::new(telemetry::Statements::of(customer.id.as_str()), seen);
    if let Some(lease) = &held.lease {
        tally.takes(lease.held());
    }
    tally
}

/// How a customer's values are recorded. Without the key that masks them there is no record, and so no session.
fn mask(shared: &Shared, customer: &Customer) -> Result<Mask, Unavailable> {
    let handling = customer.audit_parameters(shared.config.audit.parameters);
    let (mut key, keyring) = (Zeroizing::new([0; 32]), shared.audit.keyring());
    if handling == Parameters::Masked
        && let Some(keyring) = &keyring
    {
        key = keyring.mask_key(customer.id.as_str()).map_err(|error| {
            tracing::error!(customer = customer.id.as_str(), %error, "values cannot be masked");
            Unavailable::Failing
        })?;
    }
    let mask = Mask::new(handling, &key).with(keyring.map(|keyring| (keyring, customer.id.as_str().into())));
    Ok(mask.with_copies(customer.audit_copy_data.unwrap_or(shared.config.audit.copy_data)))
}

/// Writes the greeting and makes what the relay begins with. `None`: there are no random bytes for a key.
fn settle(
    shared: &Shared,
    (route, session): (&Route, SessionId),
    place: Place,
    secret_bytes: usize,
    out: &mut Vec<u8>,
) -> Option<(Held, Option<Registration>)> {
    write::authentication_ok(out);
    let mut greet = |parameters: &ParameterMap, key: &BackendKey, notices: &[u8]| {
        for (name, value) in parameters.iter() {
            write::parameter_status(out, name, value);
        }
        write::backend_key_data(out, key);
        out.extend_from_slice(notices);
        write::ready_for_query(out, b'I');
    };
    match place {
        Place::Backend(lease) => {
            let registration = shared.cancels.register(session, &lease, secret_bytes)?;
            greet(&lease.parameters, registration.key(), &lease.notices);
            Some((Held { lease: Some(lease), pooled: None }, Some(registration)))
        }
        Place::Seat(seat, parameters, notices) => {
            let reserved = shared.cancels.reserve(session, secret_bytes)?;
            greet(&parameters, reserved.key(), &notices);
            let made = shared.made(route, session, (seat, &parameters, reserved));
            let pooled = Box::new(Pooled::new(made, parameters));
            Some((Held { lease: None, pooled: Some(pooled) }, None))
        }
    }
}

fn who<'a>(arrived: &'a Arrived, route: &'a Route, held: &'a Held, session: SessionId) -> Who<'a> {
    let parameters = match (&held.lease, &held.pooled) {
        (Some(lease), _) => Some(&lease.parameters),
        (None, pooled) => pooled.as_ref().map(|pooled| &pooled.reported),
    };
    Who {
        session: session.0,
        customer: route.customer().id.as_str(),
        login: route.login().as_str(),
        role: route.server().role.as_str(),
        database: route.database().as_str(),
        credential: route.credential().as_str(),
        client_address: arrived.peer,
        tls: arrived.tls_version,
        application_name: parameters.and_then(|map| map.get(b"application_name")).unwrap_or_default(),
        backend_pid: held.lease.as_ref().map_or(0, |lease| lease.key.process_id),
    }
}

/// `NegotiateProtocolVersion`, once, where the client asks for more than we speak.
async fn negotiate(stream: &mut Stream, startup: &Startup) -> std::io::Result<()> {
    if startup.version == startup.negotiated() && startup.unknown_options().next().is_none() {
        return Ok(());
    }
    let mut out = Vec::new();
    let unknown: Vec<&str> = startup.unknown_options().collect();
    write::negotiate_protocol_version(&mut out, startup.negotiated(), unknown.into_iter());
    login::send(stream, &mut out).await
}

/// The length of a cancel key's secret.
pub(super) fn secret_bytes(startup: &Startup) -> usize {
    if startup.negotiated() >= Version::V3_2 { 32 } else { 4 }
}

/// How PostgreSQL reads a boolean that is off.
fn means_false(value: &str) -> bool {
    ["false", "off", "no", "0", "f", "n", "of", "fa", "fal", "fals"]
        .contains(&value.to_ascii_lowercase().as_str())
}

fn record(shared: &Shared, arrived: &Arrived, who: Option<(&Hints, &Candidate)>, turned_away: &TurnedAway) {
    let sqlstate = match &turned_away.answer {
        // Nobody was told anything: a client that leaves at the password prompt has not failed a login.
        Told::Nothing => return,
        Told::Report(report) => Some(report.code),
        Told::AsSent(frame) => ServerReport::parse(frame.get(5..).unwrap_or_default()).code,
    };
    telemetry::login(if turned_away.kind == EventKind::LoginFailed { "failed" } else { "refused" });
    let customer = who.and_then(|(_, candidate)| candidate.customer());
    let startup = &arrived.startup;
    let event = Event {
        outcome: Outcome::Refused,
        customer: customer.map_or("", |customer| customer.id.as_str()),
        login: startup.get("user").unwrap_or_default().as_bytes(),
        database: startup.get("database").unwrap_or_default().as_bytes(),
        client_address: Some(arrived.peer),
        tls: arrived.tls_version,
        application_name: startup.get("application_name").unwrap_or_default().as_bytes(),
        sqlstate: sqlstate.map(|code: SqlState| code.0),
        detail: turned_away.reason.as_bytes(),
        decision: Some(turned_away.decision),
        ..Event::new(turned_away.kind)
    };
    if let Err(unavailable) = shared.audit.event(&event) {
        tracing::error!(%unavailable, "a refused login could not be recorded");
    }
    tracing::info!(
        customer = event.customer,
        address = %arrived.peer,
        reason = turned_away.reason,
        "client turned away"
    );
}

pub(super) async fn say_no(stream: &mut Stream, told: Told) {
    match told {
        Told::Nothing => {}
        Told::Report(report) => super::life::farewell(stream, &report).await,
        Told::AsSent(frame) => super::life::last_words(stream, &frame).await,
    }
}
