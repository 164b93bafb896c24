//! Makes one statement of its records: intent and outcome, text and its parts.
//!
//! An intent whose process or session ended without an outcome reads `unknown`. Memory holds the open intents and the
//! places of the parts of sessions that are open, not what the parts hold.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::entry::{Bytes, Entry, StatementRead, WhoRead, decode};
use super::reader::{Pieces, Place, Raw, Reader};
use super::record::{Long, Outcome, Stream};

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
    },
    /// In parts that lie before the place where reading began.
    Before {
        /// The run of the process.
        boot: [u8; 16],
        /// The session, the sequence under which the parts lie, and what they are parts of.
        of: (u64, u64, Stream),
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
    /// The same, borrowed from nobody.
    #[must_use]
    pub fn into_owned(self) -> Whole<'static> {
        let owned = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Whole { text: owned(self.text), parameters: owned(self.parameters) }
    }
}

impl<'a> Shown<'a> {
    /// Reads what may be long; what cannot be read any more is missing from it.
    #[must_use]
    pub fn load(&self, pieces: &Pieces) -> Whole<'a> {
        Whole { text: self.text.load(pieces), parameters: self.parameters.load(pieces) }
    }
}

impl<'a> Text<'a> {
    /// Hands out the text piece by piece.
    ///
    /// # Errors
    /// Of a piece that cannot be read any more.
    pub fn each(&self, pieces: &Pieces, mut take: impl FnMut(&[u8])) -> std::io::Result<()> {
        let found;
        let (boot, parts) = match self {
            Self::Here(text) => {
                take(text);
                return Ok(());
            }
            Self::Parts { boot, places } => (*boot, *places),
            Self::Before { boot, of } => {
                found = pieces.find(*boot, *of);
                (*boot, found.as_slice())
            }
        };
        parts.iter().try_for_each(|place| pieces.piece(boot, *place).map(|piece| take(&piece)))
    }

    /// The text; what cannot be read any more is missing from it.
    #[must_use]
    pub fn load(&self, pieces: &Pieces) -> Cow<'a, [u8]> {
        match *self {
            Self::Here(text) => Cow::Borrowed(text),
            Self::Parts { boot, places } => Cow::Owned(read_all(pieces, boot, places)),
            Self::Before { boot, of } => Cow::Owned(read_all(pieces, boot, &pieces.find(boot, of))),
        }
    }
}

fn read_all(pieces: &Pieces, boot: [u8; 16], places: &[Place]) -> Vec<u8> {
    places.iter().filter_map(|place| pieces.piece(boot, *place).ok()).flatten().collect()
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
}

impl Joiner {
    /// For a reader that has read nothing yet.
    #[must_use]
    pub fn new(reader: &Reader) -> Self {
        Self { node: reader.node().to_vec(), ..Self::default() }
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
        let Some(body) = raw.plain() else {
            self.unreadable = self.unreadable.saturating_add(1);
            return Ok(());
        };
        let entry = decode(body).map_err(|_| BadBody(raw.place))?;
        // A start first ends what is open, under the old one's name.
        if !matches!(entry, Entry::LogStart(_)) {
            self.boot = raw.boot;
        }
        match entry {
            Entry::Part { session, stream, sequence, .. } => {
                let session = self.sessions.entry(session).or_default();
                session.parts.entry((sequence, stream)).or_default().push(raw.place);
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
                show(&self.statement(of(raw), (who, statement), session))
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

    /// Where the oldest intent without its outcome lies.
    #[must_use]
    pub fn oldest(&self) -> Option<Place> {
        let intents = self.sessions.values().filter_map(|session| session.intents.first_key_value());
        intents.map(|(_, ((place, _), _))| *place).min_by_key(|place| place.record)
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
                parameters: begin.parameters,
                started_ns: begin.started_ns,
                ..*end
            };
            return show(&self.statement(*place, (who, whole), session));
        }
        // Its intent was shredded: the record is gone.
        if self.unreadable > 0 {
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
        let StatementRead { sequence, text, text_bytes: bytes, text_parts: parts, text_ref: of, .. } =
            statement;
        let text = Long { here: text.kept, bytes, parts, of };
        let whole = |stream, long: &Long<'a>| {
            if long.parts == 0 {
                return Text::Here(long.here);
            }
            let sequence = long.of.unwrap_or(sequence);
            match session.and_then(|session| session.parts.get(&(sequence, stream))) {
                Some(parts) if u32::try_from(parts.len()).is_ok_and(|parts| parts >= long.parts) => {
                    Text::Parts { boot: self.boot, places: parts }
                }
                Some(_) | None => Text::Before { boot: self.boot, of: (who.session, sequence, stream) },
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

/// A record whose body cannot be read, though its checksum fits.
#[derive(Debug, Clone, Copy)]
pub struct BadBody(pub Place);
