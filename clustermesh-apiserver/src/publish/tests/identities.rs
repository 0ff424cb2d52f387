//! Which numbers pods carry, and which of them are published.

use super::*;

#[test]
fn keeps_an_identity_for_the_grace_period() {
    let mut publisher = publisher();
    publisher.apply(applied(&[pod("web-1", "10.0.0.1")]), NOW);
    let identities = keys(&publisher, "cilium/state/identities/");
    assert_eq!(identities.len(), 1);

    publisher.apply(vec![ObjectEvent::Deleted(key("Pod", "shop", "web-1"))], NOW);
    assert_eq!(publisher.collect(NOW + GRACE - 1), []);
    let changes = publisher.collect(NOW + GRACE);
    assert_eq!(texts(&changes), [format!("-{}", identities[0])]);
}

#[test]
fn publishes_no_identity_of_another_cluster() {
    let mut publisher = publisher();
    let identity = "{apiVersion: cilium.io/v2, kind: CiliumIdentity, metadata: {name: '200000'}, \
                    security-labels: {'k8s:io.kubernetes.pod.namespace': shop}}";
    let endpoint = "{apiVersion: cilium.io/v2, kind: CiliumEndpoint, metadata: {name: web-1, namespace: shop}, \
                    status: {identity: {id: 200000}, networking: {addressing: [{ipv4: 10.0.0.9}]}}}";

    publisher.apply(applied(&[identity.to_owned(), endpoint.to_owned()]), NOW);

    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    assert_eq!(publisher.problems().count(), 2);
}

#[test]
fn publishes_no_identity_that_every_cluster_knows() {
    let known_identities = known::Options {
        is_well_known: true,
        fixed_identity_mapping: vec!["128=kv-store".parse().unwrap()],
        ..known::Options::default()
    };
    let options = Options {
        known_identities,
        ..Options::default()
    };
    let mut publisher = Publisher::new(alpha(), options);
    let dns = "{apiVersion: v1, kind: Pod, status: {podIP: 10.0.0.1}, \
               spec: {containers: [], serviceAccountName: coredns}, \
               metadata: {name: dns-1, namespace: kube-system, labels: {k8s-app: kube-dns}}}";
    let fixed = "{apiVersion: v1, kind: Pod, status: {podIP: 10.0.0.2}, spec: {containers: []}, \
                 metadata: {name: kv-1, namespace: shop, labels: {io.cilium.fixed-identity: kv-store}}}";
    let health = "{apiVersion: cilium.io/v2, kind: CiliumIdentity, metadata: {name: '4'}, \
                  security-labels: {'reserved:health': ''}}";

    publisher.apply(applied(&[dns.into(), fixed.into(), health.into()]), NOW);

    assert_eq!(keys(&publisher, "cilium/state/identities/"), [""; 0]);
    for (address, number) in [("10.0.0.1", 112), ("10.0.0.2", 128)] {
        let record = value(&publisher, &format!("cilium/state/ip/v1/default/{address}"));
        assert!(record.contains(&format!(r#""ID":{number},"#)), "{record}");
    }
    assert_eq!(publisher.problems().count(), 0);
}
