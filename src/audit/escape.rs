//! Bytes of strangers, made fit for one line of JSON or of a terminal, without losing any.
//!
//! Every control character, line or paragraph separator, and invisible or direction-changing character is escaped, so that
//! nothing in a text can move the cursor, reorder what is shown or begin a new record. Bytes that are not UTF-8 are shown
//! with U+FFFD, and the exact bytes follow in a field of their own, `<name>.base64`: any JSON parser can read both.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Whether a character may stand for itself.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends `text` between quotes, as JSON.
pub(super) fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_plain(c) => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a String cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
        }
    }
    out.push('"');
}

/// Texts as a JSON array.
pub(super) fn json_list(texts: &[String]) -> String {
    let mut out = String::from("[");
    for text in texts {
        if out.len() > 1 {
            out.push(',');
        }
        json_string(&mut out, text);
    }
    out.push(']');
    out
}

/// Appends `bytes` for a terminal: one line, nothing that a terminal obeys.
pub(super) fn line(out: &mut String, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if is_plain(c) => out.push(c),
                c => {
                    let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
                }
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
}

/// A JSON object that is being written, all on one line.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Self {
        let mut text = String::with_capacity(1024);
        text.push('{');
        Self(text)
    }

    fn key(&mut self, key: &str) {
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        json_string(&mut self.0, key);
        self.0.push(':');
    }

    /// A text of our own.
    pub(super) fn text(&mut self, key: &str, text: &str) {
        self.key(key);
        json_string(&mut self.0, text);
    }

    /// Bytes of somebody else.
    pub(super) fn bytes(&mut self, key: &str, bytes: &[u8]) {
        match std::str::from_utf8(bytes) {
            Ok(text) => self.text(key, text),
            Err(_) => {
                self.text(key, &String::from_utf8_lossy(bytes));
                self.text(&format!("{key}.base64"), &STANDARD.encode(bytes));
            }
        }
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, key: &str, texts: &[String]) {
        self.key(key);
        self.0.push_str(&json_list(texts));
    }

    /// Nothing, where there could be something.
    pub(super) fn null(&mut self, key: &str) {
        self.key(key);
        self.0.push_str("null");
    }

    /// A number.
    pub(super) fn number(&mut self, key: &str, number: impl Into<i128>) {
        self.key(key);
        let _ = write!(self.0, "{}", number.into());
    }

    /// Begins an object within this one; what comes goes into it, until [`Object::close`].
    pub(super) fn begin(&mut self, key: &str) {
        self.key(key);
        self.0.push('{');
    }

    /// Ends the object that was begun last.
    pub(super) fn close(&mut self) {
        self.0.push('}');
    }

    /// The finished line, without its newline.
    pub(super) fn end(mut self) -> String {
        self.close();
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn back(line: &str) -> Vec<u8> {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value.get("k.base64").map_or_else(
            || value["k"].as_str().unwrap().as_bytes().to_vec(),
            |base64| STANDARD.decode(base64.as_str().unwrap()).unwrap(),
        )
    }

    fn json(bytes: &[u8]) -> String {
        let mut object = Object::new();
        object.bytes("k", bytes);
        object.end()
    }

    #[test]
    fn nothing_in_a_text_can_break_a_line_or_a_terminal() {
        let hostile = "a\nb\r\u{1b}[2J\u{2028}\u{2029}\u{202e}\u{2066}\u{85}\u{7f}\u{feff}\u{e0041}\"\\";
        let shown = [json(hostile.as_bytes()), {
            let mut out = String::new();
            line(&mut out, hostile.as_bytes());
            out
        }];
        for text in shown {
            assert!(text.chars().all(is_plain), "{text:?}");
        }
        assert_eq!(back(&json(hostile.as_bytes())), hostile.as_bytes());
    }

    proptest! {
        #[test]
        fn json_loses_no_byte(bytes: Vec<u8>) {
            let line = json(&bytes);
            prop_assert!(!line.contains('\n'));
            prop_assert_eq!(back(&line), bytes);
        }

        #[test]
        fn json_loses_no_character(text: String) {
            prop_assert_eq!(back(&json(text.as_bytes())), text.as_bytes());
        }
    }
}
