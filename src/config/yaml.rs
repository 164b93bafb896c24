//! YAML as a tree in which each key and value knows its place.
//!
//! A subset on purpose: one document, no anchors, aliases or tags, keys are texts and appear once, at most 1 MiB and
//! 32 levels. So a small file stays small in memory, and what is read is what is seen. The parser beneath gives events
//! with their places; serde's YAML crates expand aliases before anybody could refuse them and know the place of the
//! first error only.
//!
//! Source: YAML 1.2.2, chapter 10.3 (core schema)

use std::fs::File;
use std::io::Read;
use std::path::Path;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Fault, Place, Problem};

/// The largest file that is read, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The deepest nesting.
const DEPTH_MAX: usize = 32;

/// A value and where it is.
#[derive(Debug, Clone)]
pub struct Node {
    pub(super) id: usize,
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Scalar {
        text: String,
        /// Not quoted: may be a number, a truth value or nothing.
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) id: usize,
    pub(super) place: Place,
    pub(super) key: String,
    pub(super) value: Node,
}

impl Node {
    /// The place of the value that `path` leads to (keys, and numbers from 0 in lists); of the last one on the way
    /// that exists.
    #[must_use]
    pub fn place(&self, path: &[&str]) -> Place {
        let Some((first, rest)) = path.split_first() else { return self.place };
        let next = match &self.value {
            Value::Scalar { .. } => None,
            Value::List(items) => first.parse().ok().and_then(|at: usize| items.get(at)),
            Value::Map(entries) => entries.iter().find(|entry| entry.key == *first).map(|entry| &entry.value),
        };
        next.map_or(self.place, |next| next.place(rest))
    }

    /// Whether maps lead to a value with these keys.
    #[must_use]
    pub fn has(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        match &self.value {
            Value::Map(entries) => entries.iter().any(|entry| entry.key == *first && entry.value.has(rest)),
            Value::Scalar { .. } | Value::List(_) => false,
        }
    }

    /// The texts of a map's keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Scalar { .. } | Value::List(_) => &[],
        };
        entries.iter().map(|entry| entry.key.as_str())
    }

    /// The place of a key at the top.
    #[must_use]
    pub fn key_place(&self, key: &str) -> Option<Place> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key).map(|entry| entry.place),
            Value::Scalar { .. } | Value::List(_) => None,
        }
    }

    /// The text under `key` in each item of the list that `path` leads to.
    #[must_use]
    pub fn texts(&self, path: &[&str], key: &str) -> Vec<Option<String>> {
        match (&self.value, path.split_first()) {
            (Value::Map(entries), Some((first, rest))) => {
                let next = entries.iter().find(|entry| entry.key == *first);
                next.map(|entry| entry.value.texts(rest, key)).unwrap_or_default()
            }
            (Value::List(items), None) => items.iter().map(|item| item.text(key)).collect(),
            (Value::Map(_) | Value::List(_) | Value::Scalar { .. }, _) => Vec::new(),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        let Value::Map(entries) = &self.value else { return None };
        match &entries.iter().find(|entry| entry.key == key)?.value.value {
            Value::Scalar { text, .. } => Some(text.clone()),
            Value::List(_) | Value::Map(_) => None,
        }
    }

    /// Takes out the entry or list item with this id; says whether it was there.
    pub(super) fn remove(&mut self, id: usize) -> bool {
        match &mut self.value {
            Value::Scalar { .. } => false,
            Value::List(items) => {
                let before = items.len();
                items.retain(|item| item.id != id);
                items.len() < before || items.iter_mut().any(|item| item.remove(id))
            }
            Value::Map(entries) => {
                let before = entries.len();
                entries.retain(|entry| entry.id != id && entry.value.id != id);
                entries.len() < before || entries.iter_mut().any(|entry| entry.value.remove(id))
            }
        }
    }
}

/// Reads a text file of at most [`FILE_BYTES_MAX`].
///
/// # Errors
/// A [`Problem`] of the file as a whole.
pub fn read(path: &Path) -> Result<String, Problem> {
    let problem = |text: String| Problem::of_file(path, text);
    let file = File::open(path).map_err(|error| problem(format!("could not open the file: {error}")))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| problem(format!("could not read the file: {error}")))?;
    if u64::try_from(text.len()).is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
        return Err(problem(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Parses a text; one without content is an empty map.
///
/// # Errors
/// The first [`Fault`].
pub fn parse(text: &str) -> Result<Node, Fault> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            Fault::new(place(mark.line(), mark.col()), format!("invalid YAML: {}", error.info()))
        })?;
        builder.take(event, span)?;
    }
    let empty = Node { id: 0, place: Place { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
    Ok(builder.root.unwrap_or(empty))
}

/// The parser counts lines from 1 and columns from 0.
const fn place(line: usize, column: usize) -> Place {
    Place { line, column: column.saturating_add(1) }
}

/// Puts events together.
#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    documents: usize,
    last_id: usize,
}

/// A list or map that is not at its end.
struct Open {
    node: Node,
    /// In a map: the key whose value comes next.
    key: Option<(usize, Place, String)>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let place = place(span.start.line(), span.start.col());
        let refuse = |text: &str| Err(Fault::new(place, text));
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents = self.documents.saturating_add(1);
                if self.documents > 1 { refuse("only one document is allowed in a file") } else { Ok(()) }
            }
            Event::Alias(_) => refuse("aliases are not allowed; a text that starts with * needs quotes"),
            Event::Scalar(_, _, anchor, ref tag) if anchor != 0 || tag.is_some() => {
                refuse("anchors and tags are not allowed")
            }
            Event::SequenceStart(anchor, ref tag) | Event::MappingStart(anchor, ref tag)
                if anchor != 0 || tag.is_some() =>
            {
                refuse("anchors and tags are not allowed")
            }
            Event::Scalar(text, style, ..) => self.scalar(text.into_owned(), style, place),
            Event::SequenceStart(..) => self.begin(Value::List(Vec::new()), place),
            Event::MappingStart(..) => self.begin(Value::Map(Vec::new()), place),
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.node),
                None => Ok(()),
            },
        }
    }

    fn node(&mut self, value: Value, place: Place) -> Node {
        self.last_id = self.last_id.saturating_add(1);
        Node { id: self.last_id, place, value }
    }

    fn scalar(&mut self, text: String, style: ScalarStyle, place: Place) -> Result<(), Fault> {
        let node = self.node(Value::Scalar { text, plain: style == ScalarStyle::Plain }, place);
        self.put(node)
    }

    fn begin(&mut self, value: Value, place: Place) -> Result<(), Fault> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Fault::new(place, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let node = self.node(value, place);
        self.open.push(Open { node, key: None });
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Fault> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        match &mut open.node.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((id, place, key)) => entries.push(Entry { id, place, key, value: node }),
                None => open.key = Some(key(node, entries)?),
            },
        }
        Ok(())
    }
}

fn key(node: Node, entries: &[Entry]) -> Result<(usize, Place, String), Fault> {
    let Value::Scalar { text, .. } = node.value else {
        return Err(Fault::new(node.place, "a key must be a text"));
    };
    if let Some(first) = entries.iter().find(|entry| entry.key == text) {
        let line = first.place.line;
        return Err(Fault::new(node.place, format!("key `{text}` appears twice, first in line {line}")));
    }
    Ok((node.id, node.place, text))
}
