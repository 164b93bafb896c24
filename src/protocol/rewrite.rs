//! A client's message with another statement name in it.
//!
//! What always holds: only the name and the length change; a message that would grow beyond what a message may be is
//! refused, its length never wraps; the beginning of a large message is enough, as long as its names are whole.
//!
//! Source: protocol-message-formats

use super::frame::{FrameError, HEADER_BYTES, MESSAGE_BYTES_MAX};
use super::tag::frontend;

/// Appends `raw`, a `Parse`, `Bind`, `Describe` or `Close` (or its beginning), with the statement named `name`.
///
/// # Errors
/// [`FrameError::Body`] when its names are not whole, [`FrameError::Length`] when it would be too long.
pub fn statement(tag: u8, raw: &[u8], name: &[u8], out: &mut Vec<u8>) -> Result<(), FrameError> {
    let missing = FrameError::Body { field: "name" };
    let body = raw.get(HEADER_BYTES..).ok_or(missing)?;
    let before = match tag {
        frontend::BIND => body.iter().position(|&byte| byte == 0).ok_or(missing)?.saturating_add(1),
        frontend::DESCRIBE | frontend::CLOSE => 1,
        _ => 0,
    };
    let (head, rest) = body.split_at_checked(before).ok_or(missing)?;
    let end = rest.iter().position(|&byte| byte == 0).ok_or(missing)?;
    let (former, behind) = rest.split_at_checked(end).ok_or(missing)?;
    let length = raw.get(1..).and_then(|rest| rest.first_chunk::<4>()).copied().map(u32::from_be_bytes);
    let length = length.ok_or(missing)?;
    let (less, more) = (u32::try_from(former.len()), u32::try_from(name.len()));
    let length = less.ok().and_then(|less| length.checked_sub(less)).zip(more.ok());
    let length = length.and_then(|(length, more)| length.checked_add(more));
    let length = length.filter(|length| *length <= MESSAGE_BYTES_MAX).ok_or(missing)?;
    out.push(tag);
    out.extend(length.to_be_bytes());
    for part in [head, name, behind] {
        out.extend_from_slice(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let mut out = Vec::new();
            statement(tag, &message(tag, before), b"_ov_7", &mut out).unwrap();
            assert_eq!(out, message(tag, after));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_body_is_taken_or_refused(body in proptest::collection::vec(0_u8..4, 0..40), tag in 0_usize..4) {
            let tag = [b'P', b'B', b'D', b'C'][tag];
            let mut out = Vec::new();
            let _ = statement(tag, &message(tag, &body), b"name", &mut out);
        }
    }
}
