//! Numbered packets, sent one by one while something happens; each that does not arrive is counted.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use super::namespace::{Namespace, PATIENCE, eventually, patiently};
use super::pair::{End, Pair};

/// One way through the tunnel.
#[derive(Clone)]
pub(crate) struct Way {
    from: Arc<Namespace>,
    to: Arc<Namespace>,
    source: IpAddr,
    target: IpAddr,
}

/// What became of one way's packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) sent: u32,
    pub(crate) lost: u32,
    /// Packets that came more than once.
    pub(crate) repeated: u32,
}

/// Between two packets of one way. Nothing waits for longer than a hundred of these.
const PACE: Duration = Duration::from_millis(4);

/// In the place of a number, before the receiver hears anything: what waits for a session, or for
/// neighbors to find each other, is not counted.
const OPENING: u32 = u32::MAX;

const ECHO_OPENING: &[u8] = b"opening";

/// Before something that opens the way is sent again.
const ATTEMPT: Duration = Duration::from_millis(200);

/// Before anything happens, so many packets have arrived: it should not fall into the moments in which
/// a peer that has just begun a handshake may not begin another.
const ARRIVED_MIN: u32 = 20;

/// However little time passes.
const PACKETS_MIN: u32 = 200;

/// After so many packets that say how many were sent, none of those is still under way.
const ENDS: u32 = 40;

impl Way {
    pub(crate) fn new(from: &End, to: &End) -> Self {
        Self::between((&from.namespace, from.inside), (&to.namespace, to.inside))
    }

    pub(crate) fn between(from: (&Arc<Namespace>, IpAddr), to: (&Arc<Namespace>, IpAddr)) -> Self {
        Self {
            from: Arc::clone(from.0),
            to: Arc::clone(to.0),
            source: from.1,
            target: to.1,
        }
    }

    pub(crate) fn both(pair: &Pair) -> [Self; 2] {
        let Pair { east, west } = pair;
        [Self::new(east, west), Self::new(west, east)]
    }
}

/// Sends packets on every way, calls `during` once each way is seen to work, and counts.
pub(crate) fn count<const WAYS: usize>(
    what: &str,
    ways: [Way; WAYS],
    during: impl FnOnce(),
) -> [Counted; WAYS] {
    let flows = ways.map(|it| Flow::open(&it));
    let is_over = AtomicBool::new(false);
    let counted = thread::scope(|scope| {
        let receivers = flows.each_ref().map(|it| {
            scope.spawn(|| it.send(&is_over));
            scope.spawn(|| it.receive())
        });
        let _over = SetOnDrop(&is_over);
        for flow in &flows {
            eventually("the first packets arrive", || {
                ARRIVED_MIN <= flow.received.load(Ordering::Relaxed)
            });
        }
        during();
        is_over.store(true, Ordering::Relaxed);
        receivers.map(|it| it.join().unwrap())
    });
    let lost = counted.map(|it| format!("{} of {}", it.lost, it.sent));
    println!("{what}: lost {}", lost.join(" and "));
    counted
}

/// Nothing was lost, and nothing came twice.
#[track_caller]
pub(crate) fn assert_whole(counted: &[Counted]) {
    for it in counted {
        assert_eq!((it.lost, it.repeated), (0, 0), "of {}", it.sent);
    }
}

/// Sends packets of all these sizes, each of which must come back as it was, once the way is open.
pub(crate) fn echo(way: &Way, sizes: &[usize]) {
    let receiver = way.to.udp(way.target, 0);
    let sender = way.from.udp(way.source, 0);
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    open(&sender, &receiver);
    let mut buffer = vec![0; 1 << 16];
    for (size, first) in sizes.iter().zip(0..=255_u8) {
        let sent: Vec<u8> = (first..=255).cycle().take(*size).collect();
        sender.send(&sent).unwrap();
        let source = receive(&receiver, &mut buffer, &sent);
        receiver.send_to(&sent, source).unwrap();
        receive(&sender, &mut buffer, &sent);
    }
}

/// Goes on until something has been there and back: a neighbor may not be found yet, nor a host know
/// its own address.
fn open(sender: &UdpSocket, receiver: &UdpSocket) {
    let answer = |socket: &UdpSocket| socket.recv_from(&mut [0; 64]).ok();
    for socket in [sender, receiver] {
        socket.set_read_timeout(Some(ATTEMPT)).unwrap();
    }
    let mut attempts = 0;
    loop {
        attempts += 1;
        assert!(ATTEMPT * attempts < PATIENCE, "the way does not open");
        sender.send(ECHO_OPENING).unwrap();
        if let Some((_, source)) = answer(receiver) {
            receiver.send_to(ECHO_OPENING, source).unwrap();
            if answer(sender).is_some() {
                break;
            }
        }
    }
    for socket in [sender, receiver] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }
}

/// Receives what was sent, after what is left of the opening.
fn receive(socket: &UdpSocket, buffer: &mut [u8], sent: &[u8]) -> SocketAddr {
    loop {
        let (length, source) = patiently(|| socket.recv_from(buffer)).expect("a packet in time");
        if buffer[..length] != *ECHO_OPENING {
            assert!(
                buffer[..length] == *sent,
                "{} bytes came otherwise",
                sent.len()
            );
            return source;
        }
    }
}

struct Flow {
    sender: UdpSocket,
    receiver: UdpSocket,
    is_open: AtomicBool,
    received: AtomicU32,
    is_counted: AtomicBool,
}

impl Flow {
    fn open(way: &Way) -> Self {
        let receiver = way.to.udp(way.target, 0);
        let sender = way.from.udp(way.source, 0);
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        Self {
            sender,
            receiver,
            is_open: AtomicBool::new(false),
            received: AtomicU32::new(0),
            is_counted: AtomicBool::new(false),
        }
    }

    /// A packet is its number and how many there are, which is 0 while more are to come.
    fn send(&self, is_over: &AtomicBool) {
        while !self.is_open.load(Ordering::Relaxed) && !is_over.load(Ordering::Relaxed) {
            self.send_one(OPENING, 0);
        }
        let mut count = 0;
        while count < PACKETS_MIN || !is_over.load(Ordering::Relaxed) {
            self.send_one(count, 0);
            count += 1;
        }
        let mut ends = 0;
        while !self.is_counted.load(Ordering::Relaxed) {
            ends += 1;
            assert!(PACE * ends < 2 * PATIENCE, "nothing arrives any more");
            self.send_one(count, count);
        }
    }

    fn send_one(&self, number: u32, of: u32) {
        let packet = [number.to_be_bytes(), of.to_be_bytes()].concat();
        // The network may refuse one while it changes.
        self.sender.send(&packet).ok();
        thread::sleep(PACE);
    }

    fn receive(&self) -> Counted {
        let _counted = SetOnDrop(&self.is_counted);
        let mut numbers = BTreeSet::new();
        let (mut repeated, mut ends, mut sent) = (0, 0, None);
        while sent != Some(numbers.len()) && ends < ENDS {
            let mut packet = [0; 8];
            let length = patiently(|| self.receiver.recv(&mut packet)).expect("a packet in time");
            assert_eq!(length, packet.len());
            let [number, of] = [0, 4].map(|it| {
                let bytes: [u8; 4] = packet[it..it + 4].try_into().unwrap();
                u32::from_be_bytes(bytes)
            });
            self.is_open.store(true, Ordering::Relaxed);
            if number == OPENING {
                continue;
            }
            if of != 0 {
                ends += 1;
                sent = Some(of as usize);
            } else if numbers.insert(number) {
                self.received.fetch_add(1, Ordering::Relaxed);
            } else {
                repeated += 1;
            }
        }
        let sent = u32::try_from(sent.expect("the loop ends with it")).unwrap();
        let lost = sent - u32::try_from(numbers.len()).unwrap();
        Counted {
            sent,
            lost,
            repeated,
        }
    }
}

/// Ends what waits for it even if its owner panics.
struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
