//! A server's report about a statement, in the client's own words for it.
//!
//! What always holds: only text that people read changes, and in it only our name where it stands alone: within
//! `_ov_77` there is no `_ov_7`. Quotes are not looked at, as they differ by language.
//!
//! Source: protocol-error-fields

use crate::protocol::fields::Fields;
use crate::protocol::tag::backend;
use crate::protocol::write;

/// The error whose body this is, with `_ov_<id>` called `name`; `None` where it does not speak of it.
pub(crate) fn statement(body: &[u8], id: u64, name: &[u8]) -> Option<Vec<u8>> {
    let ours = format!("_ov_{id}").into_bytes();
    let (mut renamed, mut found) = (Vec::with_capacity(body.len().saturating_add(name.len())), false);
    let mut fields = Fields::of(body);
    loop {
        let rest = fields.rest();
        let Some(kind) = fields.u8("field type").ok().filter(|kind| *kind != 0) else {
            renamed.extend_from_slice(rest);
            break;
        };
        let Ok(text) = fields.cstr("field value") else {
            renamed.extend_from_slice(rest);
            break;
        };
        renamed.push(kind);
        if matches!(kind, b'M' | b'D' | b'H' | b'W') {
            found |= replace(text, &ours, name, &mut renamed);
        } else {
            renamed.extend_from_slice(text);
        }
        renamed.push(0);
    }
    let mut message = Vec::with_capacity(renamed.len().saturating_add(8));
    write::message(&mut message, backend::ERROR_RESPONSE, |out| out.extend_from_slice(&renamed));
    found.then_some(message)
}

/// The error that a server tells of a statement that is not what it was, in place of one that told of no statement.
pub(crate) fn changed(body: &[u8]) -> Vec<u8> {
    let mut message = Vec::with_capacity(160);
    write::message(&mut message, backend::ERROR_RESPONSE, |out| {
        let mut fields = Fields::of(body);
        while let Ok(kind @ (b'S' | b'V')) = fields.u8("field type") {
            out.push(kind);
            out.extend_from_slice(fields.cstr("field value").unwrap_or_default());
            out.push(0);
        }
        // Drivers know it by where it comes from.
        out.extend_from_slice(b"C0A000\0Mcached plan must not change result type\0");
        out.extend_from_slice(b"Fplancache.c\0RRevalidateCachedQuery\0\0");
    });
    message
}

/// A text of an error, with `_ov_<id>` called `name`; `None` where it does not speak of it.
pub(crate) fn text(text: &[u8], id: u64, name: &[u8]) -> Option<Vec<u8>> {
    let mut renamed = Vec::new();
    replace(text, format!("_ov_{id}").as_bytes(), name, &mut renamed).then_some(renamed)
}

/// Appends `text` with `name` for each of `ours`. Whether there was one.
fn replace(text: &[u8], ours: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    let (mut rest, mut found) = (text, false);
    while let Some((before, behind)) = find(rest, ours) {
        out.extend_from_slice(before);
        out.extend_from_slice(name);
        (rest, found) = (behind, true);
    }
    out.extend_from_slice(rest);
    found
}

/// What stands before and behind the first of `ours` that is a word by itself.
fn find<'a>(text: &'a [u8], ours: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let places = text.windows(ours.len()).enumerate().filter(|(_, window)| *window == ours);
    let mut splits = places.filter_map(|(at, _)| {
        let (before, behind) = text.split_at_checked(at)?;
        Some((before, behind.get(ours.len()..)?))
    });
    splits.find(|(before, behind)| !is_word(before.last()) && !is_word(behind.first()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn renamed(body: &[u8], id: u64, name: &[u8]) -> Option<Vec<u8>> {
        let message = statement(body, id, name)?;
        let length = u32::try_from(message.len() - 1).unwrap().to_be_bytes();
        assert_eq!(message[..5], [&b"E"[..], &length].concat());
        Some(message[5..].to_vec())
    }

    #[test]
    fn a_changed_statement_is_told_as_the_server_tells_it() {
        let message =
            changed(b"SFEHLER\0VERROR\0C26000\0Mprepared statement \"_ov_0\" does not exist\0R_x\0\0");
        let expected = b"SFEHLER\0VERROR\0C0A000\0Mcached plan must not change result type\0Fplancache.c\0RRevalidateCachedQuery\0\0";
        assert_eq!(&message[5..], expected);
    }

    #[test]
    fn an_error_speaks_of_the_clients_own_name() {
        let body = b"SERROR\0C42P05\0Mprepared statement \"_ov_7\" already exists\0Fprepare.c\0\0";
        let expected = b"SERROR\0C42P05\0Mprepared statement \"s1\" already exists\0Fprepare.c\0\0";
        assert_eq!(renamed(body, 7, b"s1").as_deref(), Some(&expected[..]));
        for id in [77, 0, 70, 8] {
            assert_eq!(renamed(body, id, b"s1"), None);
        }
        assert_eq!(renamed(b"", 7, b"s1"), None);
    }

    #[test]
    fn a_name_is_found_in_every_language_and_in_every_text_but_nowhere_else() {
        let body = "SFEHLER\0M»_ov_7« und _ov_77, x_ov_7, _ov_7_\0D« _ov_7 »\0H_ov_7\0W_ov_7 _ov_7\0R_ov_7\0t_ov_7\0\0";
        let expected = "SFEHLER\0M»\u{e9}« und _ov_77, x_ov_7, _ov_7_\0D« \u{e9} »\0H\u{e9}\0W\u{e9} \u{e9}\0R_ov_7\0t_ov_7\0\0";
        assert_eq!(renamed(body.as_bytes(), 7, "\u{e9}".as_bytes()).unwrap(), expected.as_bytes());
        assert_eq!(renamed(b"M_ov_7\0Wx\0\0", 7, b"s").unwrap(), b"Ms\0Wx\0\0");
        assert_eq!(renamed(b"R_ov_7\0\0", 7, b"s1"), None);
        assert_eq!(renamed(b"M_ov_7\0\0M_ov_7\0", 7, b"_ov_7").unwrap(), b"M_ov_7\0\0M_ov_7\0");
        assert_eq!(renamed(b"M_ov_7\0Mcut off _ov_7", 7, b"s").unwrap(), b"Ms\0Mcut off _ov_7");
    }

    proptest! {
        #[test]
        fn any_body_keeps_all_that_is_not_the_name(
            parts in prop::collection::vec(
                prop::sample::select(vec!["_ov_7", "_ov_", "7", "M", "D", "R", "\0", "\0\0", " ", "\""]), 0..30,
            ),
        ) {
            let body = parts.concat().into_bytes();
            // The same name again changes nothing.
            if let Some(same) = renamed(&body, 7, b"_ov_7") {
                prop_assert_eq!(&same, &body);
            }
            // There and back again.
            if let Some(other) = renamed(&body, 7, b"_ov_9") {
                prop_assert_eq!(renamed(&other, 9, b"_ov_7"), Some(body));
                prop_assert_eq!(renamed(&other, 7, b"x"), None);
            }
        }
    }
}
