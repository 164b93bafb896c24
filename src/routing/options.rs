//! The customer named in the startup parameter `options`, and what is left of it.
//!
//! `options` is a command line: words are separated by white space, a backslash takes the next character as it is.
//! What is not ours goes to the server with the same bytes.
//!
//! Source: libpq-connect#LIBPQ-CONNECT-OPTIONS

use super::CUSTOMER_PARAMETER;

/// What [`take_customer_option`] found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CustomerOption {
    /// Every customer named, in order; more than one need not be the same.
    pub customers: Vec<String>,
    /// All other words, byte for byte.
    pub rest: String,
}

/// Takes `-c onevault.customer=..`, `-conevault.customer=..` and `--onevault.customer=..` out of `options`. As in
/// the server, case does not matter in the name.
#[must_use]
pub fn take_customer_option(options: &str) -> CustomerOption {
    let mut taken = CustomerOption::default();
    let mut words = Words { text: options }.peekable();
    while let Some(word) = words.next() {
        let setting = match word.value.strip_prefix("-c").or_else(|| word.value.strip_prefix("--")) {
            Some("") if word.value == "-c" => {
                let Some(next) = words.next_if(|next| customer(&next.value).is_some()) else {
                    taken.keep(word.raw);
                    if let Some(argument) = words.next() {
                        taken.keep(argument.raw);
                    }
                    continue;
                };
                next.value
            }
            Some(setting) => setting.to_owned(),
            None => String::new(),
        };
        match customer(&setting) {
            Some(name) => taken.customers.push(name.to_owned()),
            None => taken.keep(word.raw),
        }
    }
    taken
}

/// The value that `options` gives a setting, the last one if there are several.
pub(crate) fn value_of(options: &str, name: &str) -> Option<String> {
    let mut value = None;
    let mut words = Words { text: options };
    while let Some(word) = words.next() {
        let setting = match word.value.strip_prefix("-c").or_else(|| word.value.strip_prefix("--")) {
            Some("") if word.value == "-c" => words.next()?.value,
            Some(setting) => setting.to_owned(),
            None => continue,
        };
        if let Some((found, said)) = setting.split_once('=')
            && found.replace('-', "_").eq_ignore_ascii_case(name)
        {
            value = Some(said.to_owned());
        }
    }
    value
}

impl CustomerOption {
    fn keep(&mut self, raw: &str) {
        if !self.rest.is_empty() {
            self.rest.push(' ');
        }
        self.rest.push_str(raw);
    }
}

/// The value of `onevault.customer=<value>`.
fn customer(setting: &str) -> Option<&str> {
    let (name, value) = setting.split_once('=')?;
    name.eq_ignore_ascii_case(CUSTOMER_PARAMETER).then_some(value)
}

/// One word of a command line.
struct Word<'a> {
    /// As it was sent.
    raw: &'a str,
    /// Without its backslashes.
    value: String,
}

/// Splits as the server's `pg_split_opts` does.
struct Words<'a> {
    text: &'a str,
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let text = self.text.trim_start_matches(is_space);
        if text.is_empty() {
            return None;
        }
        let mut value = String::new();
        let mut characters = text.char_indices();
        let mut end = text.len();
        while let Some((at, character)) = characters.next() {
            if is_space(character) {
                end = at;
                break;
            }
            if character == '\\' {
                value.extend(characters.next().map(|(_, escaped)| escaped));
            } else {
                value.push(character);
            }
        }
        let (raw, rest) = text.split_at_checked(end)?;
        self.text = rest;
        Some(Word { raw, value })
    }
}

/// C's `isspace`.
const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}
