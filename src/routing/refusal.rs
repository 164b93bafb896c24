//! Why a client is turned away: what it is told, and what is recorded.
//!
//! Always holds: what a stranger is told does not depend on whether a customer or a login exists.

use crate::auth::jwt;
use crate::protocol::report::Report;
use crate::protocol::sqlstate::SqlState;

/// A login that ends here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The startup packet names no user (28000).
    NoUser,
    /// TLS is demanded (28000).
    NoTls,
    /// User `token` without TLS (28000).
    TokenWithoutTls,
    /// Not proven, whatever the reason is (28P01).
    Password {
        /// The user as the client sent it.
        user: String,
        /// For the record only.
        reason: Reason,
    },
    /// Proven, but this customer owns no such database (3D000).
    Database {
        /// The database as the client calls it.
        name: String,
    },
    /// Proven, but this login may not go there (42501).
    Permission {
        /// The database as the client calls it.
        name: String,
    },
}

impl Refusal {
    /// What the client is told, in PostgreSQL's words where it has some.
    #[must_use]
    pub fn report(&self) -> Report {
        match self {
            Self::NoUser => Report::fatal(
                SqlState::INVALID_AUTHORIZATION,
                "no PostgreSQL user name specified in startup packet",
            ),
            Self::NoTls => {
                Report::fatal(SqlState::INVALID_AUTHORIZATION, "connections without TLS are not accepted")
                    .hint("Connect with sslmode=require or stronger.")
            }
            Self::TokenWithoutTls => {
                Report::fatal(SqlState::INVALID_AUTHORIZATION, "tokens are accepted over TLS only")
                    .hint("Connect with sslmode=require or stronger.")
            }
            Self::Password { user, .. } => Report::fatal(
                SqlState::INVALID_PASSWORD,
                format!("password authentication failed for user \"{user}\""),
            ),
            Self::Database { name } => {
                Report::fatal(SqlState::INVALID_CATALOG_NAME, format!("database \"{name}\" does not exist"))
            }
            Self::Permission { name } => Report::fatal(
                SqlState::INSUFFICIENT_PRIVILEGE,
                format!("permission denied for database \"{name}\""),
            )
            .detail("User does not have CONNECT privilege."),
        }
    }

    /// Why, for records and metrics; never for the client.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoUser => "no user named",
            Self::NoTls => "no TLS",
            Self::TokenWithoutTls => "token without TLS",
            Self::Password { reason, .. } => reason.as_str(),
            Self::Database { .. } => "unknown database",
            Self::Permission { .. } => "login may not use this database",
        }
    }
}

/// Why a login is not proven. An operator sees this in the log; a client never does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Two hints name different customers.
    HintsDisagree,
    /// No hint names a customer.
    NoCustomerNamed,
    /// No such customer.
    UnknownCustomer,
    /// The customer is suspended.
    CustomerSuspended,
    /// No such login.
    UnknownLogin,
    /// The login is disabled.
    LoginDisabled,
    /// The login's time is over.
    LoginExpired,
    /// The login has no password: tokens and JWTs only.
    NoVerifier,
    /// The password is wrong, or the exchange was broken off.
    WrongPassword,
    /// A password came where SCRAM was asked for.
    NotAToken,
    /// No such token.
    UnknownToken,
    /// The token's time is over.
    TokenExpired,
    /// The token was revoked.
    TokenRevoked,
    /// The JWT is not valid.
    Jwt(jwt::Fault),
}

impl Reason {
    /// The reason in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HintsDisagree => "hints name different customers",
            Self::NoCustomerNamed => "no customer named",
            Self::UnknownCustomer => "unknown customer",
            Self::CustomerSuspended => "customer suspended",
            Self::UnknownLogin => "unknown login",
            Self::LoginDisabled => "login disabled",
            Self::LoginExpired => "login expired",
            Self::NoVerifier => "login has no password",
            Self::WrongPassword => "wrong password",
            Self::NotAToken => "not a token",
            Self::UnknownToken => "unknown token",
            Self::TokenExpired => "token expired",
            Self::TokenRevoked => "token revoked",
            Self::Jwt(fault) => fault.as_str(),
        }
    }
}
