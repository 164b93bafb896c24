//! Checkpoints: how large a log's tree is and what its root is, in a signed note.
//!
//! What always holds: a checkpoint that was read is written again byte for byte.
//!
//! Source: C2SP tlog-checkpoint

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ProofError;
use super::note::{self, Signer, Verifier};
use super::tree::Hash;

/// Lines of a log's own below the root at most.
pub const EXTENSIONS_MAX: usize = 16;

/// The state of one log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log it is; no two have the same.
    pub origin: String,
    /// How many leaves its tree has.
    pub size: u64,
    /// The tree's root.
    pub root: Hash,
    /// Lines of the log's own, without newlines.
    pub extensions: Vec<String>,
}

impl fmt::Display for Checkpoint {
    /// The text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, STANDARD.encode(self.root))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl Checkpoint {
    /// Reads the text of a note.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] with what is wrong.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let text =
            text.strip_suffix('\n').ok_or(ProofError::Malformed("a checkpoint ends with a newline"))?;
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|origin| !origin.is_empty());
        let origin =
            origin.ok_or(ProofError::Malformed("a checkpoint begins with its log's name"))?.to_owned();
        let size = lines
            .next()
            .and_then(decimal)
            .ok_or(ProofError::Malformed("the second line is the tree's size"))?;
        let root = lines.next().and_then(|line| STANDARD.decode(line).ok()?.try_into().ok());
        let root = root.ok_or(ProofError::Malformed("the third line is the tree's root in base64"))?;
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if extensions.len() > EXTENSIONS_MAX || extensions.iter().any(String::is_empty) {
            return Err(ProofError::Malformed("too many lines below the root, or an empty one"));
        }
        Ok(Self { origin, size, root, extensions })
    }

    /// A note that holds it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`] when a name or a line has a newline or control character in it.
    pub fn sign(&self, signer: &Signer) -> Result<String, ProofError> {
        let text = self.to_string();
        if Self::parse(&text).as_ref() != Ok(self) {
            return Err(ProofError::Malformed("a line of the checkpoint has a newline in it"));
        }
        signer.sign(&text)
    }

    /// Reads and checks a note, and gives who of those known has signed it.
    ///
    /// # Errors
    /// As [`note::open`] and [`Checkpoint::parse`]; [`ProofError::Wrong`] when it is of another log than `origin`.
    pub fn open(note: &str, origin: &str, known: &[Verifier]) -> Result<(Self, Vec<String>), ProofError> {
        let (text, names) = note::open(note, known)?;
        let checkpoint = Self::parse(text)?;
        if checkpoint.origin != origin {
            return Err(ProofError::Wrong("the checkpoint is of another log"));
        }
        Ok((checkpoint, names))
    }
}

/// A number without sign or leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Checkpoint {
        let extensions = vec!["time 2026-03-01T12:00:00Z".to_owned()];
        Checkpoint { origin: "vault.example/one_spa".to_owned(), size: 42, root: [9; 32], extensions }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_was_signed() {
        let signer = Signer::new("vault.example", &[3; 32]).unwrap();
        let note = example().sign(&signer).unwrap();
        let known = [signer.verifier().clone()];
        let (read, names) = Checkpoint::open(&note, "vault.example/one_spa", &known).unwrap();
        assert_eq!((read, names), (example(), vec!["vault.example".to_owned()]));
        assert!(Checkpoint::open(&note, "vault.example/one_barn", &known).is_err());
    }

    #[test]
    fn there_is_one_way_to_write_a_checkpoint() {
        let good = example().to_string();
        assert_eq!(Checkpoint::parse(&good), Ok(example()));
        let root = STANDARD.encode([9; 32]);
        for bad in [
            String::new(),
            "a\n1\n".to_owned(),
            format!("\n1\n{root}\n"),
            format!("a\n01\n{root}\n"),
            format!("a\n+1\n{root}\n"),
            format!("a\n-1\n{root}\n"),
            format!("a\n18446744073709551616\n{root}\n"),
            format!("a\n1\n{}\n", root.trim_end_matches('=')),
            format!("a\n1\n{}\n", STANDARD.encode([9; 31])),
            format!("a\n1\n{root}"),
            format!("a\n1\n{root}\n\n"),
            format!("a\n1\n{root}\n{}", "x\n".repeat(EXTENSIONS_MAX + 1)),
        ] {
            assert!(Checkpoint::parse(&bad).is_err(), "{bad:?}");
        }
        let mut two_lines = example();
        two_lines.origin.push_str("\n43");
        assert!(two_lines.sign(&Signer::new("a", &[3; 32]).unwrap()).is_err());
    }
}
