use topology::mesh::Event;

use super::*;

#[test]
fn serves_every_port_of_every_cluster_ip_with_the_selected_backends() {
    let desired = derive(&store());

    let tcp = ServiceKey::new("10.111.0.10:80".parse().unwrap(), datapath_abi::TCP);
    let udp = ServiceKey::new("10.111.0.10:53".parse().unwrap(), datapath_abi::UDP);
    assert_eq!(
        desired.services.keys().copied().collect::<Vec<_>>(),
        [udp, tcp]
    );
    let local = Backend::new("10.1.1.2:8080".parse().unwrap(), datapath_abi::TCP, 1);
    assert_eq!(desired.services[&tcp], [local].into());
    assert_eq!(desired.services[&udp], [].into());
}

#[test]
fn falls_back_to_the_backends_of_another_cluster() {
    let mut store = store();
    store[SERVICE].1 = store[SERVICE].1.replace(OWN_BACKEND, "");

    let desired = derive(&store);

    let tcp = ServiceKey::new("10.111.0.10:80".parse().unwrap(), datapath_abi::TCP);
    let remote = Backend::new("10.2.1.2:8080".parse().unwrap(), datapath_abi::TCP, 2);
    assert_eq!(desired.services[&tcp], [remote].into());
}

#[test]
fn protects_and_tunnels_every_pod_prefix_of_other_clusters() {
    let desired = derive(&store());

    let prefix: IpNet = "10.2.1.0/24".parse().unwrap();
    assert_eq!(desired.prefixes, [(prefix, 2)].into());
    assert_eq!(desired.allowed_ips, [(prefix, Ways::only(key(2)))].into());
    assert_eq!(
        desired.peers[&key(2)].endpoint.to_string(),
        "198.51.100.11:51871"
    );
    assert_eq!(desired.problems, [].into());
}

#[test]
fn protects_and_tunnels_prefixes_of_ipv6() {
    let mut store = store();
    store[REMOTE_NODE].1 = store[REMOTE_NODE].1.replace(
        r#""WireguardPubKey""#,
        r#""IPv6AllocCIDR":{"IP":"fd02::","Mask":"//////////8AAAAAAAAAAA=="},"WireguardPubKey""#,
    );

    let desired = derive(&store);

    let prefixes: Vec<String> = desired.prefixes.keys().map(IpNet::to_string).collect();
    assert_eq!(prefixes, ["10.2.1.0/24", "fd02::/64"]);
    let prefix: IpNet = "fd02::/64".parse().unwrap();
    assert_eq!(desired.routes[&prefix], Via::Tunnel);
    assert_eq!(desired.allowed_ips[&prefix], Ways::only(key(2)));
    assert_eq!(desired.problems, [].into());
}

#[test]
fn routes_to_neighbors_over_the_underlay_and_to_others_through_the_tunnel() {
    let desired = derive(&store());

    let routes = [
        (
            "10.1.2.0/24".parse().unwrap(),
            Via::Node(Ipv4Addr::new(192, 0, 2, 12)),
        ),
        ("10.2.1.0/24".parse().unwrap(), Via::Tunnel),
    ];
    assert_eq!(desired.routes, routes.into());
    let own = desired.own.unwrap();
    assert_eq!(own.address, Some(Ipv4Addr::new(10, 1, 1, 1)));
    assert_eq!(own.public_key, Some(key(1)));
}

#[test]
fn protects_the_prefixes_of_a_node_that_cannot_be_reached_yet() {
    let mut store = store();
    store[REMOTE_NODE].1 = node("us", 2, "node-1", "198.51.100.11", "10.2.1.0", "no key");

    let desired = derive(&store);

    assert_eq!(desired.prefixes.len(), 1);
    assert_eq!(
        desired
            .routes
            .values()
            .filter(|it| **it == Via::Tunnel)
            .count(),
        1
    );
    assert!(desired.peers.is_empty());
    check_problem(&desired, "node us/node-1 announces no WireGuard key");
}

#[test]
fn keeps_what_is_known_of_a_lost_cluster() {
    let mut store = store();
    store.push(entry(
        "causeway/state/peers/v1/us",
        r#"{"connected":false,"sinceUnixMilliseconds":1}"#,
    ));

    let desired = derive(&store);

    assert_eq!(desired.prefixes.len(), 1);
    assert_eq!(desired.peers.len(), 1);
}

#[test]
fn believes_no_cluster_that_claims_own_pods_or_the_address_of_a_node() {
    for claimed in ["10.1.2.0", "192.0.2.0"] {
        let mut store = store();
        let bytes = [2; 32];
        store[REMOTE_NODE].1 = node(
            "us",
            2,
            "node-1",
            "198.51.100.11",
            claimed,
            &PublicKey::from(bytes).to_base64(),
        );

        let desired = derive(&store);

        assert!(desired.prefixes.is_empty(), "{claimed}");
        assert!(desired.allowed_ips.is_empty(), "{claimed}");
        assert!(
            !desired.routes.values().any(|it| *it == Via::Tunnel),
            "{claimed}"
        );
        check_problem(
            &desired,
            &format!("pod prefix {claimed}/24 of us/node-1 overlaps"),
        );
    }
}

#[test]
fn gives_a_key_and_a_prefix_to_the_first_that_announces_them() {
    let mut store = store();
    let twin = node(
        "us",
        2,
        "node-2",
        "198.51.100.12",
        "10.2.2.0",
        &key(2).to_base64(),
    );
    store.push(entry("cilium/cache/nodes/v1/us/node-2", &twin));
    let thief = node(
        "us",
        2,
        "node-3",
        "198.51.100.13",
        "10.2.1.0",
        &key(3).to_base64(),
    );
    store.push(entry("cilium/cache/nodes/v1/us/node-3", &thief));

    let desired = derive(&store);

    assert_eq!(desired.peers[&key(2)].node.as_str(), "node-1");
    let ways: Vec<&Ways> = desired.allowed_ips.values().collect();
    assert_eq!(ways, [&Ways::only(key(2))]);
    check_problem(
        &desired,
        "nodes us/node-1 and us/node-2 announce the same WireGuard key",
    );
    check_problem(
        &desired,
        "pod prefix 10.2.1.0/24 of us/node-3 belongs to another node",
    );
}

#[test]
fn says_when_the_mesh_does_not_know_this_node() {
    let desired = derive(&[]);

    assert_eq!(desired.own, None);
    check_problem(&desired, "the mesh does not know node node-1 of cluster eu");
}

const SERVICE: usize = 1;
const REMOTE_NODE: usize = 4;
const OWN_BACKEND: &str = r#""10.1.1.2":{"http":{"Protocol":"TCP","Port":8080}}"#;

/// Cluster eu with two nodes, cluster us with one, and a service that both share.
fn store() -> Vec<(String, String)> {
    let service = r#"{"global":true,"shared":true,"affinity":"local","frontends":["10.111.0.10","fd00::10"],
        "ports":{"dns":{"Protocol":"UDP","Port":53},"http":{"Protocol":"TCP","Port":80},"m3ua":{"Protocol":"SCTP","Port":2905}},
        "backends":{"10.1.1.2":{"http":{"Protocol":"TCP","Port":8080}}}}"#;
    let shared = r#"{"cluster":"us","namespace":"shop","name":"shop","clusterID":2,
        "backends":{"10.2.1.2":{"http":{"Protocol":"TCP","Port":8080}}}}"#;
    vec![
        entry("cilium/cluster-config/us", r#"{"id":2,"capabilities":{}}"#),
        entry("causeway/state/services/v1/eu/shop/shop", service),
        entry(
            "cilium/state/nodes/v1/eu/node-1",
            &node(
                "eu",
                1,
                "node-1",
                "192.0.2.11",
                "10.1.1.0",
                &key(1).to_base64(),
            ),
        ),
        entry(
            "cilium/state/nodes/v1/eu/node-2",
            &node("eu", 1, "node-2", "192.0.2.12", "10.1.2.0", ""),
        ),
        entry(
            "cilium/cache/nodes/v1/us/node-1",
            &node(
                "us",
                2,
                "node-1",
                "198.51.100.11",
                "10.2.1.0",
                &key(2).to_base64(),
            ),
        ),
        entry("cilium/cache/services/v1/us/shop/shop", shared),
    ]
}

fn entry(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn node(cluster: &str, id: u32, name: &str, address: &str, pods: &str, key: &str) -> String {
    format!(
        r#"{{"Name":"{name}","Cluster":"{cluster}","ClusterID":{id},
        "IPAddresses":[{{"Type":"InternalIP","IP":"{address}"}}],
        "IPv4AllocCIDR":{{"IP":"{pods}","Mask":"////AA=="}},"WireguardPubKey":"{key}"}}"#
    )
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}

fn derive(store: &[(String, String)]) -> Desired {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    let entries = store
        .iter()
        .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
    let rejected = mesh.apply(Event::Listed(entries.collect()));
    assert!(rejected.is_empty(), "{rejected:?}");
    let identity = Identity {
        node: "node-1".parse().unwrap(),
        cluster: "eu".parse().unwrap(),
        cluster_id: 1.try_into().unwrap(),
    };
    let policy = Policy {
        encrypt: Encrypt::Clusters,
        spread: GatewaySpread::Node,
        opt_out: &OptOut::default(),
        is_strict_between_nodes: false,
        health: &BTreeMap::new(),
        cut_off: &BTreeSet::new(),
    };
    desired(&mesh, &identity, policy)
}

#[track_caller]
fn check_problem(desired: &Desired, start: &str) {
    let found = desired.problems.iter().any(|it| it.what.starts_with(start));
    assert!(found, "{start} in {:?}", desired.problems);
}
