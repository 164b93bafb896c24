#![no_main]
//! A file of the archive in which bytes were changed is refused, and so is anything else in its place.

use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use onevault::audit::archive::check::check;
use onevault::audit::archive::file::{Keys, Opened, Secret, Writer};
use onevault::audit::archive::name::Name;
use onevault::audit::archive::span::Span;
use onevault::audit::arrow::{Builder, Leaf, Rows};
use onevault::audit::join::Whole;
use onevault::audit::keys::KeyError;
use onevault::audit::row::{Column, Row, Value};

struct Ring;

impl Keys for Ring {
    fn file_key(&self, number: u32) -> Result<Secret, KeyError> {
        if number == 1 { Ok(Secret::new([7; 32])) } else { Err(KeyError::Shredded(number)) }
    }

    fn number_for(&self, _: &str, _: u64) -> Result<u32, KeyError> {
        Ok(1)
    }
}

const DAY_NS: u64 = 1_772_323_200_000_000_000;

/// Where a file is, its name, and its bytes.
static GOOD: LazyLock<(PathBuf, Name, Vec<u8>)> = LazyLock::new(|| {
    let path = PathBuf::from(format!("/dev/shm/onevault-fuzz-archived-{}", std::process::id()));
    let mut writer = Writer::create(File::create(&path).unwrap(), 1, &Ring).unwrap();
    let mut batch = Builder::new();
    for index in 0..8 {
        let mut row = Row::default();
        row.set(Column::Time, Value::Number(DAY_NS + index));
        for (column, text) in
            [(Column::Class, "statement"), (Column::Kind, "execute"), (Column::Customer, "one_spa")]
        {
            row.set(column, Value::Bytes(text.as_bytes().into()));
        }
        row.set(Column::Message, Value::Bytes(b"not \xff text".as_slice().into()));
        let whole = Whole { text: b"SELECT 1".as_slice().into(), ..Whole::default() };
        batch.push(Leaf { index, check: [1, 2, 3, 4], key: 1 }, &row, &whole).unwrap();
    }
    writer.write(&batch.finish().unwrap()).unwrap();
    writer.finish().unwrap();
    let name = Name::parse("one_spa/2026/03/01/000000000000-000000000007.parquet").unwrap();
    let bytes = std::fs::read(&path).unwrap();
    assert!(matches!(
        check(&name, File::open(&path).unwrap(), Arc::new(Ring), |_| Some([1, 2, 3, 4])),
        Ok(8)
    ));
    (path, name, bytes)
});

fuzz_target!(|input: (u8, Vec<u8>, Vec<(u16, u8)>)| {
    let (which, raw, changes) = input;
    let (path, name, good) = &*GOOD;
    let mut bytes = good.clone();
    for (at, byte) in changes {
        let at = usize::from(at) % bytes.len();
        bytes[at] = byte;
    }
    match which % 4 {
        // A footer of somebody's own, with a length that fits.
        0 => {
            let length = u32::try_from(raw.len()).unwrap().to_le_bytes();
            bytes = [b"PARE", &raw[..], &length, b"PARE"].concat();
        }
        1 => {
            let length = u32::try_from(raw.len()).unwrap().to_le_bytes();
            bytes.truncate(bytes.len() / 2);
            bytes = [&bytes, &raw[..], &length, b"PAR1"].concat();
        }
        2 => bytes.truncate(raw.len()),
        _ => {}
    }
    std::fs::write(path, &bytes).unwrap();
    let checked = check(name, File::open(path).unwrap(), Arc::new(Ring), |_| Some([1, 2, 3, 4]));
    assert!(checked.is_err() || bytes == *good, "a change was not found");
    let opened = Opened::open(File::open(path).unwrap(), Arc::new(Ring));
    let columns = [Column::Time.name(), Column::Message.name()];
    let all = Box::new(|batch: arrow::record_batch::RecordBatch| Ok(vec![true; batch.num_rows()].into()));
    if let Ok(batches) = opened.and_then(|opened| opened.batches(&Span::ALL, &columns, (&columns, all), 3)) {
        for batch in batches.flatten() {
            let _ = Rows::of(&batch).map(|rows| rows.len());
        }
    }
});
