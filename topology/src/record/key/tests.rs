use super::*;

#[test]
fn spells_every_key_as_it_reads_it() {
    for key in [
        "cilium/cluster-config/alpha",
        "cilium/state/identities/v1/id/65537",
        "cilium/state/ip/v1/default/10.1.1.10",
        "cilium/state/ip/v1/default/fd00:10:1::10",
        "cilium/state/ip/v1/default/10.9.9.0/24",
        "cilium/state/nodes/v1/alpha/node-1",
        "cilium/state/services/v1/alpha/shop/web",
        "cilium/state/endpointslices/v1/alpha/shop/web-abcde",
        "cilium/state/serviceexports/v1/alpha/shop/web",
        "cilium/synced/alpha/cilium/state/identities/v1",
        "causeway/state/services/v1/alpha/shop/web",
        "causeway/state/peers/v1/beta",
        "causeway/synced/alpha",
        "causeway/capabilities/alpha",
        "causeway/delta/services/v1/alpha/shop/web",
        "causeway/delta/services/v1/alpha/shop/web/10.1.1.10",
        "causeway/delta/services/v1/alpha/shop/web/fd00:10:1::10",
        "causeway/pulse/alpha",
        "causeway/agents/reach/v1/alpha/node-1",
        "causeway/agents/tunnel/v1/alpha/node-1",
    ] {
        assert_eq!(read(key).unwrap().unwrap().published(), key);
    }
}

#[test]
fn mirrors_under_the_name_of_the_source() {
    let mirrored = |key| read(key).unwrap().unwrap().mirrored();

    assert_eq!(
        mirrored("cilium/state/ip/v1/default/10.1.1.10"),
        "cilium/cache/ip/v1/alpha/10.1.1.10"
    );
    assert_eq!(
        mirrored("cilium/state/identities/v1/id/65537"),
        "cilium/cache/identities/v1/alpha/id/65537"
    );
    assert_eq!(
        mirrored("cilium/synced/alpha/cilium/state/ip/v1"),
        "cilium/synced/alpha/cilium/cache/ip/v1"
    );
}

#[test]
fn means_the_same_in_either_tree() {
    for (published, mirrored) in [
        (
            "cilium/state/nodes/v1/alpha/node-1",
            "cilium/cache/nodes/v1/alpha/node-1",
        ),
        (
            "cilium/state/identities/v1/id/65537",
            "cilium/cache/identities/v1/alpha/id/65537",
        ),
        (
            "cilium/state/ip/v1/default/10.9.9.0/24",
            "cilium/cache/ip/v1/alpha/10.9.9.0/24",
        ),
    ] {
        assert_eq!(read(published), read(mirrored));
    }
}

#[test]
fn passes_over_what_is_no_record() {
    for key in [
        HEARTBEAT,
        "cilium/.initlock/1/2",
        "cilium/state/identities/v1/value/k8s:app=web;/10.0.0.1",
        "cilium/state/noderegister/v1/x",
        "cilium/synced/alpha/cilium/state/unheard/v1",
        "causeway/state/later/v1/x",
        "causeway/agents/later/v1/x",
        "other",
    ] {
        assert_eq!(read(key), Ok(None), "{key}");
    }
}

#[test]
fn names_a_malformed_key() {
    for key in [
        "cilium/state/identities/v1/id/many",
        "cilium/state/ip/v1/default/10.1.1",
        "cilium/cluster-config/Alpha",
        "cilium/state/services/v1/alpha/web",
        "causeway/delta/services/v1/alpha/web",
        "causeway/delta/services/v1/alpha/shop/web/node-1",
    ] {
        assert!(read(key).is_err(), "{key}");
    }
}

fn read(key: &str) -> Result<Option<Key>, MalformedKey> {
    Key::parse(key, &"alpha".parse().unwrap())
}
