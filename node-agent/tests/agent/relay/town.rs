//! A few nodes with a store, a device and an agent each, around a router that can keep two of them
//! from each other.

use std::fs;
use std::net::UdpSocket;
use std::process::{Command, id};
use std::sync::MutexGuard;

use wireguard::uapi::{Interface, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::gateways::annotated;
use crate::node;
use crate::store::StoreThread;
use crate::world::{self, Machine, cgroup2_root, comes_true, inside, run};

pub(crate) struct Town {
    pub(crate) nodes: Vec<Node>,
    router: Namespace,
    _alone: MutexGuard<'static, ()>,
}

/// One node, whose number in the town is in all of its addresses.
pub(crate) struct Node {
    number: usize,
    cluster: &'static str,
    name: &'static str,
    key: PrivateKey,
    machine: Machine,
    store: StoreThread,
    namespace: Namespace,
}

/// Goes with everything in it.
struct Namespace(String);

impl Town {
    /// Nodes by `CLUSTER/NODE`, which all know of each other.
    pub(crate) fn new<const N: usize>(names: [&'static str; N]) -> Self {
        let alone = world::alone();
        let router = Namespace::new("router");
        set_in(&router.0, "/proc/sys/net/ipv4/ip_forward", "1");
        // Else it would quote what is sent there, for whoever listens.
        ip(&router.0, "route add blackhole 203.0.113.0/24");
        let nodes = names.iter().enumerate();
        let town = Self {
            nodes: nodes
                .map(|(number, it)| Node::new(number, it, &router.0))
                .collect(),
            router,
            _alone: alone,
        };
        for number in 0..N {
            town.announce(number, "");
        }
        for node in &town.nodes {
            node.open_store();
        }
        town
    }

    /// The namespace of the router, to which every wire leads.
    pub(crate) fn wires(&self) -> &str {
        &self.router.0
    }

    pub(crate) fn start(&mut self) {
        for node in &mut self.nodes {
            node.start_device();
            node.start_agent();
        }
    }

    /// Tells every cluster of a node, with annotations.
    pub(crate) fn announce(&self, number: usize, annotations: &str) {
        let told = &self.nodes[number];
        let (cluster, name) = (told.cluster, told.name);
        let key = told.key.public_key().to_base64();
        let pods = format!("10.{}.{number}.0", told.cluster_id());
        let value = node(
            cluster,
            told.cluster_id(),
            name,
            &told.address(),
            &pods,
            &key,
        );
        let value = annotated(value, annotations);
        for reader in &self.nodes {
            let kind = match reader.cluster == cluster {
                true => "state",
                false => "cache",
            };
            let key = format!("cilium/{kind}/nodes/v1/{cluster}/{name}");
            reader.store.put(&key, &value);
        }
    }

    /// Swallows what two nodes send each other.
    pub(crate) fn cut(&self, one: usize, other: usize) {
        let [one, other] = [one, other].map(|it| self.nodes[it].address());
        for (from, to) in [(&one, &other), (&other, &one)] {
            let rule = format!("rule add pref {CUT} from {from} to {to} blackhole");
            ip(&self.router.0, &rule);
        }
    }

    pub(crate) fn mend(&self) {
        for _direction in 0..2 {
            ip(&self.router.0, &format!("rule delete pref {CUT}"));
        }
    }
}

/// The preference of the rules that cut: before those that are there anyway.
const CUT: u32 = 10;

impl Node {
    fn new(number: usize, place: &'static str, router: &str) -> Self {
        let (cluster, name) = place.split_once('/').unwrap();
        let namespace = Namespace::new(&number.to_string());
        let inside = &namespace.0;
        let gateway = format!("192.0.{}.1", number + 2);
        ip(
            inside,
            &format!("link add under0 type veth peer name far{number} netns {router}"),
        );
        ip(router, &format!("address add {gateway}/24 dev far{number}"));
        ip(router, &format!("link set far{number} up"));
        for line in [
            format!("address add 192.0.{}.11/24 dev under0", number + 2),
            "link set under0 up".to_owned(),
            format!("route add default via {gateway}"),
        ] {
            ip(inside, &line);
        }
        let cgroup = cgroup2_root().join(format!("cw-relay-{}-{number}", id()));
        let interface = format!("cwr{number}-{}", id());
        let node = Self {
            number,
            cluster,
            name,
            key: PrivateKey::generate(),
            machine: Machine::new(inside, interface, cgroup, "127.0.0.1:2379"),
            store: StoreThread::start(inside),
            namespace,
        };
        ip(
            &node.namespace.0,
            &format!("address add {}/32 dev lo", node.pod()),
        );
        set_in(&node.namespace.0, "/proc/sys/net/ipv4/ip_forward", "0");
        node
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    pub(crate) fn device(&self) -> Interface {
        self.machine.interface()
    }

    fn cluster_id(&self) -> u32 {
        match self.cluster {
            "eu" => 1,
            _ => 2,
        }
    }

    fn address(&self) -> String {
        format!("192.0.{}.11", self.number + 2)
    }

    pub(crate) fn pod(&self) -> String {
        format!("10.{}.{}.7", self.cluster_id(), self.number)
    }

    pub(crate) fn prefix(&self) -> String {
        format!("10.{}.{}.0/24", self.cluster_id(), self.number)
    }

    /// To whom the device sends what is for a prefix.
    pub(crate) fn senders(&self, prefix: &str) -> Vec<PublicKey> {
        let prefix = prefix.parse().unwrap();
        let state = self.device().get().unwrap();
        let peers = state.peers.iter();
        let senders = peers.filter(|(_, it)| it.allowed_ips.contains(&prefix));
        senders.map(|(key, _)| *key).collect()
    }

    /// A socket stays where it was made.
    pub(crate) fn socket(&self, address: &str) -> UdpSocket {
        self.inside(|| UdpSocket::bind(address).unwrap())
    }

    pub(crate) fn forward(&self) {
        set_in(&self.namespace.0, "/proc/sys/net/ipv4/ip_forward", "1");
        set_in(
            &self.namespace.0,
            "/proc/sys/net/ipv6/conf/all/forwarding",
            "1",
        );
    }

    /// The body of the agent's answer to `GET path`.
    pub(crate) fn get(&self, path: &str) -> String {
        self.machine.admin(path).unwrap()
    }

    /// What the agent wrote into the node's store.
    pub(crate) fn said(&self, key: &str) -> String {
        self.store.get(key).unwrap_or_default()
    }

    pub(crate) fn restart_agent(&mut self) {
        self.machine.kill_agent();
        self.start_agent();
    }

    /// What an API server says that has told everything.
    fn open_store(&self) {
        let other = match self.cluster {
            "eu" => "us",
            _ => "eu",
        };
        for (cluster, id) in [("eu", 1), ("us", 2)] {
            let config = format!(r#"{{"id":{id},"capabilities":{{}}}}"#);
            let key = format!("cilium/cluster-config/{cluster}");
            self.store.put(&key, &config);
        }
        let connected = r#"{"connected":true,"sinceUnixMilliseconds":1}"#;
        let peer = format!("causeway/state/peers/v1/{other}");
        self.store.put(&peer, connected);
        for kind in ["identities", "ip", "nodes", "services"] {
            let key = format!("cilium/synced/{other}/cilium/cache/{kind}/v1");
            self.store.put(&key, "now");
        }
        let synced = format!("causeway/synced/{}", self.cluster);
        self.store.put(&synced, "now");
    }

    fn start_device(&mut self) {
        self.machine.start_device();
        let device = self.device();
        assert!(comes_true(|| device.get().is_ok()), "no device answers");
        let update = Update {
            private_key: Some(Setting::To(self.key.clone())),
            listen_port: Some(51871),
            ..Update::default()
        };
        device.set(&update).unwrap();
    }

    fn start_agent(&mut self) {
        let cluster_id = self.cluster_id().to_string();
        self.machine
            .start_agent([self.cluster, &cluster_id, self.name], "under0", &[]);
        assert!(
            comes_true(|| self.machine.is_ready()),
            "{} of {} is not ready",
            self.name,
            self.cluster
        );
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.namespace.0, work)
    }
}

impl Namespace {
    fn new(name: &str) -> Self {
        let namespace = Self(format!("cw-relay-{}-{name}", id()));
        run(Command::new("ip").args(["netns", "add", &namespace.0]));
        ip(&namespace.0, "link set lo up");
        namespace
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _deleted = Command::new("ip")
            .args(["netns", "delete", &self.0])
            .output();
    }
}

fn ip(namespace: &str, line: &str) {
    run(Command::new("ip")
        .args(["-netns", namespace])
        .args(line.split(' ')));
}

fn set_in(namespace: &str, path: &str, value: &str) {
    inside(namespace, || fs::write(path, value).unwrap());
}
