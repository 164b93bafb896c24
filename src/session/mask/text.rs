//! A text without its literals, however it arrives; or with all of them but the passwords that DDL sets.
//!
//! A masked text is made of the tokens of the text: comments are left out and white space is made anew. Where the reading
//! depends on what only the server knows (`standard_conforming_strings`, the encoding), the text is masked as a whole: that
//! is where a backslash stands right before a quote, or where a plain string is too long to look for one.

use aws_lc_rs::hmac::Context;

use super::{Handling, Mask, named};
use crate::sql::{Kind, Lexer, Token};

/// Of a password no more is kept back.
const PASSWORD_BYTES_MAX: usize = 64 << 10;
const HIDDEN: &[u8] = b"'***'";

/// Masks one text.
#[derive(Debug)]
pub(crate) struct TextMask {
    lexer: Lexer,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// As it came but for passwords.
    Full(Passwords),
    /// Without its literals.
    Tokens(Box<Tokens>),
}

impl TextMask {
    pub(crate) fn new(mask: &Mask) -> Self {
        let way = match mask.handling {
            Handling::Full => Way::Full(Passwords::default()),
            Handling::Masked | Handling::None => Way::Tokens(Box::new(Tokens {
                mask: mask.clone(),
                whole: mask.context(),
                before: None,
                is_unreadable: false,
            })),
        };
        Self { lexer: Lexer::new(true), way }
    }

    /// Whether what has been given out stays right whatever comes; else only the end shows it.
    pub(crate) const fn is_sure(&self) -> bool {
        matches!(self.way, Way::Full(_))
    }

    /// It will be one value.
    pub(crate) const fn give_up(&mut self) {
        if let Way::Tokens(tokens) = &mut self.way {
            tokens.is_unreadable = true;
        }
    }

    /// The next piece; what is recorded instead goes to `out`.
    pub(crate) fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.way {
            Way::Full(passwords) => {
                self.lexer.feed(piece, &mut |token| passwords.token(&token));
                passwords.feed(piece, out);
            }
            Way::Tokens(tokens) => {
                tokens.whole.update(piece);
                self.lexer.feed(piece, &mut |token| tokens.token(&token, out));
            }
        }
    }

    /// The end of the text. Gives what is to be recorded instead of all of it, where it could not be read.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Option<Vec<u8>> {
        match &mut self.way {
            Way::Full(passwords) => {
                let is_whole = self.lexer.finish(&mut |token| passwords.token(&token));
                passwords.finish(is_whole, out);
                None
            }
            Way::Tokens(tokens) => {
                let is_whole = self.lexer.finish(&mut |token| tokens.token(&token, out));
                (!is_whole || tokens.is_unreadable).then(|| match tokens.mask.handling {
                    Handling::Masked => named("text", &tokens.whole.clone().sign()),
                    Handling::Full | Handling::None => b"?".to_vec(),
                })
            }
        }
    }
}

#[derive(Debug)]
struct Tokens {
    mask: Mask,
    /// Of the text as it came.
    whole: Context,
    before: Option<Before>,
    is_unreadable: bool,
}

impl Tokens {
    fn token(&mut self, token: &Token<'_>, out: &mut Vec<u8>) {
        self.is_unreadable |= is_doubtful(token);
        if self.is_unreadable {
            return;
        }
        if self.before.is_some_and(|before| before.is_apart_from(token)) {
            out.push(b' ');
        }
        self.before = Some(Before::of(token));
        let kind = match token.kind {
            Kind::String | Kind::Escaped | Kind::StringUnicode | Kind::Dollar => "string",
            Kind::Bits => "bits",
            Kind::Number => "number",
            Kind::Word
            | Kind::Quoted
            | Kind::QuotedUnicode
            | Kind::Parameter
            | Kind::Operator
            | Kind::Symbol(_)
            | Kind::Junk
            | Kind::Lost => return out.extend_from_slice(token.text),
        };
        match self.mask.handling {
            Handling::Masked => out.extend_from_slice(&self.mask.value(kind, &value(token))),
            Handling::Full | Handling::None => out.push(b'?'),
        }
    }
}

/// Whether where the token ends, or what stands behind it, hangs on what is not known here.
fn is_doubtful(token: &Token<'_>) -> bool {
    let has = |is: &dyn Fn(&[u8; 3]) -> bool| {
        token.text.windows(3).any(|three| three.first_chunk().is_some_and(is))
    };
    match token.kind {
        Kind::String | Kind::StringUnicode => {
            token.too_long || has(&|[_, slash, quote]| (*slash, *quote) == (b'\\', b'\''))
        }
        // The backslash may be the second half of a character.
        Kind::Escaped => {
            token.too_long
                || has(&|[first, slash, quote]| *first >= 0x80 && (*slash, *quote) == (b'\\', b'\''))
        }
        Kind::Junk | Kind::Lost => true,
        Kind::Word
        | Kind::Quoted
        | Kind::QuotedUnicode
        | Kind::Bits
        | Kind::Dollar
        | Kind::Number
        | Kind::Parameter
        | Kind::Operator
        | Kind::Symbol(_) => false,
    }
}

/// What a literal says, without its quotes; of a very long one the beginning.
fn value(token: &Token<'_>) -> Vec<u8> {
    let quote = match token.kind {
        Kind::Dollar => b'$',
        Kind::String | Kind::Escaped | Kind::StringUnicode | Kind::Bits => b'\'',
        Kind::Word
        | Kind::Quoted
        | Kind::QuotedUnicode
        | Kind::Number
        | Kind::Parameter
        | Kind::Operator
        | Kind::Symbol(_)
        | Kind::Junk
        | Kind::Lost => return token.text.to_vec(),
    };
    let is_dollar = quote == b'$';
    let mut quotes = token.text.iter().enumerate().filter(|(_, byte)| **byte == quote);
    let begin = quotes.nth(usize::from(is_dollar)).map_or(0, |(at, _)| at.saturating_add(1));
    let body = token.text.get(begin..).unwrap_or_default();
    // A dollar quote ends with as many bytes as it begins with, a string with one.
    let behind = match (token.too_long, is_dollar) {
        (true, _) => 0,
        (false, true) => begin,
        (false, false) => 1,
    };
    let body = body.get(..body.len().saturating_sub(behind)).unwrap_or_default();
    if is_dollar { body.to_vec() } else { undoubled(body) }
}

fn undoubled(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut bytes = body.iter().peekable();
    while let Some(byte) = bytes.next() {
        out.push(*byte);
        if *byte == b'\'' {
            bytes.next_if(|next| **next == b'\'');
        }
    }
    out
}

/// What matters of a token for the space behind it.
#[derive(Debug, Clone, Copy)]
struct Before {
    is_name: bool,
    is_tight: bool,
}

impl Before {
    fn of(token: &Token<'_>) -> Self {
        let is_tight = matches!(token.kind, Kind::Symbol(b'(' | b'[' | b'.')) || token.text == b"::";
        Self { is_name: matches!(token.kind, Kind::Word | Kind::Quoted | Kind::QuotedUnicode), is_tight }
    }

    /// Whether a space goes in front of the next token.
    fn is_apart_from(self, token: &Token<'_>) -> bool {
        let sticks =
            matches!(token.kind, Kind::Symbol(b',' | b')' | b']' | b';' | b'.')) || token.text == b"::";
        let opens = self.is_name && matches!(token.kind, Kind::Symbol(b'(' | b'['));
        !(self.is_tight || sticks || opens)
    }
}

/// Takes the passwords out of a text that is recorded as it came else.
#[derive(Debug, Default)]
struct Passwords {
    /// The word `PASSWORD` was the last token; where it ended.
    behind: Option<usize>,
    /// From where to where literals stood right behind it, oldest first.
    found: Vec<(usize, usize)>,
    /// So much of the text is done with.
    done: usize,
    /// What came behind that.
    held: Vec<u8>,
    /// A password is too long to be kept back.
    is_dropping: bool,
}

impl Passwords {
    fn token(&mut self, token: &Token<'_>) {
        let end = token.at.saturating_add(token.bytes);
        let is_literal =
            matches!(token.kind, Kind::String | Kind::Escaped | Kind::StringUnicode | Kind::Dollar);
        if self.behind.is_some() && is_literal {
            self.found.push((token.at, end));
        }
        let is_password = token.kind == Kind::Word && token.text.eq_ignore_ascii_case(b"password");
        self.behind = is_password.then_some(end);
    }

    fn feed(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        self.held.extend_from_slice(piece);
        self.cut(out);
        match self.behind {
            // What comes next may be one.
            Some(end) => self.pass(end, out),
            None => self.pass(usize::MAX, out),
        }
        if self.held.len() > PASSWORD_BYTES_MAX {
            self.drop_held(out);
        }
    }

    fn finish(&mut self, is_whole: bool, out: &mut Vec<u8>) {
        self.cut(out);
        if self.behind.is_some() && !is_whole {
            self.drop_held(out);
        }
        self.pass(usize::MAX, out);
    }

    fn cut(&mut self, out: &mut Vec<u8>) {
        for (start, end) in std::mem::take(&mut self.found) {
            self.pass(start, out);
            if !std::mem::take(&mut self.is_dropping) {
                out.extend_from_slice(HIDDEN);
            }
            let bytes = end.saturating_sub(self.done).min(self.held.len());
            self.held.drain(..bytes);
            self.done = self.done.saturating_add(bytes);
        }
    }

    /// What stands before `end` goes on as it came.
    fn pass(&mut self, end: usize, out: &mut Vec<u8>) {
        let bytes = end.saturating_sub(self.done).min(self.held.len());
        out.extend(self.held.drain(..bytes));
        self.done = self.done.saturating_add(bytes);
    }

    fn drop_held(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.is_dropping, true) {
            out.extend_from_slice(HIDDEN);
        }
        self.done = self.done.saturating_add(self.held.len());
        self.held = Vec::new();
    }
}

/// Whether there is the word `PASSWORD` in a text, looked for by its rarest letter.
pub(super) fn may_set_password(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| byte | 0x20 == b'w') {
        let before = text.len().saturating_sub(rest.len()).saturating_add(at);
        let word = before.checked_sub(4).and_then(|start| text.get(start..start.saturating_add(8)));
        if word.is_some_and(|word| word.eq_ignore_ascii_case(b"password")) {
            return true;
        }
        rest = rest.get(at.saturating_add(1)..).unwrap_or_default();
    }
    false
}
