//! A client's message with another statement name in it.
//!
//! What always holds: only the name and the length change; a message that would grow beyond what a message may be is
//! refused, its length never wraps; the beginning of a large message is enough, as long as its names are whole.
//!
//! Source: protocol-message-formats

use super::fields::Fields;
use super::frame::{FrameError, HEADER_BYTES, MESSAGE_BYTES_MAX};
use super::tag::frontend;

/// Appends `raw`, a `Parse`, `Bind`, `Describe` or `Close` (or its beginning), with the statement named `name`. Nothing is
/// appended when that cannot be.
///
/// # Errors
/// [`FrameError::Body`] when its names are not whole, [`FrameError::Length`] when it would be too long.
pub fn statement(tag: u8, raw: &[u8], name: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let missing = FrameError::Body { field: "statement name" };
    let Some((&[_, a, b, c, d], body)) = raw.split_first_chunk::<HEADER_BYTES>() else { return Err(missing) };
    let mut fields = Fields::of(body);
    match tag {
        frontend::BIND => drop(fields.cstr("portal name")?),
        frontend::DESCRIBE | frontend::CLOSE => drop(fields.u8("kind")?),
        _ => {}
    }
    let before = body.len().saturating_sub(fields.rest().len());
    let former = fields.cstr("statement name")?;
    // The terminator goes along with what is behind.
    let behind = before.saturating_add(former.len());
    let length = resized(u32::from_be_bytes([a, b, c, d]), former.len(), name.len());
    let length =
        length.map_err(|length| FrameError::Length { tag, length, limit_bytes: MESSAGE_BYTES_MAX })?;
    let (Some(before), Some(behind)) = (body.get(..before), body.get(behind..)) else { return Err(missing) };
    out.push(tag);
    out.extend(length.to_be_bytes());
    for part in [before, name, behind] {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// A length with `more` bytes instead of `less` of them, or the length that is no good.
fn resized(length: u32, less: usize, more: usize) -> Result<u32, u32> {
    let (less, more) = (u32::try_from(less).unwrap_or(u32::MAX), u32::try_from(more).unwrap_or(u32::MAX));
    let shorter = length.checked_sub(less).ok_or(length)?;
    let resized = shorter.saturating_add(more);
    if (4..=MESSAGE_BYTES_MAX).contains(&resized) { Ok(resized) } else { Err(resized) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::frontend::names_are_whole;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut raw = vec![tag];
        raw.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        raw.extend(body);
        raw
    }

    #[test]
    fn only_the_name_and_the_length_change() {
        for (tag, before, after) in [
            (b'P', &b"s1\0SELECT 1\0\0\0"[..], &b"_ov_7\0SELECT 1\0\0\0"[..]),
            (b'B', b"p\0s1\0\0\0rest", b"p\0_ov_7\0\0\0rest"),
            (b'D', b"Ss1\0", b"S_ov_7\0"),
            (b'C', b"Ss1\0", b"S_ov_7\0"),
        ] {
            let mut out = b"before".to_vec();
            statement(tag, &message(tag, before), b"_ov_7", &mut out).unwrap();
            assert_eq!(out, [b"before", &*message(tag, after)].concat());
        }
    }

    #[test]
    fn the_beginning_of_a_large_message_gets_the_length_of_the_whole() {
        let mut out = Vec::new();
        statement(b'B', b"B\x00\x10\x00\x00p\0long\0\0", b"s", &mut out).unwrap();
        assert_eq!(out, b"B\x00\x0f\xff\xfdp\0s\0\0");
    }

    #[test]
    fn a_message_that_would_be_too_long_is_refused() {
        let with_length = |length: u32| [&b"P"[..], &length.to_be_bytes(), b"s\0SELECT"].concat();
        let mut out = Vec::new();
        for (length, expected) in [
            (MESSAGE_BYTES_MAX - 1, Ok(())),
            (MESSAGE_BYTES_MAX, Err(MESSAGE_BYTES_MAX + 1)),
            (u32::MAX, Err(u32::MAX)),
            (4, Ok(())),
            (2, Err(3)),
            (0, Err(0)),
        ] {
            let limit_bytes = MESSAGE_BYTES_MAX;
            let expected = expected.map_err(|length| FrameError::Length { tag: b'P', length, limit_bytes });
            out.clear();
            assert_eq!(statement(b'P', &with_length(length), b"_7", &mut out), expected, "{length}");
            assert_eq!(out.is_empty(), expected.is_err());
        }
    }

    proptest! {
        #[test]
        fn what_is_renamed_back_is_what_it_was(
            body in prop::collection::vec(0_u8..4, 0..40),
            name in prop::collection::vec(1_u8.., 0..70),
            tag in prop::sample::select(b"PBDC".to_vec()),
            cut in 0..50_usize,
        ) {
            let whole = message(tag, &body);
            // The beginning of a message is as good as all of it.
            let raw = &whole[..whole.len().saturating_sub(cut / 2).max(5)];
            let mut out = Vec::new();
            let renamed = statement(tag, raw, &name, &mut out);
            prop_assert_eq!(renamed.is_ok(), names_are_whole(tag, &raw[5..]));
            if renamed.is_err() {
                prop_assert!(out.is_empty());
                return Ok(());
            }
            let mut back = Vec::new();
            statement(tag, &out, &name_of(tag, &raw[5..]), &mut back).unwrap();
            prop_assert_eq!(&back, raw);
            prop_assert_eq!(name_of(tag, &out[5..]), name);
        }
    }

    fn name_of(tag: u8, body: &[u8]) -> Vec<u8> {
        use crate::protocol::frontend::{Bind, Parse};
        match tag {
            b'P' => Parse::read(body).name.to_vec(),
            b'B' => Bind::read(body).statement.to_vec(),
            _ => body[1..].split(|&byte| byte == 0).next().unwrap().to_vec(),
        }
    }
}
