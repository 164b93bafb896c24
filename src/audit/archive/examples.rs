//! Records, keys and folders for the archive's tests.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use super::file::{Keys, Secret};
use crate::audit::arrow::Leaf;
use crate::audit::join::Whole;
use crate::audit::keys::KeyError;
use crate::audit::row::{Column, Row, Value};

/// 2026-03-01.
pub(super) const DAY_NS: u64 = 1_772_323_200_000_000_000;

/// A key for each number; some are shredded.
#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) shredded: Mutex<Vec<u32>>,
    /// Makes all keys others.
    pub(super) other: u8,
}

impl Keys for Ring {
    fn file_key(&self, number: u32) -> Result<Secret, KeyError> {
        if self.shredded.lock().unwrap().contains(&number) {
            return Err(KeyError::Shredded(number));
        }
        let mut secret = [self.other; 32];
        secret[..4].copy_from_slice(&number.to_le_bytes());
        Ok(Secret::new(secret))
    }

    fn number_for(&self, _: &str, _: u64) -> Result<u32, KeyError> {
        Ok(1)
    }
}

/// A folder of its own, gone at the end.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("onevault-archive-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Numbers that look random and are the same each time.
pub(super) fn noise(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(super) fn leaf(index: u64, key: u32) -> Leaf {
    let check = u32::try_from(noise(index) >> 32).unwrap().to_le_bytes();
    Leaf { index, check, key }
}

fn set(row: &mut Row<'_>, column: Column, text: &str) {
    row.set(column, Value::Bytes(text.as_bytes().to_vec().into()));
}

/// A statement as `pgbench -S` with 64 clients makes them: some 30,000 a second.
pub(super) fn statement(index: u64, begin_ns: u64) -> Row<'static> {
    let mut row = Row::default();
    let random = noise(index.wrapping_mul(31));
    let session = random % 64;
    for (column, number) in [
        (Column::Record, 1_000 + index * 2),
        (Column::Time, begin_ns + index * 33_000 + random % 20_000),
        (Column::Session, 500 + session),
        (Column::ClientPort, 40_000 + noise(session) % 20_000),
        (Column::BackendPid, 70_000 + session),
        (Column::Sequence, index / 64 + noise(index) % 8),
        (Column::DurationNs, 300_000 + noise(index + 7) % 400_000),
        (Column::Commands, 1),
        (Column::Rows, 1),
        (Column::BytesIn, 40 + random % 2),
        (Column::BytesOut, 80 + random % 3),
        (Column::TextBytes, 52),
        (Column::ParameterBytes, 22),
    ] {
        row.set(column, Value::Number(number));
    }
    for (column, text) in [
        (Column::Class, "statement"),
        (Column::Kind, "execute"),
        (Column::Outcome, "ok"),
        (Column::Customer, "one_spa"),
        (Column::Node, "vault-1"),
        (Column::Login, "app"),
        (Column::Role, "one_spa_app"),
        (Column::Database, "one_spa"),
        (Column::Credential, "scram"),
        (Column::ClientIp, "10.20.30.40"),
        (Column::Tls, "TLSv1.3"),
        (Column::ApplicationName, "pgbench"),
        (Column::StatementName, "P_0"),
        (Column::CommandTag, "SELECT 1"),
        (Column::TransactionStatus, "I"),
    ] {
        set(&mut row, column, text);
    }
    row.set(Column::Boot, Value::Bytes(vec![7; 16].into()));
    row
}

/// The text of [`statement`].
pub(super) const TEXT: &[u8] = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1";

/// A text without parameters.
pub(super) fn text() -> Whole<'static> {
    Whole { text: TEXT.into(), ..Whole::default() }
}

/// The text with one parameter of six digits, as `pgbench -M prepared` sends it.
pub(super) fn with_parameter(index: u64) -> Whole<'static> {
    let value = (noise(index) % 900_000 + 100_000).to_string();
    let head = [0, 1, 0, 0, 0, 23, 0, 1, 0, 0, 0, 1, 0, 0, 0, 6];
    Whole { text: TEXT.into(), parameters: [&head, value.as_bytes()].concat().into() }
}
