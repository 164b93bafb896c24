//! What is kept of the checkpoints that were signed of a log: all of the last two days, the last of each hour before, and the last of
//! each day before four hundred days; and each that hands the log over to another key.
//!
//! What always holds: the newest one stays; what stays is as it was signed. Each stands for all records before it, so what
//! goes proves nothing that those that stay do not; what it could still show is when.

use std::fs;
use std::io;
use std::path::Path;

use super::super::render::rfc3339;
use super::notes::{HISTORY, framed, split};
use super::state::replace;
use crate::proof::succession;

const DAY_NS: u64 = 86_400_000_000_000;
/// Nothing goes that is younger.
const RECENT_NS: u64 = 2 * DAY_NS;
/// One of each hour is kept so long.
const HOURLY_NS: u64 = 400 * DAY_NS;
/// Letters of a time up to its hour, and up to its day.
const TO_HOUR: usize = 13;
const TO_DAY: usize = 10;
/// A file that is not larger is left as it is: some four thousand checkpoints.
const BYTES_MIN: u64 = 1 << 20;

fn time_of(note: &str) -> Option<&str> {
    note.lines().find_map(|line| line.strip_prefix("time "))
}

/// A history without what need not be kept; `None`: all of it is, or it cannot be read.
fn shortened(text: &str, now_ns: u64) -> Option<String> {
    let (recent, hourly) =
        (rfc3339(now_ns.saturating_sub(RECENT_NS)), rfc3339(now_ns.saturating_sub(HOURLY_NS)));
    let notes = split(text)?;
    let mut kept = String::with_capacity(text.len());
    for (at, note) in notes.iter().enumerate() {
        let next = notes.get(at.saturating_add(1)).and_then(|next| time_of(next));
        let goes = time_of(note).is_some_and(|time| {
            let letters = if time < hourly.as_str() { TO_DAY } else { TO_HOUR };
            let is_followed = next.is_some_and(|next| next.get(..letters) == time.get(..letters));
            time < recent.as_str() && is_followed && !succession::may_be(note)
        });
        if !goes {
            kept.push_str(&framed(note));
        }
    }
    (kept.len() < text.len()).then_some(kept)
}

/// Shortens the history of a log, if it has grown to more than `bytes`. How large it is then.
pub(super) fn shorten(folder: &Path, log: &str, bytes: u64, now_ns: u64) -> io::Result<u64> {
    let folder = folder.join(log);
    let length = match fs::metadata(folder.join(HISTORY)) {
        Ok(found) => found.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    if length <= bytes.max(BYTES_MIN) {
        return Ok(bytes.max(BYTES_MIN));
    }
    let text = fs::read_to_string(folder.join(HISTORY))?;
    let Some(kept) = shortened(&text, now_ns) else { return Ok(length.saturating_mul(2)) };
    replace(&folder, HISTORY, kept.as_bytes())?;
    // Not again before it is twice as large.
    Ok(u64::try_from(kept.len()).unwrap_or(u64::MAX).saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::Folder;
    use super::*;

    const NOW_NS: u64 = 1_800_000_000_000_000_000;

    /// Checkpoints at these times before now, in minutes; each with its number in it.
    fn history(minutes: &[u64]) -> String {
        let time = |minutes: u64| rfc3339(NOW_NS - minutes * 60_000_000_000);
        let note =
            |(at, minutes): (usize, &u64)| framed(&format!("v/a\n{at}\ntime {}\n\nx\n", time(*minutes)));
        minutes.iter().enumerate().map(note).collect()
    }

    fn left(text: &str) -> Vec<usize> {
        split(text).unwrap().iter().map(|note| note.lines().nth(1).unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn of_old_checkpoints_one_an_hour_stays_and_of_older_ones_one_a_day() {
        let (hour, day) = (60, 60 * 24);
        // Now is at the full hour, 08:00.
        let minutes = [
            500 * day + 90,
            500 * day + 30,
            500 * day,
            4 * day + 90,
            4 * day + 70,
            4 * day + 30,
            3 * hour,
            170,
            10,
            0,
        ];
        let kept = shortened(&history(&minutes), NOW_NS).unwrap();
        assert_eq!(left(&kept), [2, 4, 5, 6, 7, 8, 9]);
        assert_eq!(shortened(&kept, NOW_NS), None, "and once is enough");
        assert_eq!(shortened("note 5\nab", NOW_NS), None);
        // One that hands the log over stays, whatever follows it.
        let text = history(&minutes).replacen("time", "successor a of b\ntime", 1).replacen("note ", "", 1);
        let note = text.split_once('\n').unwrap().1;
        let first = note.split_once("note ").unwrap();
        let text = format!("{}note {}", framed(first.0), first.1);
        assert_eq!(left(&shortened(&text, NOW_NS).unwrap()), [0, 2, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn only_a_long_history_is_shortened_and_not_at_each_look() {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("a")).unwrap();
        let path = folder.0.join("a").join(HISTORY);
        let minutes: Vec<u64> = (0..40_000).rev().map(|number| 5_000 + number).collect();
        fs::write(&path, history(&minutes[39_000..])).unwrap();
        assert_eq!(shorten(&folder.0, "a", 0, NOW_NS).unwrap(), BYTES_MIN);
        assert_eq!(left(&fs::read_to_string(&path).unwrap()).len(), 1_000);
        fs::write(&path, history(&minutes)).unwrap();
        let next = shorten(&folder.0, "a", 0, NOW_NS).unwrap();
        let kept = fs::read_to_string(&path).unwrap();
        assert!(left(&kept).len() <= 40_000 / 60 + 2 && next == 2 * u64::try_from(kept.len()).unwrap());
        assert_eq!(left(&kept).last(), Some(&39_999));
        assert_eq!(shorten(&folder.0, "none", 0, NOW_NS).unwrap(), BYTES_MIN);
    }
}
