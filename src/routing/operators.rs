//! Who looks after OneVault itself: logins that belong to no customer and reach nothing but the console.

use std::collections::HashMap;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Candidate, Entry, Hints, Reason, Scope, TOKEN_USER};
use crate::auth::Method;
use crate::auth::scram::Verifier;
use crate::config;
use crate::customers::{Catalogue, RESERVED_DATABASE};
use crate::ids::LoginName;

/// What the console of PgBouncer is called.
const PGBOUNCER: &str = "pgbouncer";

/// The operators of the configuration.
#[derive(Debug, Default)]
pub struct Operators(HashMap<LoginName, Known>);

struct Known {
    verifier: Verifier,
    valid_until: Option<i64>,
}

/// Shows no verifier.
impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Known({:?})", self.valid_until)
    }
}

impl Operators {
    /// Reads what the configuration says.
    ///
    /// # Errors
    /// A sentence about the first that is wrong; it holds no verifier.
    pub fn read(entries: &[config::Operator]) -> Result<Self, String> {
        let mut operators = HashMap::new();
        for (at, entry) in entries.iter().enumerate() {
            let wrong = |what: &str| format!("operators.{at}: {what}");
            let login = LoginName::parse(&entry.login).map_err(|error| wrong(&error.to_string()))?;
            if login.as_str() == TOKEN_USER {
                return Err(wrong("the login \"token\" is reserved for tokens"));
            }
            let verifier = Verifier::parse(&entry.verifier).map_err(|_| {
                wrong("`verifier` is no SCRAM-SHA-256 verifier; onevault login hash makes one")
            })?;
            let valid_until =
                entry.valid_until.as_deref().map(|text| OffsetDateTime::parse(text, &Rfc3339)).transpose();
            let valid_until = valid_until
                .map_err(|_| wrong("`valid_until` must be a time such as 2027-01-31T00:00:00Z"))?;
            let known = Known { verifier, valid_until: valid_until.map(OffsetDateTime::unix_timestamp) };
            if operators.insert(login, known).is_some() {
                return Err(wrong("the login appears twice"));
            }
        }
        Ok(Self(operators))
    }

    fn find(&self, login: &str, now: i64) -> Result<Entry, Reason> {
        let login = LoginName::parse(login).map_err(|_| Reason::UnknownLogin)?;
        let known = self.0.get(&login).ok_or(Reason::UnknownLogin)?;
        if known.valid_until.is_some_and(|until| until <= now) {
            return Err(Reason::LoginExpired);
        }
        Ok(Entry { login, verifier: known.verifier.clone(), valid_until: known.valid_until })
    }
}

impl Hints {
    /// Whether the client asks for the console, by its name or by the one of PgBouncer's, and names no customer: only operators do, and whoever shows a token.
    #[must_use]
    pub fn mean_an_operator(&self, catalogue: &Catalogue) -> bool {
        let asks = match self.database.as_deref() {
            Some(RESERVED_DATABASE) => true,
            // What exporters ask for, unless it is somebody's.
            Some(PGBOUNCER) => catalogue.owner_of_database(PGBOUNCER).is_none(),
            Some(_) | None => false,
        };
        asks && self.login != TOKEN_USER && self.named(catalogue).next().is_none()
    }
}

/// The operator the client may be; `now` is in seconds since 1970. Never fails: nobody is a candidate too.
#[must_use]
pub fn operator(operators: &Operators, hints: &Hints, now: i64) -> Candidate {
    Candidate {
        user: hints.user.as_str().into(),
        mock_name: format!("{}@", hints.login),
        scope: Scope::Operators,
        method: Method::Scram,
        is_tls: hints.is_tls,
        entry: operators.find(&hints.login, now),
    }
}
