//! What changes without a restart: on SIGHUP everything, on a changed file what it belongs to.
//!
//! Always holds: a reload runs beside the accepting, never in its way, and one at a time; a failed one changes
//! nothing and says so in the log and in the metrics.

use std::collections::HashSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::sleep;

use super::drain::{Asked, Asks};
use super::{Edge, What};
use crate::telemetry;

/// A changed file seldom comes alone: how long to wait for the others.
const SETTLE: Duration = Duration::from_millis(200);
/// Changes noted and not yet looked at; further ones would say the same.
const CHANGES_MAX: usize = 16;

/// Notices changed files.
#[derive(Debug)]
pub(super) struct Changes {
    seen: Receiver<What>,
    /// Watches as long as it lives.
    _watcher: Option<RecommendedWatcher>,
}

impl Changes {
    /// Watches folders with all that is in them, and files through their folder (an editor or a secret store
    /// replaces a file rather than writing into it). What cannot be watched is left to SIGHUP.
    pub(super) fn watch(watched: Vec<(What, Vec<PathBuf>)>) -> Self {
        let (changed, seen) = channel(CHANGES_MAX);
        let roots: Vec<Root> = watched
            .into_iter()
            .flat_map(|(what, paths)| paths.into_iter().map(move |path| (what, path)))
            .filter_map(|(what, path)| Root::of(what, &path))
            .collect();
        let known = roots.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let Ok(event) = event else { return };
            // Reading a file is an event too; following those a reload would cause the next one.
            if event.kind.is_access() {
                return;
            }
            for root in &known {
                if event.paths.iter().any(|path| root.concerns(path)) {
                    let _ = changed.try_send(root.what);
                }
            }
        });
        let watcher = watcher.and_then(|mut watcher| {
            let unique: HashSet<(&PathBuf, bool)> =
                roots.iter().map(|root| (&root.folder, root.file.is_none())).collect();
            for (path, deep) in unique {
                let mode = if deep { RecursiveMode::Recursive } else { RecursiveMode::NonRecursive };
                watcher.watch(path, mode)?;
            }
            Ok(watcher)
        });
        if let Err(error) = &watcher {
            tracing::warn!(%error, "files are not watched; send SIGHUP after a change");
        }
        Self { seen, _watcher: watcher.ok() }
    }

    /// What changed, once it has settled; each thing once.
    async fn next(&mut self) -> Vec<What> {
        let Some(first) = self.seen.recv().await else { return std::future::pending().await };
        sleep(SETTLE).await;
        let mut changed = vec![first];
        while let Ok(what) = self.seen.try_recv() {
            if !changed.contains(&what) {
                changed.push(what);
            }
        }
        changed
    }
}

/// What is watched: a folder with all that is in it, or one file in its folder.
#[derive(Debug, Clone)]
struct Root {
    what: What,
    folder: PathBuf,
    file: Option<OsString>,
}

impl Root {
    fn of(what: What, path: &Path) -> Option<Self> {
        if path.is_dir() {
            return Some(Self { what, folder: path.canonicalize().ok()?, file: None });
        }
        let folder = folder_of(path).canonicalize().ok()?;
        Some(Self { what, folder, file: Some(path.file_name()?.to_owned()) })
    }

    /// Whether a change there is one of ours. A secret store swaps a link whose name begins with two dots. Anything
    /// else beside a file is not: were the log written there, each line about a reload would cause the next one.
    fn concerns(&self, path: &Path) -> bool {
        let Ok(below) = path.strip_prefix(&self.folder) else { return false };
        self.file.as_deref().is_none_or(|file| {
            below.as_os_str() == file || below.as_os_str().as_encoded_bytes().starts_with(b"..")
        })
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Reloads when asked or when files change, until the process is asked to end.
pub(super) async fn keep<E: Edge, A: Asks>(edge: &Arc<E>, asks: &mut A, changes: &mut Changes) {
    loop {
        let all = [What::Configuration, What::Customers, What::Certificates];
        let wanted = tokio::select! {
            asked = asks.next() => match asked {
                Asked::End => return,
                Asked::Reload => all.to_vec(),
            },
            changed = changes.next() => changed,
        };
        for what in wanted {
            let edge = Arc::clone(edge);
            // Beside this thread: reading ten thousand files must not hold up accepting.
            let reloaded = tokio::task::spawn_blocking(move || edge.reload(what)).await;
            tell(what, reloaded.unwrap_or_else(|error| Err(error.to_string())));
        }
    }
}

fn tell(what: What, reloaded: Result<String, String>) {
    let outcome = match reloaded {
        Ok(in_force) => {
            tracing::info!(what = what.as_str(), %in_force, "reloaded");
            "ok"
        }
        Err(error) => {
            tracing::error!(what = what.as_str(), %error, "reload failed; what was in force stays in force");
            "failed"
        }
    };
    metrics::counter!(telemetry::RELOADS_TOTAL, "what" => what.as_str(), "outcome" => outcome).increment(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_else_is_written_beside_a_certificate_is_no_reason_to_read_it_again() {
        let folder = std::env::temp_dir().canonicalize().unwrap();
        let root = Root::of(What::Certificates, &folder.join("server.pem")).unwrap();
        assert!(root.concerns(&folder.join("server.pem")));
        assert!(root.concerns(&folder.join("..data")));
        assert!(!root.concerns(&folder.join("onevault.log")));
        assert!(!root.concerns(Path::new("/elsewhere/server.pem")));
        let whole = Root::of(What::Customers, &folder).unwrap();
        assert!(whole.concerns(&folder.join("one_spa/config.yaml")));
    }
}
