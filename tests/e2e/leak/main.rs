//! Follows the packets of two regions' pods through everything that happens to their daemons: not
//! one is seen outside WireGuard, by a capture that sees all of them once nothing is encrypted.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]

mod mesh;
mod traffic;
mod wires;

use std::time::Duration;

use lab::{Authority, Conditions, Lab, Place, Plan, Pod, Process, Region};

use crate::mesh::{Mesh, run};
use crate::traffic::Client;
use crate::wires::Wires;

/// For anything that takes seconds, or 30 s for a change of keys, unless it hangs.
const HANG: Duration = Duration::from_secs(120);

/// For the labs of other tests to end.
const TURN: Duration = Duration::from_secs(600);

/// How many requests must be answered, or must fail, before what comes next.
const SOME: usize = 20;

/// How many packets of WireGuard the whole story has at least.
const THOUSANDS: usize = 3_000;

/// Where no pod is; a route of the first node of eu leads there past the tunnel.
const LED_AROUND: &str = "10.2.1.99";

#[test]
fn no_packet_of_a_peered_prefix_is_seen_outside_wireguard() {
    let lab = Lab::start_when_free(plan(), TURN).unwrap();
    let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
    let shops: Vec<Process> = [eu, us]
        .into_iter()
        .flat_map(|it| traffic::start_shops(&lab, it).unwrap())
        .collect();
    open_the_way(&lab);
    without_encryption_everything_is_seen(&lab);

    let mut story = Story::start(&lab);
    story.steady();
    story.agent_killed();
    story.device_killed();
    story.key_rotated();
    story.node_removed_and_back();
    story.gateway_fails_over();
    story.end();
    drop(shops);
    lab.end(|| assert_eq!(lab::leftovers(), Vec::<String>::new()));
}

/// Two regions of two nodes, each with a pod that serves and one that asks.
fn plan() -> Plan {
    let mut plan = Plan::three_regions();
    plan.regions.truncate(2);
    let near = Conditions::delayed(Duration::from_millis(5));
    plan.paths = vec![("eu".to_owned(), "us".to_owned(), near)];
    for region in &mut plan.regions {
        let pod = |name: &str, node: u8, suffix| Pod {
            name: format!("{name}-{node}"),
            node,
            suffix,
            app: name.to_owned(),
        };
        let pods = |node| [pod("shop", node, 10), pod("client", node, 20)];
        region.pods = (1..=2).flat_map(pods).collect();
    }
    plan
}

/// Has the routers lead pods' packets to the other region, so that what is not held back arrives.
fn open_the_way(lab: &Lab) {
    for (region, other) in pairs(lab) {
        let prefix = other.pod_range().to_string();
        let route = ["route", "add", &*prefix, "dev", "wan0"];
        run(lab, &region.router(), "ip", &route).unwrap();
        // The agents make their own routes to each other's pods, and respect those of others.
        for (node, neighbor) in [(1, 2), (2, 1)] {
            let prefix = region.pod_cidr(neighbor).to_string();
            run(lab, &region.node(node), "ip", &["route", "del", &*prefix]).unwrap();
        }
    }
    let eu = lab.plan().region("eu");
    let router = eu.router_address().to_string();
    let route = ["route", "add", LED_AROUND, "via", &*router, "dev", "eth0"];
    run(lab, &eu.node(1), "ip", &route).unwrap();
}

/// The same traffic on the same links, with nobody who encrypts or guards.
fn without_encryption_everything_is_seen(lab: &Lab) {
    let wires = Wires::tap(lab).unwrap();
    let mut around = ask_around(lab, lab.plan().region("eu"));
    around.wait_for(1, false).unwrap();
    traffic::stop(lab, vec![around], &[]).unwrap();
    let heard = wires.end().unwrap();
    assert!(0 < heard.leaks_on("eu node-1"), "the way around is open");

    let wires = Wires::tap(lab).unwrap();
    let mut clients = Vec::new();
    for (region, other) in pairs(lab) {
        clients.extend(ask_each_other(lab, region, other));
    }
    for client in &mut clients {
        client.wait_for(SOME, true).unwrap();
    }
    traffic::stop(lab, clients, &servers(lab)).unwrap();
    let heard = wires.end().unwrap();
    assert_eq!(heard.wireguard(), 0);
    // A request takes some ten packets, and each client's cross four links.
    for link in [
        "eu node-1",
        "eu node-2",
        "us node-1",
        "us node-2",
        "eu wan0",
        "us wan0",
    ] {
        let seen = heard.leaks_on(link);
        assert!(2 * 5 * SOME <= seen, "{seen} on {link}");
    }
}

/// The mesh, with its traffic, and all that has been heard of it.
struct Story<'a> {
    lab: &'a Lab,
    wires: Wires,
    eu: Mesh<'a>,
    us: Mesh<'a>,
    /// Between the first nodes, and between the second ones: in both directions.
    clients: [Vec<Client>; 2],
    around: Client,
    /// What the phases so far have had: name, all packets, those of WireGuard.
    phases: Vec<(&'static str, usize, usize)>,
}

impl<'a> Story<'a> {
    /// Starts the daemons; the pods ask from the moment at which they are guarded, which is before
    /// there is a tunnel.
    fn start(lab: &'a Lab) -> Self {
        let wires = Wires::tap(lab).unwrap();
        let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
        let authority = Authority::new().unwrap();
        let mesh = |region| Mesh::start(lab, region, &authority).unwrap();
        let (mut eu, mut us) = (mesh(eu), mesh(us));
        eu.start_agents(&us.region).unwrap();
        let mut around = ask_around(lab, &eu.region);
        let mut clients = [1, 2].map(|node| {
            let client = Client::start(lab, &eu.region, &us.region, node);
            vec![client.unwrap()]
        });
        for client in clients.iter_mut().flatten() {
            client.wait_for(1, false).unwrap();
        }
        us.start_agents(&eu.region).unwrap();
        for (clients, node) in clients.iter_mut().zip(1..) {
            let client = Client::start(lab, &us.region, &eu.region, node);
            clients.push(client.unwrap());
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

    fn steady(&mut self) {
        for _ in 0..3 {
            self.served();
        }
        self.close("steady state");
    }

    fn agent_killed(&mut self) {
        self.eu.agents[0].kill().unwrap();
        self.served();
        self.eu.agents[0].start_again().unwrap();
        self.eu.wait_until_ready(1).unwrap();
        self.served();
        self.close("restart of the agent");
    }

    /// Its interface goes with it, and all routes through it: what is left is the guard.
    fn device_killed(&mut self) {
        self.eu.devices[0].kill().unwrap();
        self.forget();
        self.clients[0][0].wait_for(SOME, false).unwrap();
        self.clients[1][0].wait_for(SOME, true).unwrap();
        self.eu.devices[0].start_again().unwrap();
        self.served();
        self.close("restart of the device");

        self.eu.agents[0].kill().unwrap();
        self.eu.devices[0].kill().unwrap();
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

    fn key_rotated(&mut self) {
        self.eu.rotate(1).unwrap();
        self.served();
        self.close("change of a key");
    }

    /// Its prefix is peered no more, so that nobody may ask for it meanwhile.
    fn node_removed_and_back(&mut self) {
        let servers = servers(self.lab);
        let servers = [1, 3].map(|it: usize| servers[it].clone());
        let clients = self.clients[1].drain(..).collect();
        traffic::stop(self.lab, clients, &servers).unwrap();
        self.us.withdraw(2).unwrap();
        self.eu.wait_for_guard(&self.us.region, 2, false).unwrap();
        self.served();
        self.us.announce(2, &[]).unwrap();
        self.eu.wait_for_guard(&self.us.region, 2, true).unwrap();
        for (region, other) in pairs(self.lab) {
            let client = Client::start(self.lab, region, other, 2).unwrap();
            self.clients[1].push(client);
        }
        self.served();
        self.close("removal of a node");
    }

    /// The second node's packets take the way over the first, which is then the only one that speaks
    /// with the other region, and back.
    fn gateway_fails_over(&mut self) {
        let annotation = [("causeway.io/gateway", "true")];
        for (gateways, carrier) in [([true, false], Some(1)), ([false, false], None)] {
            for (is_gateway, node) in gateways.into_iter().zip(1..) {
                let annotations = if is_gateway { &annotation[..] } else { &[] };
                self.eu.announce(node, annotations).unwrap();
            }
            self.eu
                .wait_for_carrier(2, carrier, &self.us.region)
                .unwrap();
            self.served();
        }
        self.close("change of the gateway");
    }

    fn end(self) {
        let clients = self.clients.into_iter().flatten();
        let clients = clients.chain([self.around]).collect();
        traffic::stop(self.lab, clients, &servers(self.lab)).unwrap();
        drop((self.eu, self.us));
        let heard = self.wires.end().unwrap();
        assert_eq!(heard.leaks(), 0, "{}", heard.describe());
        assert!(THOUSANDS <= heard.wireguard(), "{:?}", self.phases);
    }

    /// Waits until every pod that asks a shop has had some answers, and the one that is led around
    /// has tried.
    fn served(&mut self) {
        self.forget();
        for client in self.clients.iter_mut().flatten() {
            client.wait_for(SOME, true).unwrap();
        }
        self.around.wait_for(1, false).unwrap();
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

fn ask_each_other(lab: &Lab, region: &Region, other: &Region) -> Vec<Client> {
    let clients = region.node_numbers();
    clients
        .map(|node| Client::start(lab, region, other, node).unwrap())
        .collect()
}

/// Asks what only a route past the tunnel leads to.
fn ask_around(lab: &Lab, eu: &Region) -> Client {
    Client::ask(lab, eu, 1, LED_AROUND, 100).unwrap()
}

/// The pods that serve: those of eu, then those of us.
fn servers(lab: &Lab) -> Vec<Place> {
    let regions = lab.plan().regions.iter();
    let servers = regions.flat_map(|region| {
        let shops = region.pods.iter().filter(|it| it.app == "shop");
        shops.map(|it| region.pod(it))
    });
    servers.collect()
}

/// Each region with the other one.
fn pairs(lab: &Lab) -> [(&Region, &Region); 2] {
    let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
    [(eu, us), (us, eu)]
}
