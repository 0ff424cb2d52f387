//! Compares what is published with what a real Cilium mesh published from the same objects.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use std::collections::BTreeMap;

use clustermesh_apiserver::manifest;
use clustermesh_apiserver::manifest::catalog::Manifests;
use clustermesh_apiserver::model::{Effect, Input, Model, Part, Policy, Write};
use clustermesh_apiserver::objects::{ObjectEvent, ObjectKind};
use clustermesh_apiserver::publish::{Cluster, Options, Table};
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
    let ours = published(OBJECTS);

    let theirs = golden();
    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (key, theirs) in &theirs {
        let ours = &ours[key];
        if key.starts_with("cilium/state/endpointslices/") {
            // The frame depends on the encoder, and a protocol buffer's maps have no order.
            assert_eq!(fields(ours), fields(theirs), "{key}");
        } else {
            assert_eq!(
                String::from_utf8_lossy(ours),
                String::from_utf8_lossy(theirs),
                "{key}"
            );
        }
    }
}

#[test]
fn publishes_the_same_from_what_people_write() {
    let (ours, theirs) = (published(INPUT), published(OBJECTS));

    assert_eq!(
        ours.keys().collect::<Vec<_>>(),
        theirs.keys().collect::<Vec<_>>()
    );
    for (key, theirs) in &theirs {
        // What `kubectl apply` and an API server add travels with nodes, slices and exports.
        let is_embellished = ["endpointslices", "nodes", "serviceexports"]
            .iter()
            .any(|it| key.starts_with(&format!("cilium/state/{it}/")));
        if !is_embellished {
            assert_eq!(
                String::from_utf8_lossy(&ours[key]),
                String::from_utf8_lossy(theirs),
                "{key}"
            );
        }
    }
    let export = "cilium/state/serviceexports/v1/alpha/shop/web";
    let timeless = |records: &Records| {
        let text = String::from_utf8(records[export].clone()).unwrap();
        let time = ["2026-11-20T15:37:23Z", "9999-12-31T23:59:59Z"];
        time.iter().fold(text, |text, it| text.replace(it, ""))
    };
    assert_eq!(timeless(&ours), timeless(&theirs));
}

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
        .map(|(key, value)| (key.to_string(), value.to_vec()))
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
    let lines = RECORDS.lines().map(|it| serde_json::from_str(it).unwrap());
    lines
        .map(|it: Line| {
            let text = it.value.map(String::into_bytes);
            (
                it.key,
                text.unwrap_or_else(|| base64(&it.value_b64.unwrap())),
            )
        })
        .collect()
}

/// The fields of the message in a zstd frame.
fn fields(frame: &[u8]) -> Vec<Vec<u8>> {
    sorted(&zstd::bulk::decompress(frame, 1 << 20).unwrap())
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
