//! Reading one segment, frame by frame, believing nothing.
//!
//! Recovery, the reader and verification all walk segments through here, so they agree on what is whole, what is the torn
//! end of a last write, and what is damage.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::body::{narrow, wide};
use super::journal::{
    BODY_BYTES_MAX, FRAME_BYTES, FrameHead, HEADER_BYTES, Header, Link, chain_after, find_frames, is_whole,
};

/// Read from the file at a time.
const WINDOW_BYTES: usize = 1 << 18;

/// A segment that is being read.
#[derive(Debug)]
pub(super) struct Segment {
    file: File,
    pub(super) header: Header,
    pub(super) size: u64,
    /// Where the next frame begins.
    pub(super) at: u64,
    pub(super) link: Link,
    window: Vec<u8>,
    window_at: u64,
    body: (usize, usize),
    scratch: Vec<u8>,
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A whole frame; its body is [`Segment::body`].
    Frame(FrameHead),
    /// Nothing yet: zeros, or the end of the file.
    End,
    /// Something that is no frame, and why not.
    Bad(&'static str),
}

/// What lies behind the last whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tail {
    /// Zeros.
    Clean,
    /// The beginning of a write that never was completed: nobody was told that it is on disk.
    Torn(Vec<u8>),
    /// Records that had been on disk cannot be read.
    Damaged,
}

impl Segment {
    /// Begins to read; `None`: the header is damaged or of another segment, or the file has not its size any more.
    pub(super) fn open(file: File, segment: u64) -> io::Result<Option<Self>> {
        let size = file.metadata()?.len();
        let mut bytes = [0; HEADER_BYTES];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
        let header =
            Header::decode(&bytes).filter(|header| header.segment == segment && header.bytes == size);
        Ok(header.map(|header| Self {
            file,
            size,
            at: wide(HEADER_BYTES),
            link: Link { record: header.first_record, chain: header.chain(), salt: header.salt },
            header,
            window: Vec::new(),
            window_at: 0,
            body: (0, 0),
            scratch: Vec::new(),
        }))
    }

    /// Reads the next frame and goes behind it. After `End` and `Bad` the same place is read again.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let step = self.look()?;
        if !matches!(step, Step::Frame(_)) {
            self.window.clear();
        }
        Ok(step)
    }

    /// Goes past encrypted frames that are not wanted, unread but for their heads. At the first thing that is not as it should
    /// be it stops: reading tells what that is.
    pub(super) fn skip(&mut self, mut is_wanted: impl FnMut(&FrameHead) -> bool) -> io::Result<()> {
        while wide(FRAME_BYTES) <= self.size.saturating_sub(self.at) {
            let start = self.load(FRAME_BYTES)?;
            let head =
                self.window.get(start..).and_then(|rest| rest.first_chunk()).and_then(FrameHead::decode);
            let is_next = |head: &FrameHead| {
                (1..=BODY_BYTES_MAX).contains(&head.length)
                    && !head.is_plain()
                    && head.record == self.link.record
                    && head.frame_bytes() <= self.size.saturating_sub(self.at)
            };
            let Some(head) = head.filter(|head| is_next(head) && !is_wanted(head)) else { break };
            self.link.chain = head.chain;
            self.link.record = self.link.record.saturating_add(1);
            self.at = self.at.saturating_add(head.frame_bytes());
        }
        Ok(())
    }

    /// Whether a whole frame lies at the next place by now.
    pub(super) fn has_more(&mut self) -> io::Result<bool> {
        let (at, link) = (self.at, self.link);
        let step = self.step()?;
        (self.at, self.link) = (at, link);
        Ok(matches!(step, Step::Frame(_)))
    }

    fn look(&mut self) -> io::Result<Step> {
        let left = self.size.saturating_sub(self.at);
        if left < wide(FRAME_BYTES) {
            return Ok(Step::End);
        }
        let start = self.load(FRAME_BYTES)?;
        let head = self.window.get(start..).and_then(|rest| rest.first_chunk()).and_then(FrameHead::decode);
        let Some(head) = head else { return Ok(Step::Bad("the file became shorter")) };
        if head.length == 0 {
            return Ok(Step::End);
        }
        if head.length > BODY_BYTES_MAX || head.frame_bytes() > left {
            return Ok(Step::Bad("length is out of range"));
        }
        let frame_bytes = narrow(head.frame_bytes());
        let start = self.load(frame_bytes)?;
        let end = start.saturating_add(frame_bytes);
        let Some(frame) = self.window.get(start..end) else {
            return Ok(Step::Bad("the file became shorter"));
        };
        if !is_whole(self.link.salt, frame) {
            return Ok(Step::Bad("checksum does not fit"));
        }
        if head.record != self.link.record {
            return Ok(Step::Bad("record number does not follow"));
        }
        if chain_after(&self.link.chain, frame, &mut self.scratch) != head.chain {
            return Ok(Step::Bad("chain hash does not fit"));
        }
        self.link.chain = head.chain;
        self.link.record = self.link.record.saturating_add(1);
        self.at = self.at.saturating_add(head.frame_bytes());
        self.body = (start.saturating_add(FRAME_BYTES), end);
        Ok(Step::Frame(head))
    }

    /// The body of the last frame.
    pub(super) fn body(&self) -> &[u8] {
        self.window.get(self.body.0..self.body.1).unwrap_or_default()
    }

    /// Sees to it that `bytes` from the next frame's place on are in the window, if the file has them; where they begin.
    fn load(&mut self, bytes: usize) -> io::Result<usize> {
        let window_end = self.window_at.saturating_add(wide(self.window.len()));
        let inside = self.at >= self.window_at && self.at.saturating_add(wide(bytes)) <= window_end;
        if !inside {
            self.window.resize(WINDOW_BYTES.max(bytes), 0);
            let read = read_at(&self.file, &mut self.window, self.at)?;
            self.window.truncate(read);
            self.window_at = self.at;
        }
        Ok(narrow(self.at.saturating_sub(self.window_at)))
    }

    /// Looks at everything behind the last whole frame.
    pub(super) fn tail(&mut self) -> io::Result<Tail> {
        let mut tail = Vec::new();
        let mut used = 0;
        let mut piece = vec![0; 1 << 20];
        let mut at = self.at;
        while at < self.size {
            let read = read_at(&self.file, &mut piece, at)?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
            tail.extend_from_slice(bytes);
            if let Some(last) = last_used(bytes) {
                used = tail.len().saturating_sub(read).saturating_add(last).saturating_add(1);
            } else if used == 0 {
                // Zeros so far need not be kept while looking for something else.
                tail.clear();
                tail.resize(narrow(at.saturating_sub(self.at)).saturating_add(read), 0);
            }
            at = at.saturating_add(wide(read));
        }
        tail.truncate(used);
        if tail.is_empty() {
            return Ok(Tail::Clean);
        }
        let mut synced_behind = false;
        find_frames(&tail, &self.link, |head| synced_behind |= head.batch_record() > self.link.record);
        Ok(if synced_behind { Tail::Damaged } else { Tail::Torn(tail) })
    }
}

/// Index of the last byte that is not zero.
fn last_used(bytes: &[u8]) -> Option<usize> {
    const ZEROS: [u8; 4096] = [0; 4096];
    // Comparing pages is many times faster than looking at bytes, and nearly all pages are zeros.
    let mut end = bytes.len();
    for page in bytes.rchunks(ZEROS.len()) {
        if ZEROS.get(..page.len()) != Some(page) {
            let start = end.saturating_sub(page.len());
            return page.iter().rposition(|byte| *byte != 0).map(|at| start.saturating_add(at));
        }
        end = end.saturating_sub(page.len());
    }
    None
}

/// Reads as many bytes as there are.
fn read_at(file: &File, buf: &mut [u8], mut at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buf.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at) {
            Ok(0) => break,
            Ok(count) => {
                read = read.saturating_add(count);
                at = at.saturating_add(wide(count));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
