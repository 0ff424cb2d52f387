//! Decides what one manifest file says: Kubernetes objects, or where it is wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tracing::{debug, error};

use crate::objects::{ObjectName, Objects};

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

/// Reads YAML documents (JSON is YAML too), and the items of a `List`.
pub fn parse(text: &str) -> Manifest {
    let mut manifest = Manifest::default();
    for (first_line, document) in documents(text) {
        if let Err(fault) = read(&Source::Text(document), &mut manifest) {
            manifest.errors.push(ManifestError {
                line: first_line + fault.line.saturating_sub(1),
                column: fault.column,
                problem: fault.problem,
            });
        }
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

/// A document, or an item of a `List`.
enum Source<'a> {
    Item(&'a Value),
    Text(&'a str),
}

/// A problem at a place within its document; 1:1 where the place is not known.
struct Fault {
    line: u64,
    column: u64,
    problem: String,
}

impl Source<'_> {
    fn decode<T: DeserializeOwned>(&self, what: &str) -> Result<T, Fault> {
        match self {
            Self::Item(value) => {
                T::deserialize(*value).map_err(|error| Fault::at_start(format!("{what}: {error}")))
            }
            Self::Text(text) => serde_saphyr::from_str(text).map_err(|error| {
                let location = error.location();
                Fault {
                    line: location.map_or(1, |it| it.line()),
                    column: location.map_or(1, |it| it.column()),
                    problem: format!("{what}: {}", summary(&error)),
                }
            }),
        }
    }
}

impl Fault {
    fn at_start(problem: String) -> Self {
        Self {
            line: 1,
            column: 1,
            problem,
        }
    }
}

/// What every object begins with.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    api_version: String,
    kind: String,
}

/// Only `List` is needed: the typed lists of the API have no kinds in their items.
#[derive(Deserialize)]
struct List {
    items: Vec<Value>,
}

fn read(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let header: Header = source.decode("object")?;
    let kind = header.kind.as_str();
    let objects = &mut manifest.objects;
    match (header.api_version.as_str(), kind) {
        ("v1", "List") => read_items(source, manifest),
        ("v1", "Namespace") => {
            add_clusterwide(&mut objects.namespaces, source, kind, |it| &it.metadata)
        }
        ("v1", "Node") => add_clusterwide(&mut objects.nodes, source, kind, |it| &it.metadata),
        ("v1", "Pod") => add_namespaced(&mut objects.pods, source, kind, |it| &it.metadata),
        ("v1", "Service") => add_namespaced(&mut objects.services, source, kind, |it| &it.metadata),
        ("discovery.k8s.io/v1", "EndpointSlice") => {
            add_namespaced(&mut objects.endpoint_slices, source, kind, |it| {
                &it.metadata
            })
        }
        ("cilium.io/v2", "CiliumNode") => {
            add_clusterwide(&mut objects.cilium_nodes, source, kind, |it| &it.metadata)
        }
        ("cilium.io/v2", "CiliumIdentity") => {
            add_clusterwide(&mut objects.cilium_identities, source, kind, |it| {
                &it.metadata
            })
        }
        ("cilium.io/v2", "CiliumEndpoint") => {
            add_namespaced(&mut objects.cilium_endpoints, source, kind, |it| {
                &it.metadata
            })
        }
        _ => {
            manifest
                .ignored
                .insert(format!("{} {kind}", header.api_version));
            Ok(())
        }
    }
}

fn read_items(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let list: List = source.decode("List")?;
    for (index, item) in list.items.iter().enumerate() {
        read(&Source::Item(item), manifest).map_err(|fault| Fault {
            problem: format!("items[{index}]: {}", fault.problem),
            ..fault
        })?;
    }
    Ok(())
}

fn add_clusterwide<T: DeserializeOwned>(
    table: &mut BTreeMap<String, Arc<T>>,
    source: &Source<'_>,
    kind: &str,
    metadata: impl Fn(&T) -> &ObjectMeta,
) -> Result<(), Fault> {
    let object: T = source.decode(kind)?;
    let name = name_of(metadata(&object), kind)?;
    table.insert(name, Arc::new(object));
    Ok(())
}

fn add_namespaced<T: DeserializeOwned>(
    table: &mut BTreeMap<ObjectName, Arc<T>>,
    source: &Source<'_>,
    kind: &str,
    metadata: impl Fn(&T) -> &ObjectMeta,
) -> Result<(), Fault> {
    let object: T = source.decode(kind)?;
    let metadata = metadata(&object);
    let name = ObjectName {
        name: name_of(metadata, kind)?,
        namespace: metadata
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
    };
    table.insert(name, Arc::new(object));
    Ok(())
}

fn name_of(metadata: &ObjectMeta, kind: &str) -> Result<String, Fault> {
    metadata
        .name
        .clone()
        .filter(|it| !it.is_empty())
        .ok_or_else(|| Fault::at_start(format!("{kind}: metadata.name is missing")))
}

/// One line, without the place: it counts from the document's start and not from the file's.
fn summary(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    match error.location() {
        Some(it) => {
            let place = format!(" at line {}, column {}", it.line(), it.column());
            text.replace(&place, "")
        }
        None => text,
    }
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
        assert_eq!(
            manifest.objects.services[&web()]
                .spec
                .as_ref()
                .unwrap()
                .ports
                .as_ref()
                .unwrap()[0]
                .port,
            80
        );
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

        assert_eq!(manifest.objects.namespaces.len(), 1);
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

    fn web() -> ObjectName {
        ObjectName {
            namespace: "default".to_owned(),
            name: "web".to_owned(),
        }
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let manifest = parse(text);
        let error = manifest.errors[0].to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
