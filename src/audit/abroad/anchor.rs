//! Copies of all logs' checkpoints in a second place: a folder or a store of objects.
//!
//! What always holds: a name is written once and never again; what is read there is believed only as far as it is signed.
//! Names are `<vault>/<day>/<time>.checkpoints`, in UTC; a file has the notes behind their lengths, as `proof/latest` has.

use std::path::Path;
use std::sync::Arc;

use futures_util::TryStreamExt;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::runtime::Runtime;

use super::super::archive::place;
use super::super::notary::notes::{framed, split};
use super::super::notary::trees::make_folder;
use crate::config;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::note::{self, Verifier};

const ENDING: &str = ".checkpoints";
/// A longer file is none of ours: a hundred thousand notes.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// The second place.
#[derive(Debug)]
pub(in crate::audit) struct Store {
    store: Arc<dyn ObjectStore>,
    prefix: Key,
}

/// A checkpoint as it was anchored.
#[derive(Debug)]
pub struct Anchored {
    /// Under which it lies.
    pub name: String,
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The whole of it.
    pub note: String,
}

impl Store {
    /// As configured.
    pub(in crate::audit) fn open(audit: &config::Audit) -> Result<Self, String> {
        let config::Anchor { url, endpoint, region, .. } = audit.anchor.clone();
        if let Some(folder) = url.as_deref().and_then(|url| url.strip_prefix("file://")) {
            make_folder(Path::new(folder)).map_err(|error| format!("{folder}: {error}"))?;
        }
        let archive = config::Archive { url, endpoint, region, ..config::Archive::default() };
        let place = config::Audit { archive, ..audit.clone() };
        let (store, prefix) = place::store(&place).map_err(|error| format!("anchor: {error}"))?;
        let prefix = prefix.parts().chain(Key::from(audit.origin.as_str()).parts()).collect();
        Ok(Self { store, prefix })
    }

    /// Puts notes there, under the time of now.
    pub(super) fn put<'a>(
        &self,
        runtime: &Runtime,
        now: &str,
        notes: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let (day, time) = now.split_once('T').unwrap_or((now, "time"));
        let name = format!("{day}/{}{ENDING}", time.replace(':', "-"));
        let key: Key = self.prefix.parts().chain(Key::from(name).parts()).collect();
        let text: String = notes.map(framed).collect();
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = runtime.block_on(self.store.put_opts(&key, PutPayload::from(text.into_bytes()), options));
        put.map(|_| ()).map_err(|error| format!("anchor {key}: {error}"))
    }

    /// All that lies there. What is not signed by one of `known` is an error that names the file.
    pub(in crate::audit) fn read(&self, known: &[Verifier]) -> Result<Vec<Anchored>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        runtime.block_on(async {
            let (mut listed, mut anchored) = (self.store.list(Some(&self.prefix)), Vec::new());
            while let Some(object) = listed.try_next().await.map_err(|error| format!("anchors: {error}"))? {
                let name = object.location.to_string();
                if !name.ends_with(ENDING) || object.size > FILE_BYTES_MAX {
                    continue;
                }
                let told = |error: object_store::Error| format!("anchor {name}: {error}");
                let bytes =
                    self.store.get(&object.location).await.map_err(told)?.bytes().await.map_err(told)?;
                let read = std::str::from_utf8(&bytes).ok().and_then(|text| checkpoints(text, known));
                let read = read.ok_or_else(|| format!("anchor {name}: it is not as it was signed"))?;
                let of = |(checkpoint, note)| Anchored { name: name.clone(), checkpoint, note };
                anchored.extend(read.into_iter().map(of));
            }
            Ok(anchored)
        })
    }
}

pub(in crate::audit) fn checkpoints(text: &str, known: &[Verifier]) -> Option<Vec<(Checkpoint, String)>> {
    let opened = |note: &str| Checkpoint::parse(note::open(note, known).ok()?.0).ok();
    split(text)?.into_iter().map(|note| Some((opened(note)?, note.to_owned()))).collect()
}
