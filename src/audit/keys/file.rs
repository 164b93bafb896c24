//! The bytes of one key's file. What says whose key it is can be read by anybody; the key itself is wrapped.
//!
//! Little-endian: magic 8, state, purpose, bytes of the customer's name, 0; number u32, month u32 (such as 202611; 0: none),
//! creation u64 (ns since 1970), name of the platform key 8, nonce 12, wrapped key 48; the customer's name. A tombstone has
//! zeros in place of platform key, nonce and wrapped key, and behind the customer: when u64, by and why, each behind
//! its length (u16). Last comes the CRC-32 of all before. The wrapped key is bound to number, month, purpose, creation
//! and customer, so one file's cannot be put into another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::platform::PlatformKey;

/// The largest file that is read.
pub(super) const FILE_BYTES_MAX: usize = 8 << 10;
/// A tombstone's texts keep so many bytes.
pub(super) const TEXT_BYTES_MAX: usize = 2 << 10;
/// Begins each file; the last two say the version.
const MAGIC: [u8; 8] = *b"OVAKEY01";
const WRAPPED_BYTES: usize = 48;

/// 32 bytes that nobody is to see.
pub(super) type Secret = Zeroizing<[u8; 32]>;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Records of a customer in a month.
    Records,
    /// Masked values of a customer: equal values look equal.
    Mask,
    /// The vault's own signatures.
    Signer,
    /// The vault's own decisions about what is kept.
    Keeping,
}

impl Purpose {
    const fn code(self) -> u8 {
        match self {
            Self::Records => 1,
            Self::Mask => 2,
            Self::Signer => 3,
            Self::Keeping => 4,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Records),
            2 => Some(Self::Mask),
            3 => Some(Self::Signer),
            4 => Some(Self::Keeping),
            _ => None,
        }
    }

    /// The word in output.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Mask => "mask",
            Self::Signer => "signer",
            Self::Keeping => "keeping",
        }
    }
}

/// How far a key's life is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// In use.
    Active,
    /// For reading only; it is about to be shredded.
    Retiring,
    /// The key is gone.
    Shredded(Tombstone),
}

impl State {
    /// The word in output.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Shredded(_) => "shredded",
        }
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Active => 1,
            Self::Retiring => 2,
            Self::Shredded(_) => 3,
        }
    }
}

/// What is left of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// Wall clock, ns since 1970.
    pub time_ns: u64,
    /// Who asked for it.
    pub by: String,
    /// Why.
    pub why: String,
}

/// Whose key it is: what the wrapped key is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// The key's number, from 1.
    pub number: u32,
    /// What it is for.
    pub purpose: Purpose,
    /// The customer; `_` is the vault itself.
    pub customer: String,
    /// Such as 202611; 0: of no month.
    pub month: u32,
    /// When it was made, ns since 1970.
    pub created_ns: u64,
}

impl Label {
    fn bound(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.month.to_le_bytes());
        bytes.push(self.purpose.code());
        bytes.extend_from_slice(&self.created_ns.to_le_bytes());
        bytes.extend_from_slice(self.customer.as_bytes());
        bytes
    }
}

/// A key as the platform key wraps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wrapped {
    /// Names the platform key.
    pub(super) platform: [u8; 8],
    nonce: [u8; NONCE_LEN],
    sealed: [u8; WRAPPED_BYTES],
}

impl Wrapped {
    const NOTHING: Self = Self { platform: [0; 8], nonce: [0; NONCE_LEN], sealed: [0; WRAPPED_BYTES] };

    /// Wraps a key; `None`: no random numbers.
    pub(super) fn seal(secret: &Secret, label: &Label, platform: &PlatformKey) -> Option<Self> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let mut sealed = [0; WRAPPED_BYTES];
        let (place, tag) = sealed.split_at_mut(secret.len());
        place.copy_from_slice(secret.as_slice());
        let made = wrapping(platform)?
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(label.bound()), place)
            .ok()?;
        tag.copy_from_slice(made.as_ref());
        Some(Self { platform: platform.name(), nonce, sealed })
    }

    /// The key; `None`: the file is not what it was, or was made for another label.
    pub(super) fn open(&self, label: &Label, platform: &PlatformKey) -> Option<Secret> {
        let mut bytes = Zeroizing::new(self.sealed);
        let opened = wrapping(platform)?
            .open_in_place(
                Nonce::assume_unique_for_key(self.nonce),
                Aad::from(label.bound()),
                bytes.as_mut_slice(),
            )
            .ok()?;
        let mut secret = Secret::default();
        secret.copy_from_slice(opened.get(..32)?);
        Some(secret)
    }
}

fn wrapping(platform: &PlatformKey) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, platform.secret()).ok().map(LessSafeKey::new)
}

/// One file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::audit) struct KeyFile {
    pub(super) label: Label,
    pub(in crate::audit) state: State,
    /// Of a tombstone: nothing.
    pub(super) wrapped: Option<Wrapped>,
}

impl KeyFile {
    /// The file's bytes.
    pub(in crate::audit) fn encode(&self) -> Vec<u8> {
        let customer = self.label.customer.as_bytes();
        let customer = customer.get(..usize::from(u8::MAX)).unwrap_or(customer);
        let wrapped = self.wrapped.unwrap_or(Wrapped::NOTHING);
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&MAGIC);
        let customer_bytes = u8::try_from(customer.len()).unwrap_or(u8::MAX);
        bytes.extend_from_slice(&[self.state.code(), self.label.purpose.code(), customer_bytes, 0]);
        bytes.extend_from_slice(&self.label.number.to_le_bytes());
        bytes.extend_from_slice(&self.label.month.to_le_bytes());
        bytes.extend_from_slice(&self.label.created_ns.to_le_bytes());
        bytes.extend_from_slice(&wrapped.platform);
        bytes.extend_from_slice(&wrapped.nonce);
        bytes.extend_from_slice(&wrapped.sealed);
        bytes.extend_from_slice(customer);
        if let State::Shredded(tombstone) = &self.state {
            bytes.extend_from_slice(&tombstone.time_ns.to_le_bytes());
            for text in [&tombstone.by, &tombstone.why] {
                let text = beginning(text);
                bytes.extend_from_slice(&u16::try_from(text.len()).unwrap_or(0).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
        }
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes
    }

    /// Reads a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(in crate::audit) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.get(..6) != MAGIC.get(..6) {
            return Err("it is no file of a key");
        }
        let (fields, checksum) = bytes.split_last_chunk::<4>().ok_or("it is too short")?;
        if crc32fast::hash(fields).to_le_bytes() != *checksum {
            return Err("its checksum does not fit: it was changed or cut");
        }
        if !fields.starts_with(&MAGIC) {
            return Err("its version is not known");
        }
        let mut rest = fields.get(MAGIC.len()..).unwrap_or_default();
        Self::fields(&mut rest).filter(|_| rest.is_empty()).ok_or("its fields make no sense")
    }

    fn fields(rest: &mut &[u8]) -> Option<Self> {
        let [state, purpose, customer_bytes, 0] = take(rest)? else { return None };
        let number = u32::from_le_bytes(take(rest)?);
        let month = u32::from_le_bytes(take(rest)?);
        let created_ns = u64::from_le_bytes(take(rest)?);
        let wrapped = Wrapped { platform: take(rest)?, nonce: take(rest)?, sealed: take(rest)? };
        let customer = text(rest, usize::from(customer_bytes)).filter(|name| !name.is_empty())?;
        let state = match state {
            1 => State::Active,
            2 => State::Retiring,
            3 => State::Shredded(Tombstone {
                time_ns: u64::from_le_bytes(take(rest)?),
                by: counted_text(rest)?,
                why: counted_text(rest)?,
            }),
            _ => return None,
        };
        let wrapped = match &state {
            State::Shredded(_) if wrapped == Wrapped::NOTHING => None,
            State::Shredded(_) => return None,
            State::Active | State::Retiring => Some(wrapped),
        };
        let purpose = Purpose::from_code(purpose)?;
        Some(Self { label: Label { number, purpose, customer, month, created_ns }, state, wrapped })
    }
}

/// As much of a text as a tombstone keeps.
fn beginning(text: &str) -> &str {
    let end = (0..=TEXT_BYTES_MAX.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (first, behind) = rest.split_first_chunk::<N>()?;
    *rest = behind;
    Some(*first)
}

fn text(rest: &mut &[u8], bytes: usize) -> Option<String> {
    let (first, behind) = rest.split_at_checked(bytes)?;
    *rest = behind;
    String::from_utf8(first.to_vec()).ok()
}

fn counted_text(rest: &mut &[u8]) -> Option<String> {
    let bytes = u16::from_le_bytes(take(rest)?);
    text(rest, usize::from(bytes))
}
