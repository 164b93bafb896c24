//! The tree over one customer's records, as it grows: its root now, and proofs for any of its former states.
//!
//! What always holds: a leaf that was added is never changed; what is stored follows from the leaves alone, so it can be
//! made anew; a proof is made of what is stored, and whoever asks for one that cannot be has an error and no proof.
//!
//! Stored are the hashes of leaves, and those of complete subtrees of 256 leaves, of 65,536 and so on, each height in its own
//! row: 32.1 bytes for each leaf. What lies between is computed again from at most 256 hashes.
//!
//! Source: RFC 6962 section 2.1

use aws_lc_rs::digest::{Context, SHA256};

/// A SHA-256 value.
pub(super) type Hash = [u8; 32];

/// Heights of subtrees whose hashes are stored: multiples of this.
pub(super) const STRIDE: u32 = 8;
/// A tree has at most so many leaves; more would not be counted in a lifetime.
const SIZE_MAX: u64 = 1 << 48;

/// Where hashes are kept: `row` 0 has the leaves', row 1 those of subtrees of 256 leaves, and so on.
pub(super) trait Rows {
    /// Why a hash cannot be had.
    type Error;

    /// Reads hashes of a row from `index` on, as many as there is room for.
    fn read(&self, row: u32, index: u64, into: &mut [Hash]) -> Result<(), Self::Error>;
}

/// A tree's size and what its root is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    size: u64,
    /// Complete subtrees from left to right, each with its height; no two of one height.
    peaks: Vec<(u32, Hash)>,
}

/// A hash that is to be stored: row, index, hash.
pub(super) type Stored = (u32, u64, Hash);

/// The hash of one leaf.
pub(super) fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(&[&[0], leaf])
}

fn join(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], left, right])
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

impl Tree {
    /// How many leaves it has.
    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf by its hash, and tells what is to be stored for it.
    pub(super) fn push(&mut self, leaf: Hash, mut store: impl FnMut(Stored)) {
        store((0, self.size, leaf));
        let mut peak = (0_u32, leaf);
        while let Some((_, left)) = self.peaks.pop_if(|(height, _)| *height == peak.0) {
            peak = (peak.0.saturating_add(1), join(&left, &peak.1));
            if peak.0.is_multiple_of(STRIDE) {
                store((peak.0 / STRIDE, self.size >> peak.0, peak.1));
            }
        }
        self.peaks.push(peak);
        self.size = self.size.saturating_add(1);
    }

    /// Its root.
    pub(super) fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev().map(|(_, hash)| *hash);
        let Some(last) = peaks.next() else { return hash(&[]) };
        peaks.fold(last, |right, left| join(&left, &right))
    }

    /// The tree of that size, of what is stored.
    pub(super) fn load<R: Rows>(size: u64, rows: &R) -> Result<Self, R::Error> {
        let mut peaks = Vec::new();
        let mut begin = 0;
        for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
            peaks.push((height, subtree(rows, height, begin >> height)?));
            begin |= 1 << height;
        }
        Ok(Self { size, peaks })
    }
}

/// The hash of a complete subtree: the one of this height, counted from the left.
fn subtree<R: Rows>(rows: &R, height: u32, index: u64) -> Result<Hash, R::Error> {
    let (row, above) = (height / STRIDE, height % STRIDE);
    let mut hashes = vec![Hash::default(); 1 << above];
    rows.read(row, index << above, &mut hashes)?;
    while hashes.len() > 1 {
        hashes = hashes
            .chunks_exact(2)
            .filter_map(|pair| pair.iter().copied().reduce(|a, b| join(&a, &b)))
            .collect();
    }
    Ok(hashes.first().copied().unwrap_or_default())
}

/// The hash of the leaves from `begin` to `end`, where `begin` is what a subtree can begin with (RFC 6962's MTH).
fn range<R: Rows>(rows: &R, begin: u64, end: u64) -> Result<Hash, R::Error> {
    let mut parts = Vec::new();
    let mut at = begin;
    while at < end {
        let most = end.saturating_sub(at).ilog2();
        let height = if at == begin { most } else { most.min(at.trailing_zeros()) };
        parts.push(subtree(rows, height, at >> height)?);
        at = at.saturating_add(1 << height);
    }
    let mut parts = parts.into_iter().rev();
    let Some(last) = parts.next() else { return Ok(hash(&[])) };
    Ok(parts.fold(last, |right, left| join(&left, &right)))
}

/// The largest power of two below a number above one.
const fn split(size: u64) -> u64 {
    1 << size.saturating_sub(1).ilog2()
}

/// Shows that a leaf is in the tree of that size; nothing when it is not.
pub(super) fn inclusion<R: Rows>(rows: &R, index: u64, size: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if index >= size || size > SIZE_MAX {
        return Ok(None);
    }
    let (mut begin, mut end) = (0_u64, size);
    let mut proof = Vec::new();
    while end.saturating_sub(begin) > 1 {
        let middle = begin.saturating_add(split(end.saturating_sub(begin)));
        if index < middle {
            proof.push(range(rows, middle, end)?);
            end = middle;
        } else {
            proof.push(range(rows, begin, middle)?);
            begin = middle;
        }
    }
    proof.reverse();
    Ok(Some(proof))
}

/// Shows that the tree of size `old` is the beginning of that of size `new`; nothing when it is not.
pub(super) fn consistency<R: Rows>(rows: &R, old: u64, new: u64) -> Result<Option<Vec<Hash>>, R::Error> {
    if old > new || new > SIZE_MAX {
        return Ok(None);
    }
    let mut proof = Vec::new();
    if old == 0 || old == new {
        return Ok(Some(proof));
    }
    let (mut begin, mut end) = (0_u64, new);
    let mut is_whole = true;
    while old < end {
        let middle = begin.saturating_add(split(end.saturating_sub(begin)));
        if old <= middle {
            proof.push(range(rows, middle, end)?);
            end = middle;
        } else {
            proof.push(range(rows, begin, middle)?);
            (begin, is_whole) = (middle, false);
        }
    }
    if !is_whole {
        proof.push(range(rows, begin, end)?);
    }
    proof.reverse();
    Ok(Some(proof))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::proof::tree as check;

    /// Rows in memory; what was not stored is an error.
    #[derive(Default)]
    struct Kept(HashMap<(u32, u64), Hash>);

    impl Rows for Kept {
        type Error = (u32, u64);

        fn read(&self, row: u32, index: u64, into: &mut [Hash]) -> Result<(), Self::Error> {
            for (at, hash) in (index..).zip(into) {
                *hash = *self.0.get(&(row, at)).ok_or((row, at))?;
            }
            Ok(())
        }
    }

    fn grown(size: u64) -> (Tree, Kept, Vec<Hash>) {
        let (mut tree, mut rows, mut roots) = (Tree::default(), Kept::default(), vec![check::empty_root()]);
        for number in 0..size {
            tree.push(leaf(number), |(row, index, hash)| {
                assert_eq!(rows.0.insert((row, index), hash), None, "row {row}, {index}");
            });
            roots.push(tree.root());
        }
        (tree, rows, roots)
    }

    fn leaf(number: u64) -> Hash {
        leaf_hash(format!("record {number}").as_bytes())
    }

    #[test]
    fn roots_are_what_the_checker_computes() {
        let (tree, rows, roots) = grown(600);
        for (size, root) in (0..).zip(&roots) {
            let leaves = (0..size).map(|number| check::leaf_hash(format!("record {number}").as_bytes()));
            assert_eq!(*root, check::root(leaves), "{size}");
            assert_eq!(Tree::load(size, &rows).unwrap().root(), *root, "{size}, loaded");
        }
        assert_eq!(Tree::load(600, &rows), Ok(tree));
        // 600 leaves, and two subtrees of 256.
        assert_eq!(rows.0.len(), 602);
    }

    #[test]
    fn a_tree_goes_on_where_it_was_loaded() {
        let (_, mut rows, roots) = grown(511);
        let mut tree = Tree::load(511, &rows).unwrap();
        tree.push(leaf(511), |(row, index, hash)| {
            rows.0.insert((row, index), hash);
        });
        assert_eq!((tree.size(), tree.root()), (512, grown(512).2[512]));
        assert_eq!(roots.len(), 512);
        assert!(rows.0.contains_key(&(1, 1)));
    }

    #[test]
    fn what_is_not_there_is_not_proven() {
        let (_, rows, _) = grown(10);
        assert_eq!(inclusion(&rows, 10, 10), Ok(None));
        assert_eq!(consistency(&rows, 11, 10), Ok(None));
        assert!(inclusion(&rows, 3, 12).is_err());
        assert_eq!(inclusion(&rows, 3, u64::MAX), Ok(None));
    }

    proptest! {
        #[test]
        fn every_proof_is_accepted_by_the_checker(size in 1_u64..1500, old in 0_u64..1500, at in 0_u64..1500) {
            let (_, rows, roots) = grown(size);
            let (old, at) = (old % (size + 1), at % size);
            let root = |size: u64| (size, &roots[usize::try_from(size).unwrap()]);
            let proof = inclusion(&rows, at, size).unwrap().unwrap();
            prop_assert_eq!(check::check_inclusion(&leaf(at), at, root(size), &proof), Ok(()));
            if old > at {
                let proof = inclusion(&rows, at, old).unwrap().unwrap();
                prop_assert_eq!(check::check_inclusion(&leaf(at), at, root(old), &proof), Ok(()));
            }
            let proof = consistency(&rows, old, size).unwrap().unwrap();
            prop_assert_eq!(check::check_consistency(root(old), root(size), &proof), Ok(()));
        }
    }
}
