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
    let items = objects()
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

#[test]
fn contracts_with_errors_take_nothing_away() {
    let file = "cluster: {name: beta, id: 2}\npodCIDRs: [10.2.0.0/16, 'fd00::/64']\nnodeCIDRs: [192.0.2.0/24]\n\
                namespaces: [shop]\nlimits:\n  objects: 1000\n  bytes: 1000000\n  changesPerSecond: 100\n";
    fuzz([file.into()], entries::contract);
}

#[test]
fn users_that_are_built_in_stay_as_they_are() {
    let file = "users:\n- name: remote-beta\n  role: remote\n- name: ops\n  role: root\n- {name: local-alpha, role: local}\n";
    fuzz([file.into()], entries::users_file);
}

#[test]
fn certificate_files_are_read_or_their_problem_is_named() {
    let names = ["remote.mesh.example".to_owned(), "192.0.2.1".to_owned()];
    let certificate = rcgen::generate_simple_self_signed(names).unwrap();
    let pem = certificate.cert.pem();
    fuzz([pem.into_bytes()], entries::certificate_file);
}

#[test]
fn versions_are_read_from_any_server() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n{\"etcdserver\":\"3.5.9\",\"etcdcluster\":\"3.5.0\"}";
    fuzz([answer.into()], entries::version);
}

#[test]
fn peers_can_read_what_is_published_of_any_objects() {
    let items = objects().into_iter().map(|it| it.to_string().into_bytes());
    fuzz(items, entries::publish);
}

#[test]
fn mirrors_whatever_a_peer_says() {
    let lines = |sign: &str, records: Vec<(String, Vec<u8>)>| {
        let lines = records.into_iter().map(|(key, value)| {
            let line = [sign.as_bytes(), key.as_bytes(), b" ", &value].concat();
            line.into_iter()
                .map(|it| if it == b'\n' { b' ' } else { it })
        });
        lines.flat_map(|it| it.chain([b'\n'])).collect::<Vec<_>>()
    };
    let listed = [lines("+", golden()), b"=\n".to_vec()].concat();
    let changed = [b"~\n=\n".to_vec(), lines("", golden())].concat();
    let service =
        r#"{"cluster":"alpha","namespace":"shop","name":"big","backends":{},"clusterID":1}"#;
    let backend = r#"{"ports":{"http":{"Protocol":"TCP","Port":80}},"hostname":"big-1"}"#;
    let big = "causeway/delta/services/v1/alpha/shop/big";
    let delta = format!(
        "!\n{big} {service}\n{big}/10.1.1.1 {backend}\n-{big}/10.1.1.1\n+{big} {service}\n=\n-{big}"
    );
    fuzz_rounds([listed, changed, delta.into()], entries::mirror, ROUNDS / 3);
}

#[test]
fn endpoint_slices_are_shown_as_they_are_or_counted() {
    let message = b"\x0a\x05alpha\x10\x01\x1a\x04shop\x22\x05web-1\x3a\x04IPv4\
        \x42\x0f\x0a\x0910.1.1.10\x12\x02\x08\x01\x4a\x0c\x0a\x04http\x12\x03TCP\x18\x50";
    let packed = zstd::bulk::compress(message, 1).unwrap();
    let forms = [
        [b"\x01", &message[..]].concat(),
        [b"\x00", &*packed].concat(),
    ];
    fuzz_rounds(forms, entries::endpoint_slice, ROUNDS * 10);
}

/// The objects of a real cluster.
fn objects() -> Vec<serde_json::Value> {
    let list: serde_json::Value = serde_json::from_str(OBJECTS).unwrap();
    list["items"].as_array().cloned().unwrap_or_default()
}

fn fuzz(samples: impl IntoIterator<Item = Vec<u8>>, entry: fn(&[u8])) {
    fuzz_rounds(samples, entry, ROUNDS);
}

/// Runs `entry` on each sample as it is and on mutations of it; a failure names its bytes.
fn fuzz_rounds(samples: impl IntoIterator<Item = Vec<u8>>, entry: fn(&[u8]), rounds: u64) {
    let samples: Vec<Vec<u8>> = samples.into_iter().collect();
    assert!(!samples.is_empty());
    let mut rng = SmallRng::seed_from_u64(1);
    for sample in &samples {
        entry(sample);
        for _ in 0..rounds {
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
