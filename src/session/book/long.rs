//! Texts and parameters that arrive in pieces.
//!
//! What always holds: so much is kept in memory as one part holds, and of a text that is being masked [`UNSURE_BYTES_MAX`];
//! a text or a list of parameters is recorded whole, in its record or in parts ahead of it, and nothing of a masked text
//! before all of it was read for sure.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use crate::audit::{Stream, TEXT_INLINE_BYTES_MAX};
use crate::protocol::frontend::{self as views, Bind};
use crate::protocol::tag::frontend;
use crate::session::lease::Request;
use crate::session::mask::{ListMask, TextMask};
use crate::session::note::Note;
use crate::session::op::Op;
use crate::session::statements::{Bound, Spilled, significant};

use super::{Book, count};

/// The types of all parameters that a statement can have, and their number.
const TYPES_BYTES_MAX: usize = 2 + 4 * 0xffff;

/// A text that is longer when it is masked becomes one value: only its end says whether its beginning was read rightly.
const UNSURE_BYTES_MAX: usize = 512 << 10;

/// A message that arrives in pieces.
#[derive(Debug)]
pub(crate) struct Long {
    op: Op,
    of: Of,
    /// What it is made of at this place.
    field: Field,
    masking: Masking,
    /// Of the text or the parameters as they are recorded, what is not recorded yet.
    held: Vec<u8>,
    /// Of a text that is being masked, what is not sure yet.
    unsure: Vec<u8>,
    bytes: u64,
    parts: u32,
    /// Of what lies in parts.
    hash: Hash,
    /// The types behind the text of a `Parse`.
    types: Vec<u8>,
}

struct Hash(Context);

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

/// Whose text or parameters they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Query,
    Parse,
    Bind,
    Call,
}

/// What is done with it ahead of the record.
#[derive(Debug)]
enum Masking {
    Nothing,
    Text(Box<TextMask>),
    List(Box<ListMask>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Text,
    Types,
    Parameters,
    Over,
}

impl Long {
    /// What transaction pooling remembers of it.
    pub(crate) fn annotate(&mut self, note: Note) {
        self.op.note = note;
    }
}

impl Book {
    /// A message begins of which only the names must be in `body`: gives how many bytes they take. `None` for any
    /// message but `Query`, `Parse`, `Bind` and `FunctionCall`. `types` are those of a `Bind`'s statement.
    pub(crate) fn long(&mut self, tag: u8, body: &[u8], bytes: u64) -> Option<(Box<Long>, usize)> {
        let (of, op, rest) = match tag {
            frontend::QUERY => (Of::Query, self.running(bytes), body),
            frontend::PARSE => {
                self.tally.parsed();
                // Like an `Execute`, it begins with its name.
                let name = views::execute(body);
                let rest = body.get(name.len().saturating_add(1)..).unwrap_or_default();
                (Of::Parse, self.named(significant(name), b"", bytes), rest)
            }
            frontend::BIND => {
                self.tally.bound();
                let Bind { portal, statement, list } = Bind::read(body);
                (Of::Bind, self.named(significant(statement), significant(portal), bytes), list)
            }
            frontend::FUNCTION_CALL => {
                let (oid, list) = views::function_call(body);
                (Of::Call, self.call(oid, bytes), list)
            }
            _ => return None,
        };
        let field = match of {
            Of::Query | Of::Parse => Field::Text,
            Of::Bind | Of::Call if self.mask.keeps_values() => Field::Parameters,
            Of::Bind | Of::Call => Field::Over,
        };
        let masking = match of {
            Of::Query | Of::Parse => Masking::Text(Box::new(TextMask::new(&self.mask))),
            Of::Bind | Of::Call if self.mask.is_full() => Masking::Nothing,
            Of::Bind | Of::Call => Masking::List(Box::new(ListMask::new(&self.mask))),
        };
        let long = Long {
            op,
            of,
            field,
            masking,
            held: Vec::new(),
            unsure: Vec::new(),
            bytes: 0,
            parts: 0,
            hash: Hash(Context::new(&SHA256)),
            types: Vec::new(),
        };
        Some((Box::new(long), body.len().saturating_sub(rest.len())))
    }

    /// The types of what a `Bind` binds go ahead of its list.
    pub(crate) fn begin_list(&mut self, long: &mut Long, types: &[u8]) {
        if long.field == Field::Parameters {
            self.masked(long, if types.is_empty() { b"\0\0" } else { types });
        }
    }

    /// The next piece.
    pub(crate) fn piece(&mut self, long: &mut Long, bytes: &[u8]) {
        match long.field {
            Field::Text => {
                let end = bytes.iter().position(|&byte| byte == 0);
                self.masked(long, bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default());
                if let Some(end) = end {
                    self.end_text(long);
                    long.field = if long.of == Of::Parse { Field::Types } else { Field::Over };
                    self.piece(long, bytes.get(end.saturating_add(1)..).unwrap_or_default());
                }
            }
            Field::Types => {
                let room = TYPES_BYTES_MAX.saturating_sub(long.types.len());
                long.types.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
            }
            Field::Parameters => self.masked(long, bytes),
            Field::Over => {}
        }
    }

    fn masked(&mut self, long: &mut Long, bytes: &[u8]) {
        let mut out = Vec::new();
        match &mut long.masking {
            Masking::Nothing => return self.extend(long, bytes),
            Masking::Text(mask) if mask.is_sure() => mask.feed(bytes, &mut out),
            Masking::Text(mask) => {
                mask.feed(bytes, &mut long.unsure);
                if long.unsure.len() > UNSURE_BYTES_MAX {
                    mask.give_up();
                    long.unsure = Vec::new();
                }
                return;
            }
            Masking::List(mask) => mask.feed(bytes, &mut out),
        }
        self.extend(long, &out);
    }

    /// The text is over.
    fn end_text(&mut self, long: &mut Long) {
        let Masking::Text(mask) = std::mem::replace(&mut long.masking, Masking::Nothing) else { return };
        let mut out = std::mem::take(&mut long.unsure);
        let instead = mask.finish(&mut out);
        self.extend(long, instead.as_deref().unwrap_or(&out));
    }

    fn extend(&mut self, long: &mut Long, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = TEXT_INLINE_BYTES_MAX.saturating_sub(long.held.len());
            let (piece, behind) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            long.held.extend_from_slice(piece);
            long.bytes = long.bytes.saturating_add(count(piece));
            rest = behind;
            if !rest.is_empty() {
                self.spill(long);
            }
        }
    }

    fn spill(&mut self, long: &mut Long) {
        let stream = match long.of {
            Of::Query | Of::Parse => Stream::Text,
            Of::Bind | Of::Call => Stream::Parameters,
        };
        if long.op.sequence == 0 {
            long.op.sequence = self.next_sequence();
        }
        long.hash.0.update(&long.held);
        let written = self.log.part((stream, long.op.sequence, long.parts), &long.held);
        self.note(written);
        long.parts = long.parts.saturating_add(1);
        long.held.clear();
    }

    /// All of it is here. What lies in parts lies there whole.
    pub(crate) fn finish_long(&mut self, mut long: Box<Long>) -> (Request, Op) {
        // One without an end, which the server refuses.
        self.end_text(&mut long);
        if long.parts > 0 {
            self.spill(&mut long);
        }
        let Long { mut op, of, held, bytes, parts, types, hash, .. } = *long;
        let sha256 = hash.0.finish().as_ref().try_into().unwrap_or_default();
        let spilled = Spilled { sequence: op.sequence, parts, sha256 };
        match of {
            Of::Query | Of::Parse => {
                op.text.bytes = bytes;
                op.text.parts = Some(spilled).filter(|_| parts > 0);
                if parts == 0 {
                    op.text.span = self.keep(&held);
                }
                op.list = self.keep_types(views::types(&types));
            }
            Of::Bind | Of::Call if parts > 0 => op.list = Bound::Parts(bytes, spilled),
            Of::Bind | Of::Call if held.is_empty() => {}
            Of::Bind | Of::Call => op.list = Bound::Here(self.keep(&held)),
        }
        let request = match of {
            Of::Query => Request::Query,
            Of::Parse => Request::Parse,
            Of::Bind => Request::Bind,
            Of::Call => Request::Call,
        };
        (request, op)
    }
}
