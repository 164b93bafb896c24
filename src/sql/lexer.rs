//! The scanner: pieces of a text in, tokens out.
//!
//! It is a machine whose state is what it stands in between two bytes. A token that ends in the piece it began in is
//! handed out as a slice of it; the beginning of one that does not is carried to the next piece, up to a limit.

use super::cursor::Cursor;
use super::quotes::{Gap, Quote, Tag};
use super::token::{Kind, Token, begins_word, is_in_word, is_newline, is_operator, is_space, is_special};

/// As much of one token is kept; longer ones are handed out cut and said to be too long.
pub const KEPT_BYTES_MAX: usize = 16 * 1024;

/// What the scanner stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Between,
    Word,
    /// Behind `u&`: a quote makes it a prefix.
    Unicode,
    Number(Number),
    Parameter,
    /// Behind a `.` that no number was before.
    Dot,
    Colon,
    /// Holds the last byte.
    Operator(u8),
    LineComment,
    /// Comments nest. Holds the last byte where it matters.
    BlockComment {
        depth: usize,
        last: u8,
    },
    String(Quote),
    /// Behind a backslash.
    Backslash(Quote),
    /// Behind a quote, which ends the string or is the first of two.
    Quote(Quote),
    /// Behind a string, which goes on if a newline and a quote come next.
    Gap(Quote, Gap),
    Identifier(Kind),
    IdentifierQuote(Kind),
    /// Behind the `$` of a parameter or dollar quote.
    Dollar,
    /// In the tag that a dollar quote begins with.
    DollarTag,
    /// In a dollar quote; so many bytes of its tag were found behind a `$`.
    DollarBody(Option<usize>),
    /// Behind a token that cannot be followed.
    Lost,
}

/// How far a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Whole,
    /// Behind `0x`, `0o` or `0b`, which needs a digit. Holds the letter.
    Radix(u8),
    /// In the digits of that.
    RadixDigits,
    /// Behind the `.`, which may be the first of `..`.
    Dot,
    Fraction,
    /// Behind an `e`, which needs digits. Holds it.
    E(u8),
    /// Behind an `e` and its sign. Holds both.
    Sign(u8, u8),
    Exponent,
}

/// Reads one text.
#[derive(Debug)]
pub struct Lexer {
    /// `standard_conforming_strings` is off.
    pub(super) escapes: bool,
    pub(super) state: State,
    /// The first bytes of the token under way, from pieces before this one.
    carry: Vec<u8>,
    /// How many bytes of it came in them.
    carried: usize,
    /// How many bytes all pieces before this one had.
    before: usize,
    /// Bytes of the string under way up to its last quote.
    pub(super) end: usize,
    pub(super) tag: Tag,
}

impl Lexer {
    /// A scanner at the beginning of a text.
    #[must_use]
    pub const fn new(standard_conforming_strings: bool) -> Self {
        Self {
            escapes: !standard_conforming_strings,
            state: State::Between,
            carry: Vec::new(),
            carried: 0,
            before: 0,
            end: 0,
            tag: Tag::new(),
        }
    }

    /// Reads a piece, and tells `sink` of each token that ends in it.
    #[inline]
    pub fn feed(&mut self, piece: &[u8], sink: &mut impl FnMut(Token<'_>)) {
        let mut cursor = Cursor::new(piece);
        while cursor.peek().is_some() {
            self.step(&mut cursor, sink);
        }
        if !matches!(
            self.state,
            State::Between | State::LineComment | State::BlockComment { .. } | State::Lost
        ) {
            self.carry_on(&mut cursor);
        }
        self.before = self.before.saturating_add(piece.len());
    }

    /// The text is over. False if it ended inside a quote or comment, so that the server refuses it.
    #[must_use]
    pub fn finish(&mut self, sink: &mut impl FnMut(Token<'_>)) -> bool {
        let mut cursor = Cursor::new(&[]);
        match self.state {
            State::Between | State::LineComment | State::Lost => {}
            State::Word => self.emit(Kind::Word, &mut cursor, sink),
            State::Parameter => self.emit(Kind::Parameter, &mut cursor, sink),
            State::Dot => self.emit(Kind::Symbol(b'.'), &mut cursor, sink),
            State::Colon => self.emit(Kind::Symbol(b':'), &mut cursor, sink),
            State::Dollar | State::DollarTag => self.emit(Kind::Junk, &mut cursor, sink),
            State::Operator(_) => self.operator(0, &mut cursor, sink),
            State::IdentifierQuote(kind) => self.emit(kind, &mut cursor, sink),
            State::Unicode => {
                self.split(Kind::Word, b"&", &mut cursor, sink);
                self.operator(0, &mut cursor, sink);
            }
            State::Number(Number::Radix(letter) | Number::E(letter)) => {
                self.split(Kind::Number, &[letter], &mut cursor, sink);
                self.emit(Kind::Word, &mut cursor, sink);
            }
            State::Number(Number::Sign(letter, sign)) => {
                self.split(Kind::Number, &[letter, sign], &mut cursor, sink);
                self.split(Kind::Word, &[sign], &mut cursor, sink);
                self.operator(0, &mut cursor, sink);
            }
            State::Number(_) => self.emit(Kind::Number, &mut cursor, sink),
            State::Quote(quote) => self.emit(quote.kind, &mut cursor, sink),
            State::Gap(quote, gap) => {
                self.end_string(quote, &mut cursor, sink);
                if matches!(gap, Gap::Dash { .. }) {
                    let at = self.before.saturating_sub(1);
                    sink(Token { kind: Kind::Operator, text: b"-", too_long: false, at, bytes: 1 });
                }
            }
            State::BlockComment { .. }
            | State::String(_)
            | State::Backslash(_)
            | State::Identifier(_)
            | State::DollarBody(_) => return false,
        }
        self.state = State::Between;
        true
    }

    #[inline]
    fn step(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        match self.state {
            State::Between => self.between(cursor, sink),
            State::Word => self.word(cursor, sink),
            State::Operator(last) => self.in_operator(last, cursor, sink),
            State::Number(number) => self.number(number, cursor, sink),
            State::String(quote) => self.string(quote, cursor),
            State::Backslash(quote) => {
                cursor.advance();
                self.state = State::String(quote);
            }
            State::Quote(quote) => self.quote(quote, cursor),
            State::Gap(quote, gap) => self.gap(quote, gap, cursor, sink),
            State::Identifier(kind) => self.identifier(kind, cursor),
            State::IdentifierQuote(kind) => self.identifier_quote(kind, cursor, sink),
            State::Unicode => self.unicode(cursor, sink),
            State::Dot | State::Colon => self.doubled(cursor, sink),
            State::Parameter => {
                cursor.skip(|byte| byte.is_ascii_digit());
                if cursor.peek().is_some() {
                    self.emit(Kind::Parameter, cursor, sink);
                }
            }
            State::Dollar => self.dollar(cursor, sink),
            State::DollarTag => self.dollar_tag(cursor, sink),
            State::DollarBody(found) => self.dollar_body(found, cursor, sink),
            State::LineComment => {
                cursor.skip(|byte| !is_newline(byte));
                if cursor.peek().is_some() {
                    self.state = State::Between;
                }
            }
            State::BlockComment { depth, last } => self.block_comment(depth, last, cursor),
            State::Lost => cursor.skip(|_| true),
        }
    }

    #[inline]
    fn between(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        cursor.skip(is_space);
        let Some(byte) = cursor.peek() else { return };
        cursor.begin();
        self.forget();
        if begins_word(byte) {
            self.state = State::Word;
            return self.word(cursor, sink);
        }
        cursor.advance();
        self.state = match byte {
            b'0'..=b'9' => State::Number(Number::Whole),
            b'\'' => State::String(self.plain()),
            b'"' => State::Identifier(Kind::Quoted),
            b'$' => State::Dollar,
            b'.' => State::Dot,
            b':' => State::Colon,
            _ if is_operator(byte) => State::Operator(byte),
            _ => return self.emit(Kind::Symbol(byte), cursor, sink),
        };
    }

    #[inline]
    fn word(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        cursor.skip(is_in_word);
        let Some(next) = cursor.peek() else { return };
        if matches!(next, b'\'' | b'&')
            && let Some(state) = self.prefixed(next, cursor)
        {
            cursor.advance();
            self.state = state;
            return;
        }
        self.emit(Kind::Word, cursor, sink);
    }

    /// What a word of one letter begins that stands right before a quote or `&`.
    fn prefixed(&self, next: u8, cursor: &Cursor<'_>) -> Option<State> {
        if self.bytes(cursor) != 1 {
            return None;
        }
        let letter = self.carry.first().or(cursor.passed().first())?;
        match (letter.to_ascii_lowercase(), next) {
            (b'e', b'\'') => Some(State::String(Quote { kind: Kind::Escaped, escapes: true })),
            (b'b' | b'x', b'\'') => Some(State::String(Quote { kind: Kind::Bits, escapes: false })),
            (b'n', b'\'') => Some(State::String(self.plain())),
            (b'u', b'&') => Some(State::Unicode),
            _ => None,
        }
    }

    fn unicode(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        match cursor.peek() {
            Some(b'\'') => {
                cursor.advance();
                self.state = State::String(Quote { kind: Kind::StringUnicode, escapes: false });
            }
            Some(b'"') => {
                cursor.advance();
                self.state = State::Identifier(Kind::QuotedUnicode);
            }
            _ => {
                self.split(Kind::Word, b"&", cursor, sink);
                self.state = State::Operator(b'&');
            }
        }
    }

    /// `..`, `::`, `:=`, or one of them alone, or a number without a whole part.
    fn doubled(&mut self, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        match (self.state == State::Dot, cursor.peek()) {
            (true, Some(b'.')) | (false, Some(b':' | b'=')) => {
                cursor.advance();
                self.emit(Kind::Operator, cursor, sink);
            }
            (true, Some(b'0'..=b'9')) => self.state = State::Number(Number::Fraction),
            (true, _) => self.emit(Kind::Symbol(b'.'), cursor, sink),
            (false, _) => self.emit(Kind::Symbol(b':'), cursor, sink),
        }
    }

    fn in_operator(&mut self, last: u8, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        let Some(byte) = cursor.peek() else { return };
        if !is_operator(byte) {
            return self.operator(0, cursor, sink);
        }
        cursor.advance();
        let comment = match (last, byte) {
            (b'-', b'-') => State::LineComment,
            (b'/', b'*') => State::BlockComment { depth: 1, last: 0 },
            _ => {
                self.state = State::Operator(byte);
                return;
            }
        };
        self.operator(2, cursor, sink);
        self.state = comment;
    }

    /// Hands out the operator under way without its last `behind` bytes. A `+` or `-` at its end is an operator of its own,
    /// unless the operator has one of the special characters.
    fn operator(&mut self, behind: usize, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        self.state = State::Between;
        let (mut at, bytes) = (self.at(cursor), self.bytes(cursor).saturating_sub(behind));
        let (text, too_long) = self.text(bytes, cursor);
        let signs = if too_long || text.iter().any(|byte| is_special(*byte)) {
            0
        } else {
            text.iter().skip(1).rev().take_while(|byte| matches!(byte, b'+' | b'-')).count()
        };
        let (first, signs) = text.split_at_checked(text.len().saturating_sub(signs)).unwrap_or_default();
        if !first.is_empty() {
            let bytes = bytes.saturating_sub(signs.len());
            sink(Token { kind: Kind::Operator, text: first, too_long, at, bytes });
            at = at.saturating_add(bytes);
        }
        for sign in signs.chunks(1) {
            sink(Token { kind: Kind::Operator, text: sign, too_long: false, at, bytes: 1 });
            at = at.saturating_add(1);
        }
        self.forget();
    }

    fn number(&mut self, number: Number, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        if matches!(number, Number::Whole | Number::Fraction | Number::Exponent) {
            cursor.skip(|byte| byte.is_ascii_digit() || byte == b'_');
        } else if number == Number::RadixDigits {
            cursor.skip(|byte| byte.is_ascii_hexdigit() || byte == b'_');
        }
        let Some(byte) = cursor.peek() else { return };
        let next = match (number, byte) {
            (Number::Whole, b'.') => Number::Dot,
            (Number::Whole, b'x' | b'X' | b'o' | b'O' | b'b' | b'B') if self.is_zero(cursor) => {
                Number::Radix(byte)
            }
            (Number::Whole | Number::Fraction | Number::Dot, b'e' | b'E') => Number::E(byte),
            (Number::Dot, b'0'..=b'9') => Number::Fraction,
            (Number::E(letter), b'+' | b'-') => Number::Sign(letter, byte),
            (Number::E(_) | Number::Sign(..), b'0'..=b'9') => Number::Exponent,
            (Number::Radix(letter), _) if is_digit(byte, letter) => Number::RadixDigits,
            _ => return self.end_number(number, byte, cursor, sink),
        };
        cursor.advance();
        self.state = State::Number(next);
    }

    /// A number ends before `byte`; what was taken for a part of it and is none begins the next token.
    fn end_number(
        &mut self,
        number: Number,
        byte: u8,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        match number {
            Number::Dot if byte == b'.' => {
                self.split(Kind::Number, b".", cursor, sink);
                self.state = State::Dot;
            }
            Number::Radix(letter) | Number::E(letter) => {
                self.split(Kind::Number, &[letter], cursor, sink);
                self.state = State::Word;
            }
            Number::Sign(letter, sign) => {
                self.split(Kind::Number, &[letter, sign], cursor, sink);
                self.split(Kind::Word, &[sign], cursor, sink);
                self.state = State::Operator(sign);
            }
            Number::Whole | Number::RadixDigits | Number::Dot | Number::Fraction | Number::Exponent => {
                self.emit(Kind::Number, cursor, sink);
            }
        }
    }

    fn is_zero(&self, cursor: &Cursor<'_>) -> bool {
        self.bytes(cursor) == 1 && self.carry.first().or(cursor.passed().first()) == Some(&b'0')
    }

    fn block_comment(&mut self, depth: usize, last: u8, cursor: &mut Cursor<'_>) {
        if last == 0 {
            cursor.skip(|byte| !matches!(byte, b'*' | b'/'));
        }
        let Some(byte) = cursor.peek() else { return };
        cursor.advance();
        self.state = match (last, byte) {
            (b'*', b'/') if depth <= 1 => State::Between,
            (b'*', b'/') => State::BlockComment { depth: depth.saturating_sub(1), last: 0 },
            (b'/', b'*') => State::BlockComment { depth: depth.saturating_add(1), last: 0 },
            (_, b'*' | b'/') => State::BlockComment { depth, last: byte },
            _ => State::BlockComment { depth, last: 0 },
        };
    }

    /// Where the token under way begins in the text.
    #[inline]
    fn at(&self, cursor: &Cursor<'_>) -> usize {
        self.before.saturating_add(cursor.start()).saturating_sub(self.carried)
    }

    /// How many bytes the token under way has so far.
    #[inline]
    pub(super) fn bytes(&self, cursor: &Cursor<'_>) -> usize {
        self.carried.saturating_add(cursor.passed().len())
    }

    /// The first `bytes` bytes of the token under way, as far as they are kept, and whether that is not all of them.
    #[inline]
    pub(super) fn text<'a, 'b: 'a>(&'a mut self, bytes: usize, cursor: &mut Cursor<'b>) -> (&'a [u8], bool) {
        let text = if self.carried == 0 {
            cursor.passed()
        } else {
            self.carry_on(cursor);
            &self.carry
        };
        (text.get(..bytes.min(KEPT_BYTES_MAX)).unwrap_or(text), bytes > KEPT_BYTES_MAX)
    }

    /// Keeps what was passed of the token under way: the piece ends, or the token began in an earlier one.
    fn carry_on(&mut self, cursor: &mut Cursor<'_>) {
        let passed = cursor.passed();
        let room = KEPT_BYTES_MAX.saturating_sub(self.carry.len());
        self.carry.extend_from_slice(passed.get(..room).unwrap_or(passed));
        self.carried = self.carried.saturating_add(passed.len());
        cursor.begin();
    }

    /// Hands out the token under way.
    #[inline]
    pub(super) fn emit(&mut self, kind: Kind, cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        self.emit_first(self.bytes(cursor), kind, cursor, sink);
    }

    /// Hands out the first bytes of the token under way; the others are nothing.
    #[inline]
    pub(super) fn emit_first(
        &mut self,
        bytes: usize,
        kind: Kind,
        cursor: &mut Cursor<'_>,
        sink: &mut impl FnMut(Token<'_>),
    ) {
        self.state = State::Between;
        let at = self.at(cursor);
        let (text, too_long) = self.text(bytes, cursor);
        sink(Token { kind, text, too_long, at, bytes });
        self.forget();
    }

    /// Hands out the token under way without its last bytes, which begin the next one.
    fn split(&mut self, kind: Kind, last: &[u8], cursor: &mut Cursor<'_>, sink: &mut impl FnMut(Token<'_>)) {
        let here = cursor.passed().len() >= last.len();
        self.emit_first(self.bytes(cursor).saturating_sub(last.len()), kind, cursor, sink);
        self.begin_with(last, here, cursor);
    }

    /// A token begins with bytes that were passed already, in this piece or before it.
    pub(super) fn begin_with(&mut self, bytes: &[u8], here: bool, cursor: &mut Cursor<'_>) {
        if here {
            cursor.begin_back(bytes.len());
        } else {
            cursor.begin();
            self.carry.extend_from_slice(bytes);
            self.carried = bytes.len();
        }
    }

    fn forget(&mut self) {
        self.carried = 0;
        self.carry.clear();
    }
}

/// Whether a number that began with `0` and this letter may go on with the byte.
const fn is_digit(byte: u8, letter: u8) -> bool {
    match letter.to_ascii_lowercase() {
        b'x' => byte.is_ascii_hexdigit() || byte == b'_',
        b'o' => matches!(byte, b'0'..=b'7' | b'_'),
        _ => matches!(byte, b'0' | b'1' | b'_'),
    }
}
