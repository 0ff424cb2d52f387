//! Compares what is published with what a real Cilium mesh published from the same objects.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use std::collections::BTreeMap;

use clustermesh_apiserver::manifest;
use clustermesh_apiserver::manifest::catalog::Manifests;
use clustermesh_apiserver::model::{Effect, Input, Model, Part, Policy, Write};
use clustermesh_apiserver::objects::{ObjectEvent, ObjectKind};
use clustermesh_apiserver::publish::{Cluster, Options, Table};
use clustermesh_apiserver::remote::{Contract, Remote};
use kvstore::follower::{self, Update};
use serde::Deserialize;
use topology::diff::Change;
use topology::id::MeshSize;

/// As the API server of the recorded cluster returned them.
const OBJECTS: &str = include_str!("golden/alpha-k8s-objects.json");
/// The same objects as somebody wrote them, before any API server filled in the rest.
const INPUT: &str = include_str!("golden/alpha-k8s-input.yaml");
const RECORDS: &str = include_str!("golden/alpha-etcd.jsonl");

/// When the recorded publisher was complete: 2026-11-20T15:37:46Z.
const COMPLETE: u64 = 1_795_189_066_000;

#[test]
fn publishes_what_cilium_publishes() {
    compare(&published(OBJECTS), &golden());
}

/// The bytes follow from what people write, but for what nobody wrote: `kubectl apply` leaves a copy
/// of each object in its annotations, which travel with nodes and slices, and an API server notes
/// when an export was created.
#[test]
fn publishes_the_same_from_what_people_write() {
    let theirs = golden().into_iter().map(|(key, value)| {
        let value = match kind(&key) {
            "endpointslices" => without_applied_in_slice(&value),
            "nodes" => without_applied_in_node(&value),
            "serviceexports" => {
                let text = String::from_utf8(value).unwrap();
                text.replace("2026-11-20T15:37:23Z", "2026-11-20T15:37:46Z")
                    .into()
            }
            _ => value,
        };
        (key, value)
    });

    compare(&published(INPUT), &theirs.collect());
}

/// The frames are those that Cilium's encoder wrote.
#[test]
fn mirrors_the_slices_that_keep_to_the_contract() {
    let slices = |table: &clustermesh_apiserver::remote::Table| -> Records {
        let cached = table.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix("cilium/cache/endpointslices/")?;
            Some((
                format!("cilium/state/endpointslices/{name}"),
                value.to_vec(),
            ))
        });
        cached.collect()
    };
    let mut theirs = recorded();
    theirs.retain(|key, _| key.starts_with("cilium/state/endpointslices/"));
    assert!(!theirs.is_empty());

    let honest = mirrored("podCIDRs: [10.1.0.0/16, 'fd00::/16']");
    assert_eq!(slices(&honest.table()), theirs);
    assert!(
        honest.rejections().counts.is_empty(),
        "{:?}",
        honest.rejections()
    );

    let foreign = mirrored("podCIDRs: [10.99.0.0/16]");
    assert_eq!(slices(&foreign.table()), Records::new());
    assert!(foreign.rejections().counts.contains_key("backend-address"));
}

/// All that the recorded cluster published, mirrored under a contract.
fn mirrored(contract: &str) -> Remote {
    let (name, own) = ("alpha".parse().unwrap(), "beta".parse().unwrap());
    let mut remote = Remote::new(name, own, MeshSize::default(), 0);
    let path = std::path::Path::new("alpha.contract.yaml");
    let _ = remote.set_contract(Contract::parse(path, "alpha", contract).unwrap());
    let records = recorded().into_iter().map(|(key, value)| follower::Record {
        key,
        value,
        mod_revision: 1,
    });
    let _ = remote.apply(Update::Listed(records.collect()), &[].into(), 0);
    remote
}

/// Keys to values. Those of slices are not compressed: the frame depends on the encoder.
type Records = BTreeMap<String, Vec<u8>>;

/// What a model has written of Cilium's records a minute after its start.
fn published(text: &str) -> Records {
    let manifest = manifest::parse(text);
    assert_eq!(manifest.errors, []);
    let cluster = Cluster {
        name: "alpha".parse().unwrap(),
        id: 1.try_into().unwrap(),
        mesh: MeshSize::default(),
    };
    let options = Options {
        mcs_api: true,
        ..Options::default()
    };
    let mut model = Model::with_policy(cluster, options, Policy::default(), COMPLETE);
    let objects = Manifests {
        events: vec![ObjectEvent::Restarted {
            kinds: ObjectKind::ALL.to_vec(),
            objects: manifest.objects,
        }],
        problems: None,
    };
    let mut table = Table::new();
    for (input, now) in [
        (Input::Objects(objects), COMPLETE),
        (Input::Tick, COMPLETE + 60_000),
    ] {
        for effect in model.apply(input, now) {
            carry_out(effect, &mut table);
        }
    }
    assert_eq!(model.status(true, None).problems, []);
    let cilium = table
        .into_iter()
        .filter(|(key, _)| key.starts_with("cilium/"));
    cilium
        .map(|(key, value)| unpacked((key.to_string(), value.to_vec())))
        .collect()
}

fn carry_out(effect: Effect, table: &mut Table) {
    let Effect::Write {
        part: Part::Own,
        write,
    } = effect
    else {
        panic!("{effect:?}");
    };
    match write {
        Write::All(all) => *table = all,
        Write::Changes(changes) => {
            for change in changes {
                match change {
                    Change::Delete(key) => drop(table.remove(&key)),
                    Change::Put(key, value) => drop(table.insert(key, value)),
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    key: String,
    value: Option<String>,
    value_b64: Option<String>,
}

fn golden() -> Records {
    recorded().into_iter().map(unpacked).collect()
}

/// With values as they were in the store.
fn recorded() -> Records {
    let lines = RECORDS.lines().map(|it| serde_json::from_str(it).unwrap());
    let records = lines.map(|it: Line| {
        let text = it.value.map(String::into_bytes);
        let value = text.unwrap_or_else(|| base64(&it.value_b64.unwrap()));
        (it.key, value)
    });
    records.collect()
}

/// The part of a key that says what kind of record it is.
fn kind(key: &str) -> &str {
    let kind = key.strip_prefix("cilium/state/");
    kind.and_then(|it| it.split('/').next()).unwrap_or_default()
}

fn unpacked((key, value): (String, Vec<u8>)) -> (String, Vec<u8>) {
    match kind(&key) {
        "endpointslices" => {
            let message = zstd::bulk::decompress(&value, 1 << 20).unwrap();
            (key, message)
        }
        _ => (key, value),
    }
}

#[track_caller]
fn compare(ours: &Records, theirs: &Records) {
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (key, theirs) in theirs {
        let ours = &ours[key];
        let texts = [ours, theirs].map(|it| String::from_utf8_lossy(it).into_owned());
        assert_eq!(texts[0], texts[1], "{key}");
        assert_eq!(ours, theirs, "{key}");
    }
}

const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A node's record as it would be without the annotation.
fn without_applied_in_node(record: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(record).unwrap();
    let (before, rest) = text.split_once(&format!("\"{APPLIED}\":\"")).unwrap();
    let mut is_escaped = false;
    let end = rest.bytes().position(|it| {
        let is_end = it == b'"' && !is_escaped;
        is_escaped = it == b'\\' && !is_escaped;
        is_end
    });
    let after = &rest[end.unwrap() + 1..];
    let after = after.strip_prefix(',').unwrap_or(after);
    let text = format!("{before}{after}");
    // An object without annotations has no map at all.
    text.replace("\"Annotations\":{}", "\"Annotations\":null")
        .into()
}

/// A slice's message as it would be without the annotation.
fn without_applied_in_slice(message: &[u8]) -> Vec<u8> {
    const ANNOTATION: u8 = 6 << 3 | 2;
    let key = [
        &[1 << 3 | 2, u8::try_from(APPLIED.len()).unwrap()],
        APPLIED.as_bytes(),
    ]
    .concat();
    let mut kept = Vec::new();
    let mut rest = message;
    while !rest.is_empty() {
        let (number, size) = varint(&rest[1..]);
        let header = 1 + size;
        let length = match rest[0] & 7 {
            0 => header,
            2 => header + number,
            other => panic!("no such wire type in these messages: {other}"),
        };
        let (field, after) = rest.split_at(length);
        if field[0] != ANNOTATION || !field[header..].starts_with(&key) {
            kept.extend_from_slice(field);
        }
        rest = after;
    }
    kept
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
