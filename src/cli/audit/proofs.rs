//! `onevault audit verify`, `prove`, `check-proof` and `checkpoint`: evidence for people who trust nobody.
//!
//! Always holds: `check-proof` reads its arguments and nothing else, neither the configuration nor the log.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::{Failure, Place, Progress, keyring, parse_time};
use crate::audit::abroad::witnesses;
use crate::audit::evidence::{
    Anchored, Evidence, Kept, LogCounts, NoProof, NotVerified, Which, check_files, key_beside,
};
use crate::audit::history::Span;
use crate::audit::reader::ReadError;
use crate::audit::render::{bytes_in_line, rfc3339};
use crate::audit::verify::{Counts, verify};
use crate::config;
use crate::proof::bundle::Bundle;
use crate::proof::checkpoint::Checkpoint;
use crate::proof::cosignature::{Witness, cosigned};
use crate::proof::note::{self, Verifier};
use crate::proof::record::{Value, fields};

#[derive(Debug, clap::Args)]
pub(super) struct Verify {
    #[command(flatten)]
    place: Place,
    /// Checks the tree of this customer only; `_`: the vault's own. The chain of the journal is always checked
    #[arg(long)]
    customer: Option<String>,
    /// Who signs: a file with the public key, or the key; by default the one that lies beside the log
    #[arg(long, value_name = "KEY", value_parser = parse_key)]
    key: Option<Verifier>,
    /// A checkpoint that was kept elsewhere, as a file; it must be part of what is there now
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Reads only records of the archive that began at this time or later, such as 2026-03-01 or 7d; of the others only the tree
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<u64>,
    /// Reads only records of the archive that began before this time
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    until: Option<u64>,
    /// Compares with all checkpoints in the second place (audit.anchor), too
    #[arg(long)]
    anchors: bool,
}

impl Verify {
    fn span(&self) -> Span {
        Span { since_ns: self.since.unwrap_or(0), until_ns: self.until.unwrap_or(u64::MAX), ..Span::ALL }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Prove {
    #[command(flatten)]
    place: Place,
    /// Whose log; `_`: the vault's own
    #[arg(long)]
    customer: String,
    /// The record by its number in the journal (metadata.sequence)
    #[arg(long, value_name = "NUMBER", required_unless_present = "index")]
    record: Option<u64>,
    /// The record by its index in the customer's log, from 0
    #[arg(long, value_name = "NUMBER", conflicts_with = "record")]
    index: Option<u64>,
    /// Where the proof goes; by default to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(super) struct CheckProof {
    /// The proof
    file: PathBuf,
    /// Who must have signed: a file with the public key, or the key; more than once where it was replaced: one of them
    #[arg(long, value_name = "KEY", value_parser = parse_key, required = true)]
    key: Vec<Verifier>,
    /// A witness who must have signed, too: a file with its key, or the key
    #[arg(long, value_name = "KEY", value_parser = parse_witness)]
    witness: Vec<Witness>,
}

#[derive(Debug, clap::Args)]
pub(super) struct ShowCheckpoint {
    #[command(flatten)]
    place: Place,
    /// Whose log; `_`: the vault's own
    #[arg(long)]
    customer: String,
}

/// A public key, or a file that holds one.
fn parse_key(text: &str) -> Result<Verifier, String> {
    let read = if text.contains('+') { Ok(text.to_owned()) } else { fs::read_to_string(text) };
    let read = read.map_err(|error| format!("{text}: {error}"))?;
    Verifier::parse(&read).map_err(|error| error.to_string())
}

fn parse_witness(text: &str) -> Result<Witness, String> {
    let read = if text.contains('+') { Ok(text.to_owned()) } else { fs::read_to_string(text) };
    let read = read.map_err(|error| format!("{text}: {error}"))?;
    Witness::parse(&read).map_err(|error| error.to_string())
}

impl From<NotVerified> for Failure {
    fn from(error: NotVerified) -> Self {
        Self::Message(format!("audit log: {error}"))
    }
}

pub(super) fn check(args: &Verify) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let (folder, keyring) = (&audit.directory, keyring(&audit)?);
    let beside = match key_beside(folder) {
        Ok(beside) => beside,
        Err(error) => return not_verified(error),
    };
    let progress = Progress::start("verifying the audit log");
    let (is_own_key, mut said) = (args.key.is_none(), String::new());
    let verified = match args.key.clone().or(beside) {
        Some(key) => {
            let evidence = Evidence::of(&audit, keyring, key);
            let known = match evidence.known() {
                Ok(known) => known,
                Err(error) => return not_verified(error),
            };
            let mut kept = Vec::new();
            for path in &args.checkpoint {
                kept.push(read_checkpoint(path, &known)?);
            }
            let anchors = args.anchors.then(|| evidence.anchors(&audit)).transpose();
            anchors.and_then(|anchors| {
                let only = args.customer.as_deref();
                let (counts, logs) = evidence.verify_span(only, &args.span(), &kept, |_| {})?;
                said = elsewhere(&evidence, (&audit, only), anchors.as_deref(), &logs)?;
                Ok((counts, logs))
            })
        }
        None => check_files(folder, &keyring)
            .and_then(|()| Ok((verify(folder, Some(keyring), |_| {})?, BTreeMap::new()))),
    };
    drop(progress);
    let mut out = io::stdout().lock();
    match verified {
        Ok((counts, logs)) => {
            write_counts(&mut out, folder, &counts)?;
            write_logs(&mut out, &logs, is_own_key)?;
            out.write_all(said.as_bytes())?;
            out.flush()?;
            Ok(if counts.torn_bytes == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(error) => {
            drop(out);
            not_verified(error)
        }
    }
}

/// Says what is damaged; whatever keeps it from being checked is a failure of the command.
fn not_verified(error: NotVerified) -> Result<ExitCode, Failure> {
    match error {
        NotVerified::Journal(ReadError::Damaged { .. }) | NotVerified::Differs(_) => {
            writeln!(io::stdout().lock(), "damaged: {error}")?;
            Ok(ExitCode::FAILURE)
        }
        NotVerified::Journal(_) | NotVerified::Unknown(_) => Err(error.into()),
    }
}

/// Checks what others keep, and says what they have.
fn elsewhere(
    evidence: &Evidence,
    (audit, only): (&config::Audit, Option<&str>),
    anchors: Option<&[Anchored]>,
    logs: &BTreeMap<String, LogCounts>,
) -> Result<String, NotVerified> {
    let mut said = String::new();
    let known = witnesses(audit).map_err(NotVerified::Unknown)?;
    if !known.is_empty() {
        let required = audit.witnesses_required;
        for (log, records) in evidence.witnessed(logs, (&known, required))? {
            let count = required.max(1);
            said.push_str(&format!(
                "log {log}: {count} of {} witnesses stand for {records} records\n",
                known.len()
            ));
        }
    }
    if let Some(anchors) = anchors {
        let count = evidence.anchored(anchors, logs, only)?;
        said.push_str(&format!("{count} anchored checkpoints hold\n"));
    }
    Ok(said)
}

fn read_checkpoint(path: &Path, known: &[Verifier]) -> Result<Kept, Failure> {
    let told = |what: String| Failure::Message(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| told(error.to_string()))?;
    let opened = note::open(&text, known).and_then(|(text, _)| Checkpoint::parse(text));
    let checkpoint = opened.map_err(|error| told(error.to_string()))?;
    Ok((checkpoint, text))
}

fn write_counts(out: &mut impl Write, folder: &Path, counts: &Counts) -> io::Result<()> {
    let Counts { segments, records, statements, intents_open, .. } = *counts;
    writeln!(out, "{}: {records} records in {segments} segments, {statements} statements", folder.display())?;
    if counts.archived > 0 {
        writeln!(out, "{} records in files of the archive", counts.archived)?;
    }
    writeln!(out, "{} starts, {} of them after a crash", counts.starts, counts.starts_after_crash)?;
    if counts.bytes_cut > 0 {
        writeln!(out, "{} bytes of torn ends were cut at a start (kept in *.cut)", counts.bytes_cut)?;
    }
    if intents_open > 0 {
        writeln!(out, "{intents_open} statements without an outcome: running, or ended by a crash")?;
    }
    if counts.gaps > 0 {
        writeln!(out, "{} times the log could not be written; statements were refused", counts.gaps)?;
    }
    if counts.shredded > 0 {
        writeln!(out, "{} records whose keys were shredded: in the chain, and unreadable", counts.shredded)?;
    }
    if counts.torn_bytes > 0 {
        let bytes = counts.torn_bytes;
        return writeln!(out, "torn: {bytes} bytes behind record {records} are no record; a start cuts them");
    }
    writeln!(out, "checksums, record numbers and chain are whole")
}

fn write_logs(out: &mut impl Write, logs: &BTreeMap<String, LogCounts>, is_own_key: bool) -> io::Result<()> {
    for (name, log) in logs {
        write!(
            out,
            "log {name}: {} records, {} as signed in {} checkpoints",
            log.records, log.signed, log.checkpoints
        )?;
        if log.shredded > 0 {
            write!(out, ", the first {} shredded", log.shredded)?;
        }
        if log.aged > 0 {
            write!(out, ", {} went by their age", log.aged)?;
        }
        if log.passed > 0 {
            write!(out, ", {} by their leaves only", log.passed)?;
        }
        match &log.signed_at {
            Some(time) => writeln!(out, "; the newest of {time}")?,
            None => writeln!(out)?,
        }
    }
    match (logs.is_empty(), is_own_key) {
        (true, _) => writeln!(out, "no checkpoint has been signed: what was cut off the end is not noticed"),
        (false, true) => {
            writeln!(out, "signatures hold by the key that lies beside the log; --key takes yours")
        }
        (false, false) => writeln!(out, "signatures hold by the key that you gave"),
    }
}

pub(super) fn prove(args: &Prove) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let key = key_beside(&audit.directory)?;
    let key = key.ok_or_else(|| Failure::Message("no checkpoint has been signed yet".into()))?;
    let which = match (args.record, args.index) {
        (Some(record), _) => Which::Record(record),
        (None, index) => Which::Index(index.unwrap_or(0)),
    };
    let progress = Progress::start("looking for the record");
    let proof = Evidence::of(&audit, keyring(&audit)?, key).prove(&args.customer, which);
    drop(progress);
    let text = match proof {
        Ok(bundle) => bundle.encode(),
        Err(NoProof::Unknown) => {
            return Err(Failure::Message(format!("the log of {} has no such record", args.customer)));
        }
        Err(NoProof::Aged) => {
            return Err(Failure::Message(format!(
                "the log of {} does not have this record any more, if it had: records went by their age, as those of \
                 kind retention_delete say",
                args.customer
            )));
        }
        Err(NoProof::Unsigned) => {
            let what =
                "no checkpoint covers the record yet; one is signed every audit.checkpoint_interval_ms";
            return Err(Failure::Message(what.into()));
        }
        Err(NoProof::Trouble(what)) => return Err(Failure::Message(format!("audit log: {what}"))),
    };
    match &args.output {
        Some(path) => {
            fs::write(path, text)
                .map_err(|error| Failure::Message(format!("{}: {error}", path.display())))?;
        }
        None => io::stdout().lock().write_all(text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn check_proof(args: &CheckProof) -> Result<ExitCode, Failure> {
    let told = |what: String| Failure::Message(format!("{}: {what}", args.file.display()));
    let text = fs::read_to_string(&args.file).map_err(|error| told(error.to_string()))?;
    let bundle = Bundle::parse(&text).map_err(|error| told(error.to_string()))?;
    let proven = bundle.check(&args.key).map_err(|error| told(error.to_string()))?;
    let cosigned = cosigned(&bundle.checkpoint, &args.witness).map_err(|error| told(error.to_string()))?;
    let has_signed = |witness: &&Witness| cosigned.iter().any(|found| found.name == witness.name());
    if let Some(missing) = args.witness.iter().find(|witness| !has_signed(witness)) {
        return Err(told(format!("not proven: witness {} has not signed", missing.name())));
    }
    let (log, mut out) = (proven.checkpoint, io::stdout().lock());
    for field in fields(&bundle.canonical).map_err(|error| told(error.to_string()))? {
        let name = field.name().map_or_else(|| format!("column {}", field.tag), str::to_owned);
        match field.value {
            Value::Number(number) if name == "time" || name == "gap_since" => {
                writeln!(out, "{name}: {}", rfc3339(number))?;
            }
            Value::Number(number) => writeln!(out, "{name}: {number}")?,
            Value::Bytes(bytes) if name == "boot" || name.ends_with("_sha256") || name == "copy_hmac" => {
                writeln!(out, "{name}: {}", crate::audit::render::hex(bytes))?;
            }
            Value::Bytes(bytes) => writeln!(out, "{name}: {}", bytes_in_line(bytes))?,
        }
    }
    let time = log.extensions.iter().find_map(|line| line.strip_prefix("time ")).unwrap_or("at no time");
    writeln!(
        out,
        "proven: this is record {} of {} in log {}, signed by {} ({time})",
        bundle.index,
        log.size,
        log.origin,
        proven.signed_by.join(", ")
    )?;
    for found in &cosigned {
        let time = rfc3339(found.time.saturating_mul(1_000_000_000));
        writeln!(out, "seen by witness {} at {time}", found.name)?;
    }
    writeln!(out, "not checked: other records of the log, and that its clock was right")?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn checkpoint(args: &ShowCheckpoint) -> Result<ExitCode, Failure> {
    let audit = args.place.audit()?;
    let found = match key_beside(&audit.directory)? {
        Some(key) => Evidence::of(&audit, keyring(&audit)?, key).checkpoint(&args.customer)?,
        None => None,
    };
    let note = found.ok_or_else(|| Failure::Message(format!("nothing was signed for {}", args.customer)))?;
    io::stdout().lock().write_all(note.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
