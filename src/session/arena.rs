//! Bytes that live until the requests they belong to are answered.
//!
//! What always holds: a span stays valid until everything before and including it is released; nothing is
//! allocated per request, because the bytes of all requests under way share one buffer.

/// Where some bytes lie. A span whose bytes were released reads as empty.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    at: u64,
    bytes: usize,
}

/// The bytes of the requests under way.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    bytes: Vec<u8>,
    /// The position of the first byte of `bytes` since the session began.
    base: u64,
}

/// Released bytes are taken out of the buffer once there are so many.
const COMPACT_BYTES: usize = 64 << 10;

impl Arena {
    /// Keeps a copy of `bytes`.
    pub(crate) fn keep(&mut self, bytes: &[u8]) -> Span {
        let span = Span { at: self.end(), bytes: bytes.len() };
        self.bytes.extend_from_slice(bytes);
        span
    }

    /// Where what is kept next will begin.
    pub(crate) fn mark(&self) -> Span {
        Span { at: self.end(), bytes: 0 }
    }

    /// Keeps the bytes of a span once more.
    pub(crate) fn keep_again(&mut self, span: Span) {
        let start = span.at.checked_sub(self.base).and_then(|start| usize::try_from(start).ok());
        let Some(start) = start.filter(|_| self.has(span)) else { return };
        self.bytes.extend_from_within(start..start.saturating_add(span.bytes));
    }

    /// All that was kept since a mark.
    pub(crate) fn since(&self, mark: Span) -> Span {
        Span { at: mark.at, bytes: usize::try_from(self.end().saturating_sub(mark.at)).unwrap_or_default() }
    }

    /// Whether the bytes of a span were not released.
    pub(crate) fn has(&self, span: Span) -> bool {
        let end = span.at.saturating_add(u64::try_from(span.bytes).unwrap_or(u64::MAX));
        span.at >= self.base && end <= self.end()
    }

    /// The bytes of a span.
    pub(crate) fn get(&self, span: Span) -> &[u8] {
        let start = span.at.checked_sub(self.base).and_then(|start| usize::try_from(start).ok());
        start.and_then(|start| self.bytes.get(start..start.saturating_add(span.bytes))).unwrap_or_default()
    }

    /// Everything before `span` is no longer needed.
    pub(crate) fn release_before(&mut self, span: Span) {
        let Some(released) = span.at.checked_sub(self.base).and_then(|bytes| usize::try_from(bytes).ok())
        else {
            return;
        };
        if released >= COMPACT_BYTES && released <= self.bytes.len() {
            self.bytes.drain(..released);
            self.base = span.at;
        }
    }

    /// How many bytes are kept from a span on, or in all.
    pub(crate) fn bytes_since(&self, span: Option<Span>) -> u64 {
        self.end().saturating_sub(span.map_or(self.base, |span| span.at))
    }

    /// Whether so much is kept that it is worth asking what can be released.
    pub(crate) fn is_large(&self) -> bool {
        self.bytes.len() >= COMPACT_BYTES
    }

    /// Nothing is needed any more; a large buffer is given back.
    pub(crate) fn clear(&mut self) {
        self.base = self.end();
        self.bytes.clear();
        if self.bytes.capacity() > 1 << 10 {
            self.bytes = Vec::new();
        }
    }

    fn end(&self) -> u64 {
        self.base.saturating_add(u64::try_from(self.bytes.len()).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_outlives_what_was_released_before_it() {
        let mut arena = Arena::default();
        let big = arena.keep(&vec![1; COMPACT_BYTES]);
        let small = arena.keep(b"abc");
        arena.release_before(small);
        assert_eq!((arena.get(big), arena.get(small)), (&b""[..], &b"abc"[..]));
        arena.clear();
        assert_eq!(arena.get(small), b"");
        let next = arena.keep(b"x");
        assert_eq!((arena.get(next), arena.get(small)), (&b"x"[..], &b""[..]));
    }
}
