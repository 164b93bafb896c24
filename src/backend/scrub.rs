//! Makes a used backend as good as new: `DISCARD ALL`, and proof that it worked.
//!
//! `DISCARD ALL` is the only statement that clears role, settings, temporary tables, held cursors, `LISTEN`, session
//! advisory locks, sequences' last values and prepared statements. What always holds: anything but its exact
//! answer closes the backend.
//!
//! Source: sql-discard

use std::fmt;
use std::time::Duration;

use super::Backend;
use super::memory::Carried;
use super::wire::{Conversation, WireError};
use crate::protocol::fields::Fields;
use crate::protocol::tag::{backend as tag, frontend};
use crate::protocol::write;

/// What a server may say in answer, in bytes: notifications that were on their way are part of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// Why a backend was closed instead of being kept.
#[derive(Debug)]
pub enum ScrubError {
    /// It took too long.
    Timeout,
    /// The connection broke, or the stream of messages did.
    Wire(String),
    /// The server answered something else.
    Answer(&'static str),
    /// A cancel request did not end, or its end is unknown.
    Cancel,
    /// The server refused to be examined; the backend is in step and still its session's.
    Refused {
        /// What the server said unasked meanwhile, whole messages in its own bytes: they are the session's.
        aside: Vec<u8>,
    },
}

impl fmt::Display for ScrubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timeout => f.write_str("scrubbing took too long"),
            Self::Wire(error) => write!(f, "connection broke: {error}"),
            Self::Answer(what) => write!(f, "unexpected answer while scrubbing: {what}"),
            Self::Cancel => f.write_str("a cancel request did not end"),
            Self::Refused { .. } => f.write_str("the server refused to be examined"),
        }
    }
}

impl std::error::Error for ScrubError {}

impl From<WireError> for ScrubError {
    fn from(error: WireError) -> Self {
        Self::Wire(error.to_string())
    }
}

/// Scrubs a backend that is in step, idle and owes nothing. It must be closed when this fails or is dropped.
pub(super) async fn scrub(backend: &mut Backend, limit: Duration) -> Result<(), ScrubError> {
    let said = say(backend, b"DISCARD ALL", &[b"DISCARD ALL\0"]);
    tokio::time::timeout(limit, said).await.unwrap_or(Err(ScrubError::Timeout))
}

/// Lets a backend lie idle as long as it likes; the same holds as for [`scrub`].
pub(super) async fn lull(backend: &mut Backend, limit: Duration) -> Result<(), ScrubError> {
    let said = say(backend, b"/* onevault */ SET idle_session_timeout TO 0", &[b"SET\0"]);
    tokio::time::timeout(limit, said).await.unwrap_or(Err(ScrubError::Timeout))
}

/// Takes a backend to other settings and waits until it is there; the same holds as for [`scrub`].
pub(super) async fn bring(backend: &mut Backend, want: &Carried, limit: Duration) -> Result<(), ScrubError> {
    let said = async {
        if let Some(way) = want.by_way_of(&backend.memory.settings) {
            change(backend, way).await?;
        }
        change(backend, want.clone()).await
    };
    tokio::time::timeout(limit, said).await.unwrap_or(Err(ScrubError::Timeout))
}

async fn change(backend: &mut Backend, to: Carried) -> Result<(), ScrubError> {
    let mut sql = Vec::new();
    to.catch_up(&backend.memory.settings, &mut sql);
    if !sql.is_empty() {
        say(backend, &sql, &[b"SET\0", b"RESET\0", b"SELECT 1\0"]).await?;
    }
    backend.memory.settings = to;
    backend.memory.unnamed = None;
    Ok(())
}

/// Says one `Query`, which must be answered by one of these tags; by several only where several are possible.
async fn say(backend: &mut Backend, sql: &[u8], tags: &[&[u8]]) -> Result<(), ScrubError> {
    let Backend { stream, parameters, .. } = backend;
    let mut conversation = Conversation::new(stream, ANSWER_BYTES_MAX);
    let mut request = Vec::new();
    write::message(&mut request, frontend::QUERY, |out| {
        out.extend_from_slice(sql);
        out.push(0);
    });
    conversation.send(&request).await?;
    let mut done = false;
    loop {
        let message = conversation.next().await?;
        match message.tag {
            tag::COMMAND_COMPLETE if (!done || tags.len() > 1) && tags.contains(&message.body()) => {
                done = true;
            }
            tag::ROW_DESCRIPTION | tag::DATA_ROW if tags.len() > 1 => {}
            tag::READY_FOR_QUERY if done && message.body() == b"I" => break,
            tag::READY_FOR_QUERY => return Err(ScrubError::Answer("transaction status")),
            tag::PARAMETER_STATUS => {
                let mut fields = Fields::of(message.body());
                let (Ok(name), Ok(value)) = (fields.cstr("name"), fields.cstr("value")) else {
                    return Err(ScrubError::Answer("malformed parameter"));
                };
                parameters.update(name, value);
            }
            tag::NOTICE_RESPONSE | tag::NOTIFICATION_RESPONSE => {}
            tag::ERROR_RESPONSE => return Err(ScrubError::Answer("an error")),
            _ => return Err(ScrubError::Answer("a message out of turn")),
        }
    }
    if conversation.is_empty() { Ok(()) } else { Err(ScrubError::Answer("bytes behind its end")) }
}
