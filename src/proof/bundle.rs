//! A proof on its own: a record, its place in a log's tree, and the signed state of that tree, in one text.
//!
//! What always holds: whoever has the text and the public key of the log needs nothing else, no vault and no network.
//!
//! Source: C2SP tlog-proof. Its `extra` line holds the record's salt and canonical bytes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ProofError;
use super::checkpoint::Checkpoint;
use super::note::{self, Verifier};
use super::record::{self, SALT_BYTES};
use super::tree::{Hash, PROOF_HASHES_MAX, check_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// A proof for one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The record's index in its log.
    pub index: u64,
    /// What the record was salted with.
    pub salt: [u8; SALT_BYTES],
    /// The record, for [`record::fields`].
    pub canonical: Vec<u8>,
    /// The way from the leaf to the root.
    pub path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The state of the log that holds the record.
    pub checkpoint: Checkpoint,
    /// Who of those known has signed it.
    pub signed_by: Vec<String>,
}

impl Bundle {
    /// The text.
    #[must_use]
    pub fn encode(&self) -> String {
        let extra = STANDARD.encode([self.salt.as_slice(), &self.canonical].concat());
        let path: String = self.path.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        format!("{FIRST_LINE}\nextra {extra}\nindex {}\n{path}\n{}", self.index, self.checkpoint)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let malformed = ProofError::Malformed;
        let (head, checkpoint) =
            text.split_once("\n\n").ok_or(malformed("a proof has an empty line above its checkpoint"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(FIRST_LINE) {
            return Err(malformed("a proof begins with c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next().and_then(|line| line.strip_prefix("extra "));
        let extra = extra.and_then(|extra| STANDARD.decode(extra).ok());
        let extra = extra.ok_or(malformed("the second line is extra and the record in base64"))?;
        let (salt, canonical) =
            extra.split_first_chunk::<SALT_BYTES>().ok_or(malformed("the record is cut"))?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(|index| index.parse().ok().filter(|read: &u64| read.to_string() == index));
        let index = index.ok_or(malformed("the third line is index and a number"))?;
        let mut path = Vec::new();
        for line in lines {
            let hash = STANDARD.decode(line).ok().and_then(|hash| hash.try_into().ok());
            path.push(hash.ok_or(malformed("a line of the proof is no hash in base64"))?);
            if path.len() > PROOF_HASHES_MAX {
                return Err(malformed("more hashes than a tree has levels"));
            }
        }
        let (salt, canonical) = (*salt, canonical.to_vec());
        Ok(Self { index, salt, canonical, path, checkpoint: checkpoint.to_owned() })
    }

    /// Checks everything.
    ///
    /// # Errors
    /// [`ProofError`] when something does not hold.
    pub fn check(&self, known: &[Verifier]) -> Result<Proven, ProofError> {
        let (text, signed_by) = note::open(&self.checkpoint, known)?;
        let checkpoint = Checkpoint::parse(text)?;
        let leaf = record::leaf((&checkpoint.origin, self.index), &self.salt, &self.canonical)?;
        check_inclusion(&leaf, self.index, (checkpoint.size, &checkpoint.root), &self.path)?;
        Ok(Proven { checkpoint, signed_by })
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::Signer;
    use super::super::tree::{leaf_hash, root};
    use super::*;

    fn proof() -> (Bundle, [Verifier; 1]) {
        let mut canonical = b"\x01\x02\x08\0\0\0\x09\0\0\0\0\0\0\0".to_vec();
        canonical.extend_from_slice(b"\x03\x09\0\0\0statement");
        let (salt, origin) = ([8; SALT_BYTES], "vault/one_spa".to_owned());
        let leaf = record::leaf((&origin, 1), &salt, &canonical).unwrap();
        let others = [leaf_hash(b"a"), leaf_hash(b"b")];
        let root = root([others[0], leaf, others[1]]);
        let signer = Signer::new("vault", &[3; 32]).unwrap();
        let checkpoint = Checkpoint { origin, size: 3, root, extensions: Vec::new() };
        let checkpoint = checkpoint.sign(&signer).unwrap();
        let path = others.to_vec();
        (Bundle { index: 1, salt, canonical, path, checkpoint }, [signer.verifier().clone()])
    }

    #[test]
    fn a_proof_is_checked_with_nothing_but_its_text_and_a_key() {
        let (bundle, known) = proof();
        let read = Bundle::parse(&bundle.encode()).unwrap();
        assert_eq!(read, bundle);
        let proven = read.check(&known).unwrap();
        assert_eq!((proven.checkpoint.size, proven.signed_by), (3, vec!["vault".to_owned()]));
        assert!(read.check(&[Signer::new("vault", &[4; 32]).unwrap().verifier().clone()]).is_err());
    }

    #[test]
    fn no_byte_of_a_proof_can_be_another() {
        let (bundle, known) = proof();
        let text = bundle.encode().into_bytes();
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut other = text.clone();
                other[at] ^= 1 << bit;
                let Ok(other) = String::from_utf8(other) else { continue };
                let checked = Bundle::parse(&other).and_then(|bundle| bundle.check(&known));
                assert!(checked.is_err(), "byte {at}, bit {bit}: {other}");
            }
        }
    }
}
