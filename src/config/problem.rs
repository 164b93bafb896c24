//! What is wrong with a file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a text: both from 1, counted in characters; line 0 is the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
}

/// One thing that is wrong in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, in PostgreSQL's error style; never a secret.
    pub text: String,
}

impl Fault {
    /// A fault at a place.
    #[must_use]
    pub fn new(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into() }
    }
}

/// One thing that is wrong with a file: shown as `file:line:column: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// Where in it.
    pub place: Place,
    /// What, in PostgreSQL's error style; never a secret.
    pub text: String,
}

impl Problem {
    /// What is wrong with a file as a whole.
    #[must_use]
    pub fn of_file(file: &Path, text: impl Into<String>) -> Self {
        Self { file: file.to_owned(), place: Place::default(), text: text.into() }
    }

    /// A fault in a file.
    #[must_use]
    pub fn in_file(file: &Path, fault: Fault) -> Self {
        Self { file: file.to_owned(), place: fault.place, text: fault.text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { line, column } = self.place;
        match line {
            0 => write!(f, "{}: {}", self.file.display(), self.text),
            _ => write!(f, "{}:{line}:{column}: {}", self.file.display(), self.text),
        }
    }
}

/// All that is wrong; never empty. Shown one problem a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Each problem, in the order of files and lines.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.0.iter()
    }
}

impl IntoIterator for Problems {
    type Item = Problem;
    type IntoIter = std::vec::IntoIter<Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
