//! Who sees what.

use super::*;

#[test]
fn hides_everything_of_a_namespace_that_is_not_global() {
    let mut publisher = publisher();
    publisher.apply(
        applied(&[
            pod("web-1", "10.0.0.1"),
            service("web", ""),
            slice("web", 1),
        ]),
        NOW,
    );
    let before = publisher.table().clone();

    publisher.apply(
        applied(&[namespace("clustermesh.cilium.io/global: 'false'")]),
        NOW,
    );
    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    assert_eq!(keys(&publisher, "causeway/delta/"), [""; 0]);

    publisher.apply(
        applied(&[namespace("clustermesh.cilium.io/global: 'true'")]),
        NOW,
    );
    assert_eq!(*publisher.table(), before);
}

#[test]
fn hides_namespaces_that_say_nothing_if_that_is_the_default() {
    let options = Options {
        default_global_namespace: false,
        ..Options::default()
    };
    let mut publisher = Publisher::new(alpha(), options);

    publisher.apply(
        applied(&[pod("web-1", "10.0.0.1"), service("web", "")]),
        NOW,
    );
    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    publisher.apply(
        applied(&[namespace("clustermesh.cilium.io/global: 'true'")]),
        NOW,
    );
    assert_eq!(keys(&publisher, "cilium/state/").len(), 3);
}

#[test]
fn shows_a_namespace_to_named_peers_only() {
    let mut publisher = publisher();
    let objects = [
        namespace("causeway.io/export-to: 'gamma, beta'"),
        pod("web-1", "10.0.0.1"),
        service("web", ""),
        slice("web", 1),
    ];

    publisher.apply(applied(&objects), NOW);

    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    assert_eq!(keys(&publisher, "causeway/delta/"), [""; 0]);
    let number = keys(&publisher, "causeway/export/beta/cilium/state/identities/");
    let number = number[0].rsplit('/').next().unwrap();
    for peer in ["beta", "gamma"] {
        assert_eq!(
            keys(&publisher, &format!("causeway/export/{peer}/")),
            [
                format!("causeway/export/{peer}/causeway/delta/services/v1/alpha/shop/web"),
                format!("causeway/export/{peer}/cilium/state/endpointslices/v1/alpha/shop/web-1"),
                format!("causeway/export/{peer}/cilium/state/identities/v1/id/{number}"),
                format!("causeway/export/{peer}/cilium/state/ip/v1/default/10.0.0.1"),
            ]
        );
    }
    let counts = publisher.counts();
    assert_eq!(
        (counts.services, counts.endpoints, counts.identities),
        (1, 1, 1)
    );

    publisher.apply(applied(&[namespace("causeway.io/export-to: beta")]), NOW);
    assert_eq!(keys(&publisher, "causeway/export/gamma/"), [""; 0]);
    assert_eq!(keys(&publisher, "causeway/export/").len(), 4);
    publisher.apply(applied(&[namespace("note: x")]), NOW);
    assert_eq!(keys(&publisher, "causeway/export/"), [""; 0]);
    assert_eq!(keys(&publisher, "cilium/state/").len(), 4);
}

#[test]
fn lets_a_service_name_its_own_peers() {
    let mut publisher = publisher();
    let objects = [
        namespace("causeway.io/export-to: beta"),
        pod("web-1", "10.0.0.1"),
        service("web", "causeway.io/export-to: gamma"),
        slice("web", 1),
    ];

    publisher.apply(applied(&objects), NOW);

    assert_eq!(
        keys(&publisher, "causeway/export/gamma/").len(),
        2,
        "service and slice"
    );
    assert_eq!(
        keys(&publisher, "causeway/export/beta/").len(),
        2,
        "identity and address"
    );
}

#[test]
fn exports_to_nobody_what_names_no_cluster() {
    let mut publisher = publisher();
    publisher.apply(
        applied(&[
            service("web", "causeway.io/export-to: Beta"),
            slice("web", 1),
        ]),
        NOW,
    );

    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    assert_eq!(keys(&publisher, "causeway/export/"), [""; 0]);
    let problem = publisher.problems().next().unwrap();
    assert!(
        problem.starts_with("Service shop/web is exported to nobody: "),
        "{problem}"
    );

    publisher.apply(
        applied(&[service("web", ""), namespace("causeway.io/export-to: ''")]),
        NOW,
    );
    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    let problem = publisher.problems().next().unwrap();
    assert!(
        problem.starts_with("Namespace shop is exported to nobody: "),
        "{problem}"
    );
}
