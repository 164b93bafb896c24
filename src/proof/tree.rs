//! Merkle trees as RFC 6962 makes them: whether a record is in a tree, whether one tree is the beginning of another.
//!
//! What always holds: a proof is used to its last hash and not one further, so that each statement has one proof only;
//! leaves and nodes are hashed with different first bytes, so that neither can stand for the other.
//!
//! Source: RFC 6962 section 2.1; RFC 9162 sections 2.1.3.2 and 2.1.4.2, which say the same as steps.

use aws_lc_rs::digest::{Context, SHA256};

use super::ProofError;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// A proof has at most as many hashes as a tree of 2^64 leaves has levels.
pub const PROOF_HASHES_MAX: usize = 64;

const LEAF: u8 = 0;
const NODE: u8 = 1;

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The hash of one leaf.
#[must_use]
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(&[&[LEAF], leaf])
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    hash(&[])
}

fn node(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[NODE], left, right])
}

/// The root of a tree with these leaves, given their hashes. For audits of everything; it takes all of them.
#[must_use]
pub fn root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    // Complete subtrees, the largest first; one that has a neighbour of its own height is joined with it.
    let mut peaks: Vec<(u32, Hash)> = Vec::new();
    for leaf in leaves {
        let mut peak = (0_u32, leaf);
        while let Some((height, left)) = peaks.pop() {
            if height != peak.0 {
                peaks.push((height, left));
                break;
            }
            peak = (height.saturating_add(1), node(&left, &peak.1));
        }
        peaks.push(peak);
    }
    let mut peaks = peaks.into_iter().rev().map(|(_, hash)| hash);
    let Some(last) = peaks.next() else { return empty_root() };
    peaks.fold(last, |right, left| node(&left, &right))
}

/// Whether the leaf with this hash and index is in the tree.
///
/// # Errors
/// [`ProofError`] when the proof does not show that.
pub fn check_inclusion(
    leaf: &Hash,
    index: u64,
    (size, root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Wrong("the tree has no such leaf"));
    }
    let (mut at, mut last) = (index, size.saturating_sub(1));
    let mut found = *leaf;
    for sibling in bounded(proof)? {
        if last == 0 {
            return Err(ProofError::Wrong("the proof is too long"));
        }
        if at & 1 == 1 || at == last {
            found = node(sibling, &found);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            found = node(&found, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Wrong("the proof is too short"));
    }
    if found == *root { Ok(()) } else { Err(ProofError::Wrong("the leaf is not in the tree")) }
}

/// Whether the tree `old` is the beginning of the tree `new`: nothing of it was changed, removed or put elsewhere.
///
/// # Errors
/// [`ProofError`] when the proof does not show that.
pub fn check_consistency(
    (old_size, old_root): (u64, &Hash),
    (new_size, new_root): (u64, &Hash),
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size > new_size {
        return Err(ProofError::Wrong("the tree has become smaller"));
    }
    if old_size == new_size || old_size == 0 {
        let is_same = if old_size == 0 { *old_root == empty_root() } else { old_root == new_root };
        return match (is_same, proof) {
            (true, []) => Ok(()),
            (true, _) => Err(ProofError::Wrong("the proof is too long")),
            (false, _) => Err(ProofError::Wrong("two trees of one size have different roots")),
        };
    }
    let mut rest = bounded(proof)?.iter();
    let first = if old_size.is_power_of_two() { Some(old_root) } else { rest.next() };
    let Some(first) = first else { return Err(ProofError::Wrong("the proof is too short")) };
    let (mut at, mut last) = (old_size.saturating_sub(1), new_size.saturating_sub(1));
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return Err(ProofError::Wrong("the proof is too long"));
        }
        if at & 1 == 1 || at == last {
            old = node(sibling, &old);
            new = node(sibling, &new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            new = node(&new, sibling);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    if last != 0 {
        return Err(ProofError::Wrong("the proof is too short"));
    }
    if old != *old_root {
        return Err(ProofError::Wrong("the proof does not begin with the old tree"));
    }
    if new == *new_root {
        Ok(())
    } else {
        Err(ProofError::Wrong("the old tree is not the beginning of the new one"))
    }
}

fn bounded(proof: &[Hash]) -> Result<&[Hash], ProofError> {
    if proof.len() > PROOF_HASHES_MAX {
        Err(ProofError::Malformed("more hashes than a tree has levels"))
    } else {
        Ok(proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn hex(hash: &Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The leaves and roots by which Certificate Transparency's own programs are tried.
    const LEAVES: [&str; 8] =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    const ROOTS: [&str; 8] = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn roots_are_those_of_certificate_transparency() {
        assert_eq!(hex(&empty_root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let leaves: Vec<Hash> = LEAVES.iter().map(|leaf| leaf_hash(&bytes(leaf))).collect();
        for (size, expected) in (1..=8).zip(ROOTS) {
            assert_eq!(hex(&root(leaves[..size].iter().copied())), expected, "{size} leaves");
        }
    }

    /// RFC 6962 2.1.1, word for word: slow, and unlike what is tried.
    fn path(at: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() < 2 {
            return Vec::new();
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut proof, other) =
            if at < left.len() { (path(at, left), right) } else { (path(at - left.len(), right), left) };
        proof.push(root(other.iter().copied()));
        proof
    }

    /// RFC 6962 2.1.2, word for word.
    fn growth(size: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if size == leaves.len() {
            return if whole { Vec::new() } else { vec![root(leaves.iter().copied())] };
        }
        let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
        let (mut proof, other) = if size <= left.len() {
            (growth(size, left, whole), right)
        } else {
            (growth(size - left.len(), right, false), left)
        };
        proof.push(root(other.iter().copied()));
        proof
    }

    fn wide(number: usize) -> u64 {
        u64::try_from(number).unwrap()
    }

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|number| leaf_hash(format!("record {number}").as_bytes())).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_is_proven_and_no_other() {
        for size in 1..=33_usize {
            let leaves = leaves(size);
            let tree = (wide(size), &root(leaves.iter().copied()));
            for at in 0..size {
                let proof = path(at, &leaves);
                assert_eq!(check_inclusion(&leaves[at], wide(at), tree, &proof), Ok(()), "{at} of {size}");
                for other in (0..size + 2).filter(|other| *other != at) {
                    assert!(
                        check_inclusion(&leaves[at], wide(other), tree, &proof).is_err(),
                        "{at} as {other} of {size}"
                    );
                }
                for cut in 0..proof.len() {
                    assert!(check_inclusion(&leaves[at], wide(at), tree, &proof[..cut]).is_err());
                    let mut bent = proof.clone();
                    bent[cut][7] ^= 1;
                    assert!(check_inclusion(&leaves[at], wide(at), tree, &bent).is_err());
                }
                let longer = [&proof[..], &[Hash::default()]].concat();
                assert!(check_inclusion(&leaves[at], wide(at), tree, &longer).is_err());
            }
        }
    }

    #[test]
    fn every_small_tree_is_the_beginning_of_its_successors_and_of_no_others() {
        let leaves = leaves(34);
        let tree = |size: usize| (wide(size), root(leaves[..size].iter().copied()));
        for new in 1..=33 {
            for old in 0..=new {
                let (before, after) = (tree(old), tree(new));
                let (before, after) = ((before.0, &before.1), (after.0, &after.1));
                let proof = if old == 0 { Vec::new() } else { growth(old, &leaves[..new], true) };
                assert_eq!(check_consistency(before, after, &proof), Ok(()), "{old} of {new}");
                let mut changed = leaves[..new].to_vec();
                changed[new / 2][0] ^= 1;
                let other = root(changed.iter().copied());
                if old != 0 {
                    assert!(
                        check_consistency(before, (after.0, &other), &proof).is_err(),
                        "{old} of another {new}"
                    );
                }
                let longer = [&proof[..], &[Hash::default()]].concat();
                assert!(check_consistency(before, after, &longer).is_err(), "{old} of {new}, longer");
                for cut in 0..proof.len() {
                    assert!(check_consistency(before, after, &proof[..cut]).is_err(), "{old} of {new}, cut");
                    let mut bent = proof.clone();
                    bent[cut][31] ^= 128;
                    assert!(check_consistency(before, after, &bent).is_err(), "{old} of {new}, bent");
                }
            }
        }
        assert!(check_consistency((2, &tree(2).1), (1, &tree(1).1), &[]).is_err());
    }

    #[test]
    fn sizes_at_the_end_of_numbers_harm_nobody() {
        let proof = vec![Hash::default(); PROOF_HASHES_MAX];
        let tree = (u64::MAX, &Hash::default());
        assert!(check_inclusion(&Hash::default(), u64::MAX - 1, tree, &proof).is_err());
        assert!(check_consistency((u64::MAX - 1, &Hash::default()), tree, &proof).is_err());
        assert!(check_inclusion(&Hash::default(), 0, tree, &[&proof[..], &proof[..]].concat()).is_err());
    }
}
