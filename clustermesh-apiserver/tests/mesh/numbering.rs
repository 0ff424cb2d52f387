//! Meshes of 511 clusters, whose identities are numbered otherwise than those of 255.

use super::authority::Authority;
use super::region::{Region, admin, eventually};
use super::shop;

/// The numbers of the identities under a prefix of the store.
fn identities(region: &Region, prefix: &str) -> Vec<u32> {
    let keys = region.keys(prefix);
    let numbers = keys.iter().filter_map(|it| it.rsplit('/').next());
    numbers.map(|it| it.parse().unwrap()).collect()
}

/// The identities that a cluster of a mesh of 511 may allocate.
fn range(id: u32) -> std::ops::Range<u32> {
    id << 15..(id + 1) << 15
}

#[test]
fn numbers_a_mesh_of_511_clusters_and_refuses_one_of_255() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 300).in_mesh_of(511);
    let us = Region::new(&authority, "us", 511).in_mesh_of(511);
    let old = Region::new(&authority, "old", 3);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    old.write("shop.yaml", &shop(3, &["10.3.1.10"]));
    let mut eu = eu.peered_with(&[&us, &old]);
    let mut us = us.peered_with(&[&eu]);
    let mut old = old.peered_with(&[&eu]);
    eu.start();
    us.start();
    old.start();

    for (mirror, source, name, id) in [(&eu, &us, "us", 511), (&us, &eu, "eu", 300)] {
        mirror.expect_peer(name, true);
        let own = identities(source, "cilium/state/identities/v1/id/");
        assert_eq!(own.len(), 1);
        assert!(range(id).contains(&own[0]), "{own:?}");
        let mirrored = format!("cilium/cache/identities/v1/{name}/id/");
        eventually("the identity", || identities(mirror, &mirrored) == own);
        eventually("the service", || {
            let service = format!(r#""clusterID":{id}}}"#);
            mirror.backends_of(name).contains(&service)
        });
        let config = mirror.value(&format!("cilium/cluster-config/{name}"));
        let config = config.unwrap();
        assert!(config.contains(r#""maxConnectedClusters":511"#), "{config}");
        assert!(config.starts_with(&format!(r#"{{"id":{id},"#)), "{config}");
    }
    let ip = eu.value("cilium/cache/ip/v1/us/10.2.1.10").unwrap();
    let number = identities(&us, "cilium/state/identities/v1/id/")[0];
    assert!(ip.contains(&format!(r#""ID":{number}"#)), "{ip}");

    // Their identities would mean each other's, so neither takes anything of the other.
    for (region, sizes, name) in [
        (
            &eu,
            "its maxConnectedClusters is 255, and ours is 511",
            "old",
        ),
        (
            &old,
            "its maxConnectedClusters is 511, and ours is 255",
            "eu",
        ),
    ] {
        eventually(sizes, || admin(region.admin, "/v1/status").contains(sizes));
        region.expect_peer(name, false);
        assert_eq!(
            region.keys(&format!("cilium/cluster-config/{name}")),
            [""; 0]
        );
        let all = region.keys("cilium/cache/");
        assert!(all.iter().all(|it| !it.contains(&format!("/v1/{name}/"))));
    }
    eu.expect_peer("us", true);
}
