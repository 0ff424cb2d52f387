//! What a remote may not say.

use super::*;

#[test]
fn refuses_configs_that_contradict_the_mesh() {
    check_refusal(
        r#"{"id":7,"capabilities":{}}"#,
        "its id 7 is the id of cluster own",
    );
    check_refusal(
        r#"{"id":0}"#,
        "its cluster-config is invalid: no valid value: ",
    );
    check_refusal(
        r#"{"id":1,"capabilities":{"maxConnectedClusters":511}}"#,
        "its maxConnectedClusters is 511, and ours is 255",
    );
    check_refusal(
        r#"{"id":1,"capabilities":{"endpointSlicesExportMode":"new"}}"#,
        "its endpointSlicesExportMode \"new\" is unknown",
    );
}

#[test]
fn drops_and_counts_records_that_break_the_contract() {
    let mut remote = connected();
    let before = remote.table();

    for (key, value) in [
        (WEB, service(2).as_str()),
        ("cilium/state/services/v1/alpha/shop/new", "{"),
        (
            "cilium/state/identities/v1/id/131073",
            "k8s:io.cilium.k8s.policy.cluster=alpha;",
        ),
        ("cilium/state/identities/v1/id/65540", "k8s:app=web;"),
        (
            "cilium/state/identities/v1/id/many",
            "k8s:io.cilium.k8s.policy.cluster=alpha;",
        ),
        // About another cluster, or of another tree: not a violation, but none of our business.
        ("cilium/state/nodes/v1/alphabet/node-9", "{}"),
        ("cilium/cache/nodes/v1/alpha/node-9", "{}"),
    ] {
        remote.apply(put(key, value), &taken(), 2_000);
    }

    assert_eq!(remote.table(), before);
    let counts = BTreeMap::from([
        ("foreign-identity", 1),
        ("malformed-key", 1),
        ("mismatch", 1),
        ("no-cluster-label", 1),
        ("no-json", 1),
    ]);
    assert_eq!(remote.rejections().counts, counts);
    assert!(
        remote
            .rejections()
            .last
            .starts_with("cilium/state/identities/v1/id/many: ")
    );
}

#[test]
fn holds_a_remote_to_its_contract() {
    let mut remote = connected();
    let nodes = remote.records().get(Kind::Nodes).map_or(0, BTreeMap::len);
    assert!(0 < nodes);
    let contract = "podCIDRs: [10.1.1.0/24]\nlimits: {objects: 1000}";
    let path = std::path::Path::new("/alpha.contract.yaml");
    let mut contract = Contract::parse(path, "alpha", contract).unwrap();

    let changes = remote.set_contract(contract.clone());
    assert!(!changes.is_empty());
    let all = changes.iter().all(|it| matches!(it, Change::Delete(_)));
    assert!(all, "{changes:?}");
    remote.apply(Update::Listed(golden(SOURCE)), &taken(), 2_000);
    assert!(remote.rejections().counts.contains_key("address"));
    assert!(
        remote
            .records()
            .get(Kind::Ip)
            .unwrap()
            .keys()
            .all(|it| it.contains("/10.1.1."))
    );

    contract.limits.objects = Some(remote.records().len());
    remote.set_contract(contract);
    let value = r#"{"IP":"10.1.1.200","ID":65537}"#;
    let step = remote.apply(
        put("cilium/state/ip/v1/default/10.1.1.200", value),
        &taken(),
        3_000,
    );
    assert_eq!(step.changes, []);
    assert_eq!(remote.rejections().counts["too-many"], 1);

    let mut pinned = Contract::default();
    pinned.cluster.id = Some(9.try_into().unwrap());
    remote.set_contract(pinned);
    remote.apply(Update::Listed(golden(SOURCE)), &taken(), 4_000);
    assert!(!remote.is_connected());
    assert_eq!(
        remote.state().unwrap().reason,
        "its id is 1, and its contract says 9"
    );
}

#[test]
fn keeps_nothing_of_scoped_records_without_room() {
    let mut remote = connected();
    let mut contract = Contract::default();
    contract.limits.objects = Some(remote.records().len());
    remote.set_contract(contract);
    let own = remote.own.clone();

    for host in 0..100 {
        let key = format!("causeway/export/{own}/cilium/state/ip/v1/default/10.1.200.{host}");
        let value = format!(r#"{{"IP":"10.1.200.{host}","ID":65537}}"#);
        remote.apply(put(&key, &value), &taken(), 2_000);
    }

    assert_eq!(remote.rejections().counts["too-many"], 100);
    assert_eq!(remote.placements.len(), 0);
}

#[track_caller]
fn check_refusal(config: &str, expected: &str) {
    let mut remote = connected();
    let before = remote.table();

    let step = remote.apply(put(CONFIG, config), &taken(), 2_000);

    assert_eq!(step, Step::default());
    assert_eq!(remote.table(), before);
    assert!(!remote.is_connected());
    let reason = &remote.state().unwrap().reason;
    assert!(reason.starts_with(expected), "{reason}");
}
