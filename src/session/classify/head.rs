//! The tokens of a statement that is understood at its end.

use crate::sql::{Ident, Kind, Token};

/// No statement that is understood at its end needs more tokens.
const TOKENS_MAX: usize = 128;
/// Nor more bytes: a setting's value is the longest.
const BYTES_MAX: usize = 16 * 1024;

/// The first tokens of a statement, with their bytes.
#[derive(Debug, Default)]
pub(super) struct Head {
    bytes: Vec<u8>,
    /// Each token's kind, and where its bytes end.
    tokens: Vec<(Kind, usize)>,
    /// There were more of them, or one was too long.
    pub(super) cut: bool,
}

impl Head {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.tokens.clear();
        self.cut = false;
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        let bytes = self.bytes.len().saturating_add(token.text.len());
        if self.cut || token.too_long || self.tokens.len() >= TOKENS_MAX || bytes > BYTES_MAX {
            self.cut = true;
            return;
        }
        self.bytes.extend_from_slice(token.text);
        self.tokens.push((token.kind, bytes));
    }

    pub(super) fn len(&self) -> usize {
        self.tokens.len()
    }

    pub(super) fn token(&self, at: usize) -> Option<Token<'_>> {
        let (kind, end) = *self.tokens.get(at)?;
        let start = at.checked_sub(1).and_then(|before| self.tokens.get(before)).map_or(0, |(_, end)| *end);
        Some(Token {
            kind,
            text: self.bytes.get(start..end)?,
            too_long: false,
            at: start,
            bytes: end.saturating_sub(start),
        })
    }

    /// The tokens from one on.
    pub(super) fn from(&self, at: usize) -> impl Iterator<Item = Token<'_>> {
        (at..self.len()).filter_map(|at| self.token(at))
    }

    pub(super) fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|(kind, _)| *kind)
    }

    /// The word at a place, in lower case; empty if there is none or it has quotes.
    pub(super) fn word(&self, at: usize) -> Ident {
        self.token(at)
            .filter(|token| token.kind == Kind::Word)
            .map(|token| Ident::of(&token))
            .unwrap_or_default()
    }

    /// The identifier at a place, with or without quotes.
    pub(super) fn ident(&self, at: usize) -> Option<Ident> {
        let token = self.token(at)?;
        matches!(token.kind, Kind::Word | Kind::Quoted | Kind::QuotedUnicode).then(|| Ident::of(&token))
    }

    /// Whether the token there is this operator.
    pub(super) fn is_operator(&self, at: usize, operator: &[u8]) -> bool {
        self.token(at).is_some_and(|token| token.kind == Kind::Operator && token.text == operator)
    }

    /// The tokens from one on, a blank between two.
    pub(super) fn tail(&self, at: usize) -> Box<[u8]> {
        let texts: Vec<&[u8]> = self.from(at).map(|token| token.text).collect();
        texts.join(&b' ').into()
    }
}

/// What stands in a string literal without escapes: `'it''s'` is `it's`.
pub(super) fn literal(token: &Token<'_>) -> Option<Box<[u8]>> {
    let inner = token.text;
    let is_plain = match token.kind {
        Kind::String => inner.first() == Some(&b'\''),
        Kind::Escaped => !inner.contains(&b'\\'),
        Kind::Word
        | Kind::Quoted
        | Kind::QuotedUnicode
        | Kind::StringUnicode
        | Kind::Bits
        | Kind::Dollar
        | Kind::Number
        | Kind::Parameter
        | Kind::Operator
        | Kind::Symbol(_)
        | Kind::Junk
        | Kind::Lost => false,
    };
    if !is_plain || token.too_long {
        return None;
    }
    let inner = inner.strip_prefix(b"E").or(inner.strip_prefix(b"e")).unwrap_or(inner);
    let inner = inner.strip_prefix(b"'")?.strip_suffix(b"'")?;
    // A quote inside is one of two, or the literal has parts.
    (!inner.contains(&b'\'')).then(|| inner.into())
}
