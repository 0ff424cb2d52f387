//! Reads and writes every record of a real Cilium mesh, and compares the bytes.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

use topology::id::ClusterName;
use topology::record::{Capabilities, ClusterConfig, Key, Record};

#[test]
fn writes_what_the_publisher_wrote() {
    let records = golden(include_str!("golden/alpha-etcd.jsonl"), "alpha");

    assert_eq!(records.len(), 18);
    for (text, key, value) in records {
        assert_eq!(key.published(), text);
        check_value(&text, &key, &value);
    }
}

#[test]
fn writes_what_the_mirror_wrote() {
    let records = golden(include_str!("golden/beta-etcd-kvstoremesh.jsonl"), "beta");

    assert_eq!(records.len(), 18);
    for (text, key, value) in records {
        assert_eq!(key.mirrored(), text);
        check_value(&text, &key, &value);
    }
}

#[test]
fn refuses_what_upstreams_reader_refuses() {
    let node = r#"{"Name":"node-1","Cluster":"alpha","ClusterID":1}"#;
    let ip = |id: u32| format!(r#"{{"IP":"10.1.1.10","ID":{id}}}"#);
    let service = r#"{"cluster":"alpha","namespace":"shop","name":"web","clusterID":1,"new":1}"#;

    check("cilium/state/nodes/v1/alpha/node-1", node, "");
    check(
        "cilium/state/nodes/v1/alpha/other",
        node,
        "name does not match",
    );
    check(
        "cilium/state/nodes/v1/gamma/node-1",
        node,
        "cluster name does not match",
    );
    let wrong_id = node.replace(":1}", ":9}");
    check(
        "cilium/state/nodes/v1/alpha/node-1",
        &wrong_id,
        "cluster id does not match",
    );

    check("cilium/state/ip/v1/default/10.1.1.10", &ip(65_537), "");
    check("cilium/state/ip/v1/default/10.1.1.10", &ip(1), "");
    check(
        "cilium/state/ip/v1/default/10.1.1.11",
        &ip(65_537),
        "address does not match",
    );
    check(
        "cilium/state/ip/v1/default/10.1.1.10",
        &ip(131_073),
        "does not belong",
    );
    let prefix = r#"{"IP":"10.9.9.0","Mask":"////AA==","ID":65537}"#;
    check("cilium/state/ip/v1/default/10.9.9.0/24", prefix, "");

    check("cilium/state/services/v1/alpha/shop/web", service, "");
    check(
        "cilium/state/services/v1/alpha/shop/x",
        service,
        "name does not match",
    );
    let bad_backend = service.replace(r#""new":1"#, r#""backends":{"ten":{}}"#);
    check(
        "cilium/state/services/v1/alpha/shop/web",
        &bad_backend,
        "no valid value",
    );

    let labels = "k8s:io.cilium.k8s.policy.cluster=alpha;";
    check("cilium/state/identities/v1/id/65537", labels, "");
    check(
        "cilium/state/identities/v1/id/131073",
        labels,
        "does not belong",
    );
    check(
        "cilium/state/identities/v1/id/65537",
        "k8s:a=b;",
        "is missing",
    );
    let other = labels.replace("alpha", "gamma");
    check(
        "cilium/state/identities/v1/id/65537",
        &other,
        "cluster label does not match",
    );
}

#[test]
fn puts_a_service_together_again_that_was_published_in_parts() {
    let (_, key, value) = golden(include_str!("golden/alpha-etcd.jsonl"), "alpha")
        .into_iter()
        .find(|(text, ..)| text == "cilium/state/services/v1/alpha/shop/web")
        .unwrap();
    let decode = |key: &Key, value: &[u8]| Record::decode(key, value, Some(&alpha())).unwrap();
    let Record::Service(mut service) = decode(&key, value.as_bytes()) else {
        panic!("{value} is a service");
    };
    let Key::Service(cluster, name) = key else {
        panic!("{value} is a service's");
    };

    let parts = service.take_backends();
    assert_eq!(parts.len(), 4);
    assert!(service.hostnames.is_empty() && service.zones.is_empty());
    for (address, part) in parts {
        let key = Key::DeltaBackend(cluster.clone(), name.clone(), address);
        let read = decode(&key, &Record::Backend(part.clone()).encode());
        assert_eq!(read, Record::Backend(part.clone()));
        service.insert_backend(address, part);
    }
    let whole = Record::Service(service).encode();
    assert_eq!(String::from_utf8(whole).unwrap(), value);
}

/// Decodes `value` as cluster 1's, and compares the error's beginning; empty means none.
#[track_caller]
fn check(key: &str, value: &str, expected: &str) {
    let key = Key::parse(key, &"alpha".parse().unwrap()).unwrap().unwrap();
    let result = Record::decode(&key, value.as_bytes(), Some(&alpha()));

    match result {
        Ok(_) => assert_eq!(expected, ""),
        Err(error) => {
            let error = error.to_string();
            assert!(!expected.is_empty() && error.contains(expected), "{error}");
        }
    }
}

#[track_caller]
fn check_value(text: &str, key: &Key, value: &str) {
    let record = Record::decode(key, value.as_bytes(), Some(&alpha())).unwrap();

    // A value with a `;` of its own is not escaped upstream, so nobody can read it back.
    if !value.contains("a<b>&c=d;e;") {
        assert_eq!(String::from_utf8(record.encode()).unwrap(), value, "{text}");
    }
}

/// The records of a dump whose values are text, keys beside meanings.
fn golden(dump: &str, owner: &str) -> Vec<(String, Key, String)> {
    let owner: ClusterName = owner.parse().unwrap();
    let mut records = Vec::new();
    for line in dump.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = line["key"].as_str().unwrap();
        let (Some(key), Some(value)) = (Key::parse(text, &owner).unwrap(), line["value"].as_str())
        else {
            continue;
        };
        records.push((text.to_owned(), key, value.to_owned()));
    }
    records
}

fn alpha() -> ClusterConfig {
    ClusterConfig {
        id: 1.try_into().unwrap(),
        capabilities: Capabilities::default(),
    }
}
