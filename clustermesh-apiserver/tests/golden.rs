//! Compares what is published with what a real Cilium mesh published from the same objects.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use std::collections::BTreeMap;

use clustermesh_apiserver::identity::Numbers;
use clustermesh_apiserver::manifest;
use clustermesh_apiserver::publish::{Cluster, Table, publish};
use proptest::prelude::*;
use serde::Deserialize;
use topology::id::MeshSize;

const OBJECTS: &str = include_str!("golden/alpha-k8s-objects.json");
const RECORDS: &str = include_str!("golden/alpha-etcd.jsonl");

#[test]
fn publishes_what_cilium_publishes() {
    let ours = published();

    for kind in ["identities", "ip", "nodes", "services"] {
        let prefix = format!("cilium/state/{kind}/");
        let theirs = golden(&prefix);
        assert!(!theirs.is_empty());
        assert_eq!(texts(&ours, &prefix), theirs);
    }
}

#[test]
fn describes_the_cluster_as_cilium_does() {
    let ours = texts(&published(), "cilium/cluster-config/");

    let mut theirs = golden("cilium/cluster-config/");
    let config = theirs.get_mut("cilium/cluster-config/alpha").unwrap();
    // The cluster that was recorded had service exports switched on.
    *config = config.replace(
        r#""serviceExportsEnabled":true"#,
        r#""serviceExportsEnabled":false"#,
    );
    assert_eq!(ours, theirs);
}

#[test]
fn publishes_the_endpoint_slices_that_cilium_publishes() {
    let ours: BTreeMap<String, Vec<u8>> = published()
        .into_iter()
        .filter(|(key, _)| key.starts_with("cilium/state/endpointslices/"))
        .map(|(key, value)| (key, zstd::bulk::decompress(&value, 1 << 20).unwrap()))
        .collect();

    let theirs: BTreeMap<String, Vec<u8>> = lines()
        .filter_map(|it| Some((it.key, it.value_b64?)))
        .map(|(key, value)| {
            (
                key,
                zstd::bulk::decompress(&base64(&value), 1 << 20).unwrap(),
            )
        })
        .collect();
    assert_eq!(theirs.len(), 3);
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (key, ours) in &ours {
        // A protocol buffer's maps have no order, and Go's differs from run to run.
        assert_eq!(sorted(ours), sorted(&theirs[key]), "{key}");
    }
}

proptest! {
    #[test]
    fn publishes_the_same_from_files_in_any_order(
        mut documents in Just(documents()).prop_shuffle(),
        files in 1..5_usize,
    ) {
        let expected = publish(&manifest::parse(&documents.join("---\n")).objects, &alpha(), &Numbers::new());

        let mut objects = manifest::parse("").objects;
        let size = documents.len().div_ceil(files);
        while !documents.is_empty() {
            let file = documents.split_off(documents.len().saturating_sub(size));
            prop_assert_eq!(objects.merge(&manifest::parse(&file.join("---\n")).objects), Vec::<String>::new());
        }

        prop_assert_eq!(publish(&objects, &alpha(), &Numbers::new()), expected);
    }
}

fn published() -> Table {
    let manifest = manifest::parse(OBJECTS);
    assert_eq!(manifest.errors, []);
    let publication = publish(&manifest.objects, &alpha(), &Numbers::new());
    assert_eq!(publication.problems, Vec::<String>::new());
    publication.table
}

fn alpha() -> Cluster {
    Cluster {
        name: "alpha".parse().unwrap(),
        id: 1.try_into().unwrap(),
        mesh: MeshSize::default(),
    }
}

/// The golden objects, one JSON document each, and some pods.
fn documents() -> Vec<String> {
    let list: serde_json::Value = serde_json::from_str(OBJECTS).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let pods = (1..6).map(|number| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}, labels: {{app: a{number}}}}}\n\
             spec: {{containers: []}}\nstatus: {{podIP: 10.1.3.{}}}\n",
            number / 2 // So that two of them claim one address.
        )
    });
    items.map(|it| format!("{it}\n")).chain(pods).collect()
}

#[derive(Deserialize)]
struct Line {
    key: String,
    value: Option<String>,
    value_b64: Option<String>,
}

fn lines() -> impl Iterator<Item = Line> {
    RECORDS.lines().map(|it| serde_json::from_str(it).unwrap())
}

fn golden(prefix: &str) -> BTreeMap<String, String> {
    let lines = lines().filter(|it| it.key.starts_with(prefix));
    lines.map(|it| (it.key, it.value.unwrap())).collect()
}

fn texts(table: &Table, prefix: &str) -> BTreeMap<String, String> {
    let records = table.iter().filter(|(key, _)| key.starts_with(prefix));
    records
        .map(|(key, value)| (key.clone(), String::from_utf8(value.clone()).unwrap()))
        .collect()
}

/// The fields of a message, sorted: equal for messages that mean the same.
fn sorted(message: &[u8]) -> Vec<Vec<u8>> {
    let mut fields = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let tag = usize::from(rest[0]);
        let (length, header) = match tag & 7 {
            0 => (0, 1 + varint(&rest[1..]).1),
            2 => {
                let (length, size) = varint(&rest[1..]);
                (length, 1 + size)
            }
            other => panic!("no such wire type in these messages: {other}"),
        };
        let (field, after) = rest.split_at(header + length);
        fields.push(field.to_vec());
        rest = after;
    }
    fields.sort();
    fields
}

/// The number and how many bytes it took.
fn varint(bytes: &[u8]) -> (usize, usize) {
    let size = bytes.iter().position(|it| it & 0x80 == 0).unwrap() + 1;
    let number = bytes[..size]
        .iter()
        .rev()
        .fold(0, |number, it| number << 7 | usize::from(it & 0x7f));
    (number, size)
}

fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits: Vec<u32> = text
        .bytes()
        .filter_map(|it| ALPHABET.iter().position(|letter| *letter == it))
        .map(|it| u32::try_from(it).unwrap())
        .collect();
    let bytes = digits.chunks(4).flat_map(|chunk| {
        let padded = chunk
            .iter()
            .chain(&[0; 4])
            .take(4)
            .fold(0, |number, it| number << 6 | it);
        padded.to_be_bytes()[1..chunk.len()].to_vec()
    });
    bytes.collect()
}
