//! Connections to the customers' databases: dialled, proven, pooled, scrubbed, cancelled.
//!
//! What always holds: a [`Backend`] is dialled for a [`Route`](crate::routing::Route) and serves the customer of that
//! route only; it returns to its pool only when it is provably in step and scrubbed, and is closed in every other
//! case. A database server is not trusted: what it sends before it is ready is bounded in time and bytes.
//! This room knows nothing of clients: what they are told is decided by [`crate::session`].

use std::fmt;
use std::sync::Arc;
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use crate::ids::BackendKey;
use crate::routing::value_of;
use crate::stream::Stream;

pub mod cancel;
pub mod connect;
mod examine;
pub mod limits;
mod login;
pub mod memory;
pub mod pool;
pub mod prepared;
mod scrub;
#[cfg(test)]
pub(crate) mod tests;
pub mod tls;
mod wire;

pub use cancel::{CancelOutcome, Cancels, Registration, Reserved, Stopping, cancel_running, stop};
pub use connect::{Answer, ConnectError};
pub use examine::Findings;
pub use pool::{Figures, Lease, LeaseError, Pools, Seat};
pub use scrub::ScrubError;

/// One connection to a database server, logged in and in step.
pub struct Backend {
    /// The socket. Nothing of what the server sent is buffered anywhere else.
    pub stream: Stream,
    /// The server's own process id and cancel secret; the client never sees the secret.
    pub key: BackendKey,
    /// What the server last reported of its parameters.
    pub parameters: ParameterMap,
    /// Notices the server sent during the login, as whole messages in its own bytes; mostly empty.
    pub notices: Box<[u8]>,
    /// When it was dialled.
    pub dialled_at: Instant,
    /// What it holds of the sessions that had it.
    pub memory: memory::Memory,
    settings: Settings,
    /// Who had logged in, in the server's own spelling.
    login: Box<[u8]>,
    target: Arc<cancel::Target>,
    /// The thread on whose runtime the socket is registered.
    home: ThreadId,
}

impl Backend {
    /// The startup settings it was dialled with, to which `DISCARD ALL` returns.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether `SET SESSION AUTHORIZATION` is in force. The server reports that unasked.
    fn is_another(&self) -> bool {
        who(&self.parameters) != &*self.login
    }
}

/// Who a server says the session's user is.
fn who(parameters: &ParameterMap) -> &[u8] {
    parameters.get(b"session_authorization").unwrap_or_default()
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("process_id", &self.key.process_id)
            .field("tls", &self.stream.is_tls())
            .finish_non_exhaustive()
    }
}

/// The startup settings of a session, by name: its defaults for `RESET`. Some drivers send them in another order each time;
/// what stands twice keeps its order, as the last one counts.
///
/// They are part of a pool's key: a backend dialled with other settings is another kind of backend.
/// Cloning shares them. `Debug` shows no value.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Settings(Arc<[(Box<str>, Box<str>)]>);

impl Settings {
    /// Takes a startup packet's parameters. `user`, `database`, `replication` and `_pq_.` options are left out: the
    /// route decides the first two, and the others are answered before a backend is asked for.
    pub fn new<'a>(parameters: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let kept = parameters.into_iter().filter(|(name, _)| {
            !matches!(*name, "user" | "database" | "replication") && !name.starts_with("_pq_.")
        });
        let mut list: Vec<(Box<str>, Box<str>)> =
            kept.map(|(name, value)| (name.into(), value.into())).collect();
        list.sort_by_cached_key(|(name, _)| name.to_ascii_lowercase());
        Self(list.into())
    }

    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Whether they may limit the time of a statement.
    fn are_timed(&self) -> bool {
        let names = |text: &str| text.contains("statement_timeout") || text.contains("transaction_timeout");
        self.iter().any(|(name, value)| names(name) || names(value))
    }

    /// How long a session with them may be idle; zero is "for ever".
    ///
    /// # Errors
    /// They say something that is not understood.
    pub fn idle_limit(&self) -> Result<Duration, NotUnderstood> {
        // The server reads `options` first, so that the others count.
        let of_options =
            |(name, value)| (name == "options").then(|| value_of(value, memory::IDLE_TIMEOUT))?;
        let by_name = |(name, value): (&str, &str)| {
            name.eq_ignore_ascii_case(memory::IDLE_TIMEOUT).then(|| value.to_owned())
        };
        let said = self.iter().filter_map(by_name).last().or_else(|| self.iter().find_map(of_options));
        said.map_or(Ok(Duration::ZERO), |said| memory::read_idle_limit(&said).ok_or(NotUnderstood))
    }
}

/// A value that the server may read, but not this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotUnderstood;

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Settings({})", self.0.len())
    }
}

/// The values of `ParameterStatus`, as the server last sent them: small, and shared between equal backends.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ParameterMap(Arc<[u8]>);

/// What a server may report in all, in bytes; it is far above what PostgreSQL has.
const PARAMETERS_BYTES_MAX: usize = 16 * 1024;

impl ParameterMap {
    /// Name and value of each, in the order the server first reported them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut parts = self.0.split(|&byte| byte == 0);
        std::iter::from_fn(move || Some((parts.next().filter(|name| !name.is_empty())?, parts.next()?)))
    }

    /// The value of a parameter.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// Remembers a reported value. Nothing is kept beyond 16 KiB, nor a name or value with a NUL or an empty name.
    pub fn update(&mut self, name: &[u8], value: &[u8]) {
        if self.get(name) == Some(value) || name.is_empty() || name.contains(&0) || value.contains(&0) {
            return;
        }
        let (mut bytes, mut known) = (Vec::with_capacity(self.0.len().saturating_add(64)), false);
        let mut put = |name: &[u8], value: &[u8]| {
            for part in [name, value] {
                bytes.extend_from_slice(part);
                bytes.push(0);
            }
        };
        for (key, old) in self.iter() {
            known |= key == name;
            put(key, if key == name { value } else { old });
        }
        if !known {
            put(name, value);
        }
        if bytes.len() <= PARAMETERS_BYTES_MAX {
            self.0 = bytes.into();
        }
    }

    /// Uses the memory of `other` when both say the same.
    fn share(&mut self, other: &Self) {
        if self == other {
            self.0 = Arc::clone(&other.0);
        }
    }
}

impl fmt::Debug for ParameterMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(name, _)| String::from_utf8_lossy(name))).finish()
    }
}

#[cfg(test)]
mod parameter_tests {
    use super::*;

    #[test]
    fn settings_in_another_order_are_the_same_unless_one_stands_twice() {
        let settings = |list: &[(&'static str, &'static str)]| Settings::new(list.iter().copied());
        let (a, b, other) = (("a", "1"), ("b", "2"), ("A", "3"));
        assert_eq!(settings(&[b, ("user", "x"), a]), settings(&[a, b]));
        assert_ne!(settings(&[a, b, other]), settings(&[other, b, a]));
        assert!(settings(&[other, b, a]).iter().eq([other, a, b]));
    }

    #[test]
    fn parameters_are_kept_small_and_shared() {
        let mut map = ParameterMap::default();
        map.update(b"TimeZone", b"UTC");
        map.update(b"application_name", b"");
        map.update(b"DateStyle", b"ISO");
        map.update(b"TimeZone", b"Asia/Tokyo");
        let all: Vec<_> = map.iter().collect();
        assert_eq!(
            all,
            [(&b"TimeZone"[..], &b"Asia/Tokyo"[..]), (b"application_name", b""), (b"DateStyle", b"ISO")]
        );
        let mut other = map.clone();
        other.update(b"DateStyle", b"SQL");
        assert_eq!((map.get(b"DateStyle"), other.get(b"DateStyle")), (Some(&b"ISO"[..]), Some(&b"SQL"[..])));
        other.update(b"DateStyle", b"ISO");
        assert!(!Arc::ptr_eq(&map.0, &other.0));
        other.share(&map);
        assert!(Arc::ptr_eq(&map.0, &other.0));
        for hostile in [&b""[..], b"a\0b", &[b'x'; PARAMETERS_BYTES_MAX]] {
            other.update(hostile, b"v");
        }
        assert_eq!(map, other);
    }
}
