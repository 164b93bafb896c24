//! Texts too large to be looked at whole: what they leave behind is read as they go by.
//!
//! What always holds: what is prepared from such a text holds its backend for as long as it lives, and no longer.

use std::sync::Arc;

use crate::backend::memory::Name;
use crate::session::book::Long;
use crate::session::classify::{Classifier, Rules};
use crate::session::names::Named;
use crate::session::note::Note;
use crate::session::pins::Reason;

use super::Pooled;

/// A text that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Reading {
    classifier: Classifier,
    of: Of,
    field: Field,
}

/// Whose text it is.
#[derive(Debug)]
enum Of {
    Query,
    Unnamed,
    Named(Name),
}

/// Which field of the message the next byte belongs to.
#[derive(Debug, PartialEq, Eq)]
enum Field {
    Name,
    Text,
    Over,
}

impl Reading {
    /// A `Query` begins.
    pub(crate) fn query(rules: &Rules) -> Box<Self> {
        Box::new(Self { classifier: Classifier::new(rules), of: Of::Query, field: Field::Text })
    }

    /// A `Parse` begins.
    pub(crate) fn parse(rules: &Rules, name: &[u8]) -> Box<Self> {
        let of = if name.is_empty() { Of::Unnamed } else { Of::Named(name.into()) };
        Box::new(Self { classifier: Classifier::new(rules), of, field: Field::Name })
    }

    fn feed(&mut self, mut part: &[u8]) {
        if self.field == Field::Name
            && let Some(end) = part.iter().position(|&byte| byte == 0)
        {
            part = part.get(end.saturating_add(1)..).unwrap_or_default();
            self.field = Field::Text;
        }
        if self.field == Field::Text {
            let end = part.iter().position(|&byte| byte == 0);
            self.classifier.feed(part.get(..end.unwrap_or(part.len())).unwrap_or_default());
            if end.is_some() {
                self.field = Field::Over;
            }
        }
    }
}

impl Pooled {
    /// More of the text. With the last of it, what will be answered is known; nothing will where the server skips it.
    pub(crate) fn read_on(&mut self, part: &[u8], last: bool, (text, is_skipped): (&mut Long, bool)) {
        let Some(reading) = &mut self.long else { return };
        reading.feed(part);
        let Some(reading) = self.long.take_if(|_| last) else { return };
        let effects = reading.classifier.finish();
        let effects = (!effects.is_empty()).then(|| Arc::new(effects));
        if is_skipped {
            return;
        }
        match (reading.of, effects) {
            (Of::Query, None) => {}
            (Of::Query, Some(effects)) => text.annotate(Note::Effects(effects, 0)),
            (Of::Unnamed, effects) => text.annotate(Note::Unnamed(self.unnamed.sent(None, effects))),
            (Of::Named(name), effects) => {
                let prepared = self.made.interner.intern(b"", b"\0\0", self.settings());
                self.names.sent(&name, Named { prepared, effects, is_held: true });
                text.annotate(Note::Own);
            }
        }
    }

    /// What is not kept stays where it is.
    pub(super) fn hold_large(&mut self) {
        if self.unnamed.is_large() || self.names.are_held() {
            self.pins.add(Reason::LargeStatement);
        } else {
            self.pins.remove(Reason::LargeStatement);
        }
    }
}
