//! Decides what happens to the mesh, phase by phase, while its pods go on asking each other.

use ipnet::Ipv4Net;
use lab::{Authority, Lab, Region};

use crate::mesh::{Mesh, run};
use crate::traffic::{self, Client};
use crate::wires::{Heard, Wires};
use crate::{CONVERSATIONS, SOME, ask_around, converse, ends};

/// How many packets of WireGuard the whole story has at least.
const THOUSANDS: usize = 3_000;

/// A prefix that is peered for some time only, and the address of a pod in it.
const NEW_PREFIX: &str = "10.92.0.0/24";
const NEW_ADDRESS: &str = "10.92.0.10";

/// Whether packets were seen outside WireGuard.
const IN_PLAINTEXT: bool = true;
const SEALED: bool = false;

/// The mesh, with its traffic, and all that has been heard of it.
pub(crate) struct Story<'a> {
    lab: &'a Lab,
    wires: Wires,
    eu: Mesh<'a>,
    us: Mesh<'a>,
    /// Of each conversation: who asks in eu, and who asks in us.
    clients: [Vec<Client>; CONVERSATIONS.len()],
    around: Client,
    /// What the phases so far have had: name, all packets, those of WireGuard.
    phases: Vec<(&'static str, usize, usize)>,
}

impl<'a> Story<'a> {
    /// Starts the daemons; the pods ask from the moment at which they are guarded, which is before
    /// there is a tunnel.
    pub(crate) fn start(lab: &'a Lab) -> Self {
        let wires = Wires::tap(lab).unwrap();
        let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
        let authority = Authority::new().unwrap();
        let mesh = |region| Mesh::start(lab, region, &authority).unwrap();
        let (mut eu, mut us) = (mesh(eu), mesh(us));
        eu.start_agents(&us.region).unwrap();
        let mut around = ask_around(lab);
        let mut clients = CONVERSATIONS.map(|conversation| {
            let [here, there] = ends(lab, conversation);
            vec![Client::start(lab, here, there).unwrap()]
        });
        for client in clients.iter_mut().flatten() {
            client.wait_for(1, false).unwrap();
        }
        us.start_agents(&eu.region).unwrap();
        for (clients, conversation) in clients.iter_mut().zip(CONVERSATIONS) {
            let [here, there] = ends(lab, conversation);
            clients.push(Client::start(lab, there, here).unwrap());
        }
        around.wait_for(1, false).unwrap();
        let mut story = Self {
            lab,
            wires,
            eu,
            us,
            clients,
            around,
            phases: Vec::new(),
        };
        story.served();
        story.close("start");
        story
    }

    pub(crate) fn steady(&mut self) {
        for _ in 0..3 {
            self.served();
        }
        self.close("steady state");
    }

    pub(crate) fn agent_killed(&mut self) {
        self.eu.agents[0].kill().unwrap();
        self.served();
        self.eu.agents[0].start_again().unwrap();
        self.eu.wait_until_ready(1).unwrap();
        self.served();
        self.close("restart of the agent");
    }

    /// Its interface goes with it, and all routes through it: what is left is the guard.
    pub(crate) fn device_killed(&mut self) {
        self.eu.devices[0].kill().unwrap();
        self.forget();
        self.clients[0][0].wait_for(SOME, false).unwrap();
        self.clients[1][0].wait_for(SOME, true).unwrap();
        self.eu.devices[0].start_again().unwrap();
        self.served();
        self.close("restart of the device");

        self.eu.kill(1).unwrap();
        self.forget();
        self.clients[0][0].wait_for(SOME, false).unwrap();
        self.eu.devices[0].start_again().unwrap();
        self.forget();
        self.clients[0][0].wait_for(SOME, false).unwrap();
        self.eu.agents[0].start_again().unwrap();
        self.eu.wait_until_ready(1).unwrap();
        self.served();
        self.close("restart of both");
    }

    pub(crate) fn key_rotated(&mut self) {
        self.eu.rotate(1).unwrap();
        self.served();
        self.close("change of a key");
    }

    /// Its prefix is peered no more, so that nobody may ask for it meanwhile.
    pub(crate) fn node_removed_and_back(&mut self) {
        let prefix = self.us.region.pod_cidr(2);
        let servers = ends(self.lab, CONVERSATIONS[1]).map(traffic::shop);
        let clients = self.clients[1].drain(..).collect();
        traffic::stop(self.lab, clients, &servers).unwrap();
        self.us.withdraw(2).unwrap();
        self.eu.wait_for_guard(prefix, false).unwrap();
        self.served();
        self.us.announce(2, &[]).unwrap();
        self.eu.wait_for_guard(prefix, true).unwrap();
        self.clients[1].extend(converse(self.lab, CONVERSATIONS[1]));
        self.served();
        self.close("removal of a node");
    }

    /// The third node's packets take the way over the first, then over one of two; that one dies with
    /// its agent, the other takes over, and it is there again.
    pub(crate) fn gateways_take_over(&mut self) {
        self.eu.appoint(&[1]).unwrap();
        self.wait_for_carriers(3, "over the only gateway", &[1]);
        self.wait_for_carriers(2, "over the only gateway", &[1]);
        self.served();
        self.eu.appoint(&[1, 2]).unwrap();
        self.wait_for_carriers(2, "without a gateway, being one", &[]);
        self.served();
        self.close("two gateways");

        let some = self
            .eu
            .wait_for_carriers(3, &self.us.region, "over a gateway", |it| !it.is_empty());
        let dying = some.unwrap().into_iter().next().unwrap();
        let other = 3 - dying;
        self.eu.kill(dying).unwrap();
        self.wait_for_carriers(3, "over the other gateway", &[other]);
        self.served_without(Some(dying));
        self.forget();
        let [asks_in_eu, _] = &mut self.clients[usize::from(dying) - 1][..] else {
            panic!("a conversation has two ends");
        };
        asks_in_eu.wait_for(SOME, false).unwrap();
        self.eu.revive(dying).unwrap();
        let back = format!("over node {dying} again");
        let is_back = self
            .eu
            .wait_for_carriers(3, &self.us.region, &back, |it| it.contains(&dying));
        is_back.unwrap();
        self.served();
        self.close("death of a gateway");

        self.eu.appoint(&[]).unwrap();
        for node in [2, 3] {
            self.wait_for_carriers(node, "without a gateway", &[]);
        }
        self.served();
        self.close("no gateway any more");
    }

    /// What goes between pods of one region is seen until that is to be encrypted too, then never,
    /// and again from when it need not be.
    pub(crate) fn neighbors_encrypted(&mut self) {
        let (eu, prefix) = (self.eu.region.clone(), self.eu.region.pod_range());
        let mut neighbor = Client::start(self.lab, (&eu, 1), (&eu, 2)).unwrap();
        self.watch(prefix, IN_PLAINTEXT, |_| {
            neighbor.wait_for(SOME, true).unwrap();
        });

        self.eu.encrypt("nodes", true).unwrap();
        neighbor.forget().unwrap();
        neighbor.wait_for(SOME, true).unwrap();
        self.watch(prefix, SEALED, |story| {
            neighbor.forget().unwrap();
            neighbor.wait_for(SOME, true).unwrap();
            story.eu.kill(1).unwrap();
            neighbor.forget().unwrap();
            neighbor.wait_for(SOME, false).unwrap();
            story.eu.revive(1).unwrap();
            neighbor.forget().unwrap();
            neighbor.wait_for(SOME, true).unwrap();
            story.served();
        });

        self.eu.encrypt("clusters", false).unwrap();
        self.watch(prefix, IN_PLAINTEXT, |story| {
            neighbor.forget().unwrap();
            neighbor.wait_for(SOME, true).unwrap();
            story.served();
        });
        traffic::stop(self.lab, vec![neighbor], &[]).unwrap();
        self.close("encryption between neighbors");
    }

    /// What is for a prefix that nobody peers goes where routes lead; from the moment at which the
    /// mesh knows it, only through tunnels.
    pub(crate) fn prefix_added_and_taken_away(&mut self) {
        let (eu, us) = (self.eu.region.clone(), self.us.region.clone());
        let prefix: Ipv4Net = NEW_PREFIX.parse().unwrap();
        give_another_address(self.lab, &us, NEW_ADDRESS);
        let mut client = Client::ask(self.lab, (&eu, 1), NEW_ADDRESS).unwrap();
        self.watch(prefix, IN_PLAINTEXT, |_| {
            client.wait_for(SOME, false).unwrap();
        });

        self.us.announce_with(1, &[prefix], &[]).unwrap();
        self.eu.wait_for_guard(prefix, true).unwrap();
        self.watch(prefix, SEALED, |story| {
            client.wait_for(SOME, true).unwrap();
            story.eu.kill(1).unwrap();
            client.forget().unwrap();
            client.wait_for(SOME, false).unwrap();
            story.eu.revive(1).unwrap();
            client.wait_for(SOME, true).unwrap();
            story.served();
        });

        // Who has a connection would go on sending, and never hear.
        traffic::stop(self.lab, vec![client], &[]).unwrap();
        self.us.announce(1, &[]).unwrap();
        self.eu.wait_for_guard(prefix, false).unwrap();
        let mut client = Client::ask(self.lab, (&eu, 1), NEW_ADDRESS).unwrap();
        self.watch(prefix, IN_PLAINTEXT, |story| {
            client.wait_for(SOME, false).unwrap();
            story.served();
        });
        traffic::stop(self.lab, vec![client], &[]).unwrap();
        self.close("a prefix more, and less");
    }

    pub(crate) fn end(self) {
        let clients = self.clients.into_iter().flatten();
        let clients = clients.chain([self.around]).collect();
        let servers = CONVERSATIONS.into_iter().flat_map(|it| ends(self.lab, it));
        let servers: Vec<_> = servers.map(traffic::shop).collect();
        traffic::stop(self.lab, clients, &servers).unwrap();
        drop((self.eu, self.us));
        let heard = self.wires.end().unwrap();
        assert_eq!(heard.leaks(), 0, "{}", heard.describe());
        assert!(THOUSANDS <= heard.wireguard(), "{:?}", self.phases);
    }

    /// Listens on the links of eu for the addresses of a prefix, during something.
    #[track_caller]
    fn watch(&mut self, prefix: Ipv4Net, is_seen: bool, during: impl FnOnce(&mut Self)) {
        let wires = Wires::tap_for(self.lab, prefix, &self.eu.region).unwrap();
        during(self);
        let heard: Heard = wires.end().unwrap();
        assert_eq!(
            0 < heard.leaks(),
            is_seen,
            "{prefix}:\n{}",
            heard.describe()
        );
    }

    /// Waits until the nodes of eu over which `node` sends what is for us are `expected`.
    #[track_caller]
    fn wait_for_carriers(&self, node: u8, what: &str, expected: &[u8]) {
        let carriers = self
            .eu
            .wait_for_carriers(node, &self.us.region, what, |it| it.iter().eq(expected));
        carriers.unwrap();
    }

    /// Waits until every pod that asks a shop has had some answers, and the one that is led around
    /// has tried.
    fn served(&mut self) {
        self.served_without(None);
        self.around.wait_for(1, false).unwrap();
    }

    /// The same, but for the conversation of a node of eu that is down.
    fn served_without(&mut self, down: Option<u8>) {
        self.forget();
        let conversations = CONVERSATIONS.into_iter().zip(&mut self.clients);
        let going_on = conversations.filter(|((node, _), _)| Some(*node) != down);
        for client in going_on.flat_map(|(_, clients)| clients) {
            client.wait_for(SOME, true).unwrap();
        }
    }

    /// Passes over what has come of the requests until now.
    fn forget(&mut self) {
        let clients = self.clients.iter_mut().flatten();
        for client in clients.chain([&mut self.around]) {
            client.forget().unwrap();
        }
    }

    /// Counts what a phase has had.
    #[track_caller]
    fn close(&mut self, phase: &'static str) {
        self.eu.check().unwrap();
        self.us.check().unwrap();
        let heard = self.wires.heard().unwrap();
        let before = |it: fn(&(&str, usize, usize)) -> usize| self.phases.iter().map(it).sum();
        let (packets, wireguard): (usize, usize) = (before(|it| it.1), before(|it| it.2));
        let counts = (
            phase,
            heard.packets() - packets,
            heard.wireguard() - wireguard,
        );
        self.phases.push(counts);
        #[expect(clippy::print_stderr, reason = "the counts are what was found")]
        {
            eprintln!(
                "{}: {} packets, {} of them WireGuard",
                counts.0, counts.1, counts.2
            );
        }
        assert_eq!(heard.leaks(), 0, "{:?}:\n{}", self.phases, heard.describe());
        assert!(SOME <= counts.2, "{:?}", self.phases);
    }
}

/// Gives the shop on the first node another address, which its node knows and the mesh does not.
fn give_another_address(lab: &Lab, region: &Region, address: &str) {
    let pod = region.pod_named("shop-1");
    let (place, link) = (region.pod(pod), format!("lxc{}", pod.suffix));
    let own = region.pod_gateway(1).to_string();
    run(lab, &place, "ip", &["addr", "add", address, "dev", "eth0"]).unwrap();
    let route = ["route", "add", address, "dev", &link, "src", &own];
    run(lab, &region.node(1), "ip", &route).unwrap();
}
