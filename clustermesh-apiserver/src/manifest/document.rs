//! Decides what one document of a manifest, or an item of a `List`, says.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::value::RawValue;

use super::Manifest;
use crate::objects::cilium::{CiliumEndpoint, CiliumEndpointSlice, CiliumIdentity, CiliumNode};
use crate::objects::multicluster::{ServiceExport, ServiceImport};
use crate::objects::{self, Raw};

/// A document, or an item of a `List`.
pub(super) enum Source<'a> {
    Item(&'a Value),
    /// Many times as fast as YAML, and what large files are written in.
    Json(&'a str),
    Yaml(&'a str),
}

/// A problem at a place within its document; 1:1 where the place is not known.
pub(super) struct Fault {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) problem: String,
}

/// Adds the objects of `source` to `manifest`.
pub(super) fn read(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let header = source.header()?;
    match (header.api_version.as_str(), header.kind.as_str()) {
        ("v1", "List") => read_items(source, manifest),
        ("v1", "Namespace") => add::<Namespace>(source, manifest),
        ("v1", "Node") => add::<Node>(source, manifest),
        ("v1", "Pod") => add::<Pod>(source, manifest),
        ("v1", "Service") => add::<Service>(source, manifest),
        ("discovery.k8s.io/v1", "EndpointSlice") => add::<EndpointSlice>(source, manifest),
        ("cilium.io/v2", "CiliumEndpoint") => add::<CiliumEndpoint>(source, manifest),
        ("cilium.io/v2" | "cilium.io/v2alpha1", "CiliumEndpointSlice") => {
            add::<CiliumEndpointSlice>(source, manifest)
        }
        ("cilium.io/v2", "CiliumIdentity") => add::<CiliumIdentity>(source, manifest),
        ("cilium.io/v2", "CiliumNode") => add::<CiliumNode>(source, manifest),
        (
            "multicluster.x-k8s.io/v1alpha1" | "multicluster.x-k8s.io/v1beta1",
            kind @ ("ServiceExport" | "ServiceImport"),
        ) => match kind {
            "ServiceExport" => add::<ServiceExport>(source, manifest),
            _ => add::<ServiceImport>(source, manifest),
        },
        (api_version, kind) => {
            manifest.ignored.insert(format!("{api_version} {kind}"));
            Ok(())
        }
    }
}

fn read_items(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let named = |index: usize, fault: Fault| Fault {
        problem: format!("items[{index}]: {}", fault.problem),
        ..fault
    };
    if let Source::Json(text) = source {
        let list: List<&RawValue> = json(text, "List")?;
        for (index, item) in list.items.iter().enumerate() {
            let item = Source::Json(item.get());
            read(&item, manifest).map_err(|fault| named(index, fault))?;
        }
        return Ok(());
    }
    let list: List<Value> = source.decode("List")?;
    for (index, item) in list.items.iter().enumerate() {
        read(&Source::Item(item), manifest).map_err(|fault| named(index, fault))?;
    }
    Ok(())
}

fn add<T: Raw>(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let kind = T::KIND.to_string();
    let raw: T = source.decode(&kind)?;
    let (key, object) =
        objects::read(raw).map_err(|error| Fault::at_start(format!("{kind}: {error}")))?;
    manifest.objects.insert(key, Arc::new(object));
    Ok(())
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
struct List<T> {
    items: Vec<T>,
}

impl Source<'_> {
    fn header(&self) -> Result<Header, Fault> {
        if let Self::Yaml(text) = self
            && let Some(header) = plain_header(text)
        {
            return Ok(header);
        }
        self.decode("object")
    }

    fn decode<T: DeserializeOwned>(&self, what: &str) -> Result<T, Fault> {
        match self {
            Self::Item(value) => {
                T::deserialize(*value).map_err(|error| Fault::at_start(format!("{what}: {error}")))
            }
            Self::Json(text) => json(text, what),
            Self::Yaml(text) => serde_saphyr::from_str(text).map_err(|error| {
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

fn json<'a, T: Deserialize<'a>>(text: &'a str, what: &str) -> Result<T, Fault> {
    serde_json::from_str(text).map_err(|error| Fault {
        line: error.line() as u64,
        column: error.column() as u64,
        problem: format!("{what}: {error}"),
    })
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

/// Finds version and kind where nearly everybody writes them: as plain words in lines of their own.
///
/// Saves reading the document twice. In a block mapping nothing but its keys begins in the first
/// column; `None` for every other style, and for words that are not plain.
fn plain_header(document: &str) -> Option<Header> {
    let mut lines = document.lines();
    let first = lines.find(|it| !it.is_empty() && !it.starts_with(['#', '-', '%']))?;
    if !first.starts_with(|it: char| it.is_ascii_alphabetic()) {
        return None;
    }
    Some(Header {
        api_version: plain_value(document, "apiVersion:")?,
        kind: plain_value(document, "kind:")?,
    })
}

/// The value of a key that stands exactly once in the first column.
fn plain_value(document: &str, key: &str) -> Option<String> {
    let mut values = document.lines().filter_map(|it| it.strip_prefix(key));
    let value = values.next()?.trim();
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || b"./-".contains(&it);
    let is_one_word = !value.is_empty() && value.bytes().all(is_plain);
    (is_one_word && values.next().is_none()).then(|| value.to_owned())
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
