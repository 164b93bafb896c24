//! Signed notes: a text, and below it who stands for it.
//!
//! What always holds: the signature covers the text up to and including its last newline, and nothing else; signatures
//! of keys that are not known are passed over, one of a known key that is wrong makes the note wrong.
//!
//! Source: C2SP signed-note

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ProofError;

/// Bytes of a note that are read at most.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Signatures under one note at most.
pub const SIGNATURES_MAX: usize = 100;

/// The kind of signature: Ed25519 over the text.
const KIND_ED25519: u8 = 1;
pub(super) const DASH: &str = "\u{2014} ";

/// Whom signatures are checked against: a name and an Ed25519 public key.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: u32,
    key: [u8; 32],
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.encoded())
    }
}

/// The name that a key has in signature lines: the beginning of a hash of name, kind and key.
fn key_id(name: &str, key: &[u8; 32]) -> u32 {
    let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &[KIND_ED25519], key].concat());
    hash.as_ref().iter().take(4).fold(0, |id, byte| id << 8 | u32::from(*byte))
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|letter: char| letter.is_whitespace() || letter == '+')
}

impl Verifier {
    /// A key under a name, which has neither white space nor `+`.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for a name that cannot be one.
    pub fn new(name: &str, key: [u8; 32]) -> Result<Self, ProofError> {
        if !is_name(name) {
            return Err(ProofError::Malformed("a key's name has white space or + in it, or is empty"));
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, &key), key })
    }

    /// Reads `<name>+<id>+<key>`, as [`Verifier::encoded`] writes it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for anything else, or an id of another key.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        const BAD: ProofError = ProofError::Malformed("a verifier key is <name>+<8 hex digits>+<base64>");
        let mut parts = text.trim_end().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(BAD);
        };
        let key = STANDARD.decode(key).map_err(|_| BAD)?;
        let Some((&KIND_ED25519, key)) = key.split_first() else { return Err(BAD) };
        let verifier = Self::new(name, key.try_into().map_err(|_| BAD)?)?;
        if id.len() != 8 || u32::from_str_radix(id, 16) != Ok(verifier.id) {
            return Err(BAD);
        }
        Ok(verifier)
    }

    /// `<name>+<id>+<key>`: what is given to those who check.
    #[must_use]
    pub fn encoded(&self) -> String {
        let key = STANDARD.encode([&[KIND_ED25519], &self.key[..]].concat());
        format!("{}+{:08x}+{key}", self.name, self.id)
    }

    /// Whose key it is.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Who signs: a name and an Ed25519 private key, which is never shown.
pub struct Signer {
    verifier: Verifier,
    pair: Ed25519KeyPair,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

impl Signer {
    /// The private key is `seed`, as in RFC 8032.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for a name that cannot be one.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, ProofError> {
        const BAD: ProofError = ProofError::Malformed("no Ed25519 key");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| BAD)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| BAD)?;
        Ok(Self { verifier: Verifier::new(name, key)?, pair })
    }

    /// What is given to those who check.
    #[must_use]
    pub const fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// A note: the text, which ends with a newline, and a signature below it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] for a text that cannot be a note's.
    pub fn sign(&self, text: &str) -> Result<String, ProofError> {
        check_text(text)?;
        Ok(format!("{text}\n{}", self.line(text)))
    }

    /// A note with one more signature below those it has.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] when it is no note.
    pub fn sign_too(&self, note: &str) -> Result<String, ProofError> {
        let (text, _) = parts(note)?;
        Ok(format!("{note}{}", self.line(text)))
    }

    fn line(&self, text: &str) -> String {
        let signature = self.pair.sign(text.as_bytes());
        let line = STANDARD.encode([&self.verifier.id.to_be_bytes(), signature.as_ref()].concat());
        format!("{DASH}{} {line}\n", self.verifier.name)
    }
}

fn check_text(text: &str) -> Result<(), ProofError> {
    if !text.ends_with('\n') {
        return Err(ProofError::Malformed("the text of a note ends with a newline"));
    }
    if text.contains(|letter: char| letter < ' ' && letter != '\n') {
        return Err(ProofError::Malformed("a note has a control character in it"));
    }
    Ok(())
}

/// A signature line: all of it, and its name, key id and signature.
pub(super) type Line<'a> = (&'a str, &'a str, u32, Vec<u8>);

/// The text of a note, and its signature lines. Nothing is checked yet.
pub(super) fn parts(note: &str) -> Result<(&str, Vec<Line<'_>>), ProofError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(ProofError::Malformed("the note is too long"));
    }
    let Some(split) = note.rfind("\n\n") else {
        return Err(ProofError::Malformed("a note has an empty line above its signatures"));
    };
    let (text, below) = note.split_at(split.saturating_add(1));
    check_text(text)?;
    let lines = below.strip_prefix('\n').and_then(|below| below.strip_suffix('\n'));
    let Some(lines) = lines else {
        return Err(ProofError::Malformed("a note ends with a newline"));
    };
    let mut read = Vec::new();
    for line in lines.split('\n') {
        if read.len() >= SIGNATURES_MAX {
            return Err(ProofError::Malformed("more signatures than are read"));
        }
        let (name, id, signature) = signature_line(line)?;
        read.push((line, name, id, signature));
    }
    Ok((text, read))
}

/// Checks a note, and gives its text and which of the keys known have signed it: at least one.
///
/// # Errors
/// [`ProofError::Malformed`] when it is no note, [`ProofError::Wrong`] when nobody known has signed it, or a signature of
/// somebody known is not theirs.
pub fn signed<'a, 'k>(
    note: &'a str,
    known: &'k [Verifier],
) -> Result<(&'a str, Vec<&'k Verifier>), ProofError> {
    let (text, lines) = parts(note)?;
    let mut keys: Vec<&Verifier> = Vec::new();
    for (_, name, id, signature) in lines {
        let Some(key) = known.iter().find(|key| key.id == id && key.name == name) else { continue };
        if keys.contains(&key) {
            continue;
        }
        let checked = UnparsedPublicKey::new(&ED25519, key.key).verify(text.as_bytes(), &signature);
        checked.map_err(|_| ProofError::Wrong("a signature is not of the one it names"))?;
        keys.push(key);
    }
    if keys.is_empty() {
        Err(ProofError::Wrong("nobody known has signed the note"))
    } else {
        Ok((text, keys))
    }
}

/// The same, with the names of those who have signed, each once: somebody may have several keys.
///
/// # Errors
/// As [`signed`].
pub fn open<'a>(note: &'a str, known: &[Verifier]) -> Result<(&'a str, Vec<String>), ProofError> {
    let (text, keys) = signed(note, known)?;
    let mut names: Vec<String> = Vec::new();
    for key in keys {
        if !names.contains(&key.name) {
            names.push(key.name.clone());
        }
    }
    Ok((text, names))
}

/// Name, key id and signature of one line.
fn signature_line(line: &str) -> Result<(&str, u32, Vec<u8>), ProofError> {
    const BAD: ProofError = ProofError::Malformed("a signature line is a dash, a name and base64");
    let (name, signature) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(BAD)?;
    let signature = STANDARD.decode(signature).map_err(|_| BAD)?;
    let (id, signature) = signature.split_first_chunk::<4>().ok_or(BAD)?;
    if !is_name(name) || signature.is_empty() {
        return Err(BAD);
    }
    Ok((name, u32::from_be_bytes(*id), signature.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the specification's own implementation.
    const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const SAID: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    const SIGNED: &str =
        "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";

    fn known() -> [Verifier; 1] {
        [Verifier::parse(PETER).unwrap()]
    }

    #[test]
    fn the_known_example_is_signed_by_whom_it_says() {
        let note = format!("{SAID}\n{DASH}PeterNeumann {SIGNED}\n");
        assert_eq!(open(&note, &known()).unwrap(), (SAID, vec!["PeterNeumann".to_owned()]));
        assert_eq!(known()[0].encoded(), PETER);
    }

    #[test]
    fn no_byte_of_a_note_can_be_another() {
        let note = format!("{SAID}\n{DASH}PeterNeumann {SIGNED}\n");
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(bent) = String::from_utf8(bytes) else { continue };
            assert!(open(&bent, &known()).is_err(), "byte {at}: {bent}");
        }
    }

    #[test]
    fn what_is_signed_is_opened_beside_strangers_signatures() {
        let (one, two) =
            (Signer::new("one.example/log", &[7; 32]).unwrap(), Signer::new("two", &[8; 32]).unwrap());
        let note = one.sign("a text\nof two lines\n").unwrap();
        let other = two.sign("a text\nof two lines\n").unwrap();
        let both = format!("{note}{}", other.rsplit_once("\n\n").unwrap().1);
        let names = |known: &[Verifier]| open(&both, known).map(|(_, names)| names);
        assert_eq!(names(&[one.verifier().clone()]).unwrap(), ["one.example/log"]);
        assert_eq!(
            names(&[two.verifier().clone(), one.verifier().clone()]).unwrap(),
            ["one.example/log", "two"]
        );
        assert!(names(&known()).is_err());
        // A name of one's own with another's key.
        let false_one = Signer::new("one.example/log", &[9; 32]).unwrap();
        assert!(names(&[false_one.verifier().clone()]).is_err());
    }

    #[test]
    fn malformed_notes_and_keys_are_told_as_such() {
        for note in [
            "",
            "\n",
            "\n\n",
            "text",
            "text\n",
            "text\n\n",
            "text\n\n\u{2014} a",
            "a\tb\n\n\u{2014} a AAAAAAA=\n",
        ] {
            assert!(matches!(open(note, &known()), Err(ProofError::Malformed(_))), "{note:?}");
        }
        let long = PETER.replace("c74f20a3", "0c74f20a3");
        for key in ["", "a", "a+b", "a+00000000+AA==", "a+00000000+", "a b+00000000+AAAA", &long] {
            assert!(Verifier::parse(key).is_err(), "{key:?}");
        }
        let signer = Signer::new("name", &[1; 32]).unwrap();
        assert!(signer.sign("no newline").is_err());
        assert!(Signer::new("a name", &[1; 32]).is_err());
        assert!(!format!("{signer:?}").contains("AQEBAQ"));
    }
}
