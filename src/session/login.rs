//! A client proves its login: the messages of a SCRAM exchange or of a password, read one by one.
//!
//! What always holds: a message is read exactly and not a byte behind it; before the proof none may be longer
//! than 64 KiB.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-START-UP, sasl-authentication

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::auth::scram::{Binding, ServerExchange};
use crate::auth::{self, Method, Proof};
use crate::customers::Catalogue;
use crate::ids::Secret;
use crate::protocol::fields::Fields;
use crate::protocol::frame::{self, HEADER_BYTES, LOGIN_BYTES_MAX};
use crate::protocol::report::Report;
use crate::protocol::tag::frontend;
use crate::protocol::write;
use crate::routing::{Candidate, Refusal};
use crate::stream::Stream;
use crate::telemetry;

use super::error;

/// Why there is no proof.
#[derive(Debug)]
pub(crate) enum LoginError {
    /// The client left or cannot be reached.
    Left,
    /// The client broke the protocol.
    Violation(Report),
    /// The client is not who it says.
    Refused(Refusal),
}

impl From<io::Error> for LoginError {
    fn from(_: io::Error) -> Self {
        Self::Left
    }
}

impl From<Refusal> for LoginError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Lets the client prove the login its candidate stands for.
///
/// # Errors
/// [`LoginError`]; nothing was sent about it yet.
pub(crate) async fn prove(
    stream: &mut Stream,
    catalogue: &Catalogue,
    candidate: &Candidate,
    mock_key: &[u8],
    end_point: Option<Vec<u8>>,
) -> Result<Proof, LoginError> {
    match candidate.method()? {
        Method::Scram => {
            let binding = end_point.map_or(Binding::None, Binding::TlsServerEndPoint);
            scram(stream, candidate, ServerExchange::new(candidate.verifier(mock_key), binding)).await
        }
        Method::Password => password(stream, catalogue, candidate).await,
    }
}

async fn scram(
    stream: &mut Stream,
    candidate: &Candidate,
    mut exchange: ServerExchange,
) -> Result<Proof, LoginError> {
    let mut out = Vec::new();
    write::authentication_sasl(&mut out, exchange.mechanisms());
    send(stream, &mut out).await?;

    let body = read_password(stream).await?;
    let first = initial_response(&body)
        .ok_or_else(error::unexpected_login_message)
        .and_then(|(mechanism, data)| {
            exchange.client_first(mechanism, data).map_err(|cause| error::malformed_login(&cause))
        })
        .map_err(LoginError::Violation)?;
    write::authentication_sasl_continue(&mut out, &first);
    send(stream, &mut out).await?;

    let body = read_password(stream).await?;
    // A wrong proof and a nobody are told alike; what was wrong is decided by `auth`.
    let last = exchange.client_final(&body);
    let proof = auth::by_scram(candidate, &exchange)?;
    let last = last.map_err(|cause| LoginError::Violation(error::malformed_login(&cause)))?;
    write::authentication_sasl_final(&mut out, &last);
    send(stream, &mut out).await?;
    Ok(proof)
}

async fn password(
    stream: &mut Stream,
    catalogue: &Catalogue,
    candidate: &Candidate,
) -> Result<Proof, LoginError> {
    let mut out = Vec::new();
    write::authentication_cleartext_password(&mut out);
    send(stream, &mut out).await?;
    let body = read_password(stream).await?;
    let mut fields = Fields::of(&body);
    let text = fields.cstr("password").and_then(|text| fields.end().map(|()| text));
    let text = text.ok().and_then(|text| std::str::from_utf8(text).ok());
    let text = text.ok_or_else(|| LoginError::Violation(error::unexpected_login_message()))?;
    let password = Secret::new(text.to_owned());
    Ok(auth::by_password(catalogue, candidate, &password, telemetry::unix_seconds())?)
}

/// `SASLInitialResponse`: mechanism and data; a length of -1 means none.
fn initial_response(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Fields::of(body);
    let mechanism = fields.cstr("mechanism").ok()?;
    let length = fields.i32("length").ok()?;
    let data = match usize::try_from(length) {
        Ok(length) => fields.bytes(length, "data").ok()?,
        Err(_) if length == -1 => &[],
        Err(_) => return None,
    };
    fields.end().ok()?;
    Some((mechanism, data))
}

/// Sends and empties `out`.
pub(crate) async fn send(stream: &mut Stream, out: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await?;
    out.clear();
    Ok(())
}

/// The body of the client's next message, which must be of the password kind.
async fn read_password(stream: &mut Stream) -> Result<Vec<u8>, LoginError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let total = match frame::header(&header, LOGIN_BYTES_MAX) {
        Ok(Some((frontend::PASSWORD, total))) => total,
        Ok(_) | Err(_) => return Err(LoginError::Violation(error::unexpected_login_message())),
    };
    let mut body = vec![0; total.saturating_sub(HEADER_BYTES)];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
