//! `idle_session_timeout`: the server counts the silence of a connection, and a backend between two sessions is silent
//! without anybody to blame. So a session's own limit is read here, and kept by whoever has the session.
//!
//! Source: runtime-config-client#GUC-IDLE-SESSION-TIMEOUT, config-setting#CONFIG-SETTING-NAMES-VALUES

use std::time::Duration;

use super::Value;

/// The setting's name.
pub(in crate::backend) const NAME: &str = "idle_session_timeout";

/// What a value says; zero is "for ever". `None`: it is not understood.
pub(super) fn of(value: &Value) -> Option<Duration> {
    let text = value.text().trim_ascii();
    let inner = |quote: u8| text.strip_prefix(&[quote])?.strip_suffix(&[quote]);
    let bare = inner(b'\'').or_else(|| inner(b'"')).unwrap_or(text);
    read(std::str::from_utf8(bare).ok()?)
}

/// The same of a value without quotes. Whole numbers with any unit but microseconds, no octal or hexadecimal ones.
pub(in crate::backend) fn read(text: &str) -> Option<Duration> {
    let text = text.trim_ascii();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    if number.len() > 1 && number.starts_with('0') {
        return None;
    }
    let number: u32 = number.parse().ok()?;
    let unit_ms: u64 = match unit.trim_ascii_start() {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    Some(Duration::from_millis(u64::from(number).saturating_mul(unit_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_the_server_reads_them() {
        for (text, ms) in [
            ("0", 0),
            ("300", 300),
            ("'300ms'", 300),
            ("' 2 s '", 2000),
            ("\"1min\"", 60_000),
            ("'2h'", 7_200_000),
            ("'1d'", 86_400_000),
        ] {
            for value in [Value::Tail(text.as_bytes().into()), Value::Config(text.as_bytes().into())] {
                assert_eq!(of(&value), Some(Duration::from_millis(ms)), "{text}");
            }
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for text in
            ["", "''", "010", "0x10", "1.5s", "'1e3'", "-1", "'5 us'", "'5 MIN'", "E'5'", "'5", "99999999999"]
        {
            assert_eq!(of(&Value::Tail(text.as_bytes().into())), None, "{text}");
        }
    }
}
