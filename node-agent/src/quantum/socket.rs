//! A door: the sockets through which agents agree on secrets.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use daemon::Clock;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::Socket;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tracing::{debug, warn};

use super::message::BYTES_MAX;
use super::{Exchanger, Node, PORT, Report, Transmit, View};
use crate::inner_sockets::{Ground, InnerSockets};
use crate::preshared::Orders;

/// Between two looks at deadlines at least.
const TURN: Duration = Duration::from_millis(5);

/// How often reports are renewed, and a socket that cannot be opened is tried again.
const TELL: Duration = Duration::from_secs(1);

/// Datagrams that are read before timers get their turn.
const BATCH_MAX: usize = 256;

/// With whom to agree, and from where.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchanging {
    /// `None` while there is no interface, or no address on it.
    pub ground: Option<Ground>,
    pub views: BTreeMap<IpAddr, View>,
}

/// What has been agreed on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub orders: BTreeMap<Node, Orders>,
    pub reports: BTreeMap<Node, Report>,
    pub agreements: u64,
    /// Why nobody can be asked, if so.
    pub problem: Option<String>,
}

/// Agrees with whom it is wanted until the sender is gone, and tells what on.
pub async fn follow(
    exchanger: Exchanger,
    mut wanted: watch::Receiver<Arc<Exchanging>>,
    told: watch::Sender<Arc<Told>>,
    clock: Clock,
) {
    let mut door = Door {
        exchanger,
        ground: None,
        sockets: None,
        problem: None,
        // One byte more than there may be, so that what is cut is too long.
        buffer: vec![0; BYTES_MAX + 1],
        clock,
    };
    let mut open_at = clock.now();
    loop {
        let soon = clock.now() + TURN;
        let due = door.exchanger.next_timeout();
        let tell_at = clock.now() + TELL;
        let due = due.map_or(tell_at, |it| it.clamp(soon, tell_at));
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
            () = readable(door.sockets.as_ref()) => (),
            () = sleep_until(due.into()) => (),
        }
        let exchanging = Arc::clone(&wanted.borrow_and_update());
        if door.ground != exchanging.ground || door.problem.is_some() && open_at <= clock.now() {
            open_at = clock.now() + TELL;
            door.open(exchanging.ground);
        }
        door.turn(&exchanging);
        door.tell(&told);
    }
}

async fn readable(sockets: Option<&InnerSockets>) {
    match sockets {
        Some(sockets) => sockets.readable().await,
        None => std::future::pending().await,
    }
}

struct Door {
    exchanger: Exchanger,
    ground: Option<Ground>,
    sockets: Option<InnerSockets>,
    problem: Option<String>,
    buffer: Vec<u8>,
    clock: Clock,
}

impl Door {
    fn open(&mut self, ground: Option<Ground>) {
        // Two sockets cannot have one address.
        self.sockets = None;
        self.ground = ground;
        let open = |it| InnerSockets::open(it, PORT, prepare);
        let problem = match ground.map(open).transpose() {
            Ok(sockets) => {
                self.sockets = sockets;
                None
            }
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = problem.as_ref().filter(|_| problem != self.problem) {
            warn!(%reason, "cannot agree on secrets through tunnels; trying again every second");
        }
        self.problem = problem;
    }

    /// The device is looked at first: what has come is about what it has.
    fn turn(&mut self, exchanging: &Exchanging) {
        self.exchanger.see(&exchanging.views, self.clock.now());
        self.receive();
        // Who cannot ask learns nothing from silence.
        if self.sockets.is_some() {
            self.exchanger.handle_timeout(self.clock.now());
        }
        while let Some(transmit) = self.exchanger.poll_transmit() {
            self.send(&transmit);
        }
    }

    fn receive(&mut self) {
        for _ in 0..BATCH_MAX {
            let Some(sockets) = &self.sockets else {
                return;
            };
            match sockets.receive(&mut self.buffer) {
                Some(Ok((bytes, from))) if from.port() == PORT => {
                    let now = self.clock.now();
                    let datagram = &self.buffer[..bytes];
                    self.exchanger.handle_datagram(from.ip(), datagram, now);
                }
                // A stranger's, or an earlier datagram's error: nobody listens there.
                Some(Ok(_) | Err(_)) => (),
                None => return,
            }
        }
    }

    /// A datagram that cannot leave is as good as lost on the way.
    fn send(&self, transmit: &Transmit) {
        let sockets = self.sockets.as_ref();
        let Some(socket) = sockets.and_then(|it| it.towards(transmit.to)) else {
            return;
        };
        let to = SocketAddr::new(transmit.to, PORT);
        if let Err(error) = socket.try_send_to(&transmit.payload, to) {
            debug!(%to, %error, "a message about a secret cannot be sent");
        }
    }

    fn tell(&self, told: &watch::Sender<Arc<Told>>) {
        let now = Told {
            orders: self.exchanger.orders(),
            reports: self.exchanger.reports(self.clock.now()),
            agreements: self.exchanger.agreements(),
            problem: self.problem.clone(),
        };
        told.send_if_modified(|it| {
            let differs = **it != now;
            if differs {
                *it = Arc::new(now);
            }
            differs
        });
    }
}

/// A tunnel may carry less than an offer: then it goes in pieces.
fn prepare(socket: &Socket, address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(_) => set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT)?,
        IpAddr::V6(_) => set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT)?,
    }
    Ok(())
}
