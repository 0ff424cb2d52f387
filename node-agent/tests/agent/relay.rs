//! Takes the way between two nodes away and gives it back, with a relay that both of them reach.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use wireguard::PublicKey;

use crate::plaintext::{Capture, MARKER};
use crate::probes::{now, tell};
use crate::world::{self, comes_true};
use town::{Node, Town};

mod town;

#[test]
fn goes_through_a_relay_where_nothing_direct_works_and_straight_again() {
    let mut town = Town::new(["eu/node-1", "eu/node-2", "us/node-1"]);
    let capture = Capture::start_in(town.wires());
    sees_plaintext(&town, &capture);
    town.cut(NEAR, FAR);
    town.announce(RELAY, r#""causeway.io/relay":"true""#);
    town.start();
    let [near, relay, far] = [NEAR, RELAY, FAR].map(|it| town.nodes[it].public_key());

    is_sent(&town, NEAR, FAR, relay);
    is_sent(&town, FAR, NEAR, relay);
    let reason = town.nodes[NEAR].get("/v1/explain/peer/us/node-1");
    let expected = "relayed by eu/node-2: no handshake at the only place of the node";
    assert!(reason.contains(expected), "{reason}");
    must_forward(&town);
    waits("the near node says that it reaches the cluster", || {
        let reach = town.nodes[NEAR].said("causeway/agents/reach/v1/eu/node-1");
        reach.contains(r#""us":{"health":"healthy""#)
    });
    let talk = Talk::start(&town.nodes[NEAR], &town.nodes[FAR]);
    talk.goes_on();

    stays_with_the_relay_through_a_restart(&mut town, &talk);

    let mended = now();
    town.mend();
    is_sent(&town, NEAR, FAR, far);
    tell("straight again after the repair", mended.elapsed());
    is_sent(&town, FAR, NEAR, near);
    talk.goes_on();
    let reason = town.nodes[NEAR].get("/v1/explain/peer/us/node-1");
    assert!(reason.contains("the tunnel is up, and probes"), "{reason}");

    let cut = now();
    town.cut(NEAR, FAR);
    is_sent(&town, NEAR, FAR, relay);
    is_sent(&town, FAR, NEAR, relay);
    talk.goes_on();
    tell("relayed again after another cut", cut.elapsed());

    town.announce(RELAY, "");
    is_sent(&town, NEAR, FAR, far);
    waits("the agent says what is missing", || {
        let status = town.nodes[NEAR].get("/v1/status");
        status.contains("nothing comes back from us/node-1, and there is no relay")
    });
    assert_eq!(capture.count().marked, 0, "all of it was encrypted");
}

const NEAR: usize = 0;
const RELAY: usize = 1;
const FAR: usize = 2;

fn sees_plaintext(town: &Town, capture: &Capture) {
    let socket = town.nodes[NEAR].socket("0.0.0.0:0");
    socket.send_to(MARKER, "203.0.113.9:9").unwrap();
    waits("the capture sees plaintext", || capture.count().marked == 1);
}

/// The relay says what is wrong with it, until that is put right.
fn must_forward(town: &Town) {
    let relay = &town.nodes[RELAY];
    let says_so = || {
        relay
            .get("/v1/status")
            .contains("its kernel passes nothing on")
    };
    waits("the relay says that it does not forward", says_so);
    relay.forward();
    waits("it has nothing more to say", || !says_so());
}

fn stays_with_the_relay_through_a_restart(town: &mut Town, talk: &Talk) {
    let watch = Watch::start(town);
    town.nodes[NEAR].restart_agent();
    waits("the new agent misses the far node", || {
        let status = town.nodes[NEAR].get("/v1/status");
        status.contains(r#""health":"unhealthy""#)
    });
    talk.goes_on();
    let seen = watch.end();
    assert_eq!(seen, [town.nodes[RELAY].public_key()], "never straight");
}

/// Waits until what `from` has for the pods of `to` is sent to the end of a tunnel, and to no other.
#[track_caller]
fn is_sent(town: &Town, from: usize, to: usize, end: PublicKey) {
    let [from, to] = [from, to].map(|it| &town.nodes[it]);
    waits("packets go another way", || {
        from.senders(&to.prefix()) == [end]
    });
}

#[track_caller]
fn waits(what: &str, condition: impl Fn() -> bool) {
    assert!(comes_true(condition), "in vain: {what}");
}

/// How often a packet is sent, and a device looked at.
const BEAT: Duration = Duration::from_millis(10);

/// Packets from a pod to another and back, until it is dropped.
struct Talk {
    returned: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Talk {
    fn start(near: &Node, far: &Node) -> Self {
        let sender = near.socket(&format!("{}:0", near.pod()));
        let receiver = far.socket(&format!("{}:9", far.pod()));
        let to = receiver.local_addr().unwrap();
        for socket in [&sender, &receiver] {
            socket.set_read_timeout(Some(BEAT)).unwrap();
        }
        let returned = Arc::<AtomicUsize>::default();
        let end = Arc::<AtomicBool>::default();
        let (counted, ended) = (Arc::clone(&returned), Arc::clone(&end));
        let asking = thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                // There may be no way for a moment.
                let _sent = sender.send_to(MARKER, to);
                while sender.recv(&mut [0; 64]).is_ok() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let ended = Arc::clone(&end);
        let answering = thread::spawn(move || answer(&receiver, &ended));
        Self {
            returned,
            end,
            threads: vec![asking, answering],
        }
    }

    #[track_caller]
    fn goes_on(&self) {
        let returned = || self.returned.load(Ordering::Relaxed);
        let before = returned();
        waits("packets come and go", || before + 20 < returned());
    }
}

fn answer(receiver: &UdpSocket, end: &AtomicBool) {
    let mut packet = [0; 64];
    while !end.load(Ordering::Relaxed) {
        if let Ok((length, from)) = receiver.recv_from(&mut packet) {
            let _sent = receiver.send_to(&packet[..length], from);
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// Writes down to whom a device sends what is for the far node, as often as that changes.
struct Watch {
    end: SyncSender<()>,
    seen: Arc<Mutex<Vec<PublicKey>>>,
    thread: JoinHandle<()>,
}

impl Watch {
    fn start(town: &Town) -> Self {
        let interface = town.nodes[NEAR].device();
        let prefix = town.nodes[FAR].prefix();
        let (end, ended) = sync_channel(1);
        let seen = Arc::<Mutex<Vec<PublicKey>>>::default();
        let told = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(BEAT) {
                let carrier = world::carrier(&interface, &prefix);
                let mut seen = told.lock().unwrap();
                if let Some(carrier) = carrier.filter(|it| seen.last() != Some(it)) {
                    seen.push(carrier);
                }
            }
        });
        let watch = Self { end, seen, thread };
        waits("the device is looked at", || {
            !watch.seen.lock().unwrap().is_empty()
        });
        watch
    }

    fn end(self) -> Vec<PublicKey> {
        drop(self.end);
        self.thread.join().unwrap();
        self.seen.lock().unwrap().clone()
    }
}
