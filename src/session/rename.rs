//! A server's error about a statement, in the client's own words for it.

use crate::protocol::tag::backend;
use crate::protocol::write;

/// The error whose body this is, with `_ov_<id>` called `name`; `None` where it does not speak of it.
pub(crate) fn statement(body: &[u8], id: u64, name: &[u8]) -> Option<Vec<u8>> {
    let ours = format!("_ov_{id}\"");
    let ours = ours.as_bytes();
    let at = body.windows(ours.len()).position(|window| window == ours)?;
    let mut renamed = Vec::with_capacity(body.len().saturating_add(name.len()));
    renamed.extend_from_slice(body.get(..at)?);
    renamed.extend_from_slice(name);
    renamed.extend_from_slice(body.get(at.saturating_add(ours.len()).saturating_sub(1)..)?);
    let mut message = Vec::with_capacity(renamed.len().saturating_add(8));
    write::message(&mut message, backend::ERROR_RESPONSE, |out| out.extend_from_slice(&renamed));
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_speaks_of_the_clients_own_name() {
        let body = b"SERROR\0C42P05\0Mprepared statement \"_ov_7\" already exists\0\0";
        let renamed = statement(body, 7, b"s1").unwrap();
        assert_eq!(&renamed[5..], b"SERROR\0C42P05\0Mprepared statement \"s1\" already exists\0\0");
        assert_eq!(statement(body, 77, b"s1"), None);
        assert_eq!(statement(b"", 7, b"s1"), None);
    }
}
