//! Who outside keeps what was signed: witnesses, and a second place.

use serde::Deserialize;

/// Somebody who sees that logs only grow, and signs what they saw (C2SP tlog-witness).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Witness {
    /// Where checkpoints are sent to, without `/add-checkpoint`.
    pub url: String,
    /// Whose cosignatures count: `<name>+<id>+<key>`.
    pub key: String,
}

/// A second place, where all logs' checkpoints are put from time to time.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Anchor {
    /// `s3://bucket/prefix`, `gs://`, `az://` or `file://`; absent: nothing is put anywhere.
    pub url: Option<String>,
    /// Another address of the store than the usual one.
    pub endpoint: Option<String>,
    /// The store's region; absent: as the environment says.
    pub region: Option<String>,
    /// From one to the next.
    pub interval_s: u64,
}

impl Default for Anchor {
    fn default() -> Self {
        Self { url: None, endpoint: None, region: None, interval_s: 600 }
    }
}
