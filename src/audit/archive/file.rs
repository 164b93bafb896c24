//! One file of the archive: Parquet, encrypted as a whole with one key (uniform encryption, AES-256-GCM).
//!
//! What always holds: what is read was decrypted and authenticated first, so a changed byte is an error and never a record;
//! the key is asked for by the number that the file names; records are in the log's order, each row group bounded in rows
//! and bytes; a file that has its length was synced.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{
    ArrowPredicateFn, ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowFilter,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::encryption::decrypt::{FileDecryptionProperties, KeyRetriever};
use parquet::encryption::encrypt::FileEncryptionProperties;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use zeroize::Zeroizing;

use super::super::arrow::derived::Kept;
use super::super::arrow::{
    BadBatch, INDEX, KEY, LEAF_CHECK, Leaf, NOT_UTF8, PARAMETERS, PART, Rows, TEXT, schema,
};
use super::super::join::Whole;
use super::super::keys::{KeyError, Keyring};
use super::super::row::{Column, Row};
use super::blocks::{check_footer, check_indexes, check_pages};
use super::span::Span;

/// Purpose under which data keys give the keys of files.
const PURPOSE: &[u8] = b"archive";
/// In a file, before the number of its data key.
const KEY_WORD: &str = "onevault:";
/// What an encrypted file begins and ends with.
const MAGIC: &[u8; 4] = b"PARE";
/// A file is not shorter: both magics, and the length of its footer.
const FILE_BYTES_MIN: u64 = 12;
/// Rows of a row group.
const GROUP_ROWS_MAX: usize = 1 << 17;
/// Bytes of a row group, as written.
const GROUP_BYTES_MAX: usize = 32 << 20;
/// Rows of a page.
const PAGE_ROWS_MAX: usize = 1 << 15;
/// Bytes of a dictionary; with more different values a column is written without.
const DICTIONARY_BYTES_MAX: usize = 1 << 20;
/// Rows that are read at one time.
const READ_ROWS: usize = 8 << 10;
/// zstd's level.
const ZSTD_LEVEL: i32 = 6;

/// A key's bytes; wiped when they are not needed any more.
pub type Secret = Zeroizing<[u8; 32]>;

/// Gives the keys of files.
pub trait Keys: Send + Sync {
    /// The key of files under the data key with this number.
    ///
    /// # Errors
    /// [`KeyError::Shredded`] where it was destroyed, and why else it cannot be had.
    fn file_key(&self, number: u32) -> Result<Secret, KeyError>;

    /// The number of a data key for a file of records that have none, as the first of a journal: the log's at that time.
    ///
    /// # Errors
    /// [`KeyError`].
    fn number_for(&self, log: &str, time_ns: u64) -> Result<u32, KeyError>;
}

impl Keys for Keyring {
    fn file_key(&self, number: u32) -> Result<Secret, KeyError> {
        Ok(self.by_number(number)?.derive(PURPOSE))
    }

    fn number_for(&self, log: &str, time_ns: u64) -> Result<u32, KeyError> {
        Ok(self.current(log, time_ns)?.number())
    }
}

/// Why a file cannot be written or read.
#[derive(Debug)]
pub enum FileError {
    /// The operating system, or whoever keeps the file, refused.
    Io(io::Error),
    /// Its key cannot be had.
    Key(KeyError),
    /// It is not as it was written; the record with this place, where that can be told.
    Damaged(Option<u64>, String),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Key(error) => write!(f, "{error}"),
            Self::Damaged(Some(index), what) => write!(f, "damaged at record {index} of its log: {what}"),
            Self::Damaged(None, what) => write!(f, "damaged, or of another key: {what}"),
        }
    }
}

impl std::error::Error for FileError {}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BadBatch> for FileError {
    fn from(BadBatch(what): BadBatch) -> Self {
        Self::Damaged(None, what)
    }
}

/// What a writer's failure is: its input cannot be wrong.
fn written(error: ParquetError) -> FileError {
    FileError::Io(io::Error::other(error))
}

fn properties(number: u32, secret: &Secret) -> Result<WriterProperties, ParquetError> {
    let encryption = FileEncryptionProperties::builder(secret.to_vec())
        .with_footer_key_metadata(format!("{KEY_WORD}{number}").into_bytes())
        .build()?;
    let column = |name: &str| ColumnPath::from(name);
    let mut builder = WriterProperties::builder()
        .set_created_by(format!("onevault {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_max_row_group_bytes(Some(GROUP_BYTES_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS_MAX)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES_MAX)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .with_file_encryption_properties(encryption);
    // Each differs from the one before by little.
    let steps = [Column::Record, Column::Time, Column::Sequence, Column::DurationNs].map(Column::name);
    for name in steps.into_iter().chain([INDEX]) {
        builder = builder
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [Column::Time.name(), INDEX] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::Page);
    }
    for name in [TEXT, PARAMETERS, NOT_UTF8, LEAF_CHECK, PART] {
        builder = builder.set_column_statistics_enabled(column(name), EnabledStatistics::None);
    }
    // Values are mostly different; what stands before them is mostly the same.
    builder = builder
        .set_column_dictionary_enabled(column(PARAMETERS), false)
        .set_column_encoding(column(PARAMETERS), Encoding::DELTA_BYTE_ARRAY);
    // Hashes cannot be made smaller.
    builder = builder
        .set_column_dictionary_enabled(column(LEAF_CHECK), false)
        .set_column_compression(column(LEAF_CHECK), Compression::UNCOMPRESSED);
    Ok(builder.set_column_statistics_enabled(column(KEY), EnabledStatistics::Chunk).build())
}

/// Writes one file.
pub struct Writer {
    inner: ArrowWriter<BufWriter<File>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer")
    }
}

impl Writer {
    /// Begins a file, encrypted under the data key with this number.
    ///
    /// # Errors
    /// [`FileError`]: no key, or the file cannot be written.
    pub fn create(file: File, number: u32, keys: &dyn Keys) -> Result<Self, FileError> {
        let secret = keys.file_key(number).map_err(FileError::Key)?;
        let properties = properties(number, &secret).map_err(written)?;
        let inner =
            ArrowWriter::try_new(BufWriter::new(file), schema(), Some(properties)).map_err(written)?;
        Ok(Self { inner })
    }

    /// Appends rows.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be written.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), FileError> {
        self.inner.write(batch).map_err(written)
    }

    /// Completes the file and syncs it. Answers its size in bytes.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be written.
    pub fn finish(self) -> Result<u64, FileError> {
        let file = self.inner.into_inner().map_err(written)?;
        let file = file.into_inner().map_err(|error| FileError::Io(error.into_error()))?;
        file.sync_all()?;
        Ok(file.metadata()?.len())
    }
}

/// Asks for the key that a file names, and remembers its number, or why there is none.
struct Retriever {
    keys: Arc<dyn Keys>,
    asked: Mutex<(u32, Option<KeyError>)>,
}

impl KeyRetriever for Retriever {
    fn retrieve_key(&self, metadata: &[u8]) -> Result<Vec<u8>, ParquetError> {
        let word = std::str::from_utf8(metadata).ok();
        let number = word.and_then(|word| word.strip_prefix(KEY_WORD)).and_then(|number| number.parse().ok());
        let number: u32 = number.ok_or_else(|| ParquetError::General("names no key".to_owned()))?;
        let secret = self.keys.file_key(number);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.0 = number;
        secret.map(|secret| secret.to_vec()).map_err(|error| {
            let general = ParquetError::General(error.to_string());
            asked.1 = Some(error);
            general
        })
    }
}

/// A file whose footer was read: what is to be read of it can be said.
pub struct Opened {
    /// The file again, for the lengths of its blocks.
    file: File,
    builder: ParquetRecordBatchReaderBuilder<File>,
    key: u32,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens a file: its footer is decrypted with the key that it names.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(mut file: File, keys: Arc<dyn Keys>) -> Result<Self, FileError> {
        if file.metadata()?.len() < FILE_BYTES_MIN {
            return Err(damaged(&"shorter than any file"));
        }
        let mut magic = [0; 4];
        file.rewind()?;
        file.read_exact(&mut magic)?;
        if magic != *MAGIC {
            return Err(damaged(&"does not begin as an encrypted Parquet file"));
        }
        let retriever = Arc::new(Retriever { keys, asked: Mutex::default() });
        let decryption = FileDecryptionProperties::with_key_retriever(Arc::<Retriever>::clone(&retriever))
            .build()
            .map_err(|error| damaged(&error))?;
        check_footer(&file)?;
        let opened = metadata_of(&file, &decryption);
        let (key, refused) =
            std::mem::take(&mut *retriever.asked.lock().unwrap_or_else(PoisonError::into_inner));
        let metadata = opened.map_err(|error| refused.map_or(error, FileError::Key))?;
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file.try_clone()?, metadata);
        Ok(Self { file, builder, key })
    }

    /// Number of the data key that the file is encrypted under.
    #[must_use]
    pub const fn key(&self) -> u32 {
        self.key
    }

    /// What the footer says.
    #[must_use]
    pub fn metadata(&self) -> &ParquetMetaData {
        self.builder.metadata()
    }

    /// Reads the records that may be meant, some others with them.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn read(self, wanted: &Span) -> Result<Reader, FileError> {
        let metadata = Arc::clone(self.builder.metadata());
        let groups = wanted.groups(&metadata);
        check_pages(&self.file, &metadata, &groups, |_| true)?;
        let builder = self.builder.with_row_groups(groups).with_batch_size(READ_ROWS);
        let inner = builder.build().map_err(|error| damaged(&error))?;
        Ok(Reader { inner, metadata, batch: None, at: 0, compares: false })
    }

    /// Reads some columns of the rows for which `takes` says so, in batches of at most `rows`. `takes` sees the columns
    /// `looked_at` and answers one truth for each row. What is in the file is authenticated as far as it is read.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn batches(
        self,
        wanted: &Span,
        columns: &[&str],
        (looked_at, takes): (&[&str], Takes),
        rows: usize,
    ) -> Result<ParquetRecordBatchReader, FileError> {
        let groups = wanted.groups(self.builder.metadata());
        let schema = self.builder.parquet_schema();
        let shown = ProjectionMask::columns(schema, columns.iter().copied());
        let seen = ProjectionMask::columns(schema, looked_at.iter().copied());
        let is_read = |column| shown.leaf_included(column) || seen.leaf_included(column);
        check_pages(&self.file, self.builder.metadata(), &groups, is_read)?;
        let filter = RowFilter::new(vec![Box::new(ArrowPredicateFn::new(seen, takes))]);
        let builder = self.builder.with_row_groups(groups).with_projection(shown).with_row_filter(filter);
        builder.with_batch_size(rows).build().map_err(|error| damaged(&error))
    }
}

/// What the footer says; then, where their lengths fit that, what the indexes of pages say.
fn metadata_of(
    file: &File,
    decryption: &Arc<FileDecryptionProperties>,
) -> Result<ArrowReaderMetadata, FileError> {
    let reader =
        |reader: ParquetMetaDataReader| reader.with_decryption_properties(Some(Arc::clone(decryption)));
    let footer = reader(ParquetMetaDataReader::new()).with_page_index_policy(PageIndexPolicy::Skip);
    let metadata = footer.parse_and_finish(file).map_err(|error| damaged(&error))?;
    check_indexes(file, &metadata)?;
    let indexes = reader(ParquetMetaDataReader::new_with_metadata(metadata));
    let mut indexes = indexes.with_page_index_policy(PageIndexPolicy::Optional);
    indexes.read_page_indexes(file).map_err(|error| damaged(&error))?;
    let metadata = indexes.finish().map_err(|error| damaged(&error))?;
    ArrowReaderMetadata::try_new(Arc::new(metadata), ArrowReaderOptions::new())
        .map_err(|error| damaged(&error))
}

/// Says of each row of a batch whether it is wanted.
pub type Takes = Box<dyn FnMut(RecordBatch) -> Result<BooleanArray, ArrowError> + Send>;

/// Reads the records of one file.
pub struct Reader {
    inner: ParquetRecordBatchReader,
    metadata: Arc<ParquetMetaData>,
    batch: Option<RecordBatch>,
    /// The next row of the batch.
    at: usize,
    /// What follows from texts is made anew and compared.
    compares: bool,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reader")
    }
}

fn damaged(error: &impl fmt::Display) -> FileError {
    FileError::Damaged(None, error.to_string())
}

impl Reader {
    /// Opens a file, to read all of it: its footer is decrypted with the key that it names.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(file: File, keys: Arc<dyn Keys>) -> Result<Self, FileError> {
        Opened::open(file, keys)?.read(&Span::ALL)
    }

    /// What a file has that follows from its texts is made anew and compared, too: no proof covers it.
    #[must_use]
    pub const fn comparing(mut self) -> Self {
        self.compares = true;
        self
    }

    /// What the footer says.
    #[must_use]
    pub fn metadata(&self) -> &ParquetMetaData {
        &self.metadata
    }

    /// Hands out each record with its whole text, in the log's order.
    ///
    /// # Errors
    /// [`FileError`], or what `take` answers.
    pub fn each<E: From<FileError>>(
        mut self,
        take: impl FnMut(Leaf, &Row<'_>, &Whole<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.each_until(u64::MAX, take).map(|_| ())
    }

    /// Hands out the next records, up to the first that began later than `until_ns`; when that one began. `None`: there are
    /// no more.
    ///
    /// # Errors
    /// [`FileError`], or what `take` answers.
    pub fn each_until<E: From<FileError>>(
        &mut self,
        until_ns: u64,
        mut take: impl FnMut(Leaf, &Row<'_>, &Whole<'_>) -> Result<(), E>,
    ) -> Result<Option<u64>, E> {
        while let Some(batch) = self.batch()? {
            let rows = Rows::of(&batch).map_err(FileError::from)?;
            let kept = if self.compares { Kept::of(&batch).map_err(FileError::from)? } else { None };
            let differs = |at: usize, row: &Row<'_>, text: &[u8]| {
                kept.as_ref().is_some_and(|kept| !kept.is_of(at, row, text))
            };
            while self.at < rows.len() {
                let at = self.at;
                let stored = rows.get(self.at).map_err(FileError::from)?;
                if stored.part > 0 {
                    return Err(alone(stored.leaf).into());
                }
                let began = stored.row.number_of(Column::Time);
                if began > until_ns {
                    return Ok(Some(began));
                }
                self.at = self.at.saturating_add(1);
                if rows.part(self.at) == Some(0) {
                    if differs(at, &stored.row, stored.text) {
                        return Err(made_up(stored.leaf).into());
                    }
                    take(stored.leaf, &stored.row, &stored.whole())?;
                    continue;
                }
                let mut whole = stored.whole().into_owned();
                self.go_on(stored.leaf, &mut whole)?;
                if differs(at, &stored.row, &whole.text) {
                    return Err(made_up(stored.leaf).into());
                }
                take(stored.leaf, &stored.row, &whole)?;
                // What went on may have gone on in the next batch.
                break;
            }
        }
        Ok(None)
    }

    /// The batch with the next row.
    fn batch(&mut self) -> Result<Option<RecordBatch>, FileError> {
        while self.batch.as_ref().is_none_or(|batch| self.at >= batch.num_rows()) {
            self.at = 0;
            self.batch = self.inner.next().transpose().map_err(|error| damaged(&error))?;
            if self.batch.is_none() {
                return Ok(None);
            }
        }
        Ok(self.batch.clone())
    }

    /// Appends the further pieces of a record's text.
    fn go_on(&mut self, leaf: Leaf, whole: &mut Whole<'_>) -> Result<(), FileError> {
        while let Some(batch) = self.batch()? {
            let rows = Rows::of(&batch)?;
            while self.at < rows.len() {
                if rows.part(self.at) == Some(0) {
                    return Ok(());
                }
                let piece = rows.get(self.at)?;
                if piece.leaf != leaf {
                    return Err(alone(piece.leaf));
                }
                whole.text.to_mut().extend_from_slice(piece.text);
                whole.parameters.to_mut().extend_from_slice(piece.parameters);
                self.at = self.at.saturating_add(1);
            }
        }
        Ok(())
    }
}

fn made_up(leaf: Leaf) -> FileError {
    let what = "its tables or its fingerprint are not those of its text";
    FileError::Damaged(Some(leaf.index), what.to_owned())
}

fn alone(leaf: Leaf) -> FileError {
    FileError::Damaged(Some(leaf.index), "a text without its record".to_owned())
}

#[cfg(test)]
mod tests;
