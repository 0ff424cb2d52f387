//! Decides what one manifest file says: Kubernetes objects, or where it is wrong.

use std::collections::BTreeSet;
use std::fmt;

use tracing::{debug, error};

use crate::objects::Objects;

pub mod catalog;
mod document;

use document::Source;

/// What a file says: the objects of its good documents, and what is wrong with the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    pub objects: Objects,
    pub errors: Vec<ManifestError>,
    /// Kinds that the mesh has no use for ("apps/v1 Deployment").
    pub ignored: BTreeSet<String>,
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
    was_good: bool,
}

impl ManifestFile {
    /// Reads the file again, or for the first time.
    ///
    /// Of a file that was never good, the good documents count: a restart should lose as little as
    /// it can.
    pub fn read(name: &str, text: Result<&str, String>, before: Option<&Self>) -> Self {
        let manifest = text.map(parse);
        let (objects, errors) = match manifest {
            Ok(manifest) => {
                for kind in &manifest.ignored {
                    debug!(file = name, kind, "no use for this kind of object");
                }
                let errors = manifest.errors.iter().map(ToString::to_string).collect();
                (manifest.objects, errors)
            }
            Err(problem) => (Objects::default(), vec![problem]),
        };
        if let Some(error) = errors.first() {
            error!("{name}:{error}");
        }
        match before {
            Some(before) if before.was_good && !errors.is_empty() => Self {
                errors,
                ..before.clone()
            },
            _ => Self {
                was_good: errors.is_empty(),
                objects,
                errors,
            },
        }
    }
}

/// Reads JSON, or YAML documents, and the items of a `List`.
pub fn parse(text: &str) -> Manifest {
    // What looks like JSON and is none is read as YAML, whose errors then say where it is wrong.
    if text.trim_start().starts_with('{')
        && let Some(manifest) = parse_json(text)
    {
        return manifest;
    }
    let mut manifest = Manifest::default();
    for (first_line, document) in documents(text) {
        if let Err(fault) = document::read(&Source::Yaml(document), &mut manifest) {
            manifest.errors.push(ManifestError {
                line: first_line + fault.line.saturating_sub(1),
                column: fault.column,
                problem: fault.problem,
            });
        }
    }
    manifest
}

/// `None` if anything is wrong.
fn parse_json(text: &str) -> Option<Manifest> {
    let mut manifest = Manifest::default();
    document::read(&Source::Json(text), &mut manifest).ok()?;
    Some(manifest)
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
mod tests {
    use super::*;

    #[test]
    fn reads_documents_and_ignores_what_the_mesh_has_no_use_for() {
        let manifest = parse(&format!(
            "# a comment\n---\n{SERVICE}---\n{}--- # another\n\n---\napiVersion: v1\nkind: Node\nmetadata: {{name: node-1}}\n",
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n",
        ));

        assert_eq!(manifest.errors, []);
        assert_eq!(manifest.objects.len(), 2);
        let texts: Vec<String> = manifest.objects.keys().map(ToString::to_string).collect();
        assert_eq!(texts, ["Node node-1", "Service default/web"]);
        assert_eq!(
            manifest.ignored,
            BTreeSet::from(["apps/v1 Deployment".to_owned()])
        );
    }

    #[test]
    fn says_where_a_document_is_wrong_and_reads_the_others() {
        let broken = "apiVersion: v1\nkind: Service\nmetadata: {name: b}\nspec:\n  ports:\n  - port: eighty\n";

        let manifest = parse(&format!("{broken}---\n{SERVICE}"));

        assert_eq!(manifest.objects.len(), 1);
        assert_eq!(
            (manifest.errors[0].line, manifest.errors[0].column),
            (6, 11)
        );

        let manifest = parse(&format!("{SERVICE}---\n{broken}"));

        assert_eq!(
            (manifest.errors[0].line, manifest.errors[0].column),
            (14, 11)
        );
        let error = manifest.errors[0].to_string();
        assert!(error.starts_with("14:11: Service: "), "{error}");
        assert!(!error.contains(" at line "), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn refuses_text_that_is_torn_or_no_object() {
        check_error(
            "apiVersion: v1\nkind: Service\nmetadata: {name: web, na",
            "3:",
        );
        check_error("hello", "1:1: object: ");
        check_error("kind: Pod", "1:");
        check_error(
            "apiVersion: v1\nkind: Pod\nmetadata: {}",
            "1:1: Pod: metadata.name is missing",
        );
    }

    #[test]
    fn reads_lists_as_kubectl_prints_them() {
        let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
            {"apiVersion": "v1", "kind": "Node", "metadata": {}}]}"#;

        let manifest = parse(list);

        assert_eq!(manifest.objects.len(), 1);
        assert_eq!(
            manifest.errors[0].to_string(),
            "1:1: items[1]: Node: metadata.name is missing"
        );
    }

    #[test]
    fn keeps_the_last_good_content_of_a_file() {
        let good = ManifestFile::read("a.yaml", Ok(SERVICE), None);
        assert_eq!((good.objects.len(), good.errors.len()), (1, 0));

        let torn = ManifestFile::read("a.yaml", Ok("apiVersion: v1\nkind: [Serv"), Some(&good));
        assert_eq!((torn.objects.len(), torn.errors.len()), (1, 1));

        let gone = ManifestFile::read("a.yaml", Err("permission denied".to_owned()), Some(&torn));
        assert_eq!(
            (gone.objects.len(), &*gone.errors[0]),
            (1, "permission denied")
        );

        let empty = ManifestFile::read("a.yaml", Ok(""), Some(&gone));
        assert_eq!((empty.objects.len(), empty.errors.len()), (0, 0));
    }

    #[test]
    fn takes_the_good_documents_of_a_file_that_never_was_good() {
        let text = format!("hello\n---\n{SERVICE}");

        let file = ManifestFile::read("a.yaml", Ok(&text), None);

        assert_eq!((file.objects.len(), file.errors.len()), (1, 1));
    }

    const SERVICE: &str =
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: web\nspec:\n  ports:\n  - {port: 80}\n";

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let manifest = parse(text);
        let error = manifest.errors[0].to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
