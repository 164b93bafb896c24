//! Decisions that later ones depend on: one line each, chained with HMAC-SHA-256 under a key of the keyring.
//!
//! What always holds: the file is replaced as a whole, so an interrupted write leaves it as it was; a line that was changed,
//! added, exchanged or taken out of the middle, and a file that is missing though it was begun, are errors. A file that
//! was put back as it was some decisions ago is none by itself: the log's records, which name each decision with its [mark](Mark), show that.
//!
//! The first line says the version, each further one is 64 hex digits, a space, and a JSON object; the digits are the MAC
//! of the digits of the line before (of the first line: 64 zeros, or the log's name behind zeros) and the object.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};

use super::super::archive::name::OWN_LOG;
use super::super::archive::place::make_folder;
use super::super::gate::now_ns;
use super::super::keys::Keyring;
use super::super::notary::log_of;
use super::super::render::hex;
use super::folder_of;
use crate::ids::CustomerId;

const FILE_NAME: &str = "register";
/// The folder of what went, a file for each log.
const EXPIRED_NAME: &str = "expired";
/// Digits of a mark.
const MARK_DIGITS: usize = 16;
const FIRST_LINE: &str = "onevault keeping 1";
/// A longer file is not read.
const BYTES_MAX: u64 = 256 << 20;

/// A decision. Times are ns since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Act {
    /// The first one, where nothing else was decided before records went by their age.
    Begin {},
    /// Records of a log from one time to before another must not go.
    Hold {
        /// The log.
        customer: String,
        /// From.
        since_ns: u64,
        /// Before.
        until_ns: u64,
        /// Why.
        reason: String,
        /// Who said so.
        by: String,
    },
    /// Records of a log went by their age.
    Expire {
        /// The log.
        customer: String,
        /// Place of the first.
        first: u64,
        /// Place of the last.
        last: u64,
        /// They ended before.
        until_ns: u64,
    },
    /// Records of one class went by their age from a file of a log.
    Thin {
        /// The log.
        customer: String,
        /// Place of the file's first record.
        first: u64,
        /// Place of its last.
        last: u64,
        /// They ended before.
        until_ns: u64,
        /// Name of the class.
        class: String,
        /// How many they were.
        records: u64,
    },
    /// Somebody has looked through a log.
    Review {
        /// The log.
        customer: String,
        /// From.
        since_ns: u64,
        /// Up to.
        until_ns: u64,
        /// Records that the signed checkpoint covered.
        size: u64,
        /// Its root, in hexadecimal digits.
        root: String,
        /// Who looked.
        by: String,
        /// What there was to say.
        note: String,
    },
    /// A hold has ended.
    Release {
        /// Number of its decision.
        number: u64,
        /// Why.
        reason: String,
        /// Who said so.
        by: String,
    },
}

/// A decision with its number, from 1, and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// When.
    pub time_ns: u64,
    /// What.
    pub act: Act,
}

/// A hold and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Number of its decision.
    pub number: u64,
    /// When it was set.
    pub time_ns: u64,
    /// The log.
    pub customer: String,
    /// From.
    pub since_ns: u64,
    /// Before.
    pub until_ns: u64,
    /// Why.
    pub reason: String,
    /// Who said so.
    pub by: String,
    /// When, why and by whom it was released.
    pub released: Option<(u64, String, String)>,
}

/// A decision as the log's record of it names it: `[register 3 0123456789abcdef] `, with the beginning of the digits of its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Which file, below the folder of decisions.
    pub register: String,
    /// Number of the decision.
    pub number: u64,
    beginning: String,
}

impl std::fmt::Display for Mark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "[{} {} {}] ", self.register, self.number, self.beginning)
    }
}

impl Mark {
    /// Reads the mark that the words of a record begin with; `None`: there is none.
    #[must_use]
    pub fn of_record(detail: &[u8]) -> Option<Self> {
        let inside = detail.strip_prefix(b"[")?.split(|byte| *byte == b']').next()?;
        let mut words = std::str::from_utf8(inside).ok()?.split(' ');
        let (register, number, beginning) = (words.next()?, words.next()?, words.next()?);
        let log = register.strip_prefix(EXPIRED_NAME).and_then(|log| log.strip_prefix('/'));
        let is_register =
            register == FILE_NAME || log.is_some_and(|log| log == OWN_LOG || CustomerId::parse(log).is_ok());
        let is_whole = is_register && beginning.len() == MARK_DIGITS && words.next().is_none();
        let number = number.parse().ok().filter(|_| is_whole)?;
        Some(Self { register: register.to_owned(), number, beginning: beginning.to_owned() })
    }

    /// Whether the register has the decision.
    ///
    /// # Errors
    /// In words: it has not, so it was put back as it was before, or is another one; or cannot be relied on.
    pub fn check(&self, directory: &Path, keyring: &Keyring) -> Result<(), String> {
        let Self { register, number, .. } = self;
        if Register::named(directory, keyring, register)?.mark(Some(*number)).as_ref() == Some(self) {
            return Ok(());
        }
        let path = folder_of(directory).join(register);
        Err(format!(
            "{}: the log has a record of decision {number}, and it is not there: it was put back as it was before",
            path.display()
        ))
    }
}

/// Everything that was decided.
pub struct Register {
    path: PathBuf,
    /// Below the folder of decisions.
    name: String,
    key: Option<hmac::Key>,
    /// What the chain begins with.
    seed: String,
    decisions: Vec<Decision>,
    /// The file's text.
    text: String,
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Register").field("decisions", &self.decisions).finish_non_exhaustive()
    }
}

impl Register {
    /// Reads the register of a log's folder and changes nothing. Where nothing was ever decided it is empty.
    ///
    /// # Errors
    /// Why it cannot be relied on, in words; then everything counts as held.
    pub fn read(directory: &Path, keyring: &Keyring) -> Result<Self, String> {
        Self::open(folder_of(directory).join(FILE_NAME), keyring, (FILE_NAME.to_owned(), ""))
    }

    /// Reads what went of a log by its age. Where nothing ever did it is empty.
    ///
    /// # Errors
    /// As [`Register::read`].
    pub fn of_log(directory: &Path, keyring: &Keyring, log: &str) -> Result<Self, String> {
        let name = format!("{EXPIRED_NAME}/{log}");
        Self::open(folder_of(directory).join(EXPIRED_NAME).join(log), keyring, (name, log))
    }

    /// The register with a name, as marks have it.
    ///
    /// # Errors
    /// As [`Register::read`].
    fn named(directory: &Path, keyring: &Keyring, name: &str) -> Result<Self, String> {
        let log = name.strip_prefix(EXPIRED_NAME).and_then(|log| log.strip_prefix('/'));
        log.map_or_else(|| Self::read(directory, keyring), |log| Self::of_log(directory, keyring, log))
    }

    /// The mark of a decision, which its record in the log begins with; of the last one, if none is named.
    #[must_use]
    pub fn mark(&self, number: Option<u64>) -> Option<Mark> {
        let last = self.decisions.len();
        let at = number.map_or(Some(last), |number| usize::try_from(number).ok()).filter(|at| *at > 0)?;
        let beginning = self.text.lines().nth(at)?.get(..MARK_DIGITS)?.to_owned();
        let number = u64::try_from(at).ok()?;
        Some(Mark { register: self.name.clone(), number, beginning })
    }

    fn open(path: PathBuf, keyring: &Keyring, (own_name, name): (String, &str)) -> Result<Self, String> {
        // So that no file can stand in another's place.
        let seed = format!("{name:0>64}");
        let bad = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        let key = keyring.keeping_key(false).map_err(|error| bad(&error))?;
        let key = key.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.as_slice()));
        let mut text = String::new();
        match File::open(&path) {
            Ok(file) => {
                let read = file.take(BYTES_MAX).read_to_string(&mut text);
                read.map_err(|error| bad(&error))?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return match key {
                    Some(_) if name.is_empty() => Err(bad(&"it is missing, and was begun")),
                    Some(_) | None => {
                        let text = format!("{FIRST_LINE}\n");
                        Ok(Self { path, name: own_name, key, seed, decisions: Vec::new(), text })
                    }
                };
            }
            Err(error) => return Err(bad(&error)),
        }
        let key = key.ok_or_else(|| bad(&"the keyring does not have its key"))?;
        let decisions = parse(&text, &key, &seed).ok_or_else(|| bad(&"it is not as it was written"))?;
        Ok(Self { path, name: own_name, key: Some(key), seed, decisions, text })
    }

    /// Adds a decision, for good. Answers its number.
    ///
    /// # Errors
    /// Why it cannot be written; nothing was decided then.
    pub fn decide(&mut self, keyring: &Keyring, act: Act) -> Result<u64, String> {
        self.decide_all(keyring, [act])?;
        Ok(number(self.decisions.len()))
    }

    /// Adds decisions, all of them or none, for good.
    ///
    /// # Errors
    /// Why they cannot be written; nothing was decided then.
    pub fn decide_all(
        &mut self,
        keyring: &Keyring,
        acts: impl IntoIterator<Item = Act>,
    ) -> Result<(), String> {
        let key = match &self.key {
            Some(key) => key.clone(),
            None => {
                let key = keyring.keeping_key(true).map_err(|error| error.to_string())?;
                let key = key.ok_or("the keyring has no key for decisions")?;
                hmac::Key::new(hmac::HMAC_SHA256, key.as_slice())
            }
        };
        let mut text = self.text.clone();
        let mut before = text.lines().skip(1).last().and_then(|line| line.get(..64)).map(str::to_owned);
        let mut decisions = Vec::new();
        for act in acts {
            let decision = Decision { time_ns: now_ns(), act };
            let object = serde_json::to_string(&decision).map_err(|error| error.to_string())?;
            let mac = mac_of(&key, before.as_deref().unwrap_or(&self.seed), &object);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{mac} {object}");
            before = Some(mac);
            decisions.push(decision);
        }
        if decisions.is_empty() {
            return Ok(());
        }
        let path = self.path.display();
        replace(&self.path, text.as_bytes()).map_err(|error| format!("{path}: {error}"))?;
        self.key = Some(key);
        self.text = text;
        self.decisions.append(&mut decisions);
        Ok(())
    }

    /// Every decision with its number, the oldest first.
    #[must_use]
    pub fn decisions(&self) -> impl DoubleEndedIterator<Item = (u64, &Decision)> {
        self.decisions.iter().enumerate().map(|(at, decision)| (number(at.saturating_add(1)), decision))
    }

    /// Every hold, the oldest first.
    #[must_use]
    pub fn holds(&self) -> Vec<Hold> {
        let mut holds: Vec<Hold> = Vec::new();
        for (number, decision) in self.decisions() {
            match &decision.act {
                Act::Hold { customer, since_ns, until_ns, reason, by } => holds.push(Hold {
                    number,
                    time_ns: decision.time_ns,
                    customer: customer.clone(),
                    since_ns: *since_ns,
                    until_ns: *until_ns,
                    reason: reason.clone(),
                    by: by.clone(),
                    released: None,
                }),
                Act::Begin {} | Act::Review { .. } | Act::Expire { .. } | Act::Thin { .. } => {}
                Act::Release { number, reason, by } => {
                    if let Some(hold) = holds.iter_mut().find(|hold| hold.number == *number) {
                        hold.released = Some((decision.time_ns, reason.clone(), by.clone()));
                    }
                }
            }
        }
        holds
    }

    /// The first hold in force on records of a log from one time to before another.
    #[must_use]
    pub fn held(&self, log: &str, since_ns: u64, until_ns: u64) -> Option<Hold> {
        self.holds().into_iter().find(|hold| {
            hold.released.is_none()
                && hold.customer == log
                && hold.since_ns < until_ns
                && since_ns < hold.until_ns
        })
    }
}

/// The logs of which something went by its age.
pub(in crate::audit) fn logs(directory: &Path) -> Result<Vec<String>, String> {
    let folder = folder_of(directory).join(EXPIRED_NAME);
    let told = |error: io::Error| format!("{}: {error}", folder.display());
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(told(error)),
    };
    let mut logs = Vec::new();
    for entry in entries {
        let name = entry.map_err(told)?.file_name().into_string().unwrap_or_default();
        // Beside them may be one that is being written.
        logs.extend(Some(name).filter(|name| log_of(name.as_bytes()) == name));
    }
    logs.sort_unstable();
    Ok(logs)
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

fn mac_of(key: &hmac::Key, before: &str, object: &str) -> String {
    let mut context = hmac::Context::with_key(key);
    context.update(before.as_bytes());
    context.update(object.as_bytes());
    hex(context.sign().as_ref())
}

fn parse(text: &str, key: &hmac::Key, seed: &str) -> Option<Vec<Decision>> {
    let body = text.strip_suffix('\n')?;
    let mut lines = body.split('\n');
    if lines.next() != Some(FIRST_LINE) {
        return None;
    }
    let mut decisions = Vec::new();
    let mut before = seed;
    for line in lines {
        let (mac, object) = line.split_once(' ')?;
        if mac_of(key, before, object) != mac {
            return None;
        }
        before = mac;
        decisions.push(serde_json::from_str(object).ok()?);
    }
    // It is begun with a decision.
    (!decisions.is_empty()).then_some(decisions)
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(path);
    make_folder(folder)?;
    let new = path.with_extension("new");
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}
