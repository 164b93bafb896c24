//! What the notary has signed, for those who check it: verify all logs, prove one record, hand out a checkpoint.
//!
//! What always holds: nothing is changed, and nothing needs a running process. The public key is the auditor's to bring;
//! the one that lies beside the log is as trustworthy as the folder.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use super::abroad::anchor::Anchored;
use super::abroad::anchor::Store;
use super::begin::Begin;
use super::disclose::disclose;
pub use super::disclose::{NoProof, Which};
pub use super::files::check as check_files;
use super::gate::now_ns;
use super::history::{History, Span};
pub use super::inspect::LogCounts;
use super::inspect::{Inspection, Outside};
use super::keys::file::{Label, Purpose};
use super::keys::{Keyring, folder_of as keys_of};
use super::notary::notes::{PUBLIC_KEY, cosigned_notes, latest, signers, successions, terms_of};
use super::notary::roster;
use super::notary::salts::RingSalts;
use super::notary::trees;
use super::notary::{Trouble, origin_of};
use super::reader::{ReadError, Reader};
use super::verify::{Counts, check_mac, verify_all};
use crate::config;
use crate::proof::bundle::Bundle;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::cosignature::{Witness, cosigned};
use crate::proof::note::Verifier;
use crate::proof::succession::{Succession, Terms};

/// The notary's folder in the log's.
const FOLDER_NAME: &str = "proof";

/// A process that has made its signing key has begun to sign within this time.
const SIGNED_WITHIN_NS: u64 = 5_000_000_000;

/// The notary's folder of a log.
#[must_use]
pub fn folder_of(directory: &Path) -> PathBuf {
    directory.join(FOLDER_NAME)
}

/// Why the logs do not verify.
#[derive(Debug)]
pub enum NotVerified {
    /// The journal cannot be read, or is damaged.
    Journal(ReadError),
    /// A record or a file of the notary is not what was signed; which, and how.
    Differs(String),
    /// What is needed to check cannot be had.
    Unknown(String),
}

impl fmt::Display for NotVerified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => write!(f, "{error}"),
            Self::Differs(what) | Self::Unknown(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for NotVerified {}

impl From<ReadError> for NotVerified {
    fn from(error: ReadError) -> Self {
        Self::Journal(error)
    }
}

impl From<Trouble> for NotVerified {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Journal(error) => Self::Journal(error),
            Trouble::Key(..) | Trouble::Files(..) | Trouble::Signer(_) => Self::Unknown(trouble.to_string()),
            Trouble::Record(..) | Trouble::Changed(..) | Trouble::Signed(..) => {
                Self::Differs(trouble.to_string())
            }
        }
    }
}

/// A key that signs or has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signing {
    /// The public key.
    pub key: Verifier,
    /// Since when, RFC 3339 in UTC; `None`: from the beginning.
    pub from: Option<String>,
    /// Until when; `None`: it signs now.
    pub until: Option<String>,
}

/// Who has signed the log in a folder, the oldest first, as what lies there says.
///
/// # Errors
/// [`NotVerified`] when that is not as it was written.
pub fn signing(directory: &Path) -> Result<Vec<Signing>, NotVerified> {
    let Some(key) = key_beside(directory)? else { return Ok(Vec::new()) };
    let folder = folder_of(directory);
    let (known, successions) = (signers(&folder, &key)?, successions(&folder)?);
    let time = |is_it: &dyn Fn(&Succession) -> bool| {
        let found = successions.iter().rfind(|found| is_it(found))?;
        found.checkpoint.extensions.iter().find_map(|line| line.strip_prefix("time ")).map(str::to_owned)
    };
    let of = |key: Verifier| Signing {
        from: time(&|found| found.new == key),
        until: time(&|found| found.old == key),
        key,
    };
    Ok(known.into_iter().map(of).collect())
}

/// A checkpoint that somebody has kept elsewhere: what it says, and the whole note.
pub type Kept = (Checkpoint, String);

/// A log's folder with what was signed in it.
#[derive(Debug)]
pub struct Evidence {
    journal: PathBuf,
    audit: config::Audit,
    keyring: Arc<Keyring>,
    key: Verifier,
}

/// The key with which checkpoints were signed, as it lies beside the log; nothing where none was.
///
/// # Errors
/// [`NotVerified::Differs`] when it is not as it was written.
pub fn key_beside(directory: &Path) -> Result<Option<Verifier>, NotVerified> {
    let path = folder_of(directory).join(PUBLIC_KEY);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if !has_signed(directory) {
                return Ok(None);
            }
            let what = "it is missing, and the vault has signed";
            return Err(NotVerified::Differs(format!("{}: {what}", path.display())));
        }
        Err(error) => return Err(NotVerified::Unknown(format!("{}: {error}", path.display()))),
    };
    let differs = |what: &dyn fmt::Display| NotVerified::Differs(format!("{}: {what}", path.display()));
    let key = Verifier::parse(&text).map_err(|error| differs(&error))?;
    if format!("{}\n", key.encoded()) != text {
        return Err(differs(&"it is not as it was written"));
    }
    Ok(Some(key))
}

/// Whether the vault has a key to sign with, and has had the time to do so: the public one is written first.
fn has_signed(directory: &Path) -> bool {
    let listed = Keyring::list(&keys_of(directory)).unwrap_or_default();
    let is_due = |label: &Label| {
        label.purpose == Purpose::Signer && label.created_ns.saturating_add(SIGNED_WITHIN_NS) < now_ns()
    };
    listed.iter().flatten().any(|listed| is_due(&listed.label))
}

impl Evidence {
    /// Of the log in this folder, its archive beside it; `key` is who signs.
    #[must_use]
    pub fn new(directory: &Path, keyring: Arc<Keyring>, key: Verifier) -> Self {
        let audit = config::Audit { directory: directory.to_owned(), ..config::Audit::default() };
        Self::of(&audit, keyring, key)
    }

    /// Of the log with these settings; `key` is who signs.
    #[must_use]
    pub fn of(audit: &config::Audit, keyring: Arc<Keyring>, key: Verifier) -> Self {
        Self { journal: audit.directory.clone(), audit: audit.clone(), keyring, key }
    }

    fn vault(&self) -> &str {
        self.key.name()
    }

    /// The keys that have signed, the oldest first: the given one, those that it replaced, and those that replaced it.
    ///
    /// # Errors
    /// [`NotVerified`] when the checkpoints that hand the log over cannot be relied on.
    pub fn known(&self) -> Result<Vec<Verifier>, NotVerified> {
        Ok(signers(&folder_of(&self.journal), &self.key)?)
    }

    /// Reads archive and journal once and checks everything: each file, the chain, each record's leaf, each tree, each signed
    /// checkpoint and those that `kept` brings from elsewhere; the trees of one log only, if one is named.
    ///
    /// # Errors
    /// [`NotVerified`] names the first thing that differs.
    pub fn verify(
        &self,
        only: Option<&str>,
        kept: &[Kept],
        progress: impl FnMut(&Counts),
    ) -> Result<(Counts, BTreeMap<String, LogCounts>), NotVerified> {
        self.verify_span(only, &Span::ALL, kept, progress)
    }

    /// The same, but of the archive only records of the span are read; the leaves of the others are taken as the notary has
    /// them, and held against what was signed.
    ///
    /// # Errors
    /// As [`Evidence::verify`].
    pub fn verify_span(
        &self,
        only: Option<&str>,
        span: &Span,
        kept: &[Kept],
        mut progress: impl FnMut(&Counts),
    ) -> Result<(Counts, BTreeMap<String, LogCounts>), NotVerified> {
        let begin = || Begin::read(&self.journal).ok().flatten();
        let mut before = begin();
        loop {
            let verified = self.verify_once(only, span, kept, &mut progress);
            match verified {
                // Segments were deleted meanwhile, because the archive has them.
                Err(_) if begin() != before => before = begin(),
                verified => return verified,
            }
        }
    }

    fn verify_once(
        &self,
        only: Option<&str>,
        span: &Span,
        kept: &[Kept],
        progress: &mut impl FnMut(&Counts),
    ) -> Result<(Counts, BTreeMap<String, LogCounts>), NotVerified> {
        check_files(&self.journal, &self.keyring)?;
        // Before the archive is held against where the journal begins.
        check_mac(&self.journal, &self.keyring)?;
        // Before the journal: what is archived from now on is read from there.
        let history = History::open(&self.audit, Arc::clone(&self.keyring))?;
        let reader = Reader::open(&self.journal)?.with_keys(Arc::clone(&self.keyring));
        let salts = RingSalts::new(Arc::clone(&self.keyring));
        let outside = Outside { vault: self.vault(), known: self.known()?, kept: kept.to_vec(), only };
        let mut inspection = Inspection::open(&reader, &folder_of(&self.journal), outside, salts)?;
        self.no_log_is_missing(&inspection.newest(), &history)?;
        let mut read = Counts::default();
        inspection.archived(&history, span, |records| {
            read.archived = read.archived.saturating_add(records);
            progress(&read);
        })?;
        let counts = verify_all(
            reader,
            |counts| progress(&Counts { archived: read.archived, ..*counts }),
            |raw| inspection.take(raw).map_err(NotVerified::from),
        )?;
        let marks = inspection.marks();
        let logs = inspection.finish()?;
        for mark in marks {
            mark.check(&self.journal, &self.keyring).map_err(NotVerified::Differs)?;
        }
        Ok((Counts { archived: read.archived, ..counts }, logs))
    }

    /// The vault's own log says which logs there are.
    fn no_log_is_missing(
        &self,
        newest: &BTreeMap<String, (Checkpoint, String)>,
        history: &History,
    ) -> Result<(), NotVerified> {
        let mut rumours: BTreeSet<String> = history.archived_logs().map(|(log, _)| log.to_owned()).collect();
        let listed = Keyring::list(&keys_of(&self.journal));
        let listed = listed.map_err(|error| NotVerified::Unknown(error.to_string()))?;
        rumours.extend(listed.into_iter().flatten().map(|key| key.label.customer));
        if let Ok(entries) = std::fs::read_dir(folder_of(&self.journal)) {
            rumours.extend(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
        }
        roster::check(newest, &rumours).map_err(NotVerified::Differs)
    }

    /// Of each log how many records enough witnesses stand for: `required` of those known.
    ///
    /// # Errors
    /// [`NotVerified`] when a cosignature is not of its witness, or too few stand for a log that was signed.
    pub fn witnessed(
        &self,
        logs: &BTreeMap<String, LogCounts>,
        (known, required): (&[Witness], usize),
    ) -> Result<BTreeMap<String, u64>, NotVerified> {
        let (folder, own, mut seen) = (folder_of(&self.journal), self.known()?, BTreeMap::new());
        for (log, _) in logs.iter().filter(|(_, counts)| counts.signed > 0) {
            let mut sizes = BTreeMap::new();
            for (checkpoint, note) in cosigned_notes(&folder, log, &own)? {
                let by = cosigned(&note, known)
                    .map_err(|error| NotVerified::Differs(format!("log {log}: {error}")))?;
                for found in by {
                    let size: &mut u64 = sizes.entry(found.name).or_default();
                    *size = checkpoint.size.max(*size);
                }
            }
            let mut sizes: Vec<u64> = sizes.into_values().collect();
            sizes.sort_unstable_by(|a, b| b.cmp(a));
            let size = sizes.get(required.max(1).saturating_sub(1)).copied();
            if size.is_none() && required > 0 {
                let what = format!("log {log}: {} of {required} witnesses stand for it", sizes.len());
                return Err(NotVerified::Differs(what));
            }
            seen.insert(log.clone(), size.unwrap_or_default());
        }
        Ok(seen)
    }

    /// All checkpoints that were put into the second place, each with the name under which it lies there. What is verified behind
    /// that has them, whatever the process does meanwhile.
    ///
    /// # Errors
    /// [`NotVerified::Unknown`] when they cannot be read.
    pub fn anchors(&self, audit: &config::Audit) -> Result<Vec<Anchored>, NotVerified> {
        let store = Store::open(audit).map_err(NotVerified::Unknown)?;
        store.read(&self.known()?).map_err(NotVerified::Unknown)
    }

    /// Compares them with what was verified; how many there are.
    ///
    /// # Errors
    /// [`NotVerified`] names the first that does not hold.
    pub fn anchored(
        &self,
        anchored: &[Anchored],
        logs: &BTreeMap<String, LogCounts>,
        only: Option<&str>,
    ) -> Result<usize, NotVerified> {
        let folder = folder_of(&self.journal);
        let prefix = origin_of(self.vault(), "");
        let known = self.known()?;
        let mut terms: HashMap<&str, Terms<'_>> = HashMap::new();
        for Anchored { name, checkpoint, note } in anchored {
            let log = checkpoint.origin.strip_prefix(&prefix).unwrap_or(&checkpoint.origin);
            if only.is_some_and(|only| only != log) {
                continue;
            }
            if !terms.contains_key(log) {
                terms.insert(log, terms_of(&folder, log, &known)?);
            }
            if let Some(Err(error)) = terms.get(log).map(|terms| terms.check(note)) {
                return Err(NotVerified::Differs(format!("anchor {name}: log {log}: {error}")));
            }
            let (then, now) = (checkpoint.size, logs.get(log).map_or(0, |counts| counts.records));
            let rolled_back =
                |what: String| Err(NotVerified::Differs(format!("anchor {name}: log {log} {what}")));
            if now < then {
                return rolled_back(format!("had {then} records then and has {now} now: it was rolled back"));
            }
            if trees::load(&folder, log, then)?.root() != checkpoint.root {
                return rolled_back(format!("had other records then among its first {then}"));
            }
        }
        Ok(anchored.len())
    }

    /// Proves one record of a log to whoever has the key.
    ///
    /// # Errors
    /// [`NoProof`].
    pub fn prove(&self, log: &str, which: Which) -> Result<Bundle, NoProof> {
        let salts = RingSalts::new(Arc::clone(&self.keyring));
        let history = History::open(&self.audit, Arc::clone(&self.keyring));
        let history = history.map_err(|error| NoProof::Trouble(error.to_string()))?;
        let known = self.known().map_err(|error| NoProof::Trouble(error.to_string()))?;
        disclose(&history, &folder_of(&self.journal), (self.vault(), &known), (log, which), salts)
    }

    /// The newest signed checkpoint of a log, as text.
    ///
    /// # Errors
    /// [`NotVerified`] when what was signed is not as it was written.
    pub fn checkpoint(&self, log: &str) -> Result<Option<String>, NotVerified> {
        let mut notes = latest(&folder_of(&self.journal), &self.known()?)?;
        Ok(notes.remove(&origin_of(self.vault(), log)).map(|(_, note)| note))
    }
}
