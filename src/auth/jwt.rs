//! JWTs as passwords, checked against the issuer's public keys.
//!
//! What always holds: the key decides the algorithm, never the token; symmetric algorithms and `none` do not
//! exist here; `exp` is demanded; a claim of the wrong type is a refusal, not an absence; what the header says
//! about keys (`jku`, `jwk`, `x5c`, ..) is not even read, `kid` only looks up, `crit` refuses. The library checks
//! the signature; form and claims are checked here, against the clock of the caller.
//!
//! Source: RFC 7519, RFC 8725

mod json;
mod keys;

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::{Map, Value};

pub use keys::{JWKS_BYTES_MAX, Keys};

use crate::customers::{Catalogue, Customer, JwtIssuer};
use crate::ids::LoginName;

/// The longest JWT, in bytes.
pub const JWT_BYTES_MAX: usize = 8 * 1024;

/// How far the clocks of issuer and OneVault may differ, in seconds.
pub const LEEWAY_SECONDS: i64 = 30;

/// Why a JWT is not accepted; for the record only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Longer than [`JWT_BYTES_MAX`].
    TooLong,
    /// Not three parts of base64url, or not JSON objects with each member once.
    Malformed,
    /// An algorithm that the key is not for.
    Algorithm,
    /// The header demands an extension.
    Critical,
    /// No customer accepts this issuer, or the customer named does not.
    Issuer,
    /// No key of that name.
    Key,
    /// The signature is wrong.
    Signature,
    /// `exp` is absent, or a time claim is no whole number.
    Time,
    /// Expired.
    Expired,
    /// Not valid yet.
    Early,
    /// Made for somebody else.
    Audience,
    /// No login in the claim.
    Login,
}

impl Fault {
    /// The fault in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLong => "JWT too long",
            Self::Malformed => "JWT malformed",
            Self::Algorithm => "JWT algorithm not allowed",
            Self::Critical => "JWT demands an extension",
            Self::Issuer => "JWT issuer or customer unknown",
            Self::Key => "JWT key unknown",
            Self::Signature => "JWT signature wrong",
            Self::Time => "JWT time claim missing or mistyped",
            Self::Expired => "JWT expired",
            Self::Early => "JWT not valid yet",
            Self::Audience => "JWT audience wrong",
            Self::Login => "JWT without login",
        }
    }
}

/// What a valid JWT says.
#[derive(Debug)]
pub(super) struct Claims {
    pub(super) customer: Arc<Customer>,
    pub(super) login: LoginName,
    /// Seconds since 1970.
    pub(super) expires_at: i64,
}

/// Checks a JWT; `now` is in seconds since 1970.
pub(super) fn verify(catalogue: &Catalogue, text: &str, now: i64) -> Result<Claims, Fault> {
    let parts = Parts::read(text)?;
    let Some((customer, issuer)) = issuer(catalogue, &parts.claims) else {
        burn(&parts);
        return Err(Fault::Issuer);
    };
    parts.check_signature(&issuer.keys)?;
    let expires_at = check_times(&parts.claims, now)?;
    check_audience(&parts.claims, &issuer.audience)?;
    let login = parts.claims.get(&issuer.login_claim).and_then(Value::as_str);
    let login = login.and_then(|name| LoginName::parse(name).ok()).ok_or(Fault::Login)?;
    Ok(Claims { customer: Arc::clone(customer), login, expires_at })
}

/// A JWT taken apart; nothing in it is believed yet.
struct Parts<'a> {
    /// What is signed: header and claims as sent.
    signed: &'a str,
    signature: &'a str,
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl<'a> Parts<'a> {
    fn read(text: &'a str) -> Result<Self, Fault> {
        if text.len() > JWT_BYTES_MAX {
            return Err(Fault::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Fault::Malformed)?;
        // Canonical base64url only, so that one token has one text.
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed);
        decode(signature)?;
        let object = |part| json::object(&decode(part)?).ok_or(Fault::Malformed);
        Ok(Self { signed, signature, header: object(header)?, claims: object(claims)? })
    }

    fn check_signature(&self, keys: &Keys) -> Result<(), Fault> {
        if self.header.contains_key("crit") {
            return Err(Fault::Critical);
        }
        let algorithm = self.header.get("alg").and_then(Value::as_str);
        let algorithm = algorithm.and_then(|name| Algorithm::from_str(name).ok()).ok_or(Fault::Algorithm)?;
        let kid = match self.header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.as_str()),
            Some(_) => return Err(Fault::Key),
        };
        let key = keys.find(kid).ok_or(Fault::Key)?;
        let key = key.for_algorithm(algorithm).ok_or(Fault::Algorithm)?;
        match crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(Fault::Signature),
        }
    }
}

/// The customer whom the claims name, if it accepts their issuer.
fn issuer<'a>(
    catalogue: &'a Catalogue,
    claims: &Map<String, Value>,
) -> Option<(&'a Arc<Customer>, &'a JwtIssuer)> {
    let iss = claims.get("iss")?.as_str()?;
    catalogue.customer_claims(iss).find_map(|claim| {
        let customer = catalogue.customer(claims.get(claim)?.as_str()?)?;
        let issuer = customer.jwt.as_ref()?;
        (issuer.issuer == iss && issuer.customer_claim == claim).then_some((customer, issuer))
    })
}

/// A signature check for nobody, so that an unknown customer takes as long as a known one.
fn burn(parts: &Parts<'_>) {
    // The public key of RFC 8032, section 7.1, test 1.
    if let Ok(key) = DecodingKey::from_ed_components("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") {
        let signature = URL_SAFE_NO_PAD.encode([7; 64]);
        let _ = crypto::verify(&signature, parts.signed.as_bytes(), &key, Algorithm::EdDSA);
    }
}

/// `exp`, after looking at `nbf` and `iat` too.
fn check_times(claims: &Map<String, Value>, now: i64) -> Result<i64, Fault> {
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_i64().filter(|time| *time >= 0).map(Some).ok_or(Fault::Time),
    };
    let (expires_at, not_before, issued_at) = (time("exp")?.ok_or(Fault::Time)?, time("nbf")?, time("iat")?);
    if expires_at <= now.saturating_sub(LEEWAY_SECONDS) {
        return Err(Fault::Expired);
    }
    let latest = now.saturating_add(LEEWAY_SECONDS);
    if not_before.is_some_and(|time| time > latest) || issued_at.is_some_and(|time| time > latest) {
        return Err(Fault::Early);
    }
    Ok(expires_at)
}

/// `aud` is the audience, or a list of texts that holds it.
fn check_audience(claims: &Map<String, Value>, audience: &str) -> Result<(), Fault> {
    let fits = match claims.get("aud") {
        Some(Value::String(one)) => one == audience,
        Some(Value::Array(many)) => {
            many.iter().all(Value::is_string) && many.iter().any(|one| one.as_str() == Some(audience))
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    };
    fits.then_some(()).ok_or(Fault::Audience)
}
