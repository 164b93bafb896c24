//! Parameters on their way from `Bind` to the record of what runs with them.
//!
//! What always holds: what is bound once is kept with its portal as long as the portal lives, so that each execution of it is
//! recorded with its parameters; nothing is allocated for those of an unnamed portal in the steady state.

use std::time::{Duration, Instant};

use crate::audit::{Copied, Kind, Long as Recorded, Outcome, Statement as Record};
use crate::protocol::frontend::{Bind, has_parameters};
use crate::session::arena::{Arena, Span};
use crate::session::op::{Op, Stream};
use crate::session::statements::{Bound, Spilled, Statements, significant};

use super::{Book, is_kept};

impl Book {
    /// What a `Parse` says of types.
    pub(super) fn keep_types(&mut self, types: &[u8]) -> Bound<Span> {
        if types.is_empty() || !self.mask.keeps_values() {
            return Bound::Nothing;
        }
        Bound::Here(self.arena.keep(types))
    }

    /// A whole `Bind`. What is known of its statement's types is what its `Parse` says, which may be under way.
    pub(crate) fn bind(&mut self, bind: Bind<'_>, parse: Bound<Span>, bytes: u64) -> Op {
        self.tally.bound();
        let mut op = self.named(significant(bind.statement), significant(bind.portal), bytes);
        if self.mask.keeps_values() && has_parameters(bind.list) {
            let mark = self.arena.mark();
            if let Bound::Here(types) = parse {
                self.arena.keep_again(types);
            } else {
                let known = self.names.statement(bind.statement).map(|statement| statement.types());
                self.arena.keep(known.filter(|types| !types.is_empty()).unwrap_or(b"\0\0"));
            }
            self.arena.keep(bind.list);
            op.list = self.keep_list(mark);
        }
        op
    }

    /// A list that was kept since a mark, as it is recorded.
    fn keep_list(&mut self, mark: Span) -> Bound<Span> {
        let plain = self.arena.since(mark);
        if self.mask.is_full() {
            return Bound::Here(plain);
        }
        let masked = self.mask.list(self.arena.get(plain));
        Bound::Here(self.arena.keep(&masked))
    }

    /// A function is called, with arguments that are still to come.
    pub(super) fn call(&mut self, oid: u32, bytes: u64) -> Op {
        let mut op = self.running(bytes);
        op.text = self.own_text(format!("function call of oid {oid}").as_bytes());
        op
    }

    /// A whole `FunctionCall`.
    pub(crate) fn function_call(&mut self, (oid, list): (u32, &[u8]), bytes: u64) -> Op {
        let mut op = self.call(oid, bytes);
        if self.mask.keeps_values() && has_parameters(list) {
            let mark = self.arena.mark();
            self.arena.keep(b"\0\0");
            self.arena.keep(list);
            op.list = self.keep_list(mark);
        }
        op
    }

    /// What a portal is bound to.
    pub(crate) fn list_of_portal(&mut self, portal: &[u8]) -> Bound<Span> {
        let list = self.names.portal(portal).map(|(_, list)| list).unwrap_or_default();
        list.map(|list| self.arena.keep(list))
    }
}

/// What a `Parse` has said of types.
pub(crate) fn types_of<'a>(arena: &'a Arena, parse: &Op) -> &'a [u8] {
    if let Bound::Here(types) = parse.list { arena.get(types) } else { b"" }
}

/// What all records of a request have in common.
pub(super) fn record<'a>(
    (arena, names): (&'a Arena, &'a Statements<Op>),
    clock: (Instant, Duration),
    op: &'a Op,
    status: u8,
) -> Record<'a> {
    let started = clock.1.saturating_add(op.started.saturating_duration_since(clock.0));
    let started = started.saturating_sub(clock.0.saturating_duration_since(op.started));
    let duration = op.finished.map_or(Duration::ZERO, |end| end.saturating_duration_since(op.started));
    let (text, text_bytes, parts) = match &op.text.statement {
        Some(statement) => (&*statement.text, statement.text_bytes, statement.parts),
        None => (arena.get(op.text.span), op.text.bytes, op.text.parts),
    };
    Record {
        sequence: op.sequence,
        kind: Kind::Query,
        text: if parts.is_some() { b"" } else { text },
        text_bytes,
        text_parts: parts.map_or(0, |spilled| spilled.parts),
        text_ref: parts.map(|spilled| spilled.sequence).filter(|sequence| *sequence != op.sequence),
        text_sha256: parts.map(|spilled| spilled.sha256),
        parameters: parameters((arena, names), op),
        copied: op.copied.as_ref().filter(|_| op.copy.is_some()).map(|stream| copied(stream)),
        wait_ns: op.wait_ns,
        statement_name: op.text.statement.as_ref().map_or(arena.get(op.name), |statement| &statement.name),
        portal: arena.get(op.portal),
        started_ns: u64::try_from(started.as_nanos()).unwrap_or(u64::MAX),
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        commands: op.commands,
        tag: arena.get(op.tag),
        rows: op.rows,
        bytes_in: op.bytes_in,
        bytes_out: op.bytes_out,
        sqlstate: None,
        message: b"",
        transaction_status: status,
        outcome: Outcome::Unknown,
        pins: op.pins,
        decision: op.decision,
    }
}

fn copied(stream: &Stream) -> Copied {
    let tag = stream.digest.as_ref().map(|digest| digest.clone().sign());
    Copied { bytes: stream.bytes, digest: tag.and_then(|tag| tag.as_ref().try_into().ok()) }
}

/// Whatever became of the memory of the `Bind`, its portal has its list.
fn parameters<'a>((arena, names): (&'a Arena, &'a Statements<Op>), op: &Op) -> Recorded<'a> {
    let list = if is_kept(arena, op.list) || op.list == Bound::Nothing {
        op.list.map(|list| arena.get(list))
    } else {
        names.portal(arena.get(op.portal)).map(|(_, list)| list).unwrap_or_default()
    };
    match list {
        Bound::Nothing => Recorded::default(),
        Bound::Here(here) => Recorded::here(here),
        Bound::Parts(bytes, Spilled { sequence, parts, sha256 }) => {
            let of = Some(sequence).filter(|sequence| *sequence != op.sequence);
            Recorded { here: b"", bytes, parts, of, sha256: Some(sha256) }
        }
    }
}
