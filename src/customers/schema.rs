//! `config.yaml` as it is written: every key, and what its value must look like.
//!
//! Unknown keys are refused. What a value means for other values is checked in `build`. `docs/CUSTOMERS.md` says what
//! each key is for.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::secret::Reference;
use super::{SslMode, Status};
use crate::auth::{scram, token};
use crate::config::{Age, AuditMode, CopyData, Hours, Parameters, PoolMode, Zone};
use crate::ids::{CustomerId, DatabaseName, LoginName, RoleName};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) identity: Identity,
    pub(super) industry: Text<Word>,
    #[serde(default = "active")]
    pub(super) status: Status,
    pub(super) region: Text<Word>,
    #[serde(default)]
    pub(super) domains: Vec<Text<Domain>>,
    pub(super) server: Option<Server>,
    #[serde(default)]
    pub(super) servers: BTreeMap<String, Server>,
    pub(super) databases: Vec<Database>,
    #[serde(default)]
    pub(super) logins: BTreeMap<Text<LoginName>, Login>,
    #[serde(default)]
    pub(super) tokens: Vec<Token>,
    pub(super) jwt: Option<Jwt>,
    #[serde(default)]
    pub(super) compliance: Vec<Framework>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) pool: Pool,
    #[serde(default)]
    pub(super) audit: Audit,
    #[serde(default)]
    pub(super) features: BTreeMap<String, bool>,
    #[serde(default)]
    pub(super) branding: BTreeMap<String, String>,
}

const fn active() -> Status {
    Status::Active
}

const fn postgres_port() -> u16 {
    5432
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    pub(super) id: Text<CustomerId>,
    pub(super) display_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Server {
    pub(super) host: Text<Host>,
    #[serde(default = "postgres_port")]
    pub(super) port: u16,
    pub(super) role: Text<RoleName>,
    pub(super) password: Text<Reference>,
    pub(super) ssl_mode: Option<SslMode>,
    pub(super) ssl_root_cert: Option<String>,
    #[serde(default)]
    pub(super) allow_weak_login: bool,
    pub(super) backends_max: Option<Text<Count>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    pub(super) name: Option<Text<DatabaseName>>,
    pub(super) pattern: Option<Text<DatabaseName>>,
    pub(super) server_name: Option<Text<DatabaseName>>,
    pub(super) server: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) verifier: Option<Text<scram::Verifier>>,
    pub(super) valid_until: Option<Text<Moment>>,
    #[serde(default)]
    pub(super) disabled: bool,
    #[serde(default)]
    pub(super) auditor: bool,
    pub(super) clients_max: Option<Text<Count>>,
    pub(super) backends_max: Option<Text<Count>>,
    #[serde(default)]
    pub(super) pool: LoginPool,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LoginPool {
    pub(super) mode: Option<PoolMode>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Token {
    pub(super) prefix: Text<TokenPrefix>,
    pub(super) hash: Text<TokenHash>,
    pub(super) login: Text<LoginName>,
    pub(super) expires_at: Option<Text<Moment>>,
    pub(super) revoked_at: Option<Text<Moment>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Jwt {
    pub(super) issuer: Text<Word>,
    pub(super) audience: Text<Word>,
    pub(super) jwks_file: String,
    pub(super) algorithms: Vec<String>,
    pub(super) customer_claim: Text<Word>,
    pub(super) login_claim: Text<Word>,
}

/// What may stand in `compliance`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Framework {
    Hipaa,
    Pci,
    Sox,
    Gdpr,
}

impl Framework {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Hipaa => "hipaa",
            Self::Pci => "pci",
            Self::Sox => "sox",
            Self::Gdpr => "gdpr",
        }
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) clients_max: Option<Text<Count>>,
    pub(super) backends_max: Option<Text<Count>>,
    pub(super) statement_timeout_ms: Option<Text<MillisOrNone>>,
    pub(super) idle_in_transaction_timeout_ms: Option<Text<MillisOrNone>>,
    pub(super) idle_session_timeout_ms: Option<Text<MillisOrNone>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Pool {
    pub(super) mode: Option<PoolMode>,
    pub(super) fresh_backends: Option<bool>,
    pub(super) wait_timeout_ms: Option<Text<Millis>>,
    pub(super) stateless_functions: Vec<Text<FunctionName>>,
    pub(super) pin_functions: Vec<Text<FunctionName>>,
}

/// Classes that are not named are kept as the frameworks and the configuration say.
#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct OwnRetention {
    pub(super) statement: Option<Age>,
    pub(super) session: Option<Age>,
    pub(super) event: Option<Age>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Audit {
    pub(super) mode: Option<AuditMode>,
    pub(super) parameters: Option<Parameters>,
    pub(super) retention: OwnRetention,
    pub(super) review_interval: Option<Age>,
    pub(super) copy_data: Option<CopyData>,
    pub(super) digest: Digest,
}

#[derive(Debug, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Digest {
    pub(super) time_zone: Option<Zone>,
    pub(super) business_hours: Option<Vec<Hours>>,
    pub(super) bulk_rows_statement: Option<Text<Count>>,
    pub(super) bulk_rows_day: Option<Text<Count>>,
}

/// Something that is made of one text and may refuse it.
pub(super) trait FromText: Sized {
    /// The value, or what is wrong; a secret must not be repeated.
    fn from_text(text: &str) -> Result<Self, String>;
}

/// Reads a `T` from a text, so that a refusal has the text's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }
}

macro_rules! names {
    ($($name:ty),*) => {
        $(impl FromText for $name {
            fn from_text(text: &str) -> Result<Self, String> {
                Self::parse(text).map_err(|error| error.to_string())
            }
        })*
    };
}

names!(CustomerId, LoginName, RoleName, DatabaseName);

/// A text of 1 to 255 bytes without control characters.
#[derive(Debug, Clone)]
pub(super) struct Word(pub(super) String);

impl FromText for Word {
    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > 255 || text.chars().any(char::is_control) {
            return Err("it must have 1 to 255 bytes and no control characters".into());
        }
        Ok(Self(text.to_owned()))
    }
}

/// A host name, kept in lower case.
#[derive(Debug, Clone)]
pub(super) struct Domain(pub(super) String);

impl FromText for Domain {
    fn from_text(text: &str) -> Result<Self, String> {
        let good = crate::config::is_host_name(text);
        good.then(|| Self(text.to_ascii_lowercase())).ok_or_else(|| "it is no host name".into())
    }
}

/// A host name or an IP address.
#[derive(Debug, Clone)]
pub(super) struct Host(pub(super) String);

impl FromText for Host {
    fn from_text(text: &str) -> Result<Self, String> {
        let good = text.parse::<std::net::IpAddr>().is_ok()
            || text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let good = good && (1..=253).contains(&text.len());
        good.then(|| Self(text.to_owned())).ok_or_else(|| "it is no host name or address; TCP only".into())
    }
}

/// From 1 to 1,000,000.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count(pub(super) usize);

impl FromText for Count {
    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (1..=1_000_000).contains(number));
        number.map(Self).ok_or_else(|| "it must be a number from 1 to 1000000".into())
    }
}

/// From 1 ms to a day.
#[derive(Debug, Clone, Copy)]
pub(super) struct Millis(pub(super) Duration);

impl FromText for Millis {
    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| (1..=crate::config::DAY_MS).contains(number));
        let time = number.map(|number| Self(Duration::from_millis(number)));
        time.ok_or_else(|| format!("it must be a number of milliseconds from 1 to {}", crate::config::DAY_MS))
    }
}

/// From 1 ms to a day, or 0 for no limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct MillisOrNone(pub(super) Duration);

impl FromText for MillisOrNone {
    fn from_text(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|number| *number <= crate::config::DAY_MS);
        let time = number.map(|number| Self(Duration::from_millis(number)));
        time.ok_or_else(|| format!("it must be a number of milliseconds from 0 to {}", crate::config::DAY_MS))
    }
}

/// `function` or `schema.function`, as PostgreSQL writes names that need no quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FunctionName(pub(super) String);

impl FromText for FunctionName {
    fn from_text(text: &str) -> Result<Self, String> {
        let may_begin = |byte: u8| byte.is_ascii_lowercase() || byte == b'_' || !byte.is_ascii();
        let may_follow = |byte: u8| may_begin(byte) || byte.is_ascii_digit() || byte == b'$';
        let is_name = |name: &str| {
            (1..=63).contains(&name.len())
                && name.bytes().take(1).all(may_begin)
                && name.bytes().all(may_follow)
        };
        let good = text.split('.').count() <= 2 && text.split('.').all(is_name);
        let told = || "it must be the name of a function in lower case, with or without its schema".into();
        good.then(|| Self(text.to_owned())).ok_or_else(told)
    }
}

/// A time in RFC 3339 form, as seconds since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment(pub(super) i64);

impl FromText for Moment {
    fn from_text(text: &str) -> Result<Self, String> {
        let time = OffsetDateTime::parse(text, &Rfc3339);
        let time = time.map(|time| Self(time.unix_timestamp()));
        time.map_err(|_| "it must be a time such as 2027-01-31T00:00:00Z".into())
    }
}

impl FromText for scram::Verifier {
    fn from_text(text: &str) -> Result<Self, String> {
        let told = |_| "it is no SCRAM-SHA-256 verifier; onevault login hash makes one".into();
        Self::parse(text).map_err(told)
    }
}

/// A token's public prefix.
#[derive(Debug, Clone)]
pub(super) struct TokenPrefix(pub(super) String);

impl FromText for TokenPrefix {
    fn from_text(text: &str) -> Result<Self, String> {
        let good = token::is_prefix(text).then(|| Self(text.to_owned()));
        good.ok_or_else(|| "it must be ovt_<environment>_<8 letters>".into())
    }
}

/// `sha256:` and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(super) struct TokenHash(pub(super) [u8; 32]);

impl FromText for TokenHash {
    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii());
        let bytes = digits.and_then(|digits| {
            let mut bytes = [0; 32];
            for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
                *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
            }
            Some(Self(bytes))
        });
        bytes.ok_or_else(|| "it must be sha256: and 64 hexadecimal digits".into())
    }
}
