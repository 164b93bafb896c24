//! Which key signs after which: a checkpoint that both have signed hands a log over from one to the other.
//!
//! What always holds: a key follows another only where both have signed a checkpoint that says so, and one key only follows
//! one; a key that was replaced stands for no state of a log beyond the checkpoint that handed it over.
//!
//! Such a checkpoint has a line `successor <new key> of <old key>`, keys as [`Verifier::encoded`] writes them.

use super::ProofError;
use super::checkpoint::Checkpoint;
use super::note::{self, Verifier};

/// Begins the line.
const WORD: &str = "successor ";
const BETWEEN: &str = " of ";

/// The line of a checkpoint that hands a log over.
#[must_use]
pub fn line(old: &Verifier, new: &Verifier) -> String {
    format!("{WORD}{}{BETWEEN}{}", new.encoded(), old.encoded())
}

/// Whether a note may hand a log over: to be told by [`Succession::read`].
#[must_use]
pub fn may_be(note: &str) -> bool {
    note.lines().any(|line| line.starts_with(WORD))
}

/// One key followed another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Succession {
    /// Who signed before.
    pub old: Verifier,
    /// Who signs from then on.
    pub new: Verifier,
    /// The last that the old one stands for.
    pub checkpoint: Checkpoint,
}

impl Succession {
    /// Reads a note; `None`: it hands nothing over.
    ///
    /// # Errors
    /// [`ProofError`] when it says that it does, and not both keys stand for that.
    pub fn read(note: &str) -> Result<Option<Self>, ProofError> {
        const BAD: ProofError = ProofError::Malformed("a successor line has two keys of one name");
        let (text, _) = note::parts(note)?;
        let Some(keys) = text.lines().find_map(|line| line.strip_prefix(WORD)) else { return Ok(None) };
        let (new, old) = keys.split_once(BETWEEN).ok_or(BAD)?;
        let keys = [Verifier::parse(old)?, Verifier::parse(new)?];
        let [old, new] = &keys;
        if old == new || old.name() != new.name() {
            return Err(BAD);
        }
        let (text, by) = note::signed(note, &keys)?;
        if by.len() < keys.len() {
            return Err(ProofError::Wrong("a key was not replaced by itself and its successor"));
        }
        let checkpoint = Checkpoint::parse(text)?;
        let [old, new] = keys;
        Ok(Some(Self { old, new, checkpoint }))
    }
}

/// The keys before and after one, the oldest first, and that one among them.
///
/// # Errors
/// [`ProofError::Wrong`] when two keys follow one, or one follows two.
pub fn chain(key: &Verifier, successions: &[Succession]) -> Result<Vec<Verifier>, ProofError> {
    const FORK: ProofError = ProofError::Wrong("two keys follow one");
    let is_fork = |one: &Succession, other: &Succession| (one.old == other.old) != (one.new == other.new);
    if successions.iter().any(|one| successions.iter().any(|other| is_fork(one, other))) {
        return Err(FORK);
    }
    let mut keys = vec![key.clone()];
    // Each step finds a key that was not there, so there are not more steps than successions.
    for _ in 0..successions.len() {
        let before = keys.first().and_then(|first| successions.iter().find(|found| found.new == *first));
        if let Some(before) = before.filter(|before| !keys.contains(&before.old)) {
            keys.insert(0, before.old.clone());
        }
        let after = keys.last().and_then(|last| successions.iter().find(|found| found.old == *last));
        if let Some(after) = after.filter(|after| !keys.contains(&after.new)) {
            keys.push(after.new.clone());
        }
    }
    Ok(keys)
}

/// Up to which size each key stands for one log.
#[derive(Debug)]
pub struct Terms<'a> {
    known: &'a [Verifier],
    ended: Vec<(Verifier, u64)>,
}

impl<'a> Terms<'a> {
    /// Of a log with these notes; `known` is what [`chain`] found.
    ///
    /// # Errors
    /// As [`Succession::read`].
    pub fn of<'n>(
        known: &'a [Verifier],
        notes: impl IntoIterator<Item = &'n str>,
    ) -> Result<Self, ProofError> {
        let mut ended = Vec::new();
        // Where no key was replaced there is nothing to look for.
        for note in notes.into_iter().filter(|note| known.len() > 1 && may_be(note)) {
            let found = Succession::read(note)?;
            ended.extend(found.map(|found| (found.old, found.checkpoint.size)));
        }
        Ok(Self { known, ended })
    }

    /// Whether somebody has signed a note of this log who stood for it at the note's size.
    ///
    /// # Errors
    /// [`ProofError`], also where nobody known has signed it.
    pub fn check(&self, note: &str) -> Result<Checkpoint, ProofError> {
        let (text, by) = note::signed(note, self.known)?;
        let checkpoint = Checkpoint::parse(text)?;
        let stands = |key: &&Verifier| {
            let ended = || self.ended.iter().filter(|(old, _)| old == *key).map(|(_, size)| *size).max();
            self.known.last() == Some(*key) || ended().is_some_and(|size| checkpoint.size <= size)
        };
        if by.iter().any(stands) {
            return Ok(checkpoint);
        }
        Err(ProofError::Wrong("a checkpoint is signed by a key that had been replaced before"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::note::Signer;
    use super::*;

    fn signer(seed: u8) -> Signer {
        Signer::new("vault", &[seed; 32]).unwrap()
    }

    fn key(seed: u8) -> Verifier {
        signer(seed).verifier().clone()
    }

    fn checkpoint(size: u64, extensions: Vec<String>) -> Checkpoint {
        Checkpoint { origin: "vault/one_spa".to_owned(), size, root: [7; 32], extensions }
    }

    fn plain(size: u64, seed: u8) -> String {
        checkpoint(size, Vec::new()).sign(&signer(seed)).unwrap()
    }

    /// `old` hands over to `new`, and `too` signs as the second.
    fn over((old, new): (u8, u8), too: u8, size: u64) -> String {
        let handed = checkpoint(size, vec![line(&key(old), &key(new))]);
        signer(too).sign_too(&handed.sign(&signer(old)).unwrap()).unwrap()
    }

    #[test]
    fn a_key_follows_another_only_where_both_say_so() {
        let found = Succession::read(&over((1, 2), 2, 5)).unwrap().unwrap();
        assert_eq!((found.old, found.new, found.checkpoint.size), (key(1), key(2), 5));
        assert_eq!(Succession::read(&plain(5, 1)), Ok(None));
        let alone = checkpoint(5, vec![line(&key(1), &key(2))]).sign(&signer(1)).unwrap();
        for bad in [
            alone,
            over((1, 2), 1, 5),
            over((1, 2), 3, 5),
            over((1, 1), 1, 5),
            over((1, 2), 2, 5).replace(" of ", " to "),
            over((1, 2), 2, 5).replace("\n5\n", "\n6\n"),
        ] {
            assert!(Succession::read(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn from_one_key_all_are_found_in_their_order() {
        let read = |note: &str| Succession::read(note).unwrap().unwrap();
        let both = [read(&over((2, 3), 3, 9)), read(&over((1, 2), 2, 5)), read(&over((1, 2), 2, 6))];
        for from in 1..=3 {
            assert_eq!(chain(&key(from), &both), Ok(vec![key(1), key(2), key(3)]));
        }
        assert_eq!(chain(&key(4), &both), Ok(vec![key(4)]));
        let forked = [both[1].clone(), read(&over((1, 3), 3, 5))];
        assert!(chain(&key(1), &forked).is_err());
        let round = [both[1].clone(), read(&over((2, 1), 1, 8))];
        assert!(chain(&key(1), &round).is_ok_and(|keys| keys.len() == 2));
    }

    #[test]
    fn a_key_that_was_replaced_stands_for_nothing_that_came_later() {
        let (known, handed) = ([key(1), key(2)], over((1, 2), 2, 5));
        let terms = Terms::of(&known, [plain(3, 1).as_str(), &handed, &plain(8, 2)]).unwrap();
        for good in [plain(3, 1), plain(5, 1), handed.clone(), plain(5, 2), plain(6, 2)] {
            assert!(terms.check(&good).is_ok(), "{good}");
        }
        for bad in [plain(6, 1), plain(3, 3)] {
            assert!(terms.check(&bad).is_err(), "{bad}");
        }
        // A log that begins later was never the old key's.
        let later = Terms::of(&known, []).unwrap();
        assert!(later.check(&plain(1, 1)).is_err() && later.check(&plain(1, 2)).is_ok());
        let only = [key(1)];
        assert!(Terms::of(&only, []).unwrap().check(&plain(9, 1)).is_ok());
    }
}
