//! A node of cluster `us`, in the namespace at the far end of the underlay: a device of its own, and
//! an agent's probes.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use node_agent::inner_sockets::Ground;
use node_agent::probe::message::Tag;
use node_agent::probe::socket::{self, Probing, Sight};
use node_agent::probe::{INTERVAL, Peer, Prober};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use wireguard::uapi::{AllowedIpChange, Interface, PeerUpdate, SOCKET_DIRECTORY, Setting, Update};
use wireguard::{PrivateKey, PublicKey};

use crate::world::{self, World, spawn_device};

/// Where all of them are on the underlay.
pub(crate) const ADDRESS: &str = "192.0.2.21";

pub(crate) struct FarNode {
    pub(crate) key: PrivateKey,
    /// Which of the far nodes: `node-NUMBER` has the pods 10.2.NUMBER.0/24.
    number: u8,
    interface: String,
    device: Option<Child>,
    prober: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl FarNode {
    pub(crate) fn start(world: &World, number: u8) -> Self {
        ip(world, "link set lo up");
        ip(world, &format!("address replace {ADDRESS}/24 dev far0"));
        let mut far = Self {
            key: PrivateKey::generate(),
            number,
            interface: format!("cwf{number}-{}", std::process::id()),
            device: None,
            prober: None,
        };
        far.revive(world);
        far
    }

    /// The port of its device: they share an address.
    pub(crate) fn port(&self) -> u16 {
        51870 + u16::from(self.number)
    }

    /// Starts its device and its probes.
    pub(crate) fn revive(&mut self, world: &World) {
        self.device = Some(spawn_device(&world.far(), &self.interface));
        let client = Interface::open(&self.interface);
        world.wait_until("the far device answers", || client.get().is_ok());
        self.configure(&client, world.device_key());
        let Self {
            interface, number, ..
        } = self;
        for line in [
            format!("address add 10.2.{number}.1/32 dev {interface}"),
            format!("link set {interface} mtu 1420 up"),
            format!("route add 10.1.1.0/24 dev {interface} src 10.2.{number}.1 metric {number}"),
        ] {
            ip(world, &line);
        }
        self.answer(world);
    }

    /// Ends it as a loss of power does.
    pub(crate) fn die(&mut self) {
        if let Some(mut device) = self.device.take() {
            let _ended = device.kill();
            let _reaped = device.wait();
        }
        self.stop_answering();
    }

    fn configure(&self, client: &Interface, peer: PublicKey) {
        let update = Update {
            private_key: Some(Setting::To(self.key.clone())),
            listen_port: Some(self.port()),
            peers: vec![PeerUpdate {
                endpoint: Some("192.0.2.11:51871".parse().unwrap()),
                allowed_ips: vec![AllowedIpChange::Add("10.1.1.0/24".parse().unwrap())],
                ..PeerUpdate::new(peer)
            }],
            ..Update::default()
        };
        client.set(&update).unwrap();
    }

    /// Starts what an agent does about probes.
    pub(crate) fn answer(&mut self, world: &World) {
        let (namespace, link, number) = (world.far(), self.link(world), self.number);
        let (end, ended) = oneshot::channel();
        let thread = thread::spawn(move || {
            world::enter(&namespace);
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(probe(number, link, ended));
        });
        self.prober = Some((end, thread));
    }

    pub(crate) fn stop_answering(&mut self) {
        if let Some((end, thread)) = self.prober.take() {
            drop(end);
            thread.join().unwrap();
        }
    }

    fn link(&self, world: &World) -> u32 {
        let text = ip(world, &format!("-o link show {}", self.interface));
        text.split(':').next().unwrap().parse().unwrap()
    }
}

impl Drop for FarNode {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.prober.take() {
            drop(end);
            let _panicked = thread.join();
        }
        self.die();
        let socket = Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.interface));
        let _removed = std::fs::remove_file(socket);
    }
}

async fn probe(number: u8, link: u32, ended: oneshot::Receiver<()>) {
    let clock = daemon::Clock;
    let node = format!("node-{number}").parse().unwrap();
    let tag = Tag::new(&"us".parse().unwrap(), &node);
    let prober = Prober::new(tag, INTERVAL, clock.unix_microseconds(), clock.now());
    let peer = Peer {
        cluster: "eu".parse().unwrap(),
        node: "node-1".parse().unwrap(),
        has_session: true,
        is_told_ready: false,
    };
    let probing = Probing {
        ground: Some(Ground {
            link,
            address: Some([10, 2, number, 1].into()),
            address_v6: None,
        }),
        peers: [([10, 1, 1, 1].into(), peer)].into(),
        mtu_bytes: 1420,
    };
    let (wanted, wanted_by_prober) = watch::channel(Arc::default());
    let (seen, _seen_by_nobody) = watch::channel(Arc::<Sight>::default());
    wanted.send_replace(Arc::new(probing));
    tokio::select! {
        () = socket::follow(prober, wanted_by_prober, seen, clock) => (),
        _sender_gone = ended => (),
    }
}

/// Runs `ip` where the far nodes are.
pub(crate) fn ip(world: &World, arguments: &str) -> String {
    let output = Command::new("ip")
        .args(["-netns", &world.far()])
        .args(arguments.split(' '))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
