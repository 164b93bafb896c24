//! What of a customer's values may reach the log.
//!
//! What always holds: nothing that is to be masked is given to the log first and masked later; what cannot be read for sure
//! is masked as a whole. Equal values of one customer are masked alike, so that they can be followed; without the
//! customer's mask key nobody can try out which value it was. A password that DDL sets is recorded for nobody.
//!
//! A masked value is its type, a colon, and the first 16 hexadecimal digits of HMAC-SHA-256 of the value under the mask key.

use std::sync::Arc;

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, Tag};

use crate::audit::keys::Keyring;
use crate::config::{CopyData, Parameters as Handling};

mod list;
#[cfg(test)]
mod tests;
mod text;

pub(crate) use list::ListMask;
pub(crate) use text::TextMask;

/// Digits of a masked value: 64 bits, so that two of them are equal by chance once among billions.
const DIGITS: usize = 16;

/// How one customer's values are recorded.
#[derive(Debug, Clone)]
pub(crate) struct Mask {
    handling: Handling,
    key: Key,
    /// Where the customer's mask key is, for what is not masked but digested.
    keys: Option<(Arc<Keyring>, Box<str>)>,
    /// What a `COPY` moves is recorded.
    keeps_copies: bool,
}

impl Mask {
    /// `key` is the customer's mask key; any will do for values that are not masked.
    pub(crate) fn new(handling: Handling, key: &[u8; 32]) -> Self {
        Self { handling, key: Key::new(HMAC_SHA256, key), keys: None, keeps_copies: false }
    }

    /// With the keyring that has the customer's mask key.
    pub(crate) fn with(self, keys: Option<(Arc<Keyring>, Box<str>)>) -> Self {
        Self { keys, ..self }
    }

    /// With the content of copies, where values are recorded as they came.
    pub(crate) fn with_copies(self, content: CopyData) -> Self {
        Self { keeps_copies: content == CopyData::Content && self.is_full(), ..self }
    }

    /// Whether what a `COPY` moves is recorded, too.
    pub(crate) const fn keeps_copies(&self) -> bool {
        self.keeps_copies
    }

    /// What makes the digest of the data of a `COPY`.
    pub(crate) fn stream(&self) -> Option<Context> {
        match self.handling {
            Handling::None => None,
            Handling::Masked => Some(self.context()),
            Handling::Full => {
                let (keyring, customer) = self.keys.as_ref()?;
                let key = keyring.mask_key(customer);
                if let Err(error) = &key {
                    tracing::error!(%customer, %error, "the data of a COPY has no digest in the log");
                }
                Some(Context::with_key(&Key::new(HMAC_SHA256, &*key.ok()?)))
            }
        }
    }

    /// Whether values are recorded at all.
    pub(crate) fn keeps_values(&self) -> bool {
        self.handling != Handling::None
    }

    /// Whether values are recorded as they came.
    pub(crate) fn is_full(&self) -> bool {
        self.handling == Handling::Full
    }

    /// Whether a text may be recorded as it came; [`Self::text`] gives what is recorded else.
    pub(crate) fn is_plain(&self, text: &[u8]) -> bool {
        self.is_full() && !text::may_set_password(text)
    }

    /// A whole text as it is recorded.
    pub(crate) fn text(&self, text: &[u8]) -> Vec<u8> {
        let (mut mask, mut out) = (TextMask::new(self), Vec::new());
        mask.feed(text, &mut out);
        match mask.finish(&mut out) {
            Some(instead) => instead,
            None => out,
        }
    }

    /// A whole list of parameters as it is recorded.
    pub(crate) fn list(&self, list: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ListMask::new(self).feed(list, &mut out);
        out
    }

    /// A server's message: it may quote values.
    pub(crate) fn message(&self, message: &[u8]) -> Vec<u8> {
        match self.handling {
            Handling::Full => message.to_vec(),
            Handling::Masked => self.value("message", message),
            Handling::None => Vec::new(),
        }
    }

    fn value(&self, kind: &str, value: &[u8]) -> Vec<u8> {
        let mut context = self.context();
        context.update(value);
        named(kind, &context.sign())
    }

    fn context(&self) -> Context {
        Context::with_key(&self.key)
    }
}

fn named(kind: &str, tag: &Tag) -> Vec<u8> {
    let mut digits = crate::audit::render::hex(tag.as_ref());
    digits.truncate(DIGITS);
    format!("{kind}:{digits}").into_bytes()
}
