//! Walks a stream of messages in place, as its bytes arrive.
//!
//! What always holds: however a stream is cut, the same messages come out and no byte is lost or doubled;
//! nothing is copied; a message is handed out whole when it is small, and piece by piece when it is large or
//! need not be looked into.

use super::frame::{self, Frame, FrameError};

/// A large message is shown once so many of its bytes are there: two names fit in easily, although a server counts
/// no more than 63 bytes of each.
pub const HEAD_BYTES_MIN: usize = 4096;

/// What comes next in the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole message.
    Whole(Frame<'a>),
    /// A large message begins: its type, its whole size in bytes, and its first bytes, header included. Unless
    /// its type is skimmed there are at least [`HEAD_BYTES_MIN`] of them, enough for the names it begins with.
    Head {
        /// The message's type.
        tag: u8,
        /// Its whole size in bytes, header included.
        total_bytes: usize,
        /// What is there of it.
        part: &'a [u8],
    },
    /// A large message goes on.
    Part {
        /// The message's type.
        tag: u8,
        /// What is there of it.
        part: &'a [u8],
        /// Whether it ends here.
        last: bool,
    },
    /// What is left is the beginning of a small message: it must be kept and shown again with more behind it.
    Hold,
}

/// Where in the stream we are: between messages or inside a large one.
#[derive(Debug, Clone, Copy)]
pub struct Walker {
    tag: u8,
    remaining_bytes: usize,
    limit_bytes: u32,
    whole_bytes_max: usize,
}

impl Walker {
    /// Messages up to `whole_bytes_max` bytes are handed out whole; none may be longer than `limit_bytes`.
    #[must_use]
    pub const fn new(limit_bytes: u32, whole_bytes_max: usize) -> Self {
        Self { tag: 0, remaining_bytes: 0, limit_bytes, whole_bytes_max }
    }

    /// Whether the stream stands between two messages.
    #[must_use]
    pub const fn is_between(&self) -> bool {
        self.remaining_bytes == 0
    }

    /// Takes one step: what it is, and the bytes behind it. `skim` names types that need not be whole.
    ///
    /// # Errors
    /// [`FrameError::Length`]: the stream cannot be followed any further.
    pub fn step<'a>(
        &mut self,
        buf: &'a [u8],
        skim: impl FnOnce(u8) -> bool,
    ) -> Result<(Step<'a>, &'a [u8]), FrameError> {
        if self.remaining_bytes > 0 {
            let (part, rest) = buf.split_at_checked(self.remaining_bytes).unwrap_or((buf, &[]));
            self.remaining_bytes = self.remaining_bytes.saturating_sub(part.len());
            return Ok((Step::Part { tag: self.tag, part, last: self.remaining_bytes == 0 }, rest));
        }
        let Some((tag, total_bytes)) = frame::header(buf, self.limit_bytes)? else {
            return Ok((Step::Hold, buf));
        };
        if let Some((raw, rest)) = buf.split_at_checked(total_bytes) {
            return Ok((Step::Whole(Frame { tag, raw }), rest));
        }
        if !skim(tag) && (total_bytes <= self.whole_bytes_max || buf.len() < HEAD_BYTES_MIN) {
            return Ok((Step::Hold, buf));
        }
        self.tag = tag;
        self.remaining_bytes = total_bytes.saturating_sub(buf.len());
        Ok((Step::Head { tag, total_bytes, part: buf }, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every message with its bytes, from a stream cut into `cuts`.
    fn messages(stream: &[u8], cuts: &[usize], whole_bytes_max: usize) -> (Vec<(u8, Vec<u8>)>, usize) {
        let mut walker = Walker::new(1 << 20, whole_bytes_max);
        let (mut found, mut carry, mut at) = (Vec::new(), Vec::new(), 0);
        let mut cuts = cuts.iter().copied().chain(std::iter::once(usize::MAX));
        while at < stream.len() {
            let end = at.saturating_add(cuts.next().unwrap_or(usize::MAX).max(1)).min(stream.len());
            carry.extend_from_slice(&stream[at..end]);
            at = end;
            let buf = std::mem::take(&mut carry);
            let mut rest = &buf[..];
            while !rest.is_empty() {
                let (step, behind) = walker.step(rest, |tag| tag == b'd').unwrap();
                match step {
                    Step::Whole(frame) => found.push((frame.tag, frame.raw.to_vec())),
                    Step::Head { tag, part, .. } => found.push((tag, part.to_vec())),
                    Step::Part { part, .. } => found.last_mut().unwrap().1.extend_from_slice(part),
                    Step::Hold => break,
                }
                rest = behind;
            }
            carry = rest.to_vec();
        }
        (found, carry.len())
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_the_same_messages_come_out(
            bodies in prop::collection::vec((prop::sample::select(vec![b'Q', b'd', b'D', b'S']), 0_usize..300), 1..20),
            cuts in prop::collection::vec(1_usize..80, 0..200),
            whole_bytes_max in 5_usize..200,
        ) {
            let mut stream = Vec::new();
            let mut expected = Vec::new();
            for (number, (tag, size)) in bodies.iter().enumerate() {
                let start = stream.len();
                stream.push(*tag);
                stream.extend(u32::try_from(size + 4).unwrap().to_be_bytes());
                stream.extend(std::iter::repeat_n(u8::try_from(number).unwrap(), *size));
                expected.push((*tag, stream[start..].to_vec()));
            }
            prop_assert_eq!(messages(&stream, &[], whole_bytes_max), (expected.clone(), 0));
            prop_assert_eq!(messages(&stream, &cuts, whole_bytes_max), (expected, 0));
        }

        #[test]
        fn hostile_bytes_never_panic_and_never_vanish(stream in prop::collection::vec(any::<u8>(), 0..400)) {
            let mut walker = Walker::new(1 << 20, 64);
            let (mut rest, mut seen) = (&stream[..], 0);
            while !rest.is_empty() {
                match walker.step(rest, |_| false) {
                    Ok((Step::Hold, _)) | Err(_) => break,
                    Ok((step, behind)) => {
                        seen += match step {
                            Step::Whole(frame) => frame.raw.len(),
                            Step::Head { part, .. } | Step::Part { part, .. } => part.len(),
                            Step::Hold => 0,
                        };
                        rest = behind;
                    }
                }
            }
            prop_assert_eq!(seen + rest.len(), stream.len());
        }
    }
}
