//! What a record says: who, what, how it ended.
//!
//! Texts and names are bytes as the client or the server sent them: they may be in any encoding. A text is never cut;
//! a name or message longer than [`NAME_BYTES_MAX`] keeps its beginning and its full length, and says so.
//! How a record looks on disk is [`super::body`]'s business; how it is shown, [`super::render`]'s.

use std::net::SocketAddr;

use super::decision::Decision;
use super::pin::Pins;

/// Texts and lists of parameters up to this length lie in their record; longer ones are spilled into
/// [`part`](super::SessionLog::part)s.
pub const TEXT_INLINE_BYTES_MAX: usize = 64 << 10;

/// Statement and portal names, tags and messages keep this many bytes and their full length.
pub const NAME_BYTES_MAX: usize = 8 << 10;

/// The session a record belongs to; the same for all of its records, so it is encoded once.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// Number of the session; together with the boot id it never comes twice.
    pub session: u64,
    /// Whose database this is.
    pub customer: &'a str,
    /// The name the client proved.
    pub login: &'a str,
    /// The Postgres role that is used at the database.
    pub role: &'a str,
    /// The database's name at the server.
    pub database: &'a str,
    /// How the login was proven, such as `scram`, `token` or `jwt`.
    pub credential: &'a str,
    /// Where the client connects from.
    pub client_address: SocketAddr,
    /// The TLS version towards the client; `None`: clear text.
    pub tls: Option<&'a str>,
    /// `application_name` as the client sent it.
    pub application_name: &'a [u8],
    /// Pid of the server process; 0 while none is held.
    pub backend_pid: i32,
}

/// How a statement came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kind {
    /// `Query`: one or more statements in one text.
    #[default]
    Query,
    /// `Execute` of a portal.
    Execute,
    /// `FunctionCall`.
    FunctionCall,
    /// A statement that turned into `COPY .. FROM STDIN`.
    CopyIn,
    /// A statement that turned into `COPY .. TO STDOUT`.
    CopyOut,
    /// A statement that turned into a copy in both directions (replication).
    CopyBoth,
    /// `Parse` that failed, or whose text never was executed but must be known.
    Parse,
    /// `Bind` that failed.
    Bind,
    /// `Describe` that failed.
    Describe,
    /// `Sync` that failed: the transaction of its batch could not be committed.
    Sync,
    /// A read of the audit log itself, through the console.
    LogRead,
    /// A piece of what a `COPY` moved, where its content is recorded; the piece is the text.
    CopyData,
}

impl Kind {
    /// The class of its records, `ov.class`.
    #[must_use]
    pub const fn class(self) -> &'static str {
        if matches!(self, Self::CopyData) { "copy" } else { "statement" }
    }
}

/// How a statement or an event ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outcome {
    /// Completed.
    Ok,
    /// The server answered with an error.
    Error,
    /// OneVault did not let it through.
    Refused,
    /// Not executed: an earlier message of the same batch failed.
    Skipped,
    /// Ended by a cancel request.
    Cancelled,
    /// Nobody knows: a connection or a process was lost in between.
    #[default]
    Unknown,
}

/// Bytes of any length: in their record, or in parts that were recorded before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Long<'a> {
    /// The bytes; empty when they lie in parts.
    pub here: &'a [u8],
    /// Their whole length.
    pub bytes: u64,
    /// How many parts; 0: all lies in `here`.
    pub parts: u32,
    /// The sequence under which the parts lie, when it is not the record's own.
    pub of: Option<u64>,
    /// SHA-256 of all of it, where it lies in parts.
    pub sha256: Option<[u8; 32]>,
}

impl<'a> Long<'a> {
    /// All of it.
    #[must_use]
    pub fn here(here: &'a [u8]) -> Self {
        Self { here, bytes: u64::try_from(here.len()).unwrap_or(u64::MAX), parts: 0, of: None, sha256: None }
    }
}

/// The data of a `COPY`, in either direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Bytes of data, without the protocol's own; of a piece, those before it.
    pub bytes: u64,
    /// HMAC-SHA-256 of them under the customer's mask key; `None` where nothing of values is recorded.
    pub digest: Option<[u8; 32]>,
}

/// One execution.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statement<'a> {
    /// Number of the execution in its session, from 1.
    pub sequence: u64,
    /// How it came.
    pub kind: Kind,
    /// The text. Longer ones than [`TEXT_INLINE_BYTES_MAX`] are split into parts by the log itself, all at once; a text
    /// that may be longer than the buffer goes ahead through [`super::SessionLog::part`].
    pub text: &'a [u8],
    /// Length of the whole text in bytes; more than `text.len()` when it was spilled in parts.
    pub text_bytes: u64,
    /// Parts recorded under `sequence` (or `text_ref`) before this record; 0: the text lies in `text`.
    pub text_parts: u32,
    /// The sequence under which the parts were recorded, when it is another one: a big prepared statement run again.
    pub text_ref: Option<u64>,
    /// SHA-256 of the whole text, where it lies in parts: what proves the record proves the text by it.
    pub text_sha256: Option<[u8; 32]>,
    /// What was bound, or a function's arguments: see [`super::values::Parameters`]. Split into parts as the text is.
    pub parameters: Long<'a>,
    /// Name of the prepared statement; empty: unnamed or none.
    pub statement_name: &'a [u8],
    /// Name of the portal; empty: unnamed or none.
    pub portal: &'a [u8],
    /// What was copied, where it is a `COPY` through the session.
    pub copied: Option<Copied>,
    /// How long it waited for a backend before it was looked at, in ns; not a part of `duration_ns`.
    pub wait_ns: u64,
    /// Wall clock at arrival, in ns since 1970.
    pub started_ns: u64,
    /// From arrival to the last answer, in ns.
    pub duration_ns: u64,
    /// Commands completed (`CommandComplete`, `EmptyQueryResponse`).
    pub commands: u32,
    /// The last command tag.
    pub tag: &'a [u8],
    /// Rows returned or changed, as the tags say.
    pub rows: u64,
    /// Bytes from the client for this execution.
    pub bytes_in: u64,
    /// Bytes towards the client.
    pub bytes_out: u64,
    /// SQLSTATE of the error, if there was one.
    pub sqlstate: Option<[u8; 5]>,
    /// Message of the error.
    pub message: &'a [u8],
    /// Transaction status at the end: `I`, `T`, `E`; 0 when not known.
    pub transaction_status: u8,
    /// How it ended.
    pub outcome: Outcome,
    /// Why the session kept its backend when it ended; none: it did not, or keeps one for good.
    pub pins: Pins,
    /// What OneVault decided about it; `None`: to let it through.
    pub decision: Option<Decision>,
}

/// What else is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A login that was not accepted.
    LoginFailed,
    /// A connection that was turned away before or after its login.
    ConnectionRefused,
    /// A `CancelRequest`.
    Cancel,
    /// The configuration was read again.
    ConfigReload,
    /// Something an operator did: a customer created, a token made or revoked.
    AdminAction,
    /// The log was read.
    LogRead,
    /// The log was exported.
    LogExport,
    /// Records of a time were put under a legal hold.
    HoldSet,
    /// A legal hold ended.
    HoldReleased,
    /// Records that were older than they are kept were deleted.
    RetentionDelete,
    /// Somebody has reviewed the log up to a time.
    Review,
    /// Nobody has reviewed the log for longer than is allowed.
    ReviewOverdue,
}

/// Something that is not a statement.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// What happened.
    pub kind: EventKind,
    /// How it ended.
    pub outcome: Outcome,
    /// The customer as far as it is known; empty: not.
    pub customer: &'a str,
    /// The login as the client gave it; bytes, because it was not proven.
    pub login: &'a [u8],
    /// The database as the client gave it.
    pub database: &'a [u8],
    /// The session concerned; 0: none.
    pub session: u64,
    /// Where it came from.
    pub client_address: Option<SocketAddr>,
    /// The TLS version; `None`: clear text or not known.
    pub tls: Option<&'a str>,
    /// `application_name`, if one was given.
    pub application_name: &'a [u8],
    /// SQLSTATE that was answered.
    pub sqlstate: Option<[u8; 5]>,
    /// The true reason, in words; never a secret.
    pub detail: &'a [u8],
    /// What OneVault decided about it; `None`: nothing was refused.
    pub decision: Option<Decision>,
}

impl Event<'_> {
    /// An event about which nothing else is known yet; fill in the rest with struct update syntax.
    #[must_use]
    pub const fn new(kind: EventKind) -> Self {
        Self {
            kind,
            outcome: Outcome::Ok,
            customer: "",
            login: b"",
            database: b"",
            session: 0,
            client_address: None,
            tls: None,
            application_name: b"",
            sqlstate: None,
            detail: b"",
            decision: None,
        }
    }
}

/// Gives an enum its number on disk and its name in output: both are part of the format and never change.
macro_rules! named {
    ($name:ident { $($variant:ident = $code:literal $text:literal),+ $(,)? }) => {
        impl $name {
            /// Every value, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The number on disk.
            #[must_use]
            pub const fn code(self) -> u8 {
                match self { $(Self::$variant => $code),+ }
            }

            /// The value with this number.
            #[must_use]
            pub const fn from_code(code: u8) -> Option<Self> {
                match code { $($code => Some(Self::$variant),)+ _ => None }
            }

            /// The name in output and in filters.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }
    };
}

pub(super) use named;

named!(Kind {
    Query = 1 "query",
    Execute = 2 "execute",
    FunctionCall = 3 "function_call",
    CopyIn = 4 "copy_in",
    CopyOut = 5 "copy_out",
    CopyBoth = 6 "copy_both",
    Parse = 7 "parse",
    Bind = 8 "bind",
    Describe = 9 "describe",
    Sync = 10 "sync",
    LogRead = 11 "log_read",
    CopyData = 12 "copy_data",
});

/// What a part belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Stream {
    /// The statement's text.
    #[default]
    Text,
    /// Its parameters.
    Parameters,
}

named!(Stream { Text = 0 "text", Parameters = 1 "parameters" });

named!(Outcome {
    Ok = 1 "ok",
    Error = 2 "error",
    Refused = 3 "refused",
    Skipped = 4 "skipped",
    Cancelled = 5 "cancelled",
    Unknown = 6 "unknown",
});

named!(EventKind {
    LoginFailed = 1 "login_failed",
    ConnectionRefused = 2 "connection_refused",
    Cancel = 3 "cancel",
    ConfigReload = 4 "config_reload",
    AdminAction = 5 "admin_action",
    LogRead = 6 "log_read",
    LogExport = 7 "log_export",
    HoldSet = 8 "hold_set",
    HoldReleased = 9 "hold_released",
    RetentionDelete = 10 "retention_delete",
    Review = 11 "review",
    ReviewOverdue = 12 "review_overdue",
});
