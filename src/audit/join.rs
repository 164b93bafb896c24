//! Makes one statement of its records: intent and outcome, text and its parts.
//!
//! An intent whose process or session ended without an outcome reads `unknown`. Memory holds the open intents and the
//! places of the parts of sessions that are open, not what the parts hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use aws_lc_rs::digest::{Context, SHA256};

use super::entry::{Bytes, Entry, StatementRead, WhoRead, decode};
use super::journal::sha256;
use super::reader::{Body, Pieces, Place, Raw, Reader, SHREDDED};
use super::record::{Kind, Long, Outcome, Stream};
use super::row::{Column, Row, Value};

/// One thing to show.
#[derive(Debug)]
pub struct Shown<'a> {
    /// Where its (first) record lies.
    pub place: Place,
    /// The run of the process that wrote it.
    pub boot: [u8; 16],
    /// Name of the node.
    pub node: &'a [u8],
    /// Number of the data key that its (first) record was encrypted with; 0: none.
    pub key: u32,
    /// What it is; never `Intent`, `Outcome` or `Part`.
    pub entry: Entry<'a>,
    /// The whole text of a statement; the reader joins its parts.
    pub text: Text<'a>,
    /// Its whole list of parameters, for [`super::values::Parameters`].
    pub parameters: Text<'a>,
}

/// Where a statement's text, or its list of parameters, lies.
#[derive(Debug, Clone, Copy)]
pub enum Text<'a> {
    /// In its record.
    Here(&'a [u8]),
    /// In parts.
    Parts {
        /// The run of the process.
        boot: [u8; 16],
        /// Where they are.
        places: &'a [Place],
        /// SHA-256 of all of it, as the record has it.
        sha256: [u8; 32],
    },
    /// In parts that lie before the place where reading began.
    Before {
        /// The run of the process.
        boot: [u8; 16],
        /// The session, the sequence under which the parts lie, and what they are parts of.
        of: (u64, u64, Stream),
        /// SHA-256 of all of it, as the record has it.
        sha256: [u8; 32],
        /// What it means that they are not found.
        absent: Lost,
    },
}

/// What may be long of a record, read and put together.
#[derive(Debug, Default)]
pub struct Whole<'a> {
    /// The statement's text.
    pub text: Cow<'a, [u8]>,
    /// Its list of parameters.
    pub parameters: Cow<'a, [u8]>,
}

impl Whole<'_> {
    /// Whether what lay in parts is what the row says; what is missing is neither.
    pub(super) fn is_of(&self, row: &Row<'_>) -> bool {
        let long = [(&self.text, Column::TextSha256), (&self.parameters, Column::ParametersSha256)];
        long.into_iter().all(|(long, hash)| match row.get(hash) {
            Value::Bytes(hash) => long.is_empty() || **hash == sha256(long),
            Value::Nothing | Value::Number(_) => true,
        })
    }

    /// The same, borrowed from nobody.
    #[must_use]
    pub fn into_owned(self) -> Whole<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Whole { text: owned(self.text), parameters: owned(self.parameters) }
    }
}

/// Why something long cannot be had, though its record can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// The key of its parts was destroyed on purpose.
    Shredded,
    /// A part cannot be found or read.
    Missing,
    /// The parts are not what the record says.
    Changed,
}

impl Lost {
    /// In words, behind the record's number.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Shredded => "the key of a part of its text or parameters was shredded",
            Self::Missing => "a part of its text or parameters cannot be read",
            Self::Changed => "its text or parameters are not those whose hash it has",
        }
    }
}

impl<'a> Shown<'a> {
    /// Reads what may be long; what cannot be had any more is missing from it.
    ///
    /// # Errors
    /// [`BadBody`] when it is not what the record says.
    pub fn load(&self, pieces: &Pieces) -> Result<Whole<'a>, BadBody> {
        self.load_but(pieces, &[Lost::Shredded, Lost::Missing])
    }

    /// Reads what may be long; only what was shredded is missing from it.
    ///
    /// # Errors
    /// [`BadBody`] when it cannot be had, or is not what the record says.
    pub fn load_whole(&self, pieces: &Pieces) -> Result<Whole<'a>, BadBody> {
        self.load_but(pieces, &[Lost::Shredded])
    }

    fn load_but(&self, pieces: &Pieces, passed: &[Lost]) -> Result<Whole<'a>, BadBody> {
        let load = |long: &Text<'a>| match long.load(pieces) {
            Err(lost) if passed.contains(&lost) => Ok(Cow::Borrowed(&b""[..])),
            loaded => loaded.map_err(|lost| BadBody(self.place, lost.what())),
        };
        Ok(Whole { text: load(&self.text)?, parameters: load(&self.parameters)? })
    }

    /// What may be long, as far as it lies in the record.
    #[must_use]
    pub const fn here(&self) -> (&'a [u8], &'a [u8]) {
        (self.text.here(), self.parameters.here())
    }
}

impl<'a> Text<'a> {
    /// What lies in the record.
    #[must_use]
    pub const fn here(&self) -> &'a [u8] {
        match *self {
            Self::Here(text) => text,
            Self::Parts { .. } | Self::Before { .. } => b"",
        }
    }

    /// Hands out the text piece by piece. Only the end tells whether it was the right one.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn each(&self, pieces: &Pieces, mut take: impl FnMut(&[u8])) -> Result<(), Lost> {
        let (found, absent);
        let (boot, parts, sha256) = match self {
            Self::Here(text) => {
                take(text);
                return Ok(());
            }
            Self::Parts { boot, places, sha256 } => {
                absent = Lost::Missing;
                (*boot, *places, sha256)
            }
            Self::Before { boot, of, sha256, absent: why } => {
                (found, absent) = pieces.find(*boot, *of, *why);
                (*boot, found.as_slice(), sha256)
            }
        };
        if parts.is_empty() {
            return Err(absent);
        }
        let mut hash = Context::new(&SHA256);
        for place in parts {
            let piece = pieces
                .piece(boot, *place)
                .map_err(|error| if error.kind() == SHREDDED { Lost::Shredded } else { Lost::Missing })?;
            hash.update(&piece);
            take(&piece);
        }
        if hash.finish().as_ref() == sha256 { Ok(()) } else { Err(Lost::Changed) }
    }

    /// The text.
    ///
    /// # Errors
    /// [`Lost`].
    pub fn load(&self, pieces: &Pieces) -> Result<Cow<'a, [u8]>, Lost> {
        if let Self::Here(text) = *self {
            return Ok(Cow::Borrowed(text));
        }
        let mut whole = Vec::new();
        self.each(pieces, |piece| whole.extend_from_slice(piece))?;
        Ok(Cow::Owned(whole))
    }
}

#[derive(Debug, Default)]
struct Session {
    intents: BTreeMap<u64, ((Place, u32), Vec<u8>)>,
    parts: HashMap<(u64, Stream), Vec<Place>>,
}

/// Puts records together.
#[derive(Debug, Default)]
pub struct Joiner {
    sessions: HashMap<u64, Session>,
    boot: [u8; 16],
    node: Vec<u8>,
    unreadable: u64,
    /// Records were passed over that nothing hangs on, unless it is shredded.
    skipped: bool,
}

impl Joiner {
    /// For a reader that has read nothing yet.
    #[must_use]
    pub fn new(reader: &Reader) -> Self {
        Self { node: reader.node().to_vec(), skipped: reader.skips(), ..Self::default() }
    }

    /// Takes the next record and hands out what is complete.
    ///
    /// # Errors
    /// [`BadBody`] when the record's body cannot be read, or what `show` answers.
    pub fn take<E>(
        &mut self,
        raw: &Raw<'_>,
        mut show: impl FnMut(&Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E>
    where
        E: From<BadBody>,
    {
        if raw.body == Body::Other {
            return Ok(());
        }
        let Some(body) = raw.plain() else {
            self.unreadable = self.unreadable.saturating_add(1);
            return Ok(());
        };
        let entry = decode(body).map_err(|_| BadBody(raw.place, "the record's body cannot be read"))?;
        // A start first ends what is open, under the old one's name.
        if !matches!(entry, Entry::LogStart(_)) {
            self.boot = raw.boot;
        }
        match entry {
            Entry::Part { session, stream, sequence, part, .. } => {
                let session = self.sessions.entry(session).or_default();
                let places = session.parts.entry((sequence, stream)).or_default();
                if part == 0 {
                    places.clear();
                }
                places.push(raw.place);
                Ok(())
            }
            Entry::Intent(who, statement) => {
                let session = self.sessions.entry(who.session).or_default();
                session.intents.insert(statement.sequence, (of(raw), body.to_vec()));
                Ok(())
            }
            Entry::Outcome { session, statement } => self.outcome(raw, session, &statement, show),
            Entry::Statement(who, statement) => {
                let session = self.sessions.get(&who.session);
                show(&self.statement(of(raw), (who, statement), session))?;
                self.let_go(who.session, &statement);
                Ok(())
            }
            Entry::SessionClose { who, .. } => {
                if let Some(session) = self.sessions.remove(&who.session) {
                    self.unknown(&session, &mut show)?;
                }
                show(&self.shown(of(raw), entry))
            }
            Entry::LogStart(start) => {
                self.finish(&mut show)?;
                self.boot = start.boot;
                start.node.kept.clone_into(&mut self.node);
                show(&self.shown(of(raw), entry))
            }
            Entry::LogStop { .. } | Entry::LogGap(_) | Entry::SessionOpen { .. } | Entry::Event(_) => {
                show(&self.shown(of(raw), entry))
            }
        }
    }

    /// Where the oldest thing lies that a later record may need: an intent without its outcome, a part of a text or list.
    #[must_use]
    pub fn oldest(&self) -> Option<Place> {
        let intents = self.sessions.values().filter_map(|session| session.intents.first_key_value());
        let intents = intents.map(|(_, ((place, _), _))| *place);
        let parts = self.sessions.values().flat_map(|session| session.parts.values());
        intents.chain(parts.filter_map(|places| places.first().copied())).min_by_key(|place| place.record)
    }

    /// Forgets parts that no later record of the session needs: those of a text that gave nothing a name, and of parameters
    /// whose portals are gone, because the transaction is over.
    fn let_go(&mut self, session: u64, statement: &StatementRead<'_>) {
        let Some(session) = self.sessions.get_mut(&session) else { return };
        if session.parts.is_empty() {
            return;
        }
        let (sequence, is_over) = (statement.sequence, statement.transaction_status == b'I');
        // Of several commands only the last one's tag is known.
        let names = [&b"PREPARE"[..], b"DEALLOCATE"].contains(&statement.tag.kept) || statement.commands > 1;
        let is_plain = statement.kind == Kind::Query && !names;
        session.parts.retain(|(of, stream), _| match stream {
            Stream::Text => !(is_plain && *of == sequence),
            Stream::Parameters => !(is_over && *of <= sequence),
        });
    }

    /// Whether an intent without its outcome is encrypted with one of these keys.
    #[must_use]
    pub fn has_open(&self, keys: &[u32]) -> bool {
        let mut intents = self.sessions.values().flat_map(|session| session.intents.values());
        intents.any(|((_, key), _)| keys.contains(key))
    }

    /// Records that were passed over because their key was shredded, or the reader has no keys.
    #[must_use]
    pub const fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Hands out the intents that never got an outcome.
    ///
    /// # Errors
    /// What `show` answers.
    pub fn finish<E>(&mut self, mut show: impl FnMut(&Shown<'_>) -> Result<(), E>) -> Result<(), E> {
        let mut sessions: Vec<_> = std::mem::take(&mut self.sessions).into_iter().collect();
        sessions.sort_unstable_by_key(|(number, _)| *number);
        for (_, session) in &sessions {
            self.unknown(session, &mut show)?;
        }
        Ok(())
    }

    fn unknown<E>(
        &self,
        session: &Session,
        show: &mut impl FnMut(&Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for (place, body) in session.intents.values() {
            if let Ok(Entry::Intent(who, statement)) = decode(body) {
                let statement = StatementRead { outcome: Outcome::Unknown, ..statement };
                show(&self.statement(*place, (who, statement), Some(session)))?;
            }
        }
        Ok(())
    }

    fn outcome<E>(
        &mut self,
        raw: &Raw<'_>,
        number: u64,
        end: &StatementRead<'_>,
        mut show: impl FnMut(&Shown<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let session = self.sessions.get_mut(&number);
        let intent = session.and_then(|session| session.intents.remove(&end.sequence));
        let session = self.sessions.get(&number);
        if let Some((place, body)) = &intent
            && let Ok(Entry::Intent(who, begin)) = decode(body)
        {
            let whole = StatementRead {
                statement_name: begin.statement_name,
                portal: begin.portal,
                text: begin.text,
                text_bytes: begin.text_bytes,
                text_parts: begin.text_parts,
                text_ref: begin.text_ref,
                text_sha256: begin.text_sha256,
                parameters: begin.parameters,
                started_ns: begin.started_ns,
                ..*end
            };
            show(&self.statement(*place, (who, whole), session))?;
            self.let_go(number, &whole);
            return Ok(());
        }
        // Its intent was shredded: the record is gone.
        if self.unreadable > 0 || self.skipped {
            return Ok(());
        }
        let nobody = WhoRead { session: number, ..WhoRead::nobody() };
        show(&self.shown(of(raw), Entry::Statement(nobody, *end)))
    }

    fn statement<'a>(
        &'a self,
        place: (Place, u32),
        (who, statement): (WhoRead<'a>, StatementRead<'a>),
        session: Option<&'a Session>,
    ) -> Shown<'a> {
        let StatementRead { sequence, text, text_bytes, text_parts, text_ref, text_sha256, .. } = statement;
        let here = text.kept;
        let text = Long { here, bytes: text_bytes, parts: text_parts, of: text_ref, sha256: text_sha256 };
        let whole = |stream, long: &Long<'a>| {
            if long.parts == 0 {
                return Text::Here(long.here);
            }
            // A record of parts always has their hash; nothing has one of zeros.
            let (sequence, sha256) = (long.of.unwrap_or(sequence), long.sha256.unwrap_or_default());
            match session.and_then(|session| session.parts.get(&(sequence, stream))) {
                Some(parts) if u32::try_from(parts.len()).is_ok_and(|parts| parts >= long.parts) => {
                    Text::Parts { boot: self.boot, places: parts, sha256 }
                }
                Some(_) | None => {
                    // Of what was shredded nobody knows whether it was a part.
                    let absent = if self.unreadable > 0 { Lost::Shredded } else { Lost::Missing };
                    Text::Before { boot: self.boot, of: (who.session, sequence, stream), sha256, absent }
                }
            }
        };
        Shown {
            text: whole(Stream::Text, &text),
            parameters: whole(Stream::Parameters, &statement.parameters),
            ..self.shown(place, Entry::Statement(who, statement))
        }
    }

    fn shown<'a>(&'a self, (place, key): (Place, u32), entry: Entry<'a>) -> Shown<'a> {
        let nothing = Text::Here(b"");
        Shown { place, boot: self.boot, node: &self.node, key, entry, text: nothing, parameters: nothing }
    }
}

/// Where a record lies and which key it is encrypted with.
const fn of(raw: &Raw<'_>) -> (Place, u32) {
    (raw.place, raw.key)
}

impl WhoRead<'_> {
    /// Nothing is known.
    const fn nobody() -> Self {
        const NOTHING: Bytes<'_> = Bytes { kept: b"", bytes: 0 };
        Self {
            session: 0,
            backend_pid: 0,
            client_address: None,
            customer: NOTHING,
            login: NOTHING,
            role: NOTHING,
            database: NOTHING,
            credential: NOTHING,
            tls: NOTHING,
            application_name: NOTHING,
        }
    }
}

/// A record that cannot be read, though its checksum fits; and why.
#[derive(Debug, Clone, Copy)]
pub struct BadBody(pub Place, pub &'static str);
