//! Whose last values `lastval()` and `currval()` answer with.
//!
//! What always holds: a session whose claim is on its backend is the only one that has had that backend since the values
//! there were discarded, and has had no other backend meanwhile. So what the server answers is what it would answer on a
//! connection of the session's own, whatever stepped which sequence: a trigger, a default, a function. Without
//! the claim, values are discarded before the session steps a sequence or asks for one.
//!
//! Source: functions-sequence, sql-discard

use crate::backend::memory::{Claim, Sequences};
use crate::ids::SessionId;

/// What a session's own sequences gave it.
#[derive(Debug)]
pub(crate) struct LastValues {
    claim: Claim,
    /// A sequence may have stepped since the claim was made.
    has_stepped: bool,
}

impl LastValues {
    pub(crate) const fn new(session: SessionId) -> Self {
        Self { claim: Claim { session, number: 0 }, has_stepped: false }
    }

    /// A lease begins on a backend that holds these.
    pub(crate) fn come_to(&mut self, held: &mut Sequences) {
        if *held == Sequences::Of(self.claim) {
            return;
        }
        self.claim.number = self.claim.number.saturating_add(1);
        self.has_stepped = false;
        *held = match held {
            Sequences::Nobody => Sequences::Of(self.claim),
            Sequences::Of(_) | Sequences::Anybody => Sequences::Anybody,
        };
    }

    /// Whether a backend holds this session's values and no others.
    pub(crate) fn are_on(&self, held: Sequences) -> bool {
        held == Sequences::Of(self.claim)
    }

    /// The backend's values are discarded.
    pub(crate) const fn discarded(&mut self, held: &mut Sequences) {
        *held = Sequences::Of(self.claim);
        self.has_stepped = false;
    }

    /// A sequence may have stepped.
    pub(crate) const fn stepped(&mut self) {
        self.has_stepped = true;
    }

    /// Whether there may be a value to answer with.
    pub(crate) const fn may_be_asked(&self) -> bool {
        self.has_stepped
    }

    /// The claim by which the session finds its former backend, where it has left values there.
    pub(crate) fn claim(&self) -> Option<Claim> {
        self.has_stepped.then_some(self.claim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_ends_with_another_session_or_another_backend() {
        let (mut one, mut two) = (LastValues::new(SessionId(1)), LastValues::new(SessionId(2)));
        let (mut first, mut second) = (Sequences::Nobody, Sequences::Nobody);
        one.come_to(&mut first);
        one.come_to(&mut first);
        assert!(one.are_on(first));
        one.come_to(&mut second);
        assert!(one.are_on(second));
        // What it left on the first is older than what it may have left on the second.
        one.come_to(&mut first);
        assert_eq!(first, Sequences::Anybody);
        one.discarded(&mut first);
        assert!(one.are_on(first) && !one.are_on(second));
        two.come_to(&mut first);
        assert!(!one.are_on(first) && !two.are_on(first));
        one.come_to(&mut first);
        assert!(!one.are_on(first));
    }

    #[test]
    fn only_who_stepped_a_sequence_looks_for_its_backend() {
        let mut values = LastValues::new(SessionId(1));
        let mut held = Sequences::Nobody;
        values.come_to(&mut held);
        assert_eq!(values.claim(), None);
        values.stepped();
        assert_eq!(values.claim().map(Sequences::Of), Some(held));
        values.come_to(&mut Sequences::Nobody);
        assert_eq!(values.claim(), None);
    }
}
