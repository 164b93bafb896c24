//! One token of a text, and which bytes make which.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An identifier without quotes, or a keyword.
    Word,
    /// `"identifier"`
    Quoted,
    /// `U&"identifier"`
    QuotedUnicode,
    /// `'..'`, `N'..'`: no escapes but the doubled quote, unless `standard_conforming_strings` is off.
    String,
    /// `E'..'`, and a plain one while `standard_conforming_strings` is off.
    Escaped,
    /// `U&'..'`
    StringUnicode,
    /// `B'..'`, `X'..'`
    Bits,
    /// `$$..$$`, `$tag$..$tag$`
    Dollar,
    /// `1`, `.5`, `1e10`, `0xff`
    Number,
    /// `$1`
    Parameter,
    /// One operator; also `::`, `:=` and `..`.
    Operator,
    /// `(`, `)`, `[`, `]`, `,`, `;`, `.`, `:`, or a byte that nothing begins with.
    Symbol(u8),
    /// Something that no statement may hold; the server refuses the text.
    Junk,
    /// The text goes on, but cannot be followed any further; the last token.
    Lost,
}

/// A token, and its bytes as they stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its bytes with their quotes, as far as they are kept.
    pub text: &'a [u8],
    /// Whether it has more bytes than are kept.
    pub too_long: bool,
    /// Where it begins in the text, in bytes.
    pub at: usize,
    /// How many bytes it has, kept or not.
    pub bytes: usize,
}

pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

pub(super) const fn is_newline(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

/// Whether a word, or a dollar quote's tag, may begin with it.
pub(super) const fn begins_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..=0xff)
}

pub(super) const fn is_in_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' | b'$' | 0x80..=0xff)
}

/// Whether a dollar quote's tag may hold it.
pub(super) const fn is_in_tag(byte: u8) -> bool {
    begins_word(byte) || byte.is_ascii_digit()
}

pub(super) const fn is_operator(byte: u8) -> bool {
    is_special(byte) || matches!(byte, b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=')
}

/// An operator with one of these may end in `+` or `-`.
pub(super) const fn is_special(byte: u8) -> bool {
    matches!(byte, b'~' | b'!' | b'@' | b'#' | b'^' | b'&' | b'|' | b'`' | b'?' | b'%')
}
