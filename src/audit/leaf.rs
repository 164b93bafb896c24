//! The leaf that stands for a record in its log's tree.
//!
//! What always holds: a leaf says nothing of its record to whoever has not its salt, and the salt follows from the data
//! key and the index, so it need not be kept and goes when the key is destroyed. [`crate::proof::record`] describes the leaf,
//! and checks it with code of its own.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, sign};

use super::row::{Column, Row};
use super::tree::{Hash, leaf_hash};

/// Purpose under which data keys give the key of salts.
pub(super) const SALTS: &[u8] = b"salts";

/// Which log a leaf is of: the hash of its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LogHash([u8; 32]);

impl LogHash {
    /// Of the log with this origin.
    pub(super) fn of(origin: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, origin.as_bytes()).as_ref());
        Self(hash)
    }
}

/// The salts of one data key.
pub(super) struct Salts(Key);

impl Salts {
    /// `key` is what the data key gives for [`SALTS`].
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(Key::new(HMAC_SHA256, key))
    }

    /// The salt of the record with this index.
    pub(super) fn salt(&self, index: u64) -> [u8; 32] {
        let mut salt = [0; 32];
        salt.copy_from_slice(sign(&self.0, &index.to_le_bytes()).as_ref());
        salt
    }
}

/// Takes a record's canonical bytes piece by piece and gives its leaf.
pub(super) struct Leaf {
    mac: Context,
    header: [u8; HEAD_BYTES],
}

/// Bytes of a leaf before its MAC: 8 + 32 + 8 + 8 + 8.
const HEAD_BYTES: usize = 64;

impl Leaf {
    /// Begins with the columns of a row; `scratch` is working room and has them afterwards.
    pub(super) fn begin(
        (log, index): (LogHash, u64),
        salt: &[u8; 32],
        row: &Row<'_>,
        scratch: &mut Vec<u8>,
    ) -> Self {
        let class: u8 = match row.bytes_of(Column::Class) {
            b"statement" => 1,
            b"session" => 2,
            b"event" => 3,
            b"copy" => 5,
            _ => 4,
        };
        let mut header = [0; HEAD_BYTES];
        let fields = [
            b"ovleaf\0\x01".as_slice(),
            &log.0,
            &index.to_le_bytes(),
            &row.number_of(Column::Time).to_le_bytes(),
            &[class, 0, 0, 0, 0, 0, 0, 0],
        ];
        for (place, byte) in header.iter_mut().zip(fields.concat()) {
            *place = byte;
        }
        let mut mac = Context::with_key(&Key::new(HMAC_SHA256, salt));
        scratch.clear();
        row.canonical(scratch);
        mac.update(scratch);
        Self { mac, header }
    }

    /// Canonical bytes of long columns, in pieces of any size.
    pub(super) fn piece(&mut self, bytes: &[u8]) {
        self.mac.update(bytes);
    }

    /// The leaf's hash.
    pub(super) fn finish(self) -> Hash {
        leaf_hash(&[self.header.as_slice(), self.mac.sign().as_ref()].concat())
    }
}
