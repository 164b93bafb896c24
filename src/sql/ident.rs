//! An identifier as the server compares it.

use super::token::{Kind, Token};

/// `NAMEDATALEN` less its terminator: the server cuts longer identifiers.
pub const IDENT_BYTES_MAX: usize = 63;

/// An identifier's value: without quotes, an unquoted one in lower case, cut where the server cuts it.
#[derive(Debug, Clone, Copy)]
pub struct Ident {
    length: u8,
    bytes: [u8; IDENT_BYTES_MAX],
}

impl Default for Ident {
    fn default() -> Self {
        Self { length: 0, bytes: [0; IDENT_BYTES_MAX] }
    }
}

impl Ident {
    /// The value of a word or quoted identifier. Escapes of `U&".."` are left as they stand.
    #[must_use]
    pub fn of(token: &Token<'_>) -> Self {
        let mut ident = Self::default();
        ident.set(token);
        ident
    }

    /// Becomes the value of a word or quoted identifier.
    #[inline]
    pub fn set(&mut self, token: &Token<'_>) {
        if token.kind == Kind::Word {
            for (to, from) in self.bytes.iter_mut().zip(token.text) {
                *to = from.to_ascii_lowercase();
            }
            self.cut(token.text.len(), token.text.get(IDENT_BYTES_MAX));
        } else {
            self.set_quoted(token);
        }
    }

    fn set_quoted(&mut self, token: &Token<'_>) {
        let text = token.text;
        let text = if token.kind == Kind::QuotedUnicode { text.get(2..).unwrap_or_default() } else { text };
        let text = text.strip_prefix(b"\"").unwrap_or(text);
        let text = if token.too_long { text } else { text.strip_suffix(b"\"").unwrap_or(text) };
        let mut second = false; // of two quotes, which stand for one
        let mut value = text.iter().filter(|byte| {
            second = **byte == b'"' && !second;
            !second
        });
        let mut length = 0_usize;
        for (to, from) in self.bytes.iter_mut().zip(value.by_ref()) {
            *to = *from;
            length = length.saturating_add(1);
        }
        let next = value.next();
        self.cut(length.saturating_add(usize::from(next.is_some())), next);
    }

    /// `next` is the first byte that has no room; the cut is never inside a character of UTF-8.
    #[inline]
    fn cut(&mut self, length: usize, next: Option<&u8>) {
        let mut kept = length.min(IDENT_BYTES_MAX);
        let mut next = next.copied();
        while next.is_some_and(|byte| byte & 0xc0 == 0x80) && kept > 0 {
            kept = kept.saturating_sub(1);
            next = self.bytes.get(kept).copied();
        }
        self.length = u8::try_from(kept).unwrap_or_default();
    }

    /// Its bytes.
    #[must_use]
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether it is this.
    #[must_use]
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        self.as_bytes() == name.as_bytes()
    }
}
