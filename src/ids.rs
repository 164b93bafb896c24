//! Names and numbers that identify something, each a type of its own.
//!
//! A name is checked once, where it enters; whoever holds the type need not check again.
//! Cloning is cheap (a shared pointer), so an id can be a key in every map.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroize;

/// The longest name PostgreSQL keeps, in bytes (`NAMEDATALEN - 1`).
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not a valid name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameError {
    /// What kind of name was expected.
    pub kind: &'static str,
    /// The rule that was broken, in the error style of PostgreSQL's manual.
    pub rule: &'static str,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid {}: {}", self.kind, self.rule)
    }
}

impl std::error::Error for NameError {}

/// A customer's name: 1 to 48 bytes of `a-z`, `0-9`, `_`, the first a letter; in a host name `_` reads `-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Checks and takes a customer's name.
    ///
    /// # Errors
    /// [`NameError`] when the text breaks the rule above.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let error = |rule| Err(NameError { kind: "customer id", rule });
        if text.is_empty() || text.len() > 48 {
            return error("it must have 1 to 48 bytes");
        }
        if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
            return error("it must start with a letter a-z");
        }
        if !text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
            return error("only a-z, 0-9 and _ are allowed");
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A name as PostgreSQL keeps it: 1 to 63 bytes, no NUL.
macro_rules! postgres_name {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks and takes the name.
            ///
            /// # Errors
            /// [`NameError`] when it is empty, longer than 63 bytes or holds a control character.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                if text.is_empty() || text.len() > NAME_BYTES_MAX {
                    return Err(NameError { kind: $kind, rule: "it must have 1 to 63 bytes" });
                }
                if text.chars().any(char::is_control) {
                    return Err(NameError { kind: $kind, rule: "control characters are not allowed" });
                }
                Ok(Self(text.into()))
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

postgres_name!(
    /// The name a client proves (before any `@customer`).
    LoginName, "login name"
);
postgres_name!(
    /// The Postgres role OneVault logs in with at a customer's database.
    RoleName, "role name"
);
postgres_name!(
    /// A database's name, as a client or as the server calls it.
    DatabaseName, "database name"
);

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for CustomerId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// One authenticated client, numbered from the start of this process; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What must be presented to cancel (`BackendKeyData`): 4 secret bytes in protocol 3.0, up to 256 in 3.2.
///
/// Source: protocol-message-formats#PROTOCOL-MESSAGE-FORMATS-BACKENDKEYDATA
#[derive(Clone, PartialEq, Eq)]
pub struct BackendKey {
    /// The server process, as the server or OneVault tells it.
    pub process_id: i32,
    /// The secret; `Debug` hides it, comparison with foreign input must be constant-time.
    pub secret: Box<[u8]>,
}

impl fmt::Debug for BackendKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BackendKey({}, ***)", self.process_id)
    }
}

/// A secret text (password, token, key): wiped when dropped, shown as `***`, never serialised.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself; the name makes every use easy to find.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_customer_id_is_lower_case_and_bounded() {
        for good in ["a", "one_spa", "a1_2", &"a".repeat(48)] {
            assert!(CustomerId::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "_a", "A", "a-b", "a b", "ä", &"a".repeat(49)] {
            assert!(CustomerId::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_never_shown() {
        let key = BackendKey { process_id: 7, secret: Box::new(*b"abcd") };
        assert_eq!(format!("{:?} {key:?}", Secret::new("hunter2".into())), "*** BackendKey(7, ***)");
    }
}
