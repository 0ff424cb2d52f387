//! What is exported to named peers only, between real processes: each sees its own part, and cannot
//! read another's.

use super::authority::Authority;
use super::region::{Region, eventually};
use super::shop;

const OPEN: &str = "open";
const SCOPED: &str = "scoped";

/// The region's objects: an open Service, one with its own annotations, and one in a namespace with
/// annotations.
fn objects(service: &str, namespace: &str) -> String {
    let shop = shop(1, &["10.1.1.10"]);
    let global = "service.cilium.io/global: 'true'";
    let own = shop.replacen(global, &format!("{global}, {service}"), 1);
    let of = |name: &str, host: u8, annotations: &str| {
        let text = shop.replace("namespace: shop", &format!("namespace: {name}"));
        let text = text.replace(
            "metadata: {name: shop}\n",
            &format!("metadata: {{name: {name}, annotations: {{{annotations}}}}}\n"),
        );
        let text = text.replace("10.1.1.10", &format!("10.1.1.{host}"));
        let text = text.replace("10.111.0.10", &format!("10.111.0.{host}"));
        // The first part has it.
        let documents = text
            .split("---\n")
            .filter(|it| !it.contains("kind: Node\n"));
        documents.collect::<Vec<_>>().join("---\n")
    };
    let scoped = of(SCOPED, 11, namespace);
    let open = of(OPEN, 12, "note: x");
    format!("{own}---\n{scoped}---\n{open}")
}

/// The addresses and namespaces of `eu` that the mirror shows, once it shows all.
fn shown(mirror: &Region) -> Vec<String> {
    let mut keys = mirror.keys("cilium/cache/services/v1/eu/");
    keys.extend(mirror.keys("cilium/cache/endpointslices/v1/eu/"));
    keys.extend(mirror.keys("cilium/cache/ip/v1/eu/"));
    let names = keys
        .iter()
        .filter_map(|it| it.strip_prefix("cilium/cache/"));
    names.map(|it| it.replace("/v1/eu/", " ")).collect()
}

/// What a mirror shows of the Service that says itself who may see it: its addresses are its
/// namespace's, and open.
const SERVICE: [&str; 2] = ["endpointslices shop/shop-1", "services shop/shop"];
const NAMESPACE: [&str; 3] = [
    "endpointslices scoped/shop-1",
    "ip 10.1.1.11",
    "services scoped/shop",
];
const EVERYONES: [&str; 4] = [
    "endpointslices open/shop-1",
    "ip 10.1.1.10",
    "ip 10.1.1.12",
    "services open/shop",
];

#[track_caller]
fn expect(mirror: &Region, parts: &[&[&str]]) {
    let mut expected = parts.concat();
    expected.sort_unstable();
    eventually(&format!("{expected:?}"), || {
        let mut shown = shown(mirror);
        shown.sort_unstable();
        shown == expected
    });
}

/// Whether the store refuses the user with etcd's own words.
fn is_denied(store: &Region, user: &str, arguments: &[&str]) -> bool {
    let answer = store.ask_as(user, &[&["get"], arguments].concat());
    answer.is_err_and(|it| it.contains("etcdserver: permission denied"))
}

#[test]
fn shows_what_is_exported_to_named_peers_to_them_alone() {
    let authority = Authority::new();
    let mut eu = Region::new(&authority, "eu", 1);
    let mut us = Region::new(&authority, "us", 2);
    let mut ap = Region::new(&authority, "ap", 3);
    us.configure_in(&eu);
    ap.configure_in(&eu);
    eu.configure_in_as(&us, "remote-us");
    eu.configure_in_as(&ap, "remote-ap");
    let to = |peers: &str| format!("causeway.io/export-to: {peers}");
    eu.write("shop.yaml", &objects(&to("us"), &to("us")));
    eu.start();
    us.start();
    ap.start();

    expect(&us, &[&SERVICE, &NAMESPACE, &EVERYONES]);
    expect(&ap, &[&EVERYONES]);
    for mirror in [&us, &ap] {
        let canary = "cilium/synced/eu/cilium/cache/services/v1";
        eventually(canary, || mirror.value(canary).is_some());
        assert_eq!(shown(mirror).len(), if mirror.is("us") { 9 } else { 4 });
    }

    let service = "causeway/delta/services/v1/eu/shop/shop";
    let to_us = format!("causeway/export/us/{service}");
    let seen = eu.ask_as("remote-us", &["get", &to_us]).unwrap();
    assert!(seen.contains("10.1.1.10"), "{seen}");
    for key in [
        &*to_us,
        "causeway/export/us/",
        "causeway/export/",
        "causeway/",
    ] {
        assert!(is_denied(&eu, "remote-ap", &[key]), "{key}");
        assert!(is_denied(&eu, "remote-ap", &["--prefix", key]), "{key}");
    }
    assert!(is_denied(
        &eu,
        "remote-ap",
        &["--from-key", "causeway/export/ap/"]
    ));
    assert!(is_denied(&eu, "remote", &[&to_us]));
    let open = eu.ask_as("remote-ap", &["get", "--prefix", "cilium/state/"]);
    assert!(!open.unwrap().contains("scoped"));

    eu.write("shop.yaml", &objects(&to("ap"), &to("'ap,us'")));
    expect(&us, &[&NAMESPACE, &EVERYONES]);
    expect(&ap, &[&SERVICE, &NAMESPACE, &EVERYONES]);
    assert!(is_denied(
        &eu,
        "remote-us",
        &["--prefix", "causeway/export/ap/"]
    ));

    eu.write("shop.yaml", &objects("note: x", "note: x"));
    expect(&us, &[&SERVICE, &NAMESPACE, &EVERYONES]);
    expect(&ap, &[&SERVICE, &NAMESPACE, &EVERYONES]);
    eventually("nothing for single peers", || {
        eu.keys("causeway/export/").is_empty()
    });

    eu.write("shop.yaml", &objects(&to("us"), &to("ap")));
    expect(&us, &[&SERVICE, &EVERYONES]);
    expect(&ap, &[&NAMESPACE, &EVERYONES]);
}
