//! The salts of data keys, as the keyring gives them.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::keys::{KeyError, Keyring};
use super::super::leaf::{SALTS, Salts};
use super::SaltsOf;

/// Salts of the keys in use. Records from before there were keys have one that everybody knows.
pub(in crate::audit) struct RingSalts {
    keyring: Arc<Keyring>,
    made: HashMap<u32, Salts>,
    generation: u64,
}

impl RingSalts {
    pub(in crate::audit) fn new(keyring: Arc<Keyring>) -> Self {
        Self { generation: keyring.generation(), keyring, made: HashMap::new() }
    }

    fn make(&self, key: u32) -> Result<Salts, KeyError> {
        if key == 0 {
            return Ok(Salts::new(&[0; 32]));
        }
        Ok(Salts::new(&self.keyring.by_number(key)?.derive(SALTS)))
    }
}

impl SaltsOf for RingSalts {
    fn salts(&mut self, key: u32) -> Result<&Salts, String> {
        if self.generation != self.keyring.generation() {
            self.generation = self.keyring.generation();
            self.made.clear();
        }
        if !self.made.contains_key(&key) {
            let made = self.make(key).map_err(|error| error.to_string())?;
            self.made.insert(key, made);
        }
        self.made.get(&key).ok_or_else(String::new)
    }

    fn keyring(&self) -> Option<Arc<Keyring>> {
        Some(Arc::clone(&self.keyring))
    }
}
