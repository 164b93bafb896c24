//! The statement without a name of one session in transaction pooling.
//!
//! What always holds: what the server's answers say it is, it is on whichever backend; what was sent since counts only
//! for what is sent behind it in the same batch.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY

use std::sync::Arc;

use super::effect::Effects;

/// One such statement.
#[derive(Debug)]
pub(crate) struct Text {
    /// The body of its `Parse`, name included; `None` when it was too large to keep.
    pub(crate) parse: Option<Box<[u8]>>,
    /// What it leaves behind when it runs; none when that is nothing.
    pub(crate) effects: Option<Arc<Effects>>,
    /// Tells it from others of its session.
    pub(crate) number: u64,
}

/// What it is, and what it will be.
#[derive(Debug, Default)]
pub(crate) struct Unnamed {
    /// As the server said last.
    now: Option<Arc<Text>>,
    /// When everything sent has succeeded.
    seen: Option<Arc<Text>>,
    count: u64,
}

impl Unnamed {
    /// As the server has answered.
    pub(crate) const fn now(&self) -> Option<&Arc<Text>> {
        self.now.as_ref()
    }

    /// For a message that is sent next.
    pub(crate) const fn seen(&self) -> Option<&Arc<Text>> {
        self.seen.as_ref()
    }

    /// Everything sent is answered.
    pub(crate) fn settle(&mut self) {
        self.seen.clone_from(&self.now);
    }

    /// What was sent last, if it is this. Drivers say the same again and again.
    pub(crate) fn same(&self, parse: &[u8]) -> Option<&Arc<Text>> {
        self.seen.as_ref().filter(|seen| seen.parse.as_deref() == Some(parse))
    }

    /// `Parse` is sent.
    pub(crate) fn sent(&mut self, parse: Option<&[u8]>, effects: Option<Arc<Effects>>) -> Arc<Text> {
        if let Some(same) = parse.and_then(|parse| self.same(parse)) {
            return Arc::clone(same);
        }
        self.count = self.count.saturating_add(1);
        let text = Text { parse: parse.map(Into::into), effects, number: self.count };
        let text = Arc::new(text);
        self.seen = Some(Arc::clone(&text));
        text
    }

    /// `Query` is sent, or `Close` without a name.
    pub(crate) fn ending(&mut self) {
        self.seen = None;
    }

    /// `ParseComplete`
    pub(crate) fn parsed(&mut self, text: &Arc<Text>) {
        self.now = Some(Arc::clone(text));
    }

    /// It is gone at the server: closed, ended by a `Query`, or by a `Parse` that failed.
    pub(crate) fn ended(&mut self) {
        self.now = None;
    }

    /// A request that would have replaced or ended it was refused.
    pub(crate) fn refused(&mut self) {
        (self.now, self.seen) = (None, None);
    }

    /// Whether it was too large to keep.
    pub(crate) fn is_large(&self) -> bool {
        self.now.as_ref().is_some_and(|text| text.parse.is_none())
    }
}
