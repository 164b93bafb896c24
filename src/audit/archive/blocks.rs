//! The encrypted blocks of a file, and the length that stands before each of them.
//!
//! What always holds: Parquet's reader takes these lengths as they stand, and panics over a block that is too short to be one; so
//! it sees none whose length was not held against what the footer says, which is authenticated.

use std::fs::File;
use std::os::unix::fs::FileExt;

use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

use super::file::FileError;

/// Before each block: its length.
const LENGTH_BYTES: u64 = 4;
/// A block is not shorter: its nonce and its tag.
const BLOCK_BYTES_MIN: u64 = 28;

fn wrong(what: &str) -> FileError {
    FileError::Damaged(None, what.to_owned())
}

/// What stands in clear before the footer: which algorithm, 8 bytes that are the file's own, and the name of its key. Readers
/// understand it in many forms, and writers write one.
pub(super) fn check_footer(file: &File) -> Result<(), FileError> {
    let wrong = || wrong("what stands before its footer is not as it was written");
    let end = file.metadata()?.len().checked_sub(8).ok_or_else(wrong)?;
    let bytes = length(file, end)?;
    let begin = end.checked_sub(bytes).ok_or_else(wrong)?;
    let mut head = [0; 16];
    file.read_exact_at(&mut head, begin)?;
    let [0x1c, 0x1c, 0x28, 8, _, _, _, _, _, _, _, _, 0, 0, 0x18, key_bytes] = head else {
        return Err(wrong());
    };
    let behind = 16_u64.saturating_add(key_bytes.into());
    let mut stop = [0xff];
    file.read_exact_at(&mut stop, begin.saturating_add(behind))?;
    let footer = behind.saturating_add(1);
    let is_whole = block(file, begin.saturating_add(footer))?.map(|block| footer.saturating_add(block));
    if stop == [0] && is_whole == Some(bytes) { Ok(()) } else { Err(wrong()) }
}

/// The indexes of pages, which are read with the footer.
pub(super) fn check_indexes(file: &File, metadata: &ParquetMetaData) -> Result<(), FileError> {
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        let pieces = [
            (column.column_index_offset(), column.column_index_length()),
            (column.offset_index_offset(), column.offset_index_length()),
        ];
        for (offset, bytes) in pieces {
            let (Some(offset), Some(bytes)) = (offset, bytes) else { continue };
            let found = block(file, u64::try_from(offset).unwrap_or(u64::MAX))?;
            if found.is_none_or(|found| Ok(found) != u64::try_from(bytes)) {
                return Err(wrong("the length of an index of pages is not the one that its footer has"));
            }
        }
    }
    Ok(())
}

/// The pages of some row groups, in the columns that are `read`.
pub(super) fn check_pages(
    file: &File,
    metadata: &ParquetMetaData,
    groups: &[usize],
    read: impl Fn(usize) -> bool,
) -> Result<(), FileError> {
    let indexes = metadata.offset_index().ok_or_else(|| wrong("it has no index of its pages"))?;
    for (number, (group, indexes)) in metadata.row_groups().iter().zip(indexes).enumerate() {
        if !groups.contains(&number) {
            continue;
        }
        let columns = group.columns().iter().zip(indexes).enumerate();
        for (_, (column, index)) in columns.filter(|(number, _)| read(*number)) {
            let pages = index.page_locations().iter().map(|page| u64::try_from(page.offset).unwrap_or(0));
            check_column(file, column, pages)?;
        }
    }
    Ok(())
}

/// Pages stand one behind the other, a dictionary first: each is a block for its head and one for its body.
fn check_column(
    file: &File,
    column: &ColumnChunkMetaData,
    pages: impl Iterator<Item = u64>,
) -> Result<(), FileError> {
    let (begin, bytes) = column.byte_range();
    let wrong = || wrong("the length of a page is not the one that its footer has");
    let mut at = begin;
    for end in pages.filter(|offset| *offset > begin).chain([begin.saturating_add(bytes)]) {
        for _ in ["head", "body"] {
            at = at.saturating_add(block(file, at)?.ok_or_else(wrong)?);
        }
        if at != end {
            return Err(wrong());
        }
    }
    Ok(())
}

/// The bytes of the block at a place, its length included; `None`: it cannot be one.
fn block(file: &File, at: u64) -> Result<Option<u64>, FileError> {
    let bytes = length(file, at)?;
    Ok((bytes >= BLOCK_BYTES_MIN).then(|| bytes.saturating_add(LENGTH_BYTES)))
}

fn length(file: &File, at: u64) -> Result<u64, FileError> {
    let mut bytes = [0; 4];
    file.read_exact_at(&mut bytes, at)?;
    Ok(u64::from(u32::from_le_bytes(bytes)))
}
