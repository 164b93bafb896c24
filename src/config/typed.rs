//! From a YAML tree to a type, by serde; every fault is found, each with its place and, where one fits, a suggestion.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::problem::{Fault, Place};
use super::yaml::{Entry, Node, Value};

/// Faults told of one file; more would not be read.
const FAULTS_MAX: usize = 50;

/// How alike a suggestion must be, from 0 to 1.
const LIKENESS: f64 = 0.75;

/// Reads a tree as a `T`.
///
/// # Errors
/// Every fault of type or name: what is wrong is taken out and the rest is read again.
pub fn read<T: DeserializeOwned>(root: &Node) -> Result<T, Vec<Fault>> {
    let mut tree = root.clone();
    let mut faults = Vec::new();
    loop {
        let error = match T::deserialize(Reader { node: &tree, keys: None }) {
            Ok(value) if faults.is_empty() => return Ok(value),
            Ok(_) => return Err(faults),
            Err(error) => error,
        };
        let (missing, id) = (error.missing, error.id);
        // What was taken out is not missing: it was told.
        if !missing || faults.is_empty() {
            faults.push(Fault::new(error.place.unwrap_or_default(), error.text));
        }
        if faults.len() >= FAULTS_MAX || !id.is_some_and(|id| tree.remove(id)) {
            return Err(faults);
        }
    }
}

/// Keys that `T` knows and no part of the tree has, for checking that an example is complete.
#[cfg(test)]
pub(crate) fn absent_keys<T: DeserializeOwned>(root: &Node) -> Vec<String> {
    let keys = RefCell::default();
    let read = T::deserialize(Reader { node: root, keys: Some(&keys) });
    assert!(read.is_ok(), "{:?}", read.err());
    let keys = keys.into_inner().into_iter();
    keys.filter(|(_, present)| !present).map(|((of, key), _)| format!("{of}.{key}")).collect()
}

/// The keys of each struct met, and whether the tree has them somewhere.
type Keys = RefCell<BTreeMap<(&'static str, &'static str), bool>>;

/// `unknown key `clinets_max`, did you mean `clients_max`?`
fn unknown(kind: &str, found: &str, expected: &[&str]) -> String {
    let likenesses = expected.iter().map(|known| (strsim::jaro_winkler(found, known), known));
    let best = likenesses.max_by(|a, b| a.0.total_cmp(&b.0));
    match best {
        Some((likeness, known)) if likeness >= LIKENESS => {
            format!("unknown {kind} `{found}`, did you mean `{known}`?")
        }
        Some(_) => {
            let known: Vec<String> = expected.iter().map(|known| format!("`{known}`")).collect();
            format!("unknown {kind} `{found}`, expected one of {}", known.join(", "))
        }
        None => format!("unknown {kind} `{found}`"),
    }
}

/// A fault on its way up to the node that knows its place.
#[derive(Debug)]
struct Error {
    text: String,
    place: Option<Place>,
    /// What to take out to read on.
    id: Option<usize>,
    missing: bool,
}

impl Error {
    fn at(mut self, place: Place, id: usize) -> Self {
        self.place.get_or_insert(place);
        self.id.get_or_insert(id);
        self
    }

    /// Says the key, if the fault is in its value.
    fn under(mut self, entry: &Entry) -> Self {
        if self.place.is_none() {
            self.text = format!("`{}`: {}", entry.key, self.text);
        }
        self.at(entry.value.place, entry.id)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self { text: text.to_string(), place: None, id: None, missing: false }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown("key", field, expected))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(unknown("value", variant, expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: true, ..Self::custom(format_args!("missing key `{field}`")) }
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Reader<'a> {
    node: &'a Node,
    /// Takes notes.
    keys: Option<&'a Keys>,
}

impl<'a> Reader<'a> {
    fn of(self, node: &'a Node) -> Self {
        Self { node, ..self }
    }

    fn is_nothing(self) -> bool {
        match &self.node.value {
            Value::Scalar { text, plain } => {
                *plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            Value::List(_) | Value::Map(_) => false,
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::List(items) => visitor.visit_seq(Items { reader: self, items: items.iter() }),
            Value::Map(entries) => {
                let map = Entries { reader: self, entries: entries.iter(), value: None };
                visitor.visit_map(map).map_err(|error| error.at(self.node.place, self.node.id))
            }
            Value::Scalar { .. } if self.is_nothing() => visitor.visit_unit(),
            Value::Scalar { text, plain: true } => plain(text, visitor),
            Value::Scalar { text, plain: false } => visitor.visit_str(text),
        }
    }

    /// A field that wants a text gets what was written, be it a number too.
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar { text, .. } if !self.is_nothing() => visitor.visit_str(text),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nothing() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    /// Nothing is an empty list.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nothing() {
            return visitor.visit_seq(Items { reader: self, items: [].iter() });
        }
        self.deserialize_any(visitor)
    }

    /// Nothing is an empty map.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_nothing() {
            let map = Entries { reader: self, entries: [].iter(), value: None };
            return visitor.visit_map(map).map_err(|error| error.at(self.node.place, self.node.id));
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if let Some(keys) = self.keys {
            for field in fields {
                let present = self.node.keys().any(|key| key == *field);
                *keys.borrow_mut().entry((name, field)).or_default() |= present;
            }
        }
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.value {
            Value::Scalar { text, .. } => {
                let text: StrDeserializer<'_, Error> = text.as_str().into_deserializer();
                visitor.visit_enum(text)
            }
            Value::List(_) | Value::Map(_) => Err(de::Error::custom("expected one word")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct identifier ignored_any
    }
}

/// A scalar without quotes, by the core schema.
fn plain<'de, V: Visitor<'de>>(text: &str, visitor: V) -> Result<V::Value, Error> {
    let digits = text.trim_start_matches(['+', '-', '.']);
    match text {
        "true" | "True" | "TRUE" => return visitor.visit_bool(true),
        "false" | "False" | "FALSE" => return visitor.visit_bool(false),
        _ if !digits.starts_with(|c: char| c.is_ascii_digit()) => return visitor.visit_str(text),
        _ => {}
    }
    if let Ok(number) = text.parse() {
        visitor.visit_u64(number)
    } else if let Ok(number) = text.parse() {
        visitor.visit_i64(number)
    } else if let Ok(number) = text.parse() {
        visitor.visit_f64(number)
    } else {
        visitor.visit_str(text)
    }
}

/// A list's items.
struct Items<'a> {
    reader: Reader<'a>,
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else { return Ok(None) };
        seed.deserialize(self.reader.of(item)).map(Some).map_err(|error| error.at(item.place, item.id))
    }
}

/// A map's entries.
struct Entries<'a> {
    reader: Reader<'a>,
    entries: std::slice::Iter<'a, Entry>,
    value: Option<&'a Entry>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        self.value = Some(entry);
        let key: StrDeserializer<'_, Error> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|error| error.at(entry.place, entry.id))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let entry = self.value.take().ok_or_else(|| de::Error::custom("a value without its key"))?;
        seed.deserialize(self.reader.of(&entry.value)).map_err(|error| error.under(entry))
    }
}
