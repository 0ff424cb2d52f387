//! Decides what one manifest file says: Kubernetes objects, or where it is wrong.

use std::collections::BTreeSet;
use std::fmt;

use tracing::{debug, error};

use crate::objects::{ObjectKey, Objects};

pub mod catalog;
mod document;
mod items;

use document::{Place, Source};

/// What a file says: the objects of its good documents, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    pub objects: Objects,
    pub errors: Vec<ManifestError>,
    /// Objects that stand there twice; the last one counts.
    pub repeated: BTreeSet<ObjectKey>,
    /// Kinds that the mesh has no use for ("apps/v1 Deployment").
    pub ignored: BTreeSet<String>,
}

/// Who made one mistake a thousand times reads of the first ones, and of the others when these are
/// corrected.
const ERRORS_MAX: usize = 100;

impl Manifest {
    fn complain(&mut self, error: ManifestError) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(error);
        }
    }
}

/// Where a file is wrong. Lines and columns count from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ManifestError {
    pub line: u64,
    pub column: u64,
    pub problem: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}: {}", self.line, self.column, self.problem)
    }
}

/// Whether a file in the manifests' directory is a manifest.
pub fn is_manifest(name: &str) -> bool {
    [".json", ".yaml", ".yml"]
        .iter()
        .any(|it| name.ends_with(it))
}

/// What a file is taken to say: its last good content, as long as the present one has errors.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ManifestFile {
    pub objects: Objects,
    /// `LINE:COLUMN: problem` for each document that is wrong, or why the file cannot be read.
    pub errors: Vec<String>,
    /// Objects that stand there twice; the last one counts.
    pub repeated: BTreeSet<ObjectKey>,
    was_good: bool,
}

impl ManifestFile {
    /// Reads the file again, or for the first time.
    ///
    /// Of a file that was never good, the good documents count: a restart should lose as little as
    /// it can.
    pub fn read(name: &str, text: Result<&str, String>, before: Option<&Self>) -> Self {
        let manifest = text.map(parse);
        let (objects, repeated, errors) = match manifest {
            Ok(manifest) => {
                for kind in &manifest.ignored {
                    debug!(file = name, kind, "no use for this kind of object");
                }
                let errors = manifest.errors.iter().map(ToString::to_string).collect();
                (manifest.objects, manifest.repeated, errors)
            }
            Err(problem) => (Objects::default(), BTreeSet::new(), vec![problem]),
        };
        if let Some(error) = errors.first() {
            error!("{}", in_file(name, error));
        }
        match before {
            Some(before) if before.was_good && !errors.is_empty() => Self {
                errors,
                ..before.clone()
            },
            _ => Self {
                was_good: errors.is_empty(),
                objects,
                repeated,
                errors,
            },
        }
    }
}

/// `FILE:LINE:COLUMN: problem`, or `FILE: problem` for the file as a whole.
fn in_file(name: &str, error: &str) -> String {
    match error.starts_with(|it: char| it.is_ascii_digit()) {
        true => format!("{name}:{error}"),
        false => format!("{name}: {error}"),
    }
}

/// Reads JSON, or YAML documents, and the items of a `List`.
pub fn parse(text: &str) -> Manifest {
    // What looks like JSON and is none is read as YAML, whose errors then say where it is wrong.
    if text.trim_start().starts_with('{')
        && let Some(manifest) = document::read_json(text)
    {
        return manifest;
    }
    let mut manifest = Manifest::default();
    for (line, document) in documents(text) {
        let place = Place { line, column: 1 };
        document::read(&Source::Yaml(document), place, &mut manifest);
    }
    manifest
}

/// The documents with the line that each begins on.
///
/// A line that begins with `---` separates documents wherever it stands (YAML 1.2.2, 9.1.2), so
/// that one broken document does not take the others with it.
fn documents(text: &str) -> Vec<(u64, &str)> {
    let mut documents = Vec::new();
    let (mut start, mut first_line) = (0, 1);
    let mut offset = 0;
    for (line_number, line) in (1..).zip(text.split_inclusive('\n')) {
        if is_separator(line) {
            documents.push((first_line, &text[start..offset]));
            (start, first_line) = (offset, line_number);
        }
        offset += line.len();
    }
    documents.push((first_line, &text[start..]));
    documents.retain(|(_, document)| !is_blank(document));
    documents
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a document holds nothing but comments and its separator.
fn is_blank(document: &str) -> bool {
    document
        .lines()
        .map(|line| line.strip_prefix("---").unwrap_or(line).trim())
        .all(|line| line.is_empty() || line.starts_with('#'))
}

#[cfg(test)]
mod tests;
