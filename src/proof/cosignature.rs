//! Cosignatures: what witnesses stand for below a checkpoint, that they have seen the log grow up to it and never otherwise.
//!
//! What always holds: a cosignature covers the whole text of the checkpoint and the time at which it was made; lines of
//! keys that are not known are passed over, one of a known key that is wrong makes the note wrong.
//!
//! Source: C2SP tlog-cosignature, the kind with Ed25519.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
#[cfg(test)]
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ProofError;
#[cfg(test)]
use super::note::DASH;
use super::note::{is_name, parts};

/// The kind of signature: Ed25519 over time and checkpoint.
const KIND: u8 = 4;

/// Whose cosignatures are checked: a name and an Ed25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Witness {
    name: String,
    id: u32,
    key: [u8; 32],
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoded())
    }
}

/// A cosignature that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigned {
    /// Who.
    pub name: String,
    /// When, in seconds since 1970, as the witness says.
    pub time: u64,
    /// Its line, with the newline.
    pub line: String,
}

impl Witness {
    /// A key under a name, which has neither white space nor `+`.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for a name that cannot be one.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, ProofError> {
        if !is_name(name) {
            return Err(ProofError::Malformed("a witness's name has white space or + in it, or is empty"));
        }
        let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &[KIND], &key].concat());
        let id = hash.as_ref().iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte));
        Ok(Self { name: name.to_owned(), id, key })
    }

    /// Reads `<name>+<id>+<key>`, as [`Witness::encoded`] writes it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for anything else, or an id of another key.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        const BAD: ProofError = ProofError::Malformed("a witness's key is <name>+<8 hex digits>+<base64>");
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BAD);
        };
        let key = STANDARD.decode(key).map_err(|_| BAD)?;
        let Some((&KIND, key)) = key.split_first() else { return Err(BAD) };
        let witness = Self::new(name, key.try_into().map_err(|_| BAD)?)?;
        let is_same = id.len() == 8 && u32::from_str_radix(id, 16) == Ok(witness.id);
        if is_same { Ok(witness) } else { Err(BAD) }
    }

    /// `<name>+<id>+<key>`.
    #[must_use]
    pub fn encoded(&self) -> String {
        format!("{}+{:08x}+{}", self.name, self.id, STANDARD.encode([&[KIND], &self.key[..]].concat()))
    }

    /// Whose key it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The message that a witness signs.
fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Who of those known has cosigned a note, each once. The log's own signature is not looked at: see
/// [`note::open`](super::note::open).
///
/// # Errors
/// [`ProofError::Malformed`] when it is no note, [`ProofError::Wrong`] when a cosignature of somebody known is not theirs.
pub fn cosigned(note: &str, known: &[Witness]) -> Result<Vec<Cosigned>, ProofError> {
    const WRONG: ProofError = ProofError::Wrong("a cosignature is not of the witness it names");
    let (text, lines) = parts(note)?;
    let mut found: Vec<Cosigned> = Vec::new();
    for (line, name, id, signature) in lines {
        let Some(key) = known.iter().find(|key| key.id == id && key.name == name) else { continue };
        if found.iter().any(|before| before.name == key.name) {
            continue;
        }
        let (time, signature) = signature.split_first_chunk::<8>().ok_or(WRONG)?;
        let time = u64::from_be_bytes(*time);
        if i64::try_from(time).is_err() {
            return Err(WRONG);
        }
        let checked =
            UnparsedPublicKey::new(&ED25519, key.key).verify(message(time, text).as_bytes(), signature);
        checked.map_err(|_| WRONG)?;
        found.push(Cosigned { name: key.name.clone(), time, line: format!("{line}\n") });
    }
    Ok(found)
}

/// Who cosigns, in tests: OneVault is no witness.
#[cfg(test)]
pub(crate) struct Cosigner {
    witness: Witness,
    pair: Ed25519KeyPair,
}

#[cfg(test)]
impl Cosigner {
    /// The private key is `seed`.
    pub(crate) fn new(name: &str, seed: &[u8; 32]) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).unwrap();
        let key = pair.public_key().as_ref().try_into().unwrap();
        Self { witness: Witness::new(name, key).unwrap(), pair }
    }

    pub(crate) const fn witness(&self) -> &Witness {
        &self.witness
    }

    /// A line below the note with this text, with its newline.
    pub(crate) fn line(&self, text: &str, time: u64) -> String {
        let signature = self.pair.sign(message(time, text).as_bytes());
        let bytes = [&self.witness.id.to_be_bytes()[..], &time.to_be_bytes(), signature.as_ref()].concat();
        format!("{DASH}{} {}\n", self.witness.name, STANDARD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::{self, Signer};
    use super::*;

    // The example of the specification.
    const TEXT: &str =
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    const LINE: &str = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==";

    fn cosigner(seed: u8) -> Cosigner {
        Cosigner::new("witness.example/w1", &[seed; 32])
    }

    fn noted() -> (String, Signer) {
        let signer = Signer::new("example.com/behind-the-sofa", &[1; 32]).unwrap();
        (signer.sign(TEXT).unwrap(), signer)
    }

    #[test]
    fn the_message_and_the_line_are_as_the_specification_shows() {
        assert_eq!(message(1_679_315_147, TEXT), format!("cosignature/v1\ntime 1679315147\n{TEXT}"));
        let note = format!("{TEXT}\n{DASH}witness.example.com/w1 {LINE}\n");
        let (_, lines) = parts(&note).unwrap();
        let (_, name, id, signature) = &lines[0];
        assert_eq!((*name, *id, signature.len()), ("witness.example.com/w1", 0x8d66_cf3f, 72));
        assert_eq!(signature[..8], 1_679_315_147_u64.to_be_bytes());
        // A key of another witness of that name has another id, so the line is passed over.
        let other = Cosigner::new("witness.example.com/w1", &[2; 32]);
        assert_eq!(cosigned(&note, &[other.witness().clone()]), Ok(Vec::new()));
    }

    #[test]
    fn a_cosignature_stands_beside_the_logs_own() {
        let (note, signer) = noted();
        let (one, two) = (cosigner(3), cosigner(4));
        let note = format!("{note}{}{}", one.line(TEXT, 7), two.line(TEXT, 8));
        assert_eq!(note::open(&note, &[signer.verifier().clone()]).unwrap().0, TEXT);
        let found = cosigned(&note, &[two.witness().clone(), one.witness().clone()]).unwrap();
        let times: Vec<_> = found.iter().map(|found| found.time).collect();
        assert_eq!(times, [7]);
        let found = cosigned(&note, &[two.witness().clone()]).unwrap();
        assert_eq!((found.len(), found[0].time, found[0].line.clone()), (1, 8, two.line(TEXT, 8)));
    }

    #[test]
    fn no_byte_of_a_cosigned_note_can_be_another() {
        let (note, signer) = noted();
        let known = [cosigner(3).witness().clone()];
        let note = format!("{note}{}", cosigner(3).line(TEXT, 7));
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(bent) = String::from_utf8(bytes) else { continue };
            let holds = note::open(&bent, &[signer.verifier().clone()]).is_ok()
                && cosigned(&bent, &known).is_ok_and(|found| found.len() == 1);
            assert!(!holds, "byte {at}: {bent}");
        }
    }

    #[test]
    fn a_witness_is_read_as_it_is_written_and_no_other() {
        let witness = cosigner(3).witness().clone();
        assert_eq!(Witness::parse(&witness.encoded()), Ok(witness.clone()));
        let signer = Signer::new("witness.example/w1", &[3; 32]).unwrap();
        let text = witness.encoded();
        for bad in [
            "",
            "a",
            "a+b+c",
            &signer.verifier().encoded(),
            text.get(..text.len() - 4).unwrap(),
            &format!("0{text}"),
        ] {
            assert!(Witness::parse(bad).is_err(), "{bad}");
        }
    }
}
