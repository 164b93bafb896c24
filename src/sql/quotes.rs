//! The scanner's ways through strings, quoted identifiers and dollar quotes.

use super::cursor::Cursor;
use super::lexer::{Lexer, State};
use super::token::{Kind, Token, begins_word, is_in_tag, is_newline, is_space};

/// A dollar quote with a longer tag cannot be followed.
const TAG_BYTES_MAX: usize = 1024;

/// The string under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Quote {
    pub(super) kind: Kind,
    /// A backslash takes the meaning from the byte behind it.
    pub(super) escapes: bool,
}

/// What stands behind a string, which goes on if a newline and then a quote come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gap {
    Space {
        newline: bool,
    },
    /// Behind a `-` that may begin a comment.
    Dash {
        newline: bool,
    },
    Comment,
}

/// The tag of the dollar quote under way, without its `$`s.
#[derive(Debug)]
pub(super) struct Tag(Vec<u8>);

impl Tag {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }
}

impl Lexer {
    pub(super) const fn plain(&self) -> Quote {
        Quote { kind: if self.escapes { Kind::Escaped } else { Kind::String }, escapes: self.escapes }
    }

    #[inline]
    pub(super) fn string(&mut self, quote: Quote, cursor: &mut Cursor<'_>) {
        if quote.escapes {
            cursor.skip(|byte| !matches!(byte, b'\'' | b'\\'));
        } else {
            cursor.skip(|byte| byte != b'\'');
        }
        let Some(byte) = cursor.peek() else { return };
        cursor.advance();
        self.state = if byte == b'\'' { State::Quote(quote) } else { State::Backslash(quote) };
    }

    #[inline]
    pub(super) fn quote(&mut self, quote: Quote, cursor: &mut Cursor<'_>) {
        if cursor.peek() == Some(b'\'') {
            cursor.advance();
            self.state = State::String(quote);
        } else {
            self.end = self.bytes(cursor);
            self.state = State::Gap(quote, Gap::Space { newline: false });
        }
    }

    #[inline]
    pub(super) fn gap(
        &mut self,
        quote: Quote,
        gap: Gap,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        let Some(byte) = cursor.peek() else { return };
        let next = match (gap, byte) {
            (Gap::Comment, _) if !is_newline(byte) => {
                cursor.skip(|byte| !is_newline(byte));
                return;
            }
            (Gap::Comment | Gap::Space { .. }, _) if is_newline(byte) => Gap::Space { newline: true },
            (Gap::Space { newline }, _) if is_space(byte) => Gap::Space { newline },
            (Gap::Space { newline }, b'-') => Gap::Dash { newline },
            (Gap::Dash { .. }, b'-') => Gap::Comment,
            (Gap::Space { newline: true }, b'\'') => {
                cursor.advance();
                self.state = State::String(quote);
                return;
            }
            (Gap::Space { .. } | Gap::Comment, _) => return self.end_string(quote, cursor, sink),
            (Gap::Dash { .. }, _) => {
                let here = !cursor.passed().is_empty();
                self.end_string(quote, cursor, sink);
                self.begin_with(b"-", here, cursor);
                self.state = State::Operator(b'-');
                return;
            }
        };
        cursor.advance();
        self.state = State::Gap(quote, next);
    }

    pub(super) fn end_string(
        &mut self,
        quote: Quote,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        self.emit_first(self.end, quote.kind, cursor, sink);
    }

    pub(super) fn identifier(&mut self, kind: Kind, cursor: &mut Cursor<'_>) {
        cursor.skip(|byte| byte != b'"');
        if cursor.peek().is_some() {
            cursor.advance();
            self.state = State::IdentifierQuote(kind);
        }
    }

    pub(super) fn identifier_quote(
        &mut self,
        kind: Kind,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        if cursor.peek() == Some(b'"') {
            cursor.advance();
            self.state = State::Identifier(kind);
        } else {
            self.emit(kind, cursor, sink);
        }
    }

    pub(super) fn dollar(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        match cursor.peek() {
            Some(b'0'..=b'9') => self.state = State::Parameter,
            Some(b'$') => {
                cursor.advance();
                self.tag.0.clear();
                self.state = State::DollarBody(None);
            }
            Some(byte) if begins_word(byte) => self.state = State::DollarTag,
            _ => self.emit(Kind::Junk, cursor, sink),
        }
    }

    pub(super) fn dollar_tag(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        cursor.skip(is_in_tag);
        let Some(byte) = cursor.peek() else { return };
        if byte != b'$' {
            // The server knows no statement with a `$` alone.
            return self.emit(Kind::Junk, cursor, sink);
        }
        let bytes = self.bytes(cursor);
        if bytes > TAG_BYTES_MAX {
            self.emit_first(0, Kind::Lost, cursor, sink);
            self.state = State::Lost;
            return;
        }
        let tag: Vec<u8> = self.text(bytes, cursor).0.iter().skip(1).copied().collect();
        cursor.advance();
        self.tag.0 = tag;
        self.state = State::DollarBody(None);
    }

    pub(super) fn dollar_body(
        &mut self,
        found: Option<usize>,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        let Some(found) = found else {
            cursor.skip(|byte| byte != b'$');
            if cursor.peek().is_some() {
                cursor.advance();
                self.state = State::DollarBody(Some(0));
            }
            return;
        };
        let Some(byte) = cursor.peek() else { return };
        cursor.advance();
        if byte == b'$' && found == self.tag.0.len() {
            return self.emit(Kind::Dollar, cursor, sink);
        }
        // A `$` that ends no tag may begin one.
        let next = if byte == b'$' { Some(0) } else { found.checked_add(1) };
        self.state = State::DollarBody(next.filter(|_| byte == b'$' || self.tag.0.get(found) == Some(&byte)));
    }
}
