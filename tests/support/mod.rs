//! What tests stand on: a real PostgreSQL, a running OneVault, and clients and servers that follow a script, honest or not.

pub(crate) mod archived;
pub(crate) mod both;
pub(crate) mod counting;
pub(crate) mod dice;
pub(crate) mod faults;
pub(crate) mod liar;
pub(crate) mod messages;
pub(crate) mod moto;
pub(crate) mod pooled;
pub(crate) mod postgres;
pub(crate) mod road;
pub(crate) mod scram;
pub(crate) mod thief;
pub(crate) mod transcript;
pub(crate) mod vault;
pub(crate) mod wire;
pub(crate) mod witness;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A name that no other test uses, in this process or another one.
pub(crate) fn unique(word: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{word}_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until `done` or fails with what was waited for.
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The checkout.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Where `scripts/test-tools` puts things.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("ONEVAULT_TEST_CACHE").map_or_else(|| root().join("target/test-cache"), PathBuf::from)
}

/// A folder that is removed when its owner is dropped.
pub(crate) struct TemporaryDir(pub(crate) PathBuf);

impl TemporaryDir {
    pub(crate) fn new(word: &str) -> Self {
        let path = std::env::temp_dir().join(unique(&format!("onevault-{word}")));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryDir {
    fn drop(&mut self) {
        if std::env::var_os("ONEVAULT_TEST_KEEP").is_none() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
