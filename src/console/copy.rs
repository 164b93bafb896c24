//! `COPY .. TO STDOUT`: its options, and rows as it writes them.
//!
//! What always holds: an option that is not done is refused; texts are UTF-8.
//!
//! Source: sql-copy

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the parser's enums grow with its versions; what is not known is refused"
)]

use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption, Ident};
use pgwire::api::portal::Format;
use pgwire::api::results::FieldInfo;
use pgwire::messages::data::DataRow;

use super::cursors::called;
use super::dialect::shown;
use super::fault::Fault;
use crate::protocol::fields::Fields;
use crate::protocol::sqlstate::SqlState;
use crate::protocol::write::message;

/// What stands for all columns in a list of them.
pub(super) const ALL: &str = "*";
/// How a copy in the binary format begins: the signature, no flags, no extension.
const BINARY_BEGIN: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Csv,
    Binary,
}

/// How `COPY` writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyForm {
    kind: Kind,
    header: bool,
    delimiter: u8,
    null: String,
    quote: u8,
    escape: u8,
    /// Columns whose values are always quoted.
    forced: Vec<String>,
}

/// What was asked for; the rest depends on the kind.
#[derive(Default)]
struct Asked {
    kind: Option<Kind>,
    header: bool,
    delimiter: Option<u8>,
    null: Option<String>,
    quote: Option<u8>,
    escape: Option<u8>,
    forced: Vec<String>,
}

fn unsupported() -> Fault {
    Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "this option of COPY is not supported")
}

fn byte(c: char) -> Result<u8, Fault> {
    let byte = u8::try_from(c).ok().filter(|byte| byte.is_ascii() && !matches!(byte, b'\n' | b'\r'));
    byte.ok_or_else(|| {
        Fault::new(
            SqlState::FEATURE_NOT_SUPPORTED,
            "COPY delimiter and quote must be single one-byte characters",
        )
    })
}

fn names(columns: &[Ident]) -> Vec<String> {
    columns.iter().map(called).collect()
}

impl Asked {
    fn option(&mut self, option: &CopyOption) -> Result<(), Fault> {
        match option {
            CopyOption::Format(name) => {
                self.kind = Some(match name.value.to_ascii_lowercase().as_str() {
                    "csv" => Kind::Csv,
                    "text" => Kind::Text,
                    "binary" => Kind::Binary,
                    _ => return Err(unsupported()),
                });
            }
            CopyOption::Header(header) => self.header = *header,
            CopyOption::Delimiter(c) => self.delimiter = Some(byte(*c)?),
            CopyOption::Null(text) => self.null = Some(text.clone()),
            CopyOption::Quote(c) => self.quote = Some(byte(*c)?),
            CopyOption::Escape(c) => self.escape = Some(byte(*c)?),
            CopyOption::ForceQuote(columns) => self.forced = names(columns),
            CopyOption::Encoding(name) if ["utf8", "utf-8", "unicode"].contains(&&*name.to_lowercase()) => {}
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    fn legacy(&mut self, option: &CopyLegacyOption) -> Result<(), Fault> {
        match option {
            CopyLegacyOption::Binary => self.kind = Some(Kind::Binary),
            CopyLegacyOption::Csv(options) => {
                self.kind = Some(Kind::Csv);
                options.iter().try_for_each(|option| self.csv(option))?;
            }
            CopyLegacyOption::Header => self.header = true,
            CopyLegacyOption::Delimiter(c) => self.delimiter = Some(byte(*c)?),
            CopyLegacyOption::Null(text) => self.null = Some(text.clone()),
            _ => return Err(unsupported()),
        }
        Ok(())
    }

    fn csv(&mut self, option: &CopyLegacyCsvOption) -> Result<(), Fault> {
        match option {
            CopyLegacyCsvOption::Header => self.header = true,
            CopyLegacyCsvOption::Quote(c) => self.quote = Some(byte(*c)?),
            CopyLegacyCsvOption::Escape(c) => self.escape = Some(byte(*c)?),
            CopyLegacyCsvOption::ForceQuote(columns) => self.forced = names(columns),
            CopyLegacyCsvOption::ForceNotNull(_) => return Err(unsupported()),
        }
        Ok(())
    }
}

impl CopyForm {
    /// What the options ask for.
    ///
    /// # Errors
    /// 0A000: an option that is not done.
    pub(super) fn asked(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<Self, Fault> {
        let mut asked = Asked::default();
        options.iter().try_for_each(|option| asked.option(option))?;
        legacy.iter().try_for_each(|option| asked.legacy(option))?;
        let kind = asked.kind.unwrap_or(Kind::Text);
        let is_csv = kind == Kind::Csv;
        if !is_csv && (asked.quote.is_some() || asked.escape.is_some() || !asked.forced.is_empty()) {
            return Err(Fault::new(SqlState::FEATURE_NOT_SUPPORTED, "COPY quote available only in CSV mode"));
        }
        let quote = asked.quote.unwrap_or(b'"');
        Ok(Self {
            kind,
            header: asked.header && kind != Kind::Binary,
            delimiter: asked.delimiter.unwrap_or(if is_csv { b',' } else { b'\t' }),
            null: asked.null.unwrap_or_else(|| if is_csv { "" } else { "\\N" }.to_owned()),
            quote,
            escape: asked.escape.unwrap_or(quote),
            forced: asked.forced,
        })
    }

    /// The format in which it wants values.
    pub(super) fn format(&self) -> Format {
        if self.kind == Kind::Binary { Format::UnifiedBinary } else { Format::UnifiedText }
    }

    /// `CopyOutResponse`, and what goes ahead of the rows.
    pub(super) fn begin(&self, out: &mut Vec<u8>, fields: &[FieldInfo]) {
        let is_binary = self.kind == Kind::Binary;
        message(out, b'H', |out| {
            out.push(u8::from(is_binary));
            out.extend(u16::try_from(fields.len()).unwrap_or(u16::MAX).to_be_bytes());
            fields.iter().for_each(|_| out.extend([0, u8::from(is_binary)]));
        });
        if self.header {
            message(out, b'd', |out| {
                for (at, field) in fields.iter().enumerate() {
                    self.separate(out, at);
                    self.value(out, shown(field.name()).as_bytes(), false);
                }
                out.push(b'\n');
            });
        }
    }

    /// `CopyData` with one row. What goes ahead of binary rows is part of the first one's message, as clients expect it.
    pub(super) fn row(&self, out: &mut Vec<u8>, fields: &[FieldInfo], row: &DataRow, is_first: bool) {
        message(out, b'd', |out| {
            if self.kind == Kind::Binary {
                if is_first {
                    out.extend_from_slice(BINARY_BEGIN);
                }
                out.extend(row.field_count.to_be_bytes());
                out.extend_from_slice(&row.data);
                return;
            }
            let mut values = Fields::of(&row.data);
            for (at, field) in fields.iter().enumerate() {
                let Ok(length) = values.i32("length") else { break };
                self.separate(out, at);
                match usize::try_from(length).ok().and_then(|length| values.bytes(length, "value").ok()) {
                    Some(value) => {
                        let is_forced =
                            self.forced.iter().any(|name| name == ALL || name == shown(field.name()));
                        self.value(out, value, is_forced);
                    }
                    None => out.extend_from_slice(self.null.as_bytes()),
                }
            }
            out.push(b'\n');
        });
    }

    /// What comes behind the last row.
    pub(super) fn end(&self, out: &mut Vec<u8>, is_empty: bool) {
        if self.kind == Kind::Binary {
            message(out, b'd', |out| {
                if is_empty {
                    out.extend_from_slice(BINARY_BEGIN);
                }
                out.extend((-1_i16).to_be_bytes());
            });
        }
    }

    fn separate(&self, out: &mut Vec<u8>, at: usize) {
        if at > 0 {
            out.push(self.delimiter);
        }
    }

    fn value(&self, out: &mut Vec<u8>, value: &[u8], is_forced: bool) {
        if self.kind == Kind::Csv { self.csv(out, value, is_forced) } else { self.text(out, value) }
    }

    fn csv(&self, out: &mut Vec<u8>, value: &[u8], is_forced: bool) {
        let special =
            |byte: &u8| matches!(byte, b'\n' | b'\r') || *byte == self.delimiter || *byte == self.quote;
        let is_null = value == self.null.as_bytes();
        if !is_forced && !is_null && value != b"\\." && !value.iter().any(special) {
            out.extend_from_slice(value);
            return;
        }
        out.push(self.quote);
        for byte in value {
            if *byte == self.quote || *byte == self.escape {
                out.push(self.escape);
            }
            out.push(*byte);
        }
        out.push(self.quote);
    }

    fn text(&self, out: &mut Vec<u8>, value: &[u8]) {
        for byte in value {
            let escaped = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                8 => b'b',
                11 => b'v',
                12 => b'f',
                other if *other == self.delimiter => *other,
                other => {
                    out.push(*other);
                    continue;
                }
            };
            out.extend([b'\\', escaped]);
        }
    }
}
