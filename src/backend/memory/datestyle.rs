//! `DateStyle` is two settings under one name, a style and an order of day and month: `SET DateStyle TO 'SQL'` keeps the
//! order in force. So what is carried is what all of a session's `SET`s say together.
//!
//! Source: runtime-config-client#GUC-DATESTYLE

use super::Value;

/// One half; `Kept` is as it was before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Kept,
    Default,
    Said(&'static str),
}

#[derive(Clone, Copy)]
struct Style {
    style: Half,
    order: Half,
}

/// What is in force when `value` was said while `former` was.
pub(super) fn behind(former: Option<&Value>, value: Value) -> Value {
    let Some(said) = read(&value) else { return value };
    let both = match former.map(|former| (former, read(former))) {
        None => said,
        Some((_, Some(former))) => {
            Style { style: over(said.style, former.style), order: over(said.order, former.order) }
        }
        Some((_, None)) if said.style != Half::Kept && said.order != Half::Kept => said,
        // Half of it is still not understood.
        Some((former, None)) => return former.clone(),
    };
    write(both)
}

/// Whether the words of a value are known.
pub(super) fn is_understood(value: &Value) -> bool {
    read(value).is_some()
}

const fn over(said: Half, former: Half) -> Half {
    match said {
        Half::Kept => former,
        Half::Default | Half::Said(_) => said,
    }
}

fn write(Style { style, order }: Style) -> Value {
    let mut tail = Vec::new();
    for half in [style, order] {
        let word = match half {
            Half::Said(word) => word,
            // Alone, this style would bring an order of its own.
            Half::Kept | Half::Default if style == Half::Said("german") => "default",
            Half::Kept | Half::Default => continue,
        };
        if !tail.is_empty() {
            tail.extend(b", ");
        }
        tail.push(b'\'');
        tail.extend(word.as_bytes());
        tail.push(b'\'');
    }
    if tail.is_empty() {
        tail.extend(b"'default'");
    }
    Value::Tail(tail.into())
}

/// Reads the words as the server does, one after the other.
fn read(value: &Value) -> Option<Style> {
    let mut read = Style { style: Half::Kept, order: Half::Kept };
    let (mut has_style, mut has_order) = (false, false);
    let between = |byte: &u8| matches!(byte, b'\'' | b'"' | b',' | b' ' | b'\t' | b'\n' | b'\r');
    for word in value.text().split(between).filter(|word| !word.is_empty()) {
        let word = word.to_ascii_lowercase();
        if let Some(style) = style(&word) {
            (read.style, has_style) = (Half::Said(style), true);
            if style == "german" && !has_order {
                read.order = Half::Said("dmy");
            }
        } else if let Some(order) = order(&word) {
            (read.order, has_order) = (Half::Said(order), true);
        } else if word == b"default" {
            if !has_style {
                read.style = Half::Default;
            }
            if !has_order {
                read.order = Half::Default;
            }
        } else {
            return None;
        }
    }
    Some(read)
}

fn style(word: &[u8]) -> Option<&'static str> {
    match word {
        b"iso" => Some("iso"),
        b"sql" => Some("sql"),
        b"german" => Some("german"),
        _ if word.starts_with(b"postgres") => Some("postgres"),
        _ => None,
    }
}

fn order(word: &[u8]) -> Option<&'static str> {
    match word {
        b"ymd" => Some("ymd"),
        b"dmy" => Some("dmy"),
        b"mdy" | b"us" => Some("mdy"),
        _ if word.starts_with(b"euro") => Some("dmy"),
        _ if word.starts_with(b"noneuro") => Some("mdy"),
        _ => None,
    }
}
