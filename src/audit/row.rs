//! A record of a log as a row of typed columns: what is shown, exported, archived, searched and proven is this.
//!
//! What always holds: a column's tag, name and type never change, new ones come behind; a column that says nothing is
//! [`Value::Nothing`]; the canonical bytes of a row follow from its columns alone, so they are the same whether the row
//! comes from the journal or from the archive.
//!
//! Canonical bytes are a version (1), then for each column that says something, in the order of their tags, the tag
//! (`u8`), a length (`u32`) and the value (numbers as `u64`); then the long columns, each with a length of 64 bits. Numbers
//! are little-endian. A long column that lies in parts is not there: its hash and its length are columns of their own.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::body::wide;
use super::decision::Decision;
use super::entry::{Bytes, Entry, EventRead, StatementRead, WhoRead};
use super::join::Shown;
use super::record::Long;
use super::render::{Summary, summary};

/// Version of the canonical bytes.
pub(super) const CANONICAL_VERSION: u8 = 1;
/// Tag of a statement's text in canonical bytes; long columns have tags from here on.
pub(super) const TEXT_TAG: u8 = 0x80;
/// Tag of its list of parameters.
pub(super) const PARAMETERS_TAG: u8 = 0x81;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A number from 0.
    Number,
    /// ns since 1970.
    Time,
    /// Bytes that mean text, in most cases UTF-8.
    Text,
    /// Other bytes.
    Raw,
}

/// A column's value in one row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Value<'a> {
    /// Not known, or it says nothing of this kind of record.
    #[default]
    Nothing,
    /// Of [`Type::Number`] and [`Type::Time`].
    Number(u64),
    /// Of [`Type::Text`] and [`Type::Raw`].
    Bytes(Cow<'a, [u8]>),
}

/// Makes the columns: tag, name in SQL and in files, name in JSON, type, and what it says.
macro_rules! columns {
    ($($variant:ident = $tag:literal $name:literal $json:literal $kind:ident $says:literal;)+) => {
        /// A column of a row.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Column {
            $(#[doc = $says] $variant,)+
        }

        impl Column {
            /// Every column, in the order of its tag.
            pub const ALL: [Self; COLUMNS] = [$(Self::$variant),+];

            /// Its number in canonical bytes, from 1.
            #[must_use]
            pub const fn tag(self) -> u8 {
                match self { $(Self::$variant => $tag),+ }
            }

            /// Its name in SQL and in Parquet files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// Its name in JSON: OCSF's or OpenTelemetry's, or `ov.*`.
            #[must_use]
            pub const fn json(self) -> &'static str {
                match self { $(Self::$variant => $json),+ }
            }

            /// What it holds.
            #[must_use]
            pub const fn kind(self) -> Type {
                match self { $(Self::$variant => Type::$kind),+ }
            }

            /// What it says, in words.
            #[must_use]
            pub const fn says(self) -> &'static str {
                match self { $(Self::$variant => $says),+ }
            }
        }

        /// How many columns there are, besides the long ones.
        pub const COLUMNS: usize = [$($tag),+].len();
    };
}

columns! {
    Record = 1 "record" "metadata.sequence" Number "Number of the record in the journal; of the intent, where there is one";
    Time = 2 "time" "time" Time "When it began";
    Class = 3 "class" "ov.class" Text "statement, session, event, log or copy";
    Kind = 4 "kind" "ov.kind" Text "Such as query, execute, session_open, login_failed, log_start";
    Outcome = 5 "outcome" "ov.outcome" Text "ok, error, refused, skipped, cancelled or unknown";
    Customer = 6 "customer" "metadata.tenant_uid" Text "Whose it is";
    Node = 7 "node" "ov.node" Text "Name of the node";
    Boot = 8 "boot" "ov.boot" Raw "Names the run of the process: 16 random bytes";
    Session = 9 "session" "actor.session.uid" Number "Number of the session in its run";
    Login = 10 "login" "actor.user.name" Text "The login, as proven; as given where it was not";
    Role = 11 "role" "ov.db_user" Text "The Postgres role that is used";
    Database = 12 "database" "db.namespace" Text "The database";
    Credential = 13 "credential" "ov.credential" Text "How the login was proven";
    ClientIp = 14 "client_ip" "src_endpoint.ip" Text "Where the client connects from";
    ClientPort = 15 "client_port" "src_endpoint.port" Number "Its port";
    Tls = 16 "tls" "ov.tls" Text "TLS version towards the client; nothing: clear text";
    ApplicationName = 17 "application_name" "actor.app_name" Text "application_name";
    BackendPid = 18 "backend_pid" "ov.backend_pid" Number "Process id of the backend; 0: none is held";
    Sequence = 19 "sequence" "ov.sequence" Number "Number of the execution in its session";
    StatementName = 20 "statement_name" "ov.statement_name" Text "Name of the prepared statement";
    Portal = 21 "portal" "ov.portal" Text "Name of the portal";
    DurationNs = 22 "duration_ns" "ov.duration_ns" Number "From arrival to the last answer, in ns";
    Commands = 23 "commands" "ov.commands" Number "Commands completed";
    CommandTag = 24 "command_tag" "ov.command_tag" Text "The last command tag";
    Rows = 25 "rows" "db.response.returned_rows" Number "Rows returned or changed";
    BytesIn = 26 "bytes_in" "ov.bytes_in" Number "Bytes from the client";
    BytesOut = 27 "bytes_out" "ov.bytes_out" Number "Bytes towards the client";
    Sqlstate = 28 "sqlstate" "db.response.status_code" Text "SQLSTATE of the error";
    Message = 29 "message" "status_detail" Text "Message of the error, or the reason";
    TransactionStatus = 30 "transaction_status" "ov.transaction_status" Text "I, T or E at the end";
    TextBytes = 31 "text_bytes" "ov.text_bytes" Number "Length of the whole text";
    PreviousEnd = 32 "previous_end" "ov.previous_end" Text "Of a start: how the journal ended before";
    BytesCut = 33 "bytes_cut" "ov.bytes_cut" Number "Of a start: bytes of a torn end that were cut";
    Program = 34 "program" "metadata.product.version" Text "Of a start: version of the program";
    GapSince = 35 "gap_since" "ov.gap_since" Time "Of a gap: since when the journal could not be written";
    Attempts = 36 "attempts" "ov.attempts" Number "Of a gap: attempts that failed";
    Refused = 37 "refused" "ov.refused" Number "Of a gap: calls that were refused";
    Clipped = 38 "clipped" "ov.clipped" Text "Columns that keep only their beginning, with their full lengths";
    ParameterBytes = 39 "parameter_bytes" "ov.parameter_bytes" Number "Length of the whole list of parameters";
    WaitNs = 40 "wait_ns" "ov.wait_ns" Number "How long it waited for a backend before that, in ns";
    CopyBytes = 41 "copy_bytes" "ov.copy_bytes" Number "Of a COPY: bytes of its data";
    CopyHmac = 42 "copy_hmac" "ov.copy_hmac" Raw "Of a COPY: HMAC-SHA-256 of its data under the customer's mask key";
    TextSha256 = 43 "text_sha256" "ov.text_sha256" Raw "Of a text in parts: SHA-256 of the whole";
    ParametersSha256 = 44 "parameters_sha256" "ov.parameters_sha256" Raw "Of a list of parameters in parts: SHA-256 of the whole";
    Pins = 45 "pins" "ov.pins" Text "Why the session kept its backend when it ended, with commas between";
    Decision = 46 "decision" "ov.decision" Text "What OneVault refused or ended, and by which rule; nothing: it was let through";
}

/// A record of a log. Its text is apart, because it may be long: see [`Shown::text`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row<'a> {
    values: [Value<'a>; COLUMNS],
}

impl Default for Row<'_> {
    fn default() -> Self {
        Self { values: std::array::from_fn(|_| Value::Nothing) }
    }
}

impl<'a> Row<'a> {
    /// What is shown, as a row.
    #[must_use]
    pub fn of(shown: &Shown<'a>) -> Self {
        let mut row = Self::default();
        let Summary { class, kind, time_ns, outcome, customer, login, .. } = summary(&shown.entry);
        row.number(Column::Record, shown.place.record);
        row.number(Column::Time, time_ns);
        row.bytes(Column::Class, whole(class.as_bytes()));
        row.bytes(Column::Kind, whole(kind.as_bytes()));
        row.bytes(Column::Outcome, whole(outcome.name().as_bytes()));
        row.bytes(Column::Customer, whole(customer));
        row.bytes(Column::Login, whole(login));
        row.bytes(Column::Node, whole(shown.node));
        row.set(Column::Boot, Value::Bytes(Cow::Owned(shown.boot.to_vec())));
        match &shown.entry {
            Entry::Statement(who, statement) | Entry::Intent(who, statement) => {
                row.who(who);
                row.statement(statement);
            }
            Entry::Outcome { statement, .. } => row.statement(statement),
            Entry::SessionOpen { who, .. } => row.who(who),
            Entry::SessionClose { who, reason, .. } => {
                row.who(who);
                row.bytes(Column::Message, *reason);
            }
            Entry::Event(event) => row.event(event),
            Entry::LogStart(start) => {
                row.bytes(Column::PreviousEnd, start.previous_end);
                row.number(Column::BytesCut, start.bytes_cut);
                row.bytes(Column::Program, start.program);
            }
            Entry::LogGap(gap) => {
                row.number(Column::GapSince, gap.since_ns);
                row.number(Column::Attempts, gap.attempts);
                row.number(Column::Refused, gap.refused);
                row.bytes(Column::Message, gap.reason);
            }
            Entry::LogStop { .. } | Entry::Part { .. } => {}
        }
        row
    }

    /// A column's value.
    #[must_use]
    pub fn get(&self, column: Column) -> &Value<'a> {
        self.values.get(place(column)).unwrap_or(&Value::Nothing)
    }

    /// A column's number; 0 where it says nothing.
    #[must_use]
    pub fn number_of(&self, column: Column) -> u64 {
        match self.get(column) {
            Value::Number(number) => *number,
            Value::Nothing | Value::Bytes(_) => 0,
        }
    }

    /// A column's bytes; none where it says nothing.
    #[must_use]
    pub fn bytes_of(&self, column: Column) -> &[u8] {
        match self.get(column) {
            Value::Bytes(bytes) => bytes,
            Value::Nothing | Value::Number(_) => b"",
        }
    }

    /// Sets a column, as a reader of files does.
    pub fn set(&mut self, column: Column, value: Value<'a>) {
        if let Some(kept) = self.values.get_mut(place(column)) {
            *kept = value;
        }
    }

    /// The canonical bytes of all columns but the long ones.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        out.push(CANONICAL_VERSION);
        for (column, value) in Column::ALL.into_iter().zip(&self.values) {
            let number;
            let bytes: &[u8] = match value {
                Value::Nothing => continue,
                Value::Number(value) => {
                    number = value.to_le_bytes();
                    &number
                }
                Value::Bytes(bytes) => bytes,
            };
            out.push(column.tag());
            out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(bytes);
        }
    }

    /// The canonical bytes of the long columns, a statement's text and its list of parameters, piece by piece, behind
    /// those of [`Row::canonical`]. Of one that lies in parts the row has the hash, so it may be left out.
    pub fn canonical_long(&self, (text, parameters): (&[u8], &[u8]), mut put: impl FnMut(&[u8])) {
        let long =
            [(TEXT_TAG, text, Column::TextSha256), (PARAMETERS_TAG, parameters, Column::ParametersSha256)];
        for (tag, bytes, hash) in long {
            if !bytes.is_empty() && *self.get(hash) == Value::Nothing {
                put(&[tag]);
                put(&wide(bytes.len()).to_le_bytes());
                put(bytes);
            }
        }
    }

    fn number(&mut self, column: Column, number: u64) {
        self.set(column, Value::Number(number));
    }

    /// Empty bytes say nothing; what is only a beginning says so.
    fn bytes(&mut self, column: Column, bytes: Bytes<'a>) {
        if bytes.bytes > 0 {
            self.set(column, Value::Bytes(Cow::Borrowed(bytes.kept)));
        }
        if bytes.bytes > wide(bytes.kept.len()) {
            let mut clipped = self.bytes_of(Column::Clipped).to_vec();
            let between = if clipped.is_empty() { "" } else { " " };
            clipped.extend_from_slice(format!("{between}{}={}", column.name(), bytes.bytes).as_bytes());
            self.set(Column::Clipped, Value::Bytes(Cow::Owned(clipped)));
        }
    }

    fn address(&mut self, address: Option<SocketAddr>) {
        if let Some(address) = address {
            let ip = address.ip().to_string().into_bytes();
            self.set(Column::ClientIp, Value::Bytes(Cow::Owned(ip)));
            self.number(Column::ClientPort, u64::from(address.port()));
        }
    }

    fn who(&mut self, who: &WhoRead<'a>) {
        self.number(Column::Session, who.session);
        // The summary has it without its full length.
        self.bytes(Column::Login, who.login);
        self.bytes(Column::Role, who.role);
        self.bytes(Column::Database, who.database);
        self.bytes(Column::Credential, who.credential);
        self.bytes(Column::Tls, who.tls);
        self.bytes(Column::ApplicationName, who.application_name);
        self.address(who.client_address);
        self.number(Column::BackendPid, u64::from(who.backend_pid.unsigned_abs()));
    }

    fn statement(&mut self, statement: &StatementRead<'a>) {
        self.number(Column::Sequence, statement.sequence);
        self.bytes(Column::StatementName, statement.statement_name);
        self.bytes(Column::Portal, statement.portal);
        self.number(Column::DurationNs, statement.duration_ns);
        self.number(Column::Commands, u64::from(statement.commands));
        self.bytes(Column::CommandTag, statement.tag);
        self.number(Column::Rows, statement.rows);
        self.number(Column::BytesIn, statement.bytes_in);
        self.number(Column::BytesOut, statement.bytes_out);
        self.sqlstate(statement.sqlstate);
        self.bytes(Column::Message, statement.message);
        if statement.transaction_status != 0 {
            self.owned(Column::TransactionStatus, &[statement.transaction_status]);
        }
        self.number(Column::TextBytes, statement.text_bytes);
        statement.text_sha256.iter().for_each(|hash| self.owned(Column::TextSha256, hash));
        let Long { bytes, sha256, .. } = statement.parameters;
        if bytes > 0 {
            self.number(Column::ParameterBytes, bytes);
        }
        sha256.iter().for_each(|hash| self.owned(Column::ParametersSha256, hash));
        if statement.wait_ns > 0 {
            self.number(Column::WaitNs, statement.wait_ns);
        }
        if let Some(copied) = statement.copied {
            self.number(Column::CopyBytes, copied.bytes);
            copied.digest.iter().for_each(|digest| self.owned(Column::CopyHmac, digest));
        }
        if !statement.pins.is_empty() {
            self.owned(Column::Pins, statement.pins.names().as_bytes());
        }
        self.decision(statement.decision);
    }

    fn event(&mut self, event: &EventRead<'a>) {
        if event.session != 0 {
            self.number(Column::Session, event.session);
        }
        self.bytes(Column::Login, event.login);
        self.bytes(Column::Database, event.database);
        self.bytes(Column::Tls, event.tls);
        self.bytes(Column::ApplicationName, event.application_name);
        self.bytes(Column::Message, event.detail);
        self.address(event.client_address);
        self.sqlstate(event.sqlstate);
        self.decision(event.decision);
    }

    fn decision(&mut self, decision: Option<Decision>) {
        if let Some(decision) = decision {
            self.bytes(Column::Decision, whole(decision.name().as_bytes()));
        }
    }

    fn sqlstate(&mut self, code: Option<[u8; 5]>) {
        if let Some(code) = code {
            self.owned(Column::Sqlstate, &code);
        }
    }

    fn owned(&mut self, column: Column, bytes: &[u8]) {
        self.set(column, Value::Bytes(Cow::Owned(bytes.to_vec())));
    }
}

/// Tags go on from 1 without gaps.
fn place(column: Column) -> usize {
    usize::from(column.tag()).saturating_sub(1)
}

const fn whole(kept: &[u8]) -> Bytes<'_> {
    #[expect(clippy::as_conversions, reason = "const; a usize fits into 64 bits")]
    Bytes { kept, bytes: kept.len() as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_on_from_one_and_names_are_different() {
        for (at, column) in Column::ALL.into_iter().enumerate() {
            assert_eq!(place(column), at, "{}", column.name());
            assert!(column.tag() < TEXT_TAG);
            for other in Column::ALL.into_iter().filter(|other| *other != column) {
                assert_ne!(column.name(), other.name());
                assert_ne!(column.json(), other.json());
            }
        }
    }

    #[test]
    fn the_checker_knows_the_same_columns() {
        use crate::proof::record::{Field, Value};
        for column in Column::ALL {
            let field = Field { tag: column.tag(), value: Value::Number(0) };
            assert_eq!(field.name(), Some(column.name()));
            let is_number = matches!(column.kind(), Type::Number | Type::Time);
            assert_eq!(Field::is_number(column.tag()), is_number, "{}", column.name());
        }
    }

    #[test]
    fn what_says_nothing_has_no_canonical_bytes() {
        let mut row = Row::default();
        let mut bytes = Vec::new();
        row.canonical(&mut bytes);
        assert_eq!(bytes, [CANONICAL_VERSION]);
        row.number(Column::Rows, 0);
        row.bytes(Column::Login, whole(b"app"));
        bytes.clear();
        row.canonical(&mut bytes);
        assert_eq!(bytes, b"\x01\x0a\x03\0\0\0app\x19\x08\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_beginning_says_how_much_there_was() {
        let mut row = Row::default();
        row.bytes(Column::Message, Bytes { kept: b"long", bytes: 9000 });
        row.bytes(Column::Portal, Bytes { kept: b"p", bytes: 10 });
        assert_eq!(row.bytes_of(Column::Clipped), b"message=9000 portal=10");
    }
}
