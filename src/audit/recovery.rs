//! Finding the place where the journal goes on, after an end of any kind.
//!
//! A torn end (bytes of a last write that was never acknowledged) is cut, kept in a file of its own, and told in the record
//! of the start. Damage to records that had been on disk is never cut: the log does not open.

use std::io;
use std::time::{Duration, Instant};

use super::begin::FIRST_IS_MISSING;
use super::body::{self, wide};
use super::disk::{Directory, Disk};
use super::entry::{Bytes, LogStart, is_log_stop};
use super::gate::now_ns;
use super::journal::{HEADER_BYTES, Header, Link};
use super::segment::{Segment, Step, Tail};
use super::writer::{Position, random_salt};

/// Where the journal goes on, and how it ended before.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) position: Position,
    pub(super) previous_end: &'static str,
    pub(super) bytes_cut: u64,
}

/// Records that had been on disk cannot be read.
#[derive(Debug)]
pub(super) struct Damage {
    pub(super) segment: u64,
    pub(super) offset: u64,
    pub(super) record: u64,
    pub(super) what: &'static str,
}

/// Brings a folder's journal to its last whole record, or begins a new one.
pub(super) fn recover(
    mut disk: Directory,
    (boot, node): ([u8; 16], &str),
    segment_bytes: u64,
) -> io::Result<Result<(Directory, Recovered), Damage>> {
    disk.prepare()?;
    let (begin, segments) = disk.segments()?;
    let begin = begin.map(|begin| begin.segment);
    if let Some(segment) = begin.filter(|first| segments.first() != Some(first)) {
        return Ok(Err(Damage { segment, offset: 0, record: 0, what: FIRST_IS_MISSING }));
    }
    let Some(last) = segments.last().copied() else {
        let position = first_segment(&mut disk, (boot, node), segment_bytes)?;
        return Ok(Ok((disk, Recovered { position, previous_end: "new", bytes_cut: 0 })));
    };
    let gap = segments.windows(2).find_map(|pair| match pair {
        [before, after] if before.saturating_add(1) != *after => Some(before.saturating_add(1)),
        _ => None,
    });
    if let Some(segment) = gap {
        return Ok(Err(Damage { segment, offset: 0, record: 0, what: "the segment is missing" }));
    }
    let file = disk.continue_segment(last)?.try_clone()?;
    let Some(mut segment) = Segment::open(file, last)? else {
        return Ok(Err(Damage {
            segment: last,
            offset: 0,
            record: 0,
            what: "the segment's header or its size is not as it was written",
        }));
    };
    let mut clean = false;
    let what = loop {
        match segment.step()? {
            Step::Frame(head) => clean = head.is_plain() && is_log_stop(segment.body()),
            Step::End => break "bytes that are no record, and records behind them",
            Step::Bad(what) => break what,
        }
    };
    let (previous_end, bytes_cut) = match segment.tail()? {
        Tail::Damaged => {
            let (offset, record) = (segment.at, segment.link.record);
            return Ok(Err(Damage { segment: last, offset, record, what }));
        }
        Tail::Clean if clean => ("clean", 0),
        Tail::Clean => ("not closed", 0),
        Tail::Torn(torn) => {
            disk.cut(last, segment.at, &torn)?;
            tracing::warn!(bytes = torn.len(), "torn end of the audit log was cut");
            ("torn end cut", wide(torn.len()))
        }
    };
    let position = Position { segment: last, offset: segment.at, end: segment.size, link: segment.link };
    Ok(Ok((disk, Recovered { position, previous_end, bytes_cut })))
}

/// Does it again while the next segment is being prepared, for a minute at the most.
pub(super) fn with_patience<T>(mut step: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    let begun = Instant::now();
    loop {
        match step() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if begun.elapsed() > Duration::from_secs(60) {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the next segment is not ready"));
                }
            }
            done => return done,
        }
    }
}

fn first_segment(disk: &mut Directory, (boot, node): ([u8; 16], &str), bytes: u64) -> io::Result<Position> {
    let header = Header {
        segment: 1,
        first_record: 1,
        boot,
        node: Header::node_place(node),
        created_ns: now_ns(),
        bytes,
        salt: random_salt(),
        previous: [0; 32],
    };
    with_patience(|| disk.rotate(&header))?;
    let link = Link { record: 1, chain: header.chain(), salt: header.salt };
    Ok(Position { segment: 1, offset: wide(HEADER_BYTES), end: bytes, link })
}

/// The record of a start.
pub(super) fn log_start(recovered: &Recovered, boot: [u8; 16], node: &str) -> Vec<u8> {
    let text = |text: &'static str| Bytes { kept: text.as_bytes(), bytes: wide(text.len()) };
    let start = LogStart {
        time_ns: now_ns(),
        boot,
        node: Bytes { kept: node.as_bytes(), bytes: wide(node.len()) },
        previous_end: text(recovered.previous_end),
        bytes_cut: recovered.bytes_cut,
        program: text(concat!("onevault ", env!("CARGO_PKG_VERSION"))),
    };
    let mut body = Vec::new();
    body::put_log_start(&mut body, &start);
    body
}
