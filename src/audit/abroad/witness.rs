//! Shows checkpoints to witnesses, and keeps what they answer.
//!
//! What always holds: a witness is shown that what it saw before is the beginning of what it sees; its answer is kept only
//! if it is a cosignature of that very witness for that very checkpoint; no answer is read beyond [`ANSWER_BYTES_MAX`].
//!
//! Source: C2SP tlog-witness

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use tokio::runtime::Runtime;

use super::super::notary::notes::{cosigned_notes, write_cosigned};
use super::super::notary::trees::Files;
use super::super::tree::consistency;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::cosignature::{Cosigned, Witness, cosigned};
use crate::proof::note::Verifier;
use crate::telemetry::wall_clock;

/// Of an answer no more is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A request has to be answered within this time.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A checkpoint that shows no growth is shown again after this time.
const AGAIN_SECONDS: u64 = 3_600;

/// A witness and the way to it.
#[derive(Debug)]
pub(super) struct Desk {
    url: String,
    witness: Witness,
    client: HttpClient,
}

/// What a witness says.
enum Answer {
    /// Lines to be put below the note.
    Lines(String),
    /// It knows a state of this size.
    Knows(u64),
}

impl Desk {
    pub(super) fn new(url: &str, witness: Witness) -> Result<Self, String> {
        let options = ClientOptions::new()
            .with_allow_http(url.starts_with("http://"))
            .with_timeout(REQUEST_TIMEOUT)
            .with_connect_timeout(CONNECT_TIMEOUT);
        let client = ReqwestConnector::default().connect(&options).map_err(|error| error.to_string())?;
        Ok(Self { url: format!("{}/add-checkpoint", url.trim_end_matches('/')), witness, client })
    }

    async fn post(&self, body: String) -> Result<Answer, String> {
        let mut request = HttpRequest::new(body.into());
        *request.method_mut() = "POST".parse().map_err(|_| "no such method")?;
        *request.uri_mut() = self.url.parse().map_err(|_| "its url is none")?;
        let response = self.client.execute(request).await.map_err(|error| error.to_string())?;
        let status = response.status().as_u16();
        let body = axum::body::Body::new(response.into_body());
        let bytes = axum::body::to_bytes(body, ANSWER_BYTES_MAX).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| "its answer is no text")?;
        match status {
            200 => Ok(Answer::Lines(text)),
            409 => {
                let size = text.trim_end().parse().ok();
                size.map(Answer::Knows).ok_or_else(|| "it knows another state of the log".to_owned())
            }
            status => Err(format!("it answered {status}")),
        }
    }
}

/// A checkpoint that is shown.
pub(super) struct Shown<'a> {
    pub(super) folder: &'a Path,
    pub(super) log: &'a str,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) note: &'a str,
    pub(super) known: &'a [Verifier],
}

impl Shown<'_> {
    /// Shows it to all who have not seen it. Who cannot be reached is in `silent` and not asked again.
    pub(super) fn to(
        &self,
        desks: &[Desk],
        runtime: &Runtime,
        silent: &mut Vec<String>,
    ) -> Result<(), String> {
        let kept =
            cosigned_notes(self.folder, self.log, self.known).map_err(|trouble| trouble.to_string())?;
        let now = wall_clock().as_secs();
        let (mut lines, mut refused) = (String::new(), None);
        for desk in desks {
            let name = desk.witness.name().to_owned();
            let (size, time) = newest(&kept, &desk.witness);
            let is_seen = size == self.checkpoint.size && now < time.saturating_add(AGAIN_SECONDS);
            if is_seen || silent.contains(&name) {
                continue;
            }
            match runtime.block_on(self.ask(desk, size)) {
                Ok(found) => lines.push_str(&found.line),
                Err(trouble) => {
                    refused.get_or_insert(format!("witness {name}, log {}: {trouble}", self.log));
                    silent.push(name);
                }
            }
        }
        if !lines.is_empty() {
            let mut notes = vec![format!("{}{lines}", self.note)];
            notes.extend(kept.into_iter().map(|(_, note)| note));
            let witnesses: Vec<&Witness> = desks.iter().map(|desk| &desk.witness).collect();
            write_cosigned(self.folder, self.log, &still_needed(&notes, &witnesses))
                .map_err(|trouble| trouble.to_string())?;
        }
        refused.map_or(Ok(()), Err)
    }

    async fn ask(&self, desk: &Desk, size: u64) -> Result<Cosigned, String> {
        let answer = match desk.post(self.request(size)?).await? {
            Answer::Knows(known) if known != size => {
                if known > self.checkpoint.size {
                    return Err(format!(
                        "it has seen {known} records, and there are {}: the log was rolled back",
                        self.checkpoint.size
                    ));
                }
                desk.post(self.request(known)?).await?
            }
            answer @ (Answer::Lines(_) | Answer::Knows(_)) => answer,
        };
        let Answer::Lines(lines) = answer else {
            return Err("it knows another state of the log".to_owned());
        };
        let note = format!("{}{lines}", self.note);
        let found =
            cosigned(&note, std::slice::from_ref(&desk.witness)).map_err(|error| error.to_string())?;
        found.into_iter().next().ok_or_else(|| "its answer has no cosignature of its key".to_owned())
    }

    fn request(&self, old: u64) -> Result<String, String> {
        let files = Files::of(self.folder, self.log);
        let proof = if old == 0 { Ok(None) } else { consistency(&files, old, self.checkpoint.size) };
        let proof = proof.map_err(|trouble| trouble.to_string())?.unwrap_or_default();
        let proof: String = proof.iter().map(|hash| STANDARD.encode(hash) + "\n").collect();
        Ok(format!("old {old}\n{proof}\n{}", self.note))
    }
}

/// Size and time of the newest note that a witness has cosigned.
fn newest(kept: &[(Checkpoint, String)], witness: &Witness) -> (u64, u64) {
    let times = kept.iter().filter_map(|(checkpoint, note)| {
        let found = cosigned(note, std::slice::from_ref(witness)).ok()?;
        Some((checkpoint.size, found.first()?.time))
    });
    times.max().unwrap_or_default()
}

/// The notes of which one is some witness's newest; `notes` begin with the newest.
fn still_needed(notes: &[String], witnesses: &[&Witness]) -> Vec<String> {
    let mut seen: Vec<&str> = Vec::new();
    let mut needed = Vec::new();
    for note in notes {
        let known: Vec<Witness> = witnesses.iter().map(|witness| (*witness).clone()).collect();
        let names: Vec<String> =
            cosigned(note, &known).unwrap_or_default().into_iter().map(|found| found.name).collect();
        let news = witnesses.iter().map(|witness| witness.name());
        let news: Vec<&str> =
            news.filter(|name| names.iter().any(|found| found == name) && !seen.contains(name)).collect();
        if !news.is_empty() {
            needed.push(note.clone());
        }
        seen.extend(news);
    }
    needed
}
