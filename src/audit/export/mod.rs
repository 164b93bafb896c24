//! Records in forms that others read: CSV, OCSF's JSON lines, Parquet.
//!
//! What always holds: each record is one line or one row; what is written follows from its [`Row`] and its long texts alone, the relations
//! that a statement names and its fingerprint too, which are made anew and left out where nobody can tell; memory does not grow with the number of records. Nothing is encrypted: who has the file can read it.
//!
//! ```text
//! csv.rs   RFC 4180, safe to open in a spreadsheet     ocsf.rs  OCSF's objects, one a line
//! plain.rs  Parquet that any reader reads
//! ```

pub mod csv;
pub mod ocsf;
mod plain;

use std::fmt;
use std::io::{self, Write};

use super::arrow::derived::gist_of;
use super::escape::json_string;
use super::join::Whole;
use super::row::{Column, Row};
use super::values::Parameters;
pub use plain::schema;

/// Name of the column with a statement's parameters: a JSON array of texts and nulls.
pub const PARAMETERS: &str = "parameters";
/// Name of the column with a statement's text.
pub const TEXT: &str = "text";
/// Name of the column with the relations that a statement names.
pub const TABLES: &str = "tables";
/// Name of the column with a statement's fingerprint.
pub const FINGERPRINT: &str = "fingerprint";

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet, unencrypted, zstd.
    Parquet,
    /// RFC 4180.
    Csv,
    /// OCSF's objects, one a line.
    Ocsf,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 3] = [Self::Parquet, Self::Csv, Self::Ocsf];

    /// Its name on the command line and in the record of an export.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::Ocsf => "ocsf",
        }
    }
}

/// Why records cannot be written.
#[derive(Debug)]
pub struct NotWritten(pub String);

impl fmt::Display for NotWritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotWritten {}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Writes records one after the other.
pub struct Exporter<W: Write + Send> {
    to: To<W>,
    records: u64,
}

enum To<W: Write + Send> {
    Csv(W, Vec<u8>),
    Ocsf(W),
    Parquet(Box<plain::Writer<W>>),
}

impl<W: Write + Send> fmt::Debug for Exporter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("records", &self.records).finish_non_exhaustive()
    }
}

impl<W: Write + Send> Exporter<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub fn begin(format: Format, mut out: W) -> Result<Self, NotWritten> {
        let to = match format {
            Format::Csv => {
                out.write_all(&csv::head())?;
                To::Csv(out, Vec::new())
            }
            Format::Ocsf => To::Ocsf(out),
            Format::Parquet => To::Parquet(Box::new(plain::Writer::begin(out)?)),
        };
        Ok(Self { to, records: 0 })
    }

    /// Writes a record.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub fn take(&mut self, row: &Row<'_>, whole: &Whole<'_>) -> Result<(), NotWritten> {
        let gist = gist_of(row, &whole.text).ok().flatten();
        let gist = gist.as_deref();
        match &mut self.to {
            To::Csv(out, line) => {
                line.clear();
                csv::line(line, (row, gist), whole);
                out.write_all(line)?;
            }
            To::Ocsf(out) => writeln!(out, "{}", ocsf::line((row, gist), whole))?,
            To::Parquet(writer) => writer.take((row, gist), whole)?,
        }
        self.records = self.records.saturating_add(1);
        Ok(())
    }

    /// Completes the file. Answers how many records it has, and what it was written to.
    ///
    /// # Errors
    /// [`NotWritten`].
    pub fn finish(self) -> Result<(u64, W), NotWritten> {
        let out = match self.to {
            To::Csv(out, _) | To::Ocsf(out) => out,
            To::Parquet(writer) => writer.finish()?,
        };
        Ok((self.records, out))
    }
}

/// A list of parameters as a JSON array of texts and nulls; nothing where there is none.
fn parameters(whole: &Whole<'_>) -> Option<String> {
    let mut out = String::new();
    for parameter in Parameters::read(&whole.parameters) {
        out.push(if out.is_empty() { '[' } else { ',' });
        match parameter.text() {
            Some(text) => json_string(&mut out, &String::from_utf8_lossy(&text)),
            None => out.push_str("null"),
        }
    }
    if out.is_empty() {
        return None;
    }
    out.push(']');
    Some(out)
}

/// A statement's text, or a piece of a copy's content; nothing where a record has none.
fn text<'a>(row: &Row<'_>, whole: &'a Whole<'_>) -> Option<&'a [u8]> {
    matches!(row.bytes_of(Column::Class), b"statement" | b"copy").then_some(&whole.text)
}

#[cfg(test)]
mod tests;
