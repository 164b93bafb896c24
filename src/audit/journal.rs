//! The format of the journal: segments of frames, each frame bound to all before it.
//!
//! A segment is a file of fixed size, filled with zeros ahead of use: a header, then frames, then zeros. The chain hash
//! of a frame is the SHA-256 of its own fields, the chain hash before it and its body; the first one follows from the
//! segment's header, and the header holds the last one of the segment before. The checksum (CRC-32, begun with a number
//! drawn for the segment) finds accidents cheaply and cannot be forged from inside a text.
//!
//! `back` counts the records since the batch began. A batch is synced before the next one is written, so a frame whose
//! batch began after a damaged one proves that the damaged one had been on disk: that is damage. Otherwise it is the
//! torn end of the last write.

use aws_lc_rs::digest::{SHA256, digest};

use super::body::{narrow, wide};
use super::seal::{BodyKey, Bound, TAG_BYTES};

/// First bytes of a segment.
const MAGIC: [u8; 8] = *b"OVAUDIT1";
/// Where frames begin.
pub(super) const HEADER_BYTES: usize = 192;
/// A node's name in a segment's header keeps so many bytes; the rest of the place is zeros.
const NODE_BYTES: usize = 64;
/// Before each body: length, checksum, record number, back, format, chain hash.
pub(super) const FRAME_BYTES: usize = 56;
/// The smallest segment that makes sense: some of the largest records.
pub(super) const SEGMENT_BYTES_MIN: u64 = 1 << 20;
/// The longest body: a text part or an inline text and all names.
pub(super) const BODY_BYTES_MAX: usize = 256 << 10;
/// Body layout of [`super::body`], not encrypted; else the number of the key it is encrypted with.
pub(super) const FORMAT_PLAIN: u32 = 0;

/// A chain hash.
pub(super) type Hash = [u8; 32];

/// The beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// From 1, without gaps.
    pub(super) segment: u64,
    /// Number of its first record.
    pub(super) first_record: u64,
    /// The run of the process that made it.
    pub(super) boot: [u8; 16],
    /// Wall clock, ns since 1970.
    pub(super) created_ns: u64,
    /// Size of the file, this header included.
    pub(super) bytes: u64,
    /// Name of the node that made it, or its beginning.
    pub(super) node: [u8; NODE_BYTES],
    /// Where checksums begin.
    pub(super) salt: u32,
    /// The last chain hash of the segment before; zeros in the first one.
    pub(super) previous: Hash,
}

impl Header {
    /// The header as it lies in the file.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut fields = Vec::with_capacity(HEADER_BYTES);
        fields.extend_from_slice(&MAGIC);
        fields.extend_from_slice(&self.segment.to_le_bytes());
        fields.extend_from_slice(&self.first_record.to_le_bytes());
        fields.extend_from_slice(&self.created_ns.to_le_bytes());
        fields.extend_from_slice(&self.bytes.to_le_bytes());
        fields.extend_from_slice(&self.boot);
        fields.extend_from_slice(&self.previous);
        fields.extend_from_slice(&self.node);
        fields.extend_from_slice(&self.salt.to_le_bytes());
        fields.resize(HEADER_BYTES.saturating_sub(4), 0);
        fields.extend_from_slice(&crc32fast::hash(&fields).to_le_bytes());
        fields.try_into().unwrap_or([0; HEADER_BYTES])
    }

    /// Reads a header; `None`: it is none, or damaged.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let (fields, checksum) = bytes.split_last_chunk::<4>()?;
        if crc32fast::hash(fields).to_le_bytes() != *checksum {
            return None;
        }
        let mut rest = fields;
        let magic: [u8; 8] = take(&mut rest)?;
        let header = Self {
            segment: u64::from_le_bytes(take(&mut rest)?),
            first_record: u64::from_le_bytes(take(&mut rest)?),
            created_ns: u64::from_le_bytes(take(&mut rest)?),
            bytes: u64::from_le_bytes(take(&mut rest)?),
            boot: take(&mut rest)?,
            previous: take(&mut rest)?,
            node: take(&mut rest)?,
            salt: u32::from_le_bytes(take(&mut rest)?),
        };
        (magic == MAGIC && rest.iter().all(|byte| *byte == 0)).then_some(header)
    }

    /// A node's name as a header keeps it.
    pub(super) fn node_place(node: &str) -> [u8; NODE_BYTES] {
        let mut place = [0; NODE_BYTES];
        for (to, from) in place.iter_mut().zip(node.bytes()) {
            *to = from;
        }
        place
    }

    /// The node's name without the zeros behind it.
    pub(super) fn node(&self) -> &[u8] {
        let bytes = self.node.iter().rposition(|byte| *byte != 0).map_or(0, |last| last.saturating_add(1));
        self.node.get(..bytes).unwrap_or_default()
    }

    /// The chain hash before the segment's first frame.
    pub(super) fn chain(&self) -> Hash {
        sha256(&self.encode())
    }
}

/// The file name of a segment.
pub(super) fn segment_name(segment: u64) -> String {
    format!("{segment:010}.journal")
}

/// The number in a segment's file name.
pub(super) fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

/// The SHA-256 of bytes.
pub(super) fn sha256(bytes: &[u8]) -> Hash {
    digest(&SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*first)
}

/// Where the chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Link {
    /// Number of the next record.
    pub(super) record: u64,
    /// The chain hash so far.
    pub(super) chain: Hash,
    /// The segment's.
    pub(super) salt: u32,
}

/// Appends the frame of a body to a batch, encrypted if there is a key, and moves the chain on. `false`: it could not be
/// encrypted, and nothing was appended.
pub(super) fn append(
    batch: &mut Vec<u8>,
    link: &mut Link,
    back: u32,
    key: Option<&BodyKey>,
    body: &[u8],
) -> bool {
    let start = batch.len();
    let format = key.map_or(FORMAT_PLAIN, BodyKey::number);
    let stored = body.len().saturating_add(if key.is_some() { TAG_BYTES } else { 0 });
    let length = u32::try_from(stored).unwrap_or(0);
    batch.extend_from_slice(&length.to_le_bytes());
    batch.extend_from_slice(&[0; 4]);
    batch.extend_from_slice(&link.record.to_le_bytes());
    batch.extend_from_slice(&back.to_le_bytes());
    batch.extend_from_slice(&format.to_le_bytes());
    batch.extend_from_slice(&link.chain);
    batch.extend_from_slice(body);
    if let Some(key) = key {
        let bound = bound(length, link.record, back, format);
        let place = batch.get_mut(start.saturating_add(FRAME_BYTES)..);
        let Some(tag) = place.and_then(|place| key.seal(link.record, &bound, place)) else {
            batch.truncate(start);
            return false;
        };
        batch.extend_from_slice(&tag);
    }
    let Some(frame) = batch.get_mut(start..) else { return false };
    // Hashed in one piece with the old chain hash in its place; then the new one takes the place.
    link.chain = frame.get(8..).map(sha256).unwrap_or_default();
    if let Some(place) = frame.get_mut(24..FRAME_BYTES).and_then(|place| place.first_chunk_mut()) {
        *place = link.chain;
    }
    let checksum = checksum(link.salt, frame);
    if let Some(place) = frame.get_mut(4..8).and_then(|place| place.first_chunk_mut()) {
        *place = checksum.to_le_bytes();
    }
    link.record = link.record.saturating_add(1);
    true
}

/// What an encrypted body is bound to.
fn bound(length: u32, record: u64, back: u32, format: u32) -> Bound {
    let mut bound = Bound::default();
    let fields =
        [&length.to_le_bytes()[..], &record.to_le_bytes(), &back.to_le_bytes(), &format.to_le_bytes()];
    for (place, byte) in bound.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    bound
}

/// The checksum of a frame: of its length and of all behind the checksum's own place.
fn checksum(salt: u32, frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(frame.get(..4).unwrap_or_default());
    hasher.update(frame.get(8..).unwrap_or_default());
    hasher.finalize()
}

/// The fixed part of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// Bytes of the body.
    pub(super) length: usize,
    /// Number of the record.
    pub(super) record: u64,
    /// Records since the batch began.
    pub(super) back: u32,
    /// How the body is to be read.
    pub(super) format: u32,
    /// The chain hash after this frame.
    pub(super) chain: Hash,
}

impl FrameHead {
    /// Reads the fixed part; it is believed only after [`is_whole`].
    pub(super) fn decode(bytes: &[u8; FRAME_BYTES]) -> Option<Self> {
        let mut rest = bytes.as_slice();
        let length = u32::from_le_bytes(take(&mut rest)?);
        take::<4>(&mut rest)?;
        Some(Self {
            length: usize::try_from(length).ok()?,
            record: u64::from_le_bytes(take(&mut rest)?),
            back: u32::from_le_bytes(take(&mut rest)?),
            format: u32::from_le_bytes(take(&mut rest)?),
            chain: take(&mut rest)?,
        })
    }

    /// Number of the first record of this frame's batch.
    pub(super) fn batch_record(&self) -> u64 {
        self.record.saturating_sub(u64::from(self.back))
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_bytes(&self) -> u64 {
        wide(FRAME_BYTES.saturating_add(self.length))
    }

    /// Whether the body can be read without a key.
    pub(super) const fn is_plain(&self) -> bool {
        self.format == FORMAT_PLAIN
    }

    /// What an encrypted body is bound to.
    pub(super) fn bound(&self) -> Bound {
        bound(u32::try_from(self.length).unwrap_or(0), self.record, self.back, self.format)
    }
}

/// Whether a frame's checksum fits.
pub(super) fn is_whole(salt: u32, frame: &[u8]) -> bool {
    let stored = frame.get(4..8).and_then(|place| place.first_chunk::<4>());
    stored.is_some_and(|stored| *stored == checksum(salt, frame).to_le_bytes())
}

/// Makes a frame's checksum fit again, as somebody would who changes a record.
#[cfg(test)]
pub(super) fn reseal(salt: u32, frame: &mut [u8]) {
    let sum = checksum(salt, frame).to_le_bytes();
    frame[4..8].copy_from_slice(&sum);
}

/// The chain hash of a frame whose predecessor's is `before`. `scratch` is working room.
pub(super) fn chain_after(before: &Hash, frame: &[u8], scratch: &mut Vec<u8>) -> Hash {
    scratch.clear();
    scratch.extend_from_slice(frame.get(8..24).unwrap_or_default());
    scratch.extend_from_slice(before);
    scratch.extend_from_slice(frame.get(FRAME_BYTES..).unwrap_or_default());
    sha256(scratch)
}

/// Looks for whole frames at any place of `bytes`, whose first record could be `record` or a later one, and calls `found`
/// with each; used only behind a place that cannot be read.
pub(super) fn find_frames(bytes: &[u8], link: &Link, mut found: impl FnMut(FrameHead)) {
    let records_max = link.record.saturating_add(wide(bytes.len()));
    let mut at = 0;
    let possible = link.record..=records_max;
    while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk::<FRAME_BYTES>()) {
        // The record number decides nearly always, so it is looked at alone and first.
        let record = head.get(8..16).and_then(|place| place.first_chunk::<8>()).copied().unwrap_or_default();
        if !possible.contains(&u64::from_le_bytes(record)) {
            at = at.saturating_add(1);
            continue;
        }
        let frame = FrameHead::decode(head);
        let whole = frame.filter(|head| (1..=BODY_BYTES_MAX).contains(&head.length)).filter(|head| {
            let end = at.saturating_add(narrow(head.frame_bytes()));
            bytes.get(at..end).is_some_and(|frame| is_whole(link.salt, frame))
        });
        at = at.saturating_add(whole.map_or(1, |head| narrow(head.frame_bytes())));
        if let Some(head) = whole {
            found(head);
        }
    }
}
