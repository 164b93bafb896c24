//! A file gives back what was written, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::check::check;
use super::super::examples::{DAY_NS, Folder, Ring, TEXT, leaf, statement, with_parameter};
use super::super::name::{Day, Name, Without};
use super::*;
use crate::audit::arrow::{Builder, PART_BYTES_MAX};

type Read = Vec<(Leaf, Vec<u8>, Vec<u8>)>;

fn written_file(path: &Path, texts: impl Iterator<Item = Whole<'static>>) {
    let file = File::create(path).unwrap();
    let mut writer = Writer::create(file, 3, &Ring::default()).unwrap();
    let mut builder = Builder::new();
    for (index, text) in (0..).zip(texts) {
        builder.push(leaf(index, 3), &statement(index, DAY_NS), &text).unwrap();
        if builder.rows() >= READ_ROWS {
            writer.write(&builder.finish().unwrap()).unwrap();
        }
    }
    writer.write(&builder.finish().unwrap()).unwrap();
    let bytes = writer.finish().unwrap();
    assert_eq!(bytes, fs::metadata(path).unwrap().len());
}

fn read(path: &Path, ring: Ring) -> Result<Read, FileError> {
    let mut read = Vec::new();
    Reader::open(File::open(path)?, Arc::new(ring))?.each(|leaf, row, whole| {
        assert!(whole.text == whole.parameters);
        let mut bytes = Vec::new();
        row.canonical(&mut bytes);
        read.push((leaf, bytes, whole.text.to_vec()));
        Ok::<_, FileError>(())
    })?;
    Ok(read)
}

fn file_in(folder: &Folder, texts: &[&[u8]]) -> PathBuf {
    let path = folder.0.join("a.parquet");
    let whole = |text: &&[u8]| Whole { text: text.to_vec().into(), parameters: text.to_vec().into() };
    written_file(&path, texts.iter().map(whole));
    path
}

#[test]
fn records_come_back_in_order_with_their_whole_texts() {
    let folder = Folder::new();
    let long: Vec<u8> = (0..3 * PART_BYTES_MAX + 5).map(|at| b'a' + u8::try_from(at % 23).unwrap()).collect();
    // The long text's parts lie on both sides of what is read at one time.
    let mut texts = vec![TEXT; READ_ROWS - 2];
    texts.extend([long.as_slice(), b"", b"\xff\xfe", long.as_slice()]);
    let read = read(&file_in(&folder, &texts), Ring::default()).unwrap();
    assert_eq!(read.len(), texts.len());
    for (index, (found, text)) in (0..).zip(read.iter().zip(&texts)) {
        let mut bytes = Vec::new();
        statement(index, DAY_NS).canonical(&mut bytes);
        assert!(*found == (leaf(index, 3), bytes, text.to_vec()), "record {index}");
    }
}

#[test]
fn another_key_or_a_shredded_one_reads_nothing_and_says_so() {
    let folder = Folder::new();
    let path = file_in(&folder, &[TEXT]);
    let other = read(&path, Ring { other: 1, ..Ring::default() });
    assert!(matches!(other, Err(FileError::Damaged(..))), "{other:?}");
    let shredded = read(&path, Ring { shredded: vec![3].into(), ..Ring::default() });
    assert!(matches!(shredded, Err(FileError::Key(KeyError::Shredded(3)))), "{shredded:?}");
}

#[test]
fn nothing_of_a_record_can_be_read_in_a_file() {
    let folder = Folder::new();
    let bytes = fs::read(file_in(&folder, &[TEXT, b"SELECT 'planted'"])).unwrap();
    for planted in ["planted", "pgbench", "one_spa", "abalance", "statement_name", "ARROW"] {
        assert!(!bytes.windows(planted.len()).any(|window| window == planted.as_bytes()), "{planted}");
    }
}

#[test]
fn a_changed_byte_anywhere_or_a_cut_is_an_error() {
    let folder = Folder::new();
    let path = file_in(&folder, &[TEXT, b"x"]);
    let whole = fs::read(&path).unwrap();
    let day = Day::of(DAY_NS);
    let name = Name {
        log: "one_spa".to_owned(),
        day,
        first: 0,
        last: 1,
        earliest: day,
        without: Without::default(),
    };
    assert_eq!(check(&name, File::open(&path).unwrap(), Arc::new(Ring::default()), |_| None).unwrap(), 2);
    let changed = folder.0.join("changed.parquet");
    let step = whole.len() / 600;
    let ends = (0..40).chain(whole.len() - 400..whole.len());
    for at in ends.chain((0..whole.len()).step_by(step)) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&changed, &bytes).unwrap();
        let found = check(&name, File::open(&changed).unwrap(), Arc::new(Ring::default()), |_| None);
        assert!(found.is_err(), "byte {at} of {}", whole.len());
    }
    for length in (0..whole.len()).step_by(step * 7) {
        fs::write(&changed, &whole[..length]).unwrap();
        assert!(read(&changed, Ring::default()).is_err(), "cut to {length}");
    }
}

/// With a parameter of six digits. The wanted figure is 20.
#[test]
fn a_repeated_statement_takes_few_bytes() {
    let folder = Folder::new();
    let path = folder.0.join("a.parquet");
    written_file(&path, (0..60_000).map(with_parameter));
    let reader = Reader::open(File::open(&path).unwrap(), Arc::new(Ring::default())).unwrap();
    let mut columns = Vec::new();
    for group in reader.metadata().row_groups() {
        for column in group.columns() {
            columns.push((column.compressed_size(), column.column_path().string()));
        }
    }
    columns.sort_unstable();
    let mut breakdown = String::new();
    for (bytes, name) in columns.iter().rev().take(14) {
        breakdown.push_str(&format!(" {name} {}", bytes * 100 / 60_000));
    }
    let bytes = fs::metadata(&path).unwrap().len() * 100 / 60_000;
    println!("{bytes} hundredths of a byte a statement:{breakdown}");
    assert!(bytes < 1_800, "{bytes} hundredths of a byte a statement:{breakdown}");
}

#[test]
fn a_block_whose_length_is_no_blocks_is_an_error_to_every_reader() {
    let folder = Folder::new();
    let path = file_in(&folder, &[TEXT, b"other"]);
    let good = fs::read(&path).unwrap();
    let opened = || Opened::open(File::open(&path).unwrap(), Arc::new(Ring::default()));
    let metadata = Arc::clone(opened().unwrap().builder.metadata());
    let at = |offset: i64| usize::try_from(offset).unwrap();
    let length_at =
        |at: usize| usize::try_from(u32::from_le_bytes(*good[at..].first_chunk().unwrap())).unwrap();
    let end = good.len() - 8;
    let footer = end - length_at(end);
    let column = metadata.row_group(0).column(0);
    let page = usize::try_from(column.byte_range().0).unwrap();
    let body = page + 4 + length_at(page);
    let indexes = [column.column_index_offset(), column.offset_index_offset()];
    let places = [page, body].into_iter().chain(indexes.into_iter().flatten().map(at));
    // The footer stands behind the name of its key.
    let places = places.chain([footer + 17 + usize::from(good[footer + 15])]);
    let lengths = [0_u32, 1, 11, 12, 27, 28, 1 << 20, u32::MAX];
    let one = places.flat_map(|place| lengths.map(|length| vec![(place, length)]));
    // A head that is too short, and a body that ends where it did.
    let end = body + 4 + length_at(body);
    let both = [0_usize, 1, 11, 12, 27].map(|head| {
        let body = page + 4 + head;
        vec![(body, u32::try_from(end - body - 4).unwrap()), (page, u32::try_from(head).unwrap())]
    });
    let columns = [INDEX];
    for change in one.chain(both) {
        let mut bytes = good.clone();
        for (place, length) in &change {
            bytes[*place..*place + 4].copy_from_slice(&length.to_le_bytes());
        }
        assert_ne!(bytes, good);
        fs::write(&path, bytes).unwrap();
        assert!(read(&path, Ring::default()).is_err(), "{change:?}");
        let all: Takes = Box::new(|batch| Ok(vec![true; batch.num_rows()].into()));
        let batches = opened().and_then(|opened| opened.batches(&Span::ALL, &columns, (&columns, all), 3));
        assert!(batches.is_err(), "{change:?}");
    }
}
