use std::collections::BTreeSet;

use topology::health::Health;
use topology::mesh::Event;

use super::*;
use crate::desired::{GatewaySpread, desired};

const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

#[test]
fn leads_to_every_internal_address_of_nodes_of_all_clusters() {
    let mut world = World::new();
    world.nodes[NEIGHBOR].addresses.push("2001:db8::12");

    let desired = world.derive();

    assert_eq!(desired.node_encryption, NodeEncryption::Enabled);
    let expected = [
        ("192.0.2.12/32", 2, false),
        ("198.51.100.11/32", 3, true),
        ("2001:db8::12/128", 2, false),
    ];
    let expected = expected.map(|(it, number, other)| (it.to_owned(), key(number), other));
    assert_eq!(led(&desired), expected);
    for (prefix, end) in &desired.nodes {
        assert_eq!(desired.allowed_ips.get(prefix), Some(&Ways::only(end.key)));
    }
    assert_eq!(desired.problems, [].into());
}

#[test]
fn leaves_out_what_a_label_of_either_end_opts_out() {
    let mut world = World::new();
    world.nodes[NEIGHBOR].labels = format!(r#""{CONTROL_PLANE}":"""#);

    let desired = world.derive();

    assert_eq!(led(&desired).len(), 1);
    let address = "192.0.2.12/32".parse().unwrap();
    assert!(!desired.allowed_ips.contains_key(&address));
    assert_eq!(desired.problems, [].into());

    world.nodes[OWN].labels = format!(r#""{CONTROL_PLANE}":"yes""#);
    let desired = world.derive();
    assert_eq!(desired.node_encryption, NodeEncryption::OptedOut);
    assert_eq!(led(&desired), []);

    world.opt_out = format!("a/b, {CONTROL_PLANE}=no");
    assert_eq!(world.derive().node_encryption, NodeEncryption::Enabled);
}

#[test]
fn does_nothing_unless_it_is_asked_to() {
    for encrypt in [Encrypt::Clusters, Encrypt::Nodes] {
        let mut world = World::new();
        world.encrypt = encrypt;

        let desired = world.derive();

        assert_eq!(desired.node_encryption, NodeEncryption::Disabled);
        assert_eq!(led(&desired), []);
        assert!(desired.allowed_ips.keys().all(|it| it.prefix_len() == 24));
    }
}

#[test]
fn gives_no_address_away_that_is_somebody_else_s() {
    for taken in [
        "192.0.2.11",
        "192.0.2.12",
        "10.1.2.7",
        "127.0.0.1",
        "169.254.0.7",
        "224.0.0.1",
        "0.0.0.0",
    ] {
        let mut world = World::new();
        world.nodes[REMOTE].addresses.push(taken);

        let desired = world.derive();

        assert_eq!(led(&desired).len(), 2, "{taken}");
        let taken: IpAddr = taken.parse().unwrap();
        let owner = desired.allowed_ips.get(&taken.into());
        assert_ne!(owner, Some(&Ways::only(key(3))), "{taken}");
    }
}

#[test]
fn reads_labels_as_people_write_them() {
    for good in ["", " ", "a", "a=b", "a/b=c,d", "a=", " a , b=c "] {
        assert!(good.parse::<OptOut>().is_ok(), "{good:?}");
    }
    for bad in [",", "a,", "=b", "a,,b"] {
        assert!(bad.parse::<OptOut>().is_err(), "{bad:?}");
    }
}

const OWN: usize = 0;
const NEIGHBOR: usize = 1;
const REMOTE: usize = 2;

/// Two nodes of cluster eu, of which this is one, and one of us.
struct World {
    encrypt: Encrypt,
    opt_out: String,
    nodes: [Announced; 3],
}

struct Announced {
    cluster: (&'static str, u32),
    name: &'static str,
    addresses: Vec<&'static str>,
    pods: &'static str,
    labels: String,
}

impl World {
    fn new() -> Self {
        let node = |cluster, name, address, pods| Announced {
            cluster,
            name,
            addresses: vec![address],
            pods,
            labels: String::new(),
        };
        Self {
            encrypt: Encrypt::All,
            opt_out: CONTROL_PLANE.to_owned(),
            nodes: [
                node(("eu", 1), "node-1", "192.0.2.11", "10.1.1.0"),
                node(("eu", 1), "node-2", "192.0.2.12", "10.1.2.0"),
                node(("us", 2), "node-1", "198.51.100.11", "10.2.1.0"),
            ],
        }
    }

    fn derive(&self) -> Desired {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        for (number, node) in (1..).zip(&self.nodes) {
            let (cluster, _) = node.cluster;
            let place = if cluster == "eu" { "state" } else { "cache" };
            let rejected = mesh.apply(Event::Put {
                key: format!("cilium/{place}/nodes/v1/{cluster}/{}", node.name),
                value: node.record(number).into_bytes(),
            });
            assert!(rejected.is_empty(), "{rejected:?}");
        }
        let identity = Identity {
            node: "node-1".parse().unwrap(),
            cluster: "eu".parse().unwrap(),
            cluster_id: 1.try_into().unwrap(),
        };
        let policy = Policy {
            encrypt: self.encrypt,
            spread: GatewaySpread::Node,
            opt_out: &self.opt_out.parse().unwrap(),
            is_strict_between_nodes: false,
            health: &BTreeMap::<_, Health>::new(),
            cut_off: &BTreeSet::new(),
        };
        desired(&mesh, &identity, policy)
    }
}

impl Announced {
    fn record(&self, number: u8) -> String {
        let addresses = self.addresses.iter();
        let addresses: Vec<String> = addresses
            .map(|it| format!(r#"{{"Type":"InternalIP","IP":"{it}"}}"#))
            .collect();
        format!(
            r#"{{"Name":"{}","Cluster":"{}","ClusterID":{},"IPAddresses":[{}],
            "IPv4AllocCIDR":{{"IP":"{}","Mask":"////AA=="}},"Labels":{{{}}},"WireguardPubKey":"{}"}}"#,
            self.name,
            self.cluster.0,
            self.cluster.1,
            addresses.join(","),
            self.pods,
            self.labels,
            key(number).to_base64(),
        )
    }
}

/// Which addresses lead where, and whether that is in another cluster.
fn led(desired: &Desired) -> Vec<(String, PublicKey, bool)> {
    let nodes = desired.nodes.iter();
    nodes
        .map(|(prefix, end)| (prefix.to_string(), end.key, end.is_of_another_cluster))
        .collect()
}

fn key(byte: u8) -> PublicKey {
    PublicKey::from([byte; 32])
}
