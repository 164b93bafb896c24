//! A place in one piece of a text.

/// Where reading stands in a piece, and where the token under way began in it.
pub(super) struct Cursor<'a> {
    piece: &'a [u8],
    at: usize,
    start: usize,
}

impl<'a> Cursor<'a> {
    pub(super) const fn new(piece: &'a [u8]) -> Self {
        Self { piece, at: 0, start: 0 }
    }

    /// The bytes that are still to come.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.piece.get(self.at..).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.piece.get(self.at).copied()
    }

    #[inline]
    pub(super) const fn advance(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    /// Goes on behind all bytes of one sort.
    #[inline]
    pub(super) fn skip(&mut self, sort: impl Fn(u8) -> bool) {
        let rest = self.rest();
        let bytes = rest.iter().position(|byte| !sort(*byte)).unwrap_or(rest.len());
        self.at = self.at.saturating_add(bytes);
    }

    /// A token begins here.
    #[inline]
    pub(super) const fn begin(&mut self) {
        self.start = self.at;
    }

    /// A token begins so many bytes before this place.
    pub(super) const fn begin_back(&mut self, bytes: usize) {
        self.start = self.at.saturating_sub(bytes);
    }

    /// Where the token began in this piece.
    #[inline]
    pub(super) const fn start(&self) -> usize {
        self.start
    }

    /// The token's part in this piece, as far as it was passed.
    #[inline]
    pub(super) fn passed(&self) -> &'a [u8] {
        self.piece.get(self.start..self.at).unwrap_or_default()
    }
}
