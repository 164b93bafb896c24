//! A long text in pieces.

use super::PART_BYTES_MAX;

/// The pieces of a text, each at most [`PART_BYTES_MAX`] long; UTF-8 is not cut within a character.
pub(super) struct Cut<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for Cut<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let is_inside = |at: usize| self.0.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        let end = PART_BYTES_MAX.min(self.0.len());
        let end = (end.saturating_sub(3)..=end).rev().find(|at| !is_inside(*at)).unwrap_or(end);
        let (piece, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some(piece)
    }
}
