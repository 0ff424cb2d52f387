//! Decides what one document of a manifest, or an item of a `List`, says.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use serde_json::value::RawValue;

use super::items::{has_aliases, items};
use super::{Manifest, ManifestError};
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

/// Where a text begins in its file; both from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The place after so much text.
    fn after(self, text: &str) -> Self {
        let lines = text.bytes().filter(|it| *it == b'\n').count() as u64;
        let last = text.rsplit('\n').next().unwrap_or_default();
        let columns = last.chars().count() as u64;
        match lines {
            0 => Self {
                column: self.column + columns,
                ..self
            },
            _ => Self {
                line: self.line + lines,
                column: 1 + columns,
            },
        }
    }
}

/// A problem at a place within its text; 1:1 where the place is not known.
pub(super) struct Fault {
    line: u64,
    column: u64,
    problem: String,
}

impl Fault {
    pub(super) fn at(self, place: Place) -> ManifestError {
        let is_first_line = self.line <= 1;
        ManifestError {
            line: place.line + self.line.saturating_sub(1),
            column: match is_first_line {
                true => place.column + self.column.saturating_sub(1),
                false => self.column,
            },
            problem: self.problem,
        }
    }

    fn of_item(self, index: usize) -> Self {
        Self {
            problem: format!("items[{index}]: {}", self.problem),
            ..self
        }
    }
}

/// Adds the objects of `source`, which begins at `place` of its file, to `manifest`, and what is wrong
/// with them.
pub(super) fn read(source: &Source<'_>, place: Place, manifest: &mut Manifest) {
    if let Err(fault) = read_object(source, place, manifest) {
        manifest.complain(fault.at(place));
    }
}

/// Reads JSON; `None` for what is none.
pub(super) fn read_json(text: &str) -> Option<Manifest> {
    serde_json::from_str::<IgnoredAny>(text).ok()?;
    let mut manifest = Manifest::default();
    read(&Source::Json(text), Place::START, &mut manifest);
    Some(manifest)
}

fn read_object(source: &Source<'_>, place: Place, manifest: &mut Manifest) -> Result<(), Fault> {
    let header = source.header()?;
    match (header.api_version.as_str(), header.kind.as_str()) {
        ("v1", "List") => read_items(source, place, manifest),
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
        (api_version, kind) if source.ends_with_its_kind() => Err(Fault::at_start(format!(
            "{api_version} {kind}: nothing follows; is it written to its end?"
        ))),
        (api_version, kind) => {
            manifest.ignored.insert(format!("{api_version} {kind}"));
            Ok(())
        }
    }
}

/// One after the other: an item that is wrong does not take the others with it.
fn read_items(source: &Source<'_>, place: Place, manifest: &mut Manifest) -> Result<(), Fault> {
    if let Source::Json(text) = source {
        let list: List<&RawValue> = json(text, "List")?;
        for (index, item) in list.items.iter().enumerate() {
            let source = Source::Json(item.get());
            if let Err(fault) = read_object(&source, place, manifest) {
                let offset = item.get().as_ptr().addr() - text.as_ptr().addr();
                let place = place.after(&text[..offset]);
                manifest.complain(fault.of_item(index).at(place));
            }
        }
        return Ok(());
    }
    if let Source::Yaml(text) = source
        && let Some(items) = items(text).filter(|_| !has_aliases(text))
    {
        for (index, item) in items.enumerate() {
            let source = Source::Yaml(&item.text);
            let place = Place {
                line: place.line + item.line,
                column: 1,
            };
            if let Err(fault) = read_object(&source, place, manifest) {
                manifest.complain(fault.of_item(index).at(place));
            }
        }
        return Ok(());
    }
    let list: List<Value> = source.decode("List")?;
    for (index, item) in list.items.iter().enumerate() {
        if let Err(fault) = read_object(&Source::Item(item), place, manifest) {
            manifest.complain(fault.of_item(index).at(place));
        }
    }
    Ok(())
}

fn add<T: Raw>(source: &Source<'_>, manifest: &mut Manifest) -> Result<(), Fault> {
    let kind = T::KIND.to_string();
    let raw: T = source.decode(&kind)?;
    let (key, object) =
        objects::read(raw).map_err(|error| Fault::at_start(format!("{kind}: {error}")))?;
    if manifest
        .objects
        .insert(key.clone(), Arc::new(object))
        .is_some()
    {
        manifest.repeated.insert(key);
    }
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

    /// Whether it holds nothing but version and kind, as if its writer had stopped there: torn in the
    /// middle of its kind, an object would pass for one that nobody has a use for.
    fn ends_with_its_kind(&self) -> bool {
        match self {
            Self::Item(_) | Self::Json(_) => false,
            Self::Yaml(text) => plain_header(text).is_some() && content(text).count() == 2,
        }
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
/// Saves reading the document twice. In a block mapping nothing but its keys begins in the column of
/// the first one; `None` for every other style, and for words that are not plain.
fn plain_header(document: &str) -> Option<Header> {
    let first = content(document).next()?;
    let indent = first.len() - first.trim_start_matches(' ').len();
    if !first[indent..].starts_with(|it: char| it.is_ascii_alphabetic()) {
        return None;
    }
    Some(Header {
        api_version: plain_value(document, indent, "apiVersion:")?,
        kind: plain_value(document, indent, "kind:")?,
    })
}

/// The lines that are neither empty nor comments, directives or the beginning of a sequence's entry.
fn content(document: &str) -> impl Iterator<Item = &str> {
    document.lines().filter(|it| {
        let it = it.trim_start_matches(' ');
        !it.is_empty() && !it.starts_with(['#', '-', '%'])
    })
}

/// The value of a key that stands exactly once in this column.
fn plain_value(document: &str, indent: usize, key: &str) -> Option<String> {
    let keys = document.lines().filter_map(|line| {
        let (blanks, rest) = line.split_at_checked(indent)?;
        let value = rest.strip_prefix(key)?;
        blanks.bytes().all(|it| it == b' ').then_some(value)
    });
    let mut values = keys;
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
