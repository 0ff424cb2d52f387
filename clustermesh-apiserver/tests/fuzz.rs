//! Puts mutated golden data through every decoder, with the entries of the fuzz targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

#[path = "../../tests/fuzz/entries.rs"]
mod entries;

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

const ALPHA: &str = include_str!("golden/alpha-etcd.jsonl");
const BETA: &str = include_str!("golden/beta-etcd-kvstoremesh.jsonl");
const OBJECTS: &str = include_str!("golden/alpha-k8s-objects.json");

/// Mutations of each sample; a few seconds over all.
const ROUNDS: u64 = 300;

#[test]
fn keys_read_as_they_are_written() {
    let keys = golden().into_iter().map(|(key, _)| key.into_bytes());
    let own = [
        "causeway/state/services/v1/alpha/shop/web",
        "causeway/synced/alpha",
    ];
    fuzz(keys.chain(own.map(|it| it.into())), entries::key);
}

#[test]
fn records_read_as_they_are_written() {
    let records = golden().into_iter().map(|(key, value)| {
        let mut bytes = key.into_bytes();
        bytes.push(b'\n');
        bytes.extend(value);
        bytes
    });
    fuzz(records, entries::record);
}

#[test]
fn annotations_of_any_kind_are_read() {
    let annotations = r#"{"service.cilium.io/global":"true","service.cilium.io/shared":"false",
        "service.cilium.io/affinity":"local","clustermesh.cilium.io/global":"true",
        "network.cilium.io/wg-pub-key":"AAAA"}"#;
    fuzz([annotations.into()], entries::annotations);
}

#[test]
fn manifests_with_errors_take_nothing_away() {
    let list: serde_json::Value = serde_json::from_str(OBJECTS).unwrap();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    let items = items
        .into_iter()
        .take(20)
        .map(|it| it.to_string().into_bytes());
    let yaml = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a, namespace: b}\n---\nkind: &a [*a]\n";
    fuzz(items.chain([yaml.into()]), entries::manifest);
}

#[test]
fn remote_configurations_with_errors_take_nothing_away() {
    let file = "endpoints:\n- https://beta.mesh.cilium.io:2379\ntrusted-ca-file: /ca.crt\nkey-file: /c.key\ncert-file: /c.crt\ndial-timeout: 5s\ncilium-host-aliases:\n- hostname: beta.mesh.cilium.io\n  ips: [172.18.255.201]\n";
    fuzz([file.into()], entries::remote_file);
}

/// Runs `entry` on each sample as it is and on mutations of it; a failure names its bytes.
fn fuzz(samples: impl IntoIterator<Item = Vec<u8>>, entry: fn(&[u8])) {
    let samples: Vec<Vec<u8>> = samples.into_iter().collect();
    assert!(!samples.is_empty());
    let mut rng = SmallRng::seed_from_u64(1);
    for sample in &samples {
        entry(sample);
        for _ in 0..ROUNDS {
            let mut bytes = sample.clone();
            for _ in 0..rng.random_range(1..4) {
                mutate(&mut bytes, &samples, &mut rng);
            }
            let run = std::panic::catch_unwind(|| entry(&bytes));
            assert!(run.is_ok(), "on {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, samples: &[Vec<u8>], rng: &mut SmallRng) {
    if bytes.is_empty() {
        return;
    }
    let start = rng.random_range(0..bytes.len());
    let end = bytes.len().min(start + rng.random_range(1..8));
    match rng.random_range(0..6) {
        0 => bytes[start] = rng.random(),
        1 => bytes[start] = b"/:,{}[]\"'\\-0 \n"[rng.random_range(0..14)],
        2 => drop(bytes.drain(start..end)),
        3 => {
            let copy = bytes[start..end].to_vec();
            bytes.splice(start..start, copy);
        }
        4 => bytes.truncate(start),
        _ => {
            let other = &samples[rng.random_range(0..samples.len())];
            let from = rng.random_range(0..other.len());
            let to = other.len().min(from + rng.random_range(1..40));
            bytes.splice(start..end, other[from..to].iter().copied());
        }
    }
}

/// The keys of a real mesh with their values.
fn golden() -> Vec<(String, Vec<u8>)> {
    let lines = ALPHA.lines().chain(BETA.lines());
    let records = lines.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let value = line["value"].as_str()?.as_bytes().to_vec();
        Some((line["key"].as_str()?.to_owned(), value))
    });
    records.collect()
}
