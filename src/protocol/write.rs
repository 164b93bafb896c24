//! What OneVault itself says, appended message by message to a buffer.
//!
//! Relayed messages never pass here: they go on as they came.
//!
//! Source: protocol-message-formats

use super::report::Report;
use super::startup::Version;
use super::tag::{backend, frontend};
use crate::ids::BackendKey;

/// Appends a message: its type, its length, and what `body` appends.
pub fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    packet(out, body);
}

/// Appends a length and what `body` appends. A body above `u32::MAX` cannot be built from bounded inputs; its
/// length would read as `u32::MAX`, which every peer refuses.
fn packet(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; 4]);
    body(out);
    let length = u32::try_from(out.len().saturating_sub(start)).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..).and_then(|tail| tail.first_chunk_mut::<4>()) {
        *field = length.to_be_bytes();
    }
}

/// Appends a text and its terminator; a NUL inside ends the text, as it would for the reader.
fn cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().take_while(|&&byte| byte != 0));
    out.push(0);
}

/// `AuthenticationOk`
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

/// `AuthenticationCleartextPassword`
pub fn authentication_cleartext_password(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

/// `AuthenticationSASL`: mechanisms in order of preference.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, backend::AUTHENTICATION, |out| {
        out.extend(10_i32.to_be_bytes());
        for mechanism in mechanisms {
            cstr(out, mechanism.as_bytes());
        }
        out.push(0);
    });
}

/// `AuthenticationSASLContinue`
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

/// `AuthenticationSASLFinal`
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

fn authentication(out: &mut Vec<u8>, code: i32, data: &[u8]) {
    message(out, backend::AUTHENTICATION, |out| {
        out.extend(code.to_be_bytes());
        out.extend(data);
    });
}

/// `ParameterStatus`
pub fn parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    message(out, backend::PARAMETER_STATUS, |out| {
        cstr(out, name);
        cstr(out, value);
    });
}

/// `BackendKeyData`
pub fn backend_key_data(out: &mut Vec<u8>, key: &BackendKey) {
    message(out, backend::BACKEND_KEY_DATA, |out| {
        out.extend(key.process_id.to_be_bytes());
        out.extend(&key.secret);
    });
}

/// `ReadyForQuery`: `I` idle, `T` in a transaction block, `E` in a failed one.
pub fn ready_for_query(out: &mut Vec<u8>, status: u8) {
    message(out, backend::READY_FOR_QUERY, |out| out.push(status));
}

/// `NegotiateProtocolVersion`: the newest minor version we speak and the `_pq_.` options we do not know.
pub fn negotiate_protocol_version<'a>(
    out: &mut Vec<u8>,
    version: Version,
    unknown_options: impl Iterator<Item = &'a str> + Clone,
) {
    message(out, backend::NEGOTIATE_PROTOCOL_VERSION, |out| {
        // The manual says "newest minor version"; servers send the whole version number, and drivers expect it.
        out.extend(version.0.to_be_bytes());
        let count = u32::try_from(unknown_options.clone().count()).unwrap_or(u32::MAX);
        out.extend(count.to_be_bytes());
        unknown_options.for_each(|name| cstr(out, name.as_bytes()));
    });
}

/// `ErrorResponse`
pub fn error_response(out: &mut Vec<u8>, report: &Report) {
    message(out, backend::ERROR_RESPONSE, |out| report_fields(out, report));
}

/// `NoticeResponse`
pub fn notice_response(out: &mut Vec<u8>, report: &Report) {
    message(out, backend::NOTICE_RESPONSE, |out| report_fields(out, report));
}

fn report_fields(out: &mut Vec<u8>, report: &Report) {
    let mut field = |kind: u8, text: &[u8]| {
        out.push(kind);
        cstr(out, text);
    };
    field(b'S', report.severity.as_str().as_bytes());
    field(b'V', report.severity.as_str().as_bytes());
    field(b'C', &report.code.0);
    field(b'M', report.message.as_bytes());
    if let Some(detail) = &report.detail {
        field(b'D', detail.as_bytes());
    }
    if let Some(hint) = &report.hint {
        field(b'H', hint.as_bytes());
    }
    out.push(0);
}

/// `StartupMessage`
pub fn startup_message<'a>(
    out: &mut Vec<u8>,
    version: Version,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    packet(out, |out| {
        out.extend(version.0.to_be_bytes());
        for (name, value) in parameters {
            cstr(out, name.as_bytes());
            cstr(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// `SSLRequest`
pub fn ssl_request(out: &mut Vec<u8>) {
    packet(out, |out| out.extend(((1234_u32 << 16) | 5679).to_be_bytes()));
}

/// `CancelRequest`
pub fn cancel_request(out: &mut Vec<u8>, key: &BackendKey) {
    packet(out, |out| {
        out.extend(((1234_u32 << 16) | 5678).to_be_bytes());
        out.extend(key.process_id.to_be_bytes());
        out.extend(&key.secret);
    });
}

/// `SASLInitialResponse`
pub fn sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, frontend::PASSWORD, |out| {
        cstr(out, mechanism.as_bytes());
        out.extend(u32::try_from(data.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(data);
    });
}

/// `SASLResponse`
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, frontend::PASSWORD, |out| out.extend(data));
}

/// `PasswordMessage`
pub fn password_message(out: &mut Vec<u8>, password: &[u8]) {
    message(out, frontend::PASSWORD, |out| cstr(out, password));
}

/// `Query`
pub fn query(out: &mut Vec<u8>, text: &str) {
    message(out, frontend::QUERY, |out| cstr(out, text.as_bytes()));
}

/// `Terminate`
pub fn terminate(out: &mut Vec<u8>) {
    message(out, frontend::TERMINATE, |_| {});
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{Split, split};
    use crate::protocol::report::ServerReport;
    use crate::protocol::sqlstate::SqlState;

    #[test]
    fn what_is_written_can_be_read() {
        let mut out = Vec::new();
        let report = Report::fatal(SqlState::INVALID_PASSWORD, "no\0w").detail("d").hint("h");
        error_response(&mut out, &report);
        ready_for_query(&mut out, b'I');
        let Ok(Split::Whole(error, rest)) = split(&out, 1000) else { panic!("no frame") };
        let read = ServerReport::parse(error.body());
        assert_eq!((read.code, read.message), (Some(SqlState::INVALID_PASSWORD), &b"no"[..]));
        assert_eq!(rest, b"Z\0\0\0\x05I");
    }
}
