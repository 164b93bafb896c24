//! Proves who the client is.
//!
//! A [`Proof`] is made here and nowhere else: by a finished SCRAM exchange ([`by_scram`]), or by an API token
//! or a JWT that came as the password ([`by_password`]). Who fails learns nothing: an unknown customer, an unknown
//! login and a wrong password are one answer and take one way. This room refuses to know sockets and messages.
//!
//! Source: auth-password

pub mod jwt;
pub mod scram;
pub mod throttle;
pub mod token;

use std::sync::Arc;

use crate::customers::{Catalogue, Customer};
use crate::ids::{CustomerId, LoginName, Secret};
use crate::routing::{Candidate, Reason, Refusal};

/// With what the client proved its login.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A password, by SCRAM-SHA-256.
    Scram,
    /// An API token.
    Token,
    /// A JWT.
    Jwt,
}

impl Credential {
    /// The word for records and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scram => "scram",
            Self::Token => "token",
            Self::Jwt => "jwt",
        }
    }
}

/// A client is who it says: this login of this customer, or this operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    customer: Option<CustomerId>,
    login: LoginName,
    credential: Credential,
    /// Public prefix of the token.
    token: Option<Box<str>>,
    /// Seconds since 1970 until which this holds.
    until: Option<i64>,
}

impl Proof {
    /// The customer to whom the login belongs; an operator's belongs to none.
    #[must_use]
    pub const fn customer(&self) -> Option<&CustomerId> {
        self.customer.as_ref()
    }

    /// The login.
    #[must_use]
    pub const fn login(&self) -> &LoginName {
        &self.login
    }

    /// How it was proven.
    #[must_use]
    pub const fn credential(&self) -> Credential {
        self.credential
    }

    /// The public prefix of the API token that was shown.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// When the token, JWT or login expires, in seconds since 1970.
    #[must_use]
    pub const fn until(&self) -> Option<i64> {
        self.until
    }
}

/// The proof of a client whose SCRAM exchange with [`Candidate::verifier`] is finished.
///
/// # Errors
/// [`Refusal::Password`] when the exchange is not finished or the candidate is nobody: the caller calls this
/// after a failed exchange too, to learn what the client is told and what is recorded.
pub fn by_scram(candidate: &Candidate, exchange: &scram::ServerExchange) -> Result<Proof, Refusal> {
    let (customer, login, until) = candidate.known().map_err(|reason| candidate.refuse(reason))?;
    if !exchange.is_finished() {
        return Err(candidate.refuse(Reason::WrongPassword));
    }
    let (customer, login) = (customer.map(|customer| customer.id.clone()), login.clone());
    Ok(Proof { customer, login, credential: Credential::Scram, token: None, until })
}

/// The proof of user `token`, whose password is an API token (`ovt_..`) or a JWT (`eyJ..`). `now` is in seconds
/// since 1970.
///
/// # Errors
/// [`Refusal::TokenWithoutTls`] on a connection without TLS, [`Refusal::Password`] for anything that is wrong.
pub fn by_password(
    catalogue: &Catalogue,
    candidate: &Candidate,
    password: &Secret,
    now: i64,
) -> Result<Proof, Refusal> {
    if candidate.method()? != Method::Password {
        return Err(candidate.refuse(Reason::NotAToken));
    }
    let text = password.expose();
    let claimed = if text.starts_with("eyJ") {
        jwt::verify(catalogue, text, now).map_err(Reason::Jwt).map(Claimed::from)
    } else {
        token::verify(catalogue, text, now).map(Claimed::from)
    };
    let proof = claimed.and_then(|claimed| claimed.prove(candidate, now));
    proof.map_err(|reason| candidate.refuse(reason))
}

/// What the client has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// A SCRAM exchange with [`Candidate::verifier`].
    Scram,
    /// A password in clear text inside TLS, for [`by_password`].
    Password,
}

/// What a valid token or JWT says, before it is held against the other hints.
struct Claimed {
    customer: Arc<Customer>,
    login: LoginName,
    credential: Credential,
    token: Option<Box<str>>,
    until: Option<i64>,
}

impl From<token::Shown<'_>> for Claimed {
    fn from(shown: token::Shown<'_>) -> Self {
        Self {
            customer: Arc::clone(shown.customer),
            login: shown.token.login.clone(),
            credential: Credential::Token,
            token: Some(shown.token.prefix.as_str().into()),
            until: shown.token.expires_at,
        }
    }
}

impl From<jwt::Claims> for Claimed {
    fn from(claims: jwt::Claims) -> Self {
        Self {
            customer: claims.customer,
            login: claims.login,
            credential: Credential::Jwt,
            token: None,
            until: Some(claims.expires_at),
        }
    }
}

impl Claimed {
    /// Every hint must name this customer, and its login must be usable.
    fn prove(self, candidate: &Candidate, now: i64) -> Result<Proof, Reason> {
        candidate.allows(&self.customer)?;
        let valid_until = self.customer.usable_login(&self.login, now)?.valid_until;
        let until = [self.until, valid_until].into_iter().flatten().min();
        let Self { customer, login, credential, token, .. } = self;
        Ok(Proof { customer: Some(customer.id.clone()), login, credential, token, until })
    }
}

#[cfg(test)]
mod tests;
