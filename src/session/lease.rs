//! What a backend still owes its client: a pure machine over requests and answers.
//!
//! It knows when a session stands between two transactions with nothing under way, which answer belongs to
//! which request, and what a failed batch skips. In doubt it says so, and the backend is never used again.
//! It knows nothing of sockets, texts or records: each request carries a payload of the caller's.
//!
//! Source: protocol-flow#PROTOCOL-FLOW-EXT-QUERY, protocol-flow#PROTOCOL-FLOW-PIPELINING,
//! protocol-flow#PROTOCOL-COPY

use std::collections::VecDeque;

/// A request that changes what is owed. `Flush` and `CopyData` do not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// `Query`
    Query,
    /// `Parse`
    Parse,
    /// `Bind`
    Bind,
    /// `Describe`
    Describe,
    /// `Execute`
    Execute,
    /// `Close`
    Close,
    /// `FunctionCall`
    Call,
    /// `Sync`
    Sync,
    /// `CopyDone` or `CopyFail`
    CopyEnd,
}

/// An answer, by what it means for what is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `ParseComplete`
    ParseComplete,
    /// `BindComplete`
    BindComplete,
    /// `CloseComplete`
    CloseComplete,
    /// `ParameterDescription`
    ParameterDescription,
    /// `RowDescription` or `NoData`
    Described,
    /// `DataRow`
    Row,
    /// `CommandComplete` or `EmptyQueryResponse`
    Complete,
    /// `PortalSuspended`
    Suspended,
    /// `FunctionCallResponse`
    CallResponse,
    /// `CopyInResponse`
    CopyIn,
    /// `CopyOutResponse`
    CopyOut,
    /// `CopyData` or `CopyDone` from the server
    CopyStream,
    /// `ErrorResponse`
    Error,
    /// `ReadyForQuery` with its transaction status
    Ready(u8),
    /// Notices, notifications, parameter changes: they may come at any time
    Async,
    /// Anything else: the server is out of step
    Unknown,
}

/// What an answer means for the payloads.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a, T> {
    /// A command of this request is complete; more may follow.
    Command(&'a mut T),
    /// This request failed; `Done` follows, at once or with `ReadyForQuery`.
    Failed(Request, &'a mut T),
    /// This request is answered.
    Done(Request, T),
    /// This `Execute` reached its row limit.
    Suspended(T),
    /// This request was never run: a failed batch skipped it.
    Skipped(Request, T),
}

/// What becomes of a request just sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Sent<T> {
    /// It will be answered.
    Owed,
    /// The server ignores it.
    Ignored(T),
    /// The server skips it: an earlier request of its batch failed.
    Skipped(T),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Copy {
    None,
    /// The server takes `CopyData`. `open`: the client has not ended it. `ignored_syncs`: swallowed by the copy.
    In {
        open: bool,
        ignored_syncs: usize,
    },
    Out,
}

/// What is owed to one client.
#[derive(Debug)]
pub struct Lease<T> {
    owed: VecDeque<(Request, T)>,
    status: u8,
    copy: Copy,
    /// Requests of the extended protocol were sent and no `Sync` behind them: a transaction may be open.
    unsynced: bool,
    /// An error is out and the `Sync` that ends its batch was not sent yet.
    skipping: bool,
    /// `ReadyForQuery`s that may come besides those owed, because a `Sync` crossed an error of a copy.
    extra_ready: usize,
    /// Something came that does not fit: the backend is never used again.
    out_of_step: bool,
}

/// Transaction status: not in a transaction block.
pub const IDLE: u8 = b'I';

impl<T> Default for Lease<T> {
    fn default() -> Self {
        Self {
            owed: VecDeque::new(),
            status: IDLE,
            copy: Copy::None,
            unsynced: false,
            skipping: false,
            extra_ready: 0,
            out_of_step: false,
        }
    }
}

impl<T> Lease<T> {
    /// The transaction status of the last `ReadyForQuery`: `I`, `T` or `E`.
    #[must_use]
    pub const fn status(&self) -> u8 {
        self.status
    }

    /// Requests whose answer has not come.
    #[must_use]
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Between two transactions, nothing under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.owed.is_empty()
            && self.status == IDLE
            && !self.unsynced
            && !self.skipping
            && self.copy == Copy::None
    }

    /// Idle, and every answer so far was the one expected: the backend may be used again.
    #[must_use]
    pub fn is_in_step(&self) -> bool {
        self.is_idle() && !self.out_of_step
    }

    /// The server sent what nobody asked for.
    #[must_use]
    pub const fn is_out_of_step(&self) -> bool {
        self.out_of_step
    }

    /// Requests of the extended protocol wait for their `Sync`.
    #[must_use]
    pub const fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// An error is out: the server ignores everything before the next `Sync`.
    #[must_use]
    pub const fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// The server reads `CopyData`.
    #[must_use]
    pub const fn is_copying_in(&self) -> bool {
        matches!(self.copy, Copy::In { open: true, .. })
    }

    /// The request that is being answered.
    pub fn current(&mut self) -> Option<&mut T> {
        self.owed.front_mut().map(|(_, payload)| payload)
    }

    /// The requests under way, oldest first.
    #[must_use]
    pub fn pending(&self) -> impl DoubleEndedIterator<Item = (Request, &T)> {
        self.owed.iter().map(|(request, payload)| (*request, payload))
    }

    /// Takes what is left when the session ends.
    pub fn abandon(&mut self) -> impl Iterator<Item = (Request, T)> + '_ {
        self.owed.drain(..)
    }

    /// Gives back memory while nothing is under way.
    pub fn rest(&mut self) {
        if self.owed.is_empty() && self.owed.capacity() > 4 {
            self.owed = VecDeque::new();
        }
    }

    /// Notes a request as it is sent.
    pub fn sent(&mut self, request: Request, payload: T) -> Sent<T> {
        if self.skipping {
            if request != Request::Sync {
                return Sent::Skipped(payload);
            }
            self.skipping = false;
        }
        if let Copy::In { open: open @ true, ignored_syncs } = &mut self.copy {
            match request {
                Request::Sync => *ignored_syncs = ignored_syncs.saturating_add(1),
                Request::CopyEnd => *open = false,
                Request::Query
                | Request::Parse
                | Request::Bind
                | Request::Describe
                | Request::Execute
                | Request::Close
                | Request::Call => {
                    // The copy eats this message and fails, unless it has failed already: who knows.
                    *open = false;
                    self.out_of_step = true;
                    return Sent::Skipped(payload);
                }
            }
            return Sent::Ignored(payload);
        }
        if request == Request::CopyEnd && self.owed.is_empty() {
            return Sent::Ignored(payload);
        }
        if request != Request::CopyEnd {
            self.unsynced = !matches!(request, Request::Query | Request::Call | Request::Sync);
        }
        self.owed.push_back((request, payload));
        Sent::Owed
    }

    /// Notes an answer as it comes.
    pub fn answered(&mut self, answer: Answer, mut on: impl FnMut(Event<'_, T>)) {
        if matches!(answer, Answer::Async) {
            return;
        }
        self.drop_copy_ends();
        let front = self.owed.front().map(|(request, _)| *request);
        match (answer, front) {
            (Answer::Row, Some(Request::Query | Request::Execute))
            | (Answer::ParameterDescription, Some(Request::Describe))
            | (Answer::Described | Answer::CopyStream, Some(Request::Query))
            | (Answer::CopyStream, Some(Request::Execute))
            | (Answer::CallResponse, Some(Request::Call)) => {}
            (Answer::ParseComplete, Some(Request::Parse))
            | (Answer::BindComplete, Some(Request::Bind))
            | (Answer::CloseComplete, Some(Request::Close))
            | (Answer::Described, Some(Request::Describe)) => self.done(&mut on),
            (Answer::Complete, Some(Request::Query)) => self.command(&mut on),
            (Answer::Complete, Some(Request::Execute)) => {
                self.command(&mut on);
                self.done(&mut on);
            }
            (Answer::Suspended, Some(Request::Execute)) => {
                if let Some((_, payload)) = self.owed.pop_front() {
                    on(Event::Suspended(payload));
                }
            }
            (Answer::CopyIn, Some(Request::Query | Request::Execute)) => self.copy_in(&mut on),
            (Answer::CopyOut, Some(Request::Query | Request::Execute)) => self.copy = Copy::Out,
            (Answer::Error, _) => self.error(&mut on),
            (Answer::Ready(status), _) => self.ready(status, &mut on),
            (
                Answer::ParseComplete
                | Answer::BindComplete
                | Answer::CloseComplete
                | Answer::ParameterDescription
                | Answer::Described
                | Answer::Row
                | Answer::Complete
                | Answer::Suspended
                | Answer::CallResponse
                | Answer::CopyIn
                | Answer::CopyOut
                | Answer::CopyStream
                | Answer::Async
                | Answer::Unknown,
                _,
            ) => self.out_of_step = true,
        }
    }

    /// `CopyDone`/`CopyFail` that found no copy: the server ignores them.
    fn drop_copy_ends(&mut self) {
        while self.owed.front().is_some_and(|(request, _)| *request == Request::CopyEnd) {
            self.owed.pop_front();
        }
    }

    fn command(&mut self, on: &mut impl FnMut(Event<'_, T>)) {
        self.copy = Copy::None;
        if let Some((_, payload)) = self.owed.front_mut() {
            on(Event::Command(payload));
        }
    }

    fn done(&mut self, on: &mut impl FnMut(Event<'_, T>)) {
        if let Some((request, payload)) = self.owed.pop_front() {
            on(Event::Done(request, payload));
        }
    }

    /// The copy swallows each `Sync` sent ahead of its end; any other message makes it fail and is eaten.
    fn copy_in(&mut self, on: &mut impl FnMut(Event<'_, T>)) {
        let mut ignored_syncs = 0_usize;
        let mut open = true;
        while open {
            let Some((request, _)) = self.owed.get(1) else { break };
            let request = *request;
            let Some((_, payload)) = self.owed.remove(1) else { break };
            match request {
                Request::Sync => ignored_syncs = ignored_syncs.saturating_add(1),
                Request::CopyEnd => open = false,
                Request::Query
                | Request::Parse
                | Request::Bind
                | Request::Describe
                | Request::Execute
                | Request::Close
                | Request::Call => {
                    open = false;
                    on(Event::Skipped(request, payload));
                }
            }
        }
        self.copy = Copy::In { open, ignored_syncs };
    }

    fn error(&mut self, on: &mut impl FnMut(Event<'_, T>)) {
        if let Copy::In { ignored_syncs, .. } = self.copy
            && ignored_syncs > 0
        {
            // Whether the server saw those Syncs before or after the error cannot be known from here.
            self.extra_ready = self.extra_ready.saturating_add(ignored_syncs);
        }
        self.copy = Copy::None;
        let Some((request, payload)) = self.owed.front_mut() else { return };
        let request = *request;
        on(Event::Failed(request, payload));
        match request {
            Request::Query | Request::Call | Request::Sync | Request::CopyEnd => {}
            Request::Parse | Request::Bind | Request::Describe | Request::Execute | Request::Close => {
                self.done(on);
                self.skip(on);
            }
        }
    }

    /// After an error in the extended protocol everything up to the next `Sync` is skipped.
    fn skip(&mut self, on: &mut impl FnMut(Event<'_, T>)) {
        while let Some((request, _)) = self.owed.front() {
            if *request == Request::Sync {
                return;
            }
            if let Some((request, payload)) = self.owed.pop_front() {
                on(Event::Skipped(request, payload));
            }
        }
        self.skipping = true;
    }

    fn ready(&mut self, status: u8, on: &mut impl FnMut(Event<'_, T>)) {
        self.status = status;
        self.copy = Copy::None;
        match self.owed.front().map(|(request, _)| *request) {
            Some(Request::Query | Request::Call | Request::Sync) => self.done(on),
            Some(
                Request::Parse
                | Request::Bind
                | Request::Describe
                | Request::Execute
                | Request::Close
                | Request::CopyEnd,
            )
            | None => {
                if self.extra_ready == 0 {
                    self.out_of_step = true;
                }
                self.extra_ready = self.extra_ready.saturating_sub(1);
                self.skipping = false;
                self.unsynced = false;
            }
        }
        self.drop_copy_ends();
        if !matches!(status, b'I' | b'T' | b'E') {
            self.out_of_step = true;
        }
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
