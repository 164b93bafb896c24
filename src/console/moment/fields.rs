//! The pieces of a text that is a time, cut where PostgreSQL cuts them.
//!
//! What always holds: pieces come in the order of the text, and none is empty; signs of punctuation between them say nothing, and what
//! is no ASCII is refused.

use super::{Tried, Wrong};

/// Months and days of the week, by the names that PostgreSQL knows.
pub(super) const MONTHS: [&[&str]; 12] = [
    &["january", "jan"],
    &["february", "feb"],
    &["march", "mar"],
    &["april", "apr"],
    &["may"],
    &["june", "jun"],
    &["july", "jul"],
    &["august", "aug"],
    &["september", "sept", "sep"],
    &["october", "oct"],
    &["november", "nov"],
    &["december", "dec"],
];
pub(super) const WEEKDAYS: [&[&str]; 7] = [
    &["sunday", "sun"],
    &["monday", "mon"],
    &["tuesday", "tues", "tue"],
    &["wednesday", "weds", "wed"],
    &["thursday", "thurs", "thur", "thu"],
    &["friday", "fri"],
    &["saturday", "sat"],
];
/// Words that end before a digit.
const OTHERS: [&str; 13] =
    ["t", "am", "pm", "ad", "bc", "at", "on", "now", "epoch", "today", "yesterday", "tomorrow", "infinity"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Digits, and a point among them or not.
    Number(&'a str),
    /// Digits, colons and points, of which the first is a digit.
    Clock(&'a str),
    /// What a dash, a slash or a point holds together: a date, or a zone's name.
    Joined(&'a str),
    /// How far a zone is, and whether to the west.
    Offset(bool, &'a str),
    Word(&'a str),
}

/// Which of the names a word is among.
pub(super) fn place(names: &[&[&str]], word: &str) -> Option<usize> {
    names.iter().position(|names| names.contains(&word))
}

fn is_known(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    let word = word.as_str();
    OTHERS.contains(&word) || place(&MONTHS, word).or_else(|| place(&WEEKDAYS, word)).is_some()
}

/// How many bytes of a text, from its begin, are of such letters.
fn run(text: &str, is: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !is(c)).unwrap_or(text.len())
}

fn is_mark(c: char) -> bool {
    matches!(c, '-' | '/' | '.')
}

/// Cuts a text into its pieces.
///
/// # Errors
/// [`Wrong::Syntax`]: a sign without a number, or a letter that is in no time.
pub(super) fn fields(text: &str) -> Tried<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (field, end) = match first {
            '0'..='9' => {
                let (kind, end) = digits(rest);
                (rest.get(..end).map(kind), end)
            }
            'a'..='z' | 'A'..='Z' => {
                let (kind, end) = letters(rest);
                (rest.get(..end).map(kind), end)
            }
            '+' | '-' => {
                let behind = rest.get(1..).unwrap_or_default();
                let number = behind.trim_start_matches(|c: char| c.is_ascii_whitespace());
                let length = run(number, |c| c.is_ascii_digit() || matches!(c, ':' | '.' | '-'));
                let far = number.get(..length).filter(|far| far.starts_with(|c: char| c.is_ascii_digit()));
                let far = far.ok_or(Wrong::Syntax)?;
                let skipped = rest.len().saturating_sub(number.len());
                (Some(Field::Offset(first == '-', far)), skipped.saturating_add(length))
            }
            '.' => return Err(Wrong::Syntax),
            c if c.is_ascii_punctuation() || c.is_ascii_whitespace() => (None, 1),
            _ => return Err(Wrong::Syntax),
        };
        fields.extend(field);
        rest = rest.get(end..).ok_or(Wrong::Syntax)?;
    }
    Ok(fields)
}

type Kind<'a> = fn(&'a str) -> Field<'a>;

/// What begins with a digit, and where it ends.
fn digits(text: &str) -> (Kind<'_>, usize) {
    let is_digit = |c: char| c.is_ascii_digit();
    let behind = |at: usize| text.get(at..).unwrap_or_default();
    let first = run(text, is_digit);
    let mut next = behind(first).chars();
    match (next.next(), next.next()) {
        (Some(':'), _) => (Field::Clock, run(text, |c| is_digit(c) || matches!(c, ':' | '.'))),
        (Some(mark), Some('0'..='9')) if is_mark(mark) => {
            let second = first.saturating_add(1);
            let second = second.saturating_add(run(behind(second), is_digit));
            if behind(second).starts_with(mark) {
                let more = run(behind(second), |c| c == mark || is_digit(c));
                (Field::Joined, second.saturating_add(more))
            } else if mark == '.' {
                (Field::Number, second)
            } else {
                (Field::Joined, second)
            }
        }
        (Some(mark), _) if is_mark(mark) => (
            Field::Joined,
            first.saturating_add(run(behind(first), |c| c == mark || c.is_ascii_alphanumeric())),
        ),
        _ => (Field::Number, first),
    }
}

/// What begins with a letter, and where it ends.
fn letters(text: &str) -> (Kind<'_>, usize) {
    let end = run(text, |c| c.is_ascii_alphabetic());
    let (word, behind) = text.split_at_checked(end).unwrap_or((text, ""));
    let is_joined = match behind.chars().next() {
        Some(mark) if is_mark(mark) => true,
        Some('+' | '0'..='9') => !is_known(word),
        _ => false,
    };
    if !is_joined {
        return (Field::Word, end);
    }
    let is_in = |c: char| c.is_ascii_alphanumeric() || is_mark(c) || matches!(c, '+' | '_' | ':');
    (Field::Joined, run(text, is_in))
}
