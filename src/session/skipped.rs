//! What a failed batch was meant to make: the records of what was meant to run get their texts from it.
//!
//! What always holds: however long a client goes on in a batch that failed, only the newest of it is kept, so many requests
//! and so many bytes at most. The server answers nothing of it, so nothing else would give the memory back.

use std::collections::VecDeque;

use super::book::Book;
use super::lease::Request;
use super::op::Op;

/// Requests that are kept.
const REQUESTS_MAX: usize = 1024;
/// Bytes of the session's requests from which on the older half is given back.
const BYTES_MAX: u64 = 256 << 10;

/// How many `Parse`s and `Bind`s are under way or skipped: without any there is nothing to look through.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ahead {
    pub(super) parses: usize,
    pub(super) binds: usize,
}

impl Ahead {
    const fn of(&mut self, request: Request) -> Option<&mut usize> {
        match request {
            Request::Parse => Some(&mut self.parses),
            Request::Bind => Some(&mut self.binds),
            Request::Query
            | Request::Describe
            | Request::Execute
            | Request::Close
            | Request::Sync
            | Request::Call
            | Request::CopyEnd => None,
        }
    }

    pub(super) const fn came(&mut self, request: Request) {
        if let Some(count) = self.of(request) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) const fn went(&mut self, request: Request) {
        if let Some(count) = self.of(request) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Whether an `Execute` behind it may get its text from it.
pub(super) const fn gives_text(request: Request) -> bool {
    matches!(request, Request::Parse | Request::Bind)
}

/// The request at which a batch failed, and those that are skipped since, as far as they give texts.
#[derive(Debug, Default)]
pub(super) struct Skipped(VecDeque<(Request, Op)>);

impl Skipped {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (Request, &Op)> {
        self.0.iter().map(|(request, op)| (*request, op))
    }

    pub(super) fn keep(&mut self, request: Request, op: Op, ahead: &mut Ahead) {
        if self.0.len() >= REQUESTS_MAX {
            self.forget(ahead);
        }
        self.0.push_back((request, op));
        ahead.came(request);
    }

    fn forget(&mut self, ahead: &mut Ahead) {
        if let Some((request, _)) = self.0.pop_front() {
            ahead.went(request);
        }
    }

    /// The batch is over.
    pub(super) fn clear(&mut self, ahead: &mut Ahead) {
        std::mem::take(&mut self.0).into_iter().for_each(|(request, _)| ahead.went(request));
    }

    /// Gives back what has become too much, where nothing is owed.
    pub(super) fn fit(&mut self, ahead: &mut Ahead, book: &mut Book, status: u8) {
        if book.arena.bytes_since(None) <= BYTES_MAX {
            return;
        }
        book.ready_executions(status);
        while self
            .0
            .front()
            .is_some_and(|(_, oldest)| book.arena.bytes_since(Some(oldest.portal)) > BYTES_MAX / 2)
        {
            self.forget(ahead);
        }
        match self.0.front() {
            Some((_, oldest)) => book.release_before(oldest),
            None => book.rest(),
        }
    }
}
