//! Texts whose literals were masked before they were recorded, as texts that can be parsed.
//!
//! What always holds: only what masking puts there is changed, `number:` and 16 hexadecimal digits, or `?` where a value belongs; a
//! constant stands there then, and constants make no difference to a fingerprint.

use crate::sql::{Category, category};

/// What stands for a masked value of each kind.
const KINDS: [(&str, &str); 3] = [("string:", "''"), ("number:", "0"), ("bits:", "B''")];
/// Digits of a masked value.
const DIGITS: usize = 16;

/// The text with constants in place of masked values; `None`: there are none.
pub(super) fn filled(text: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_filled = false;
    while let Some(first) = rest.chars().next() {
        if let Some((constant, behind)) = value(rest, &out) {
            out.push_str(constant);
            (rest, is_filled) = (behind, true);
            continue;
        }
        let bytes = match first {
            '"' => rest
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == '"')
                .map_or(rest.len(), |(at, _)| at.saturating_add(1)),
            first if is_in_word(first) => rest.find(|c| !is_in_word(c)).unwrap_or(rest.len()),
            first => first.len_utf8(),
        };
        let (token, behind) = rest.split_at_checked(bytes)?;
        out.push_str(token);
        rest = behind;
    }
    is_filled.then_some(out)
}

/// The masked value that a text begins with, as a constant, and what is behind it.
fn value<'a>(text: &'a str, before: &str) -> Option<(&'static str, &'a str)> {
    for (kind, constant) in KINDS {
        let Some(behind) = text.strip_prefix(kind) else { continue };
        let (digits, behind) = behind.split_at_checked(DIGITS)?;
        let is_whole = digits.bytes().all(|byte| byte.is_ascii_hexdigit()) && !behind.starts_with(is_in_word);
        return is_whole.then_some((constant, behind));
    }
    let behind = text.strip_prefix('?')?;
    let is_apart = behind.chars().next().is_none_or(|next| " ),];:".contains(next));
    (is_apart && expects_value(before)).then_some(("''", behind))
}

/// Whether a value belongs behind this, rather than an operator.
fn expects_value(before: &str) -> bool {
    let before = before.trim_end();
    let begin = before.rfind(|c| !is_in_word(c)).map_or(0, |at| {
        at.saturating_add(before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8))
    });
    let word = before.get(begin..).unwrap_or_default().to_ascii_lowercase();
    if word.is_empty() {
        return !before.ends_with(['"', ')', ']', '\'']);
    }
    matches!(
        category(word.as_bytes()),
        Some(Category::Reserved | Category::Column | Category::Function | Category::Young)
    ) && !matches!(word.as_str(), "null" | "true" | "false" | "end" | "default")
}

fn is_in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}
