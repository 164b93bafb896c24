//! From which addresses logins have come before.
//!
//! Kept are hashes, of the last [`KNOWN_MAX`] pairs of a login and an address; who comes again after so many others is new again.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// Pairs of a login and an address that are kept of a customer.
const KNOWN_MAX: usize = 4_096;
/// So many of the oldest make room at once.
const ROOM: usize = 256;

/// The pairs that were seen: a hash, and a number that grows with the time it was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Known(BTreeMap<u64, u64>);

impl Known {
    /// Notes a pair at a place in the order of things; `true`: it was never seen before.
    pub(super) fn see(&mut self, login: &[u8], address: &[u8], at: u64) -> bool {
        let is_new = self.0.insert(hash(login, address), at).is_none();
        if self.0.len() > KNOWN_MAX {
            let mut ages: Vec<u64> = self.0.values().copied().collect();
            ages.sort_unstable();
            let oldest = ages.get(ROOM).copied().unwrap_or(0);
            self.0.retain(|_, seen| *seen > oldest);
        }
        is_new
    }
}

fn hash(login: &[u8], address: &[u8]) -> u64 {
    let hash = digest(&SHA256, &[login, b"\0", address].concat());
    hash.as_ref().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_new_once_and_however_many_come_the_latest_are_known() {
        let mut known = Known::default();
        assert!(known.see(b"ann", b"10.0.0.1", 1) && !known.see(b"ann", b"10.0.0.1", 2));
        assert!(known.see(b"bob", b"10.0.0.1", 3) && known.see(b"ann", b"10.0.0.2", 4));
        for at in 0..20_000_u64 {
            known.see(b"eve", &at.to_le_bytes(), 5 + 2 * at);
            assert!(!known.see(b"ann", b"10.0.0.1", 6 + 2 * at), "{at}");
        }
        assert!(known.0.len() <= KNOWN_MAX && known.see(b"bob", b"10.0.0.1", 50_000));
    }
}
