//! What is known of texts already, because texts come again.
//!
//! What always holds: texts are told apart by their SHA-256; memory is bounded by [`ENTRIES_MAX`] and [`BYTES_MAX`], twice;
//! what was asked for lately is there longest. A text that the parser could not cope with is not tried again while it is known.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};

use super::{Gist, Unknown};

/// Texts that are known, in each half.
const ENTRIES_MAX: usize = 1 << 15;
/// Bytes of what is known of them, in each half.
const BYTES_MAX: usize = 8 << 20;
/// What an entry takes besides names and fingerprint, about.
const ENTRY_BYTES: usize = 120;

type Known = Result<Option<Arc<Gist>>, Unknown>;

/// Two halves: when the younger is full it becomes the older, and what was in that is forgotten.
#[derive(Default)]
struct Kept {
    young: HashMap<[u8; 32], Known>,
    old: HashMap<[u8; 32], Known>,
    young_bytes: usize,
}

impl Kept {
    fn get(&mut self, key: &[u8; 32]) -> Option<Known> {
        if let Some(known) = self.young.get(key) {
            return Some(known.clone());
        }
        let known = self.old.remove(key)?;
        self.put(*key, known.clone());
        Some(known)
    }

    fn put(&mut self, key: [u8; 32], known: Known) {
        let bytes = bytes_of(&known);
        if self.young.len() >= ENTRIES_MAX || self.young_bytes.saturating_add(bytes) > BYTES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes = self.young_bytes.saturating_add(bytes);
        self.young.insert(key, known);
    }
}

fn bytes_of(known: &Known) -> usize {
    let named = known.iter().flatten().filter_map(|gist| gist.tables.as_ref()).flatten();
    named.fold(ENTRY_BYTES, |sum, table| sum.saturating_add(table.len()).saturating_add(size_of::<String>()))
}

static KEPT: LazyLock<Mutex<Kept>> = LazyLock::new(Mutex::default);

fn lock() -> MutexGuard<'static, Kept> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is known of a text; what is not is asked for and kept.
pub(super) fn of(text: &str, ask: impl FnOnce(&str) -> Result<Option<Gist>, Asked>) -> Known {
    let mut key = [0; 32];
    key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    if let Some(known) = lock().get(&key) {
        return known;
    }
    let known = match ask(text) {
        Ok(gist) => Ok(gist.map(Arc::new)),
        Err(Asked::Ended) => Err(Unknown),
        // Another time it may be different.
        Err(Asked::NotHeard) => return Err(Unknown),
    };
    lock().put(key, known.clone());
    known
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The parser's process ended, or was ended, over this text.
    Ended,
    /// The question did not reach a parser.
    NotHeard,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gist(table: &str) -> Known {
        Ok(Some(Arc::new(Gist { tables: Some(vec![table.to_owned()]), fingerprint: "0".repeat(16) })))
    }

    #[test]
    fn what_is_known_is_bounded_and_what_is_asked_for_stays() {
        let mut kept = Kept::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..5 * ENTRIES_MAX {
            kept.put(key(number), gist("t"));
            assert_eq!(kept.get(&key(0)), Some(gist("t")), "at {number}");
            assert!(kept.young.len() <= ENTRIES_MAX && kept.old.len() <= ENTRIES_MAX);
        }
        assert_eq!(kept.get(&key(1)), None);
        let long = "x".repeat(super::super::TEXT_BYTES_MAX);
        for number in 0..200 {
            kept.put(key(number), gist(&long));
            let all = kept.young.values().chain(kept.old.values());
            assert!(all.map(bytes_of).sum::<usize>() <= 2 * BYTES_MAX);
        }
    }
}
