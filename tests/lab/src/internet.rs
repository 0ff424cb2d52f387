//! Carries packets between the regions' routers, as slowly and as badly as it is told.
//!
//! One thread owns a TUN device per region and every packet on its way; it is told what to do by
//! messages, and reuses its buffers.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::{io, thread};

use anyhow::{Context as _, Result};
use ipnet::Ipv4Net;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tun_rs::{DeviceBuilder, SyncDevice};

use crate::path::{Conditions, Path};
use crate::place::Place;
use crate::plan::Plan;
use crate::{clock, namespace};

/// The largest packet of the internet, in bytes.
const MTU: u16 = 1_500;

/// How many packets a device holds until they are read: a burst of a few milliseconds.
const DEVICE_QUEUE: u32 = 4_096;

/// How many packets are read from one device before the others get their turn.
const BATCH: usize = 64;

/// How many orders may wait: nobody gives more than a few at once.
const MOST_ORDERS: usize = 64;

/// Losses are by chance, but by the same chance in every run.
const SEED: u64 = 7;

/// How much more of the processor the link gets than what it connects: it stands for wires.
const PRIORITY: i32 = -15;

/// The handle of the thread that carries the packets; dropping it ends the thread.
#[derive(Debug)]
pub struct Internet {
    regions: Vec<String>,
    orders: SyncSender<Order>,
    wake: Arc<OwnedFd>,
    carrier: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Order {
    Treat {
        from: usize,
        to: usize,
        conditions: Conditions,
    },
    Cut {
        region: usize,
        cut: bool,
    },
}

impl Internet {
    /// Creates `wan0` in every router of the plan and starts carrying packets.
    pub(crate) fn start(plan: &Plan) -> Result<Self> {
        let ports = plan.regions.iter().map(|region| {
            let device = open_device(&region.router())?;
            Ok(Port {
                prefixes: [region.underlay, region.pod_range()],
                device,
                cut: false,
            })
        });
        let ports = ports.collect::<Result<Vec<Port>>>()?;
        let perfect = || {
            (0..ports.len())
                .map(|_| Path::new(Conditions::default()))
                .collect()
        };
        let paths = (0..ports.len()).map(|_| perfect()).collect();

        let (orders, receiver) = sync_channel(MOST_ORDERS);
        let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let carrier = Carrier {
            ports,
            paths,
            spare: Vec::new(),
            chance: SmallRng::seed_from_u64(SEED),
            orders: receiver,
            wake: Arc::clone(&wake),
        };
        let thread = thread::Builder::new().name("internet".to_owned());
        let internet = Self {
            regions: plan.regions.iter().map(|it| it.name.clone()).collect(),
            orders,
            wake,
            carrier: Some(thread.spawn(|| carrier.run())?),
        };
        for (one, other, conditions) in &plan.paths {
            internet.set_conditions(one, other, *conditions);
        }
        Ok(internet)
    }

    /// Changes how packets between two regions are treated from now on, in both directions.
    ///
    /// # Panics
    ///
    /// If there is no such region, as with [`cut`](Self::cut) and [`heal`](Self::heal).
    pub fn set_conditions(&self, one: &str, other: &str, conditions: Conditions) {
        let (one, other) = (self.index(one), self.index(other));
        self.order(Order::Treat {
            from: one,
            to: other,
            conditions,
        });
        self.order(Order::Treat {
            from: other,
            to: one,
            conditions,
        });
    }

    /// Takes the region's link down: nothing enters or leaves it, not even what is on its way.
    pub fn cut(&self, region: &str) {
        self.order(Order::Cut {
            region: self.index(region),
            cut: true,
        });
    }

    /// Brings the region's link up again.
    pub fn heal(&self, region: &str) {
        self.order(Order::Cut {
            region: self.index(region),
            cut: false,
        });
    }

    fn index(&self, region: &str) -> usize {
        let found = self.regions.iter().position(|it| it == region);
        found.unwrap_or_else(|| panic!("the internet does not know region `{region}`"))
    }

    fn order(&self, order: Order) {
        // The thread ends only when this handle is dropped, so that somebody receives the order.
        let _received = self.orders.send(order);
        wake(&self.wake);
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        // Closing the channel is the order to end.
        let (closed, _) = sync_channel(0);
        self.orders = closed;
        wake(&self.wake);
        if let Some(carrier) = self.carrier.take() {
            let _panicked = carrier.join();
        }
    }
}

fn wake(event: &OwnedFd) {
    // A full counter wakes as well.
    let _full = rustix::io::write(event, &1_u64.to_ne_bytes());
}

/// Opens the TUN device `wan0` of a router. It works from any namespace afterwards.
fn open_device(router: &Place) -> Result<SyncDevice> {
    namespace::within(router, || {
        let builder = DeviceBuilder::new()
            .name("wan0")
            .mtu(MTU)
            .tx_queue_len(DEVICE_QUEUE);
        let device = builder.build_sync()?;
        device.set_nonblocking(true)?;
        Ok::<_, io::Error>(device)
    })?
    .with_context(|| format!("cannot open a TUN device for {router}; is there /dev/net/tun?"))
}

/// Where the internet meets a region's router.
struct Port {
    /// What it leads to: the region's hosts, and its pods if a router is told to go that way.
    prefixes: [Ipv4Net; 2],
    device: SyncDevice,
    cut: bool,
}

struct Packet {
    bytes: Box<[u8; MTU as usize]>,
    length: usize,
}

/// The thread's state.
struct Carrier {
    ports: Vec<Port>,
    /// By the port that a packet comes from, then by the one it goes to.
    paths: Vec<Vec<Path<Packet>>>,
    /// Buffers to use again; as many as have ever been on their way.
    spare: Vec<Packet>,
    chance: SmallRng,
    orders: Receiver<Order>,
    wake: Arc<OwnedFd>,
}

impl Carrier {
    fn run(mut self) {
        // Only a wish: without it the delays are a little longer under load.
        let own_thread = Some(rustix::thread::gettid());
        let _refused = rustix::process::setpriority_process(own_thread, PRIORITY);

        while self.obey() {
            let readable = self.wait();
            for (port, _) in readable
                .iter()
                .enumerate()
                .filter(|(_, readable)| **readable)
            {
                self.collect(port);
            }
            self.deliver();
        }
    }

    /// Follows the orders that have come in; false is the end.
    fn obey(&mut self) -> bool {
        loop {
            match self.orders.try_recv() {
                Ok(Order::Treat {
                    from,
                    to,
                    conditions,
                }) => {
                    self.paths[from][to].set_conditions(conditions);
                }
                Ok(Order::Cut { region, cut }) => self.ports[region].cut = cut,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// Waits for packets, arrivals and orders, and says which ports have packets.
    fn wait(&self) -> Vec<bool> {
        let next = self
            .paths
            .iter()
            .flatten()
            .filter_map(Path::next_arrival)
            .min();
        let pause = next.map(|it| it.saturating_duration_since(clock::now()));
        let pause = pause.and_then(|it| Timespec::try_from(it).ok());

        let devices = self.ports.iter().map(|it| it.device.as_fd());
        let events = devices.chain([self.wake.as_fd()]);
        let mut events: Vec<PollFd<'_>> = events
            .map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN))
            .collect();
        // A failure is an interruption: nothing is readable, and the loop comes back here.
        let _interrupted = poll(&mut events, pause.as_ref());

        let mut readable: Vec<bool> = events
            .iter()
            .map(|it| it.revents().contains(PollFlags::IN))
            .collect();
        if readable.pop() == Some(true) {
            let _empty = rustix::io::read(&self.wake, &mut [0_u8; 8]);
        }
        readable
    }

    /// Sends what the router behind `port` has given us on its way.
    fn collect(&mut self, port: usize) {
        for _ in 0..BATCH {
            let mut packet = self.spare.pop().unwrap_or_else(Packet::empty);
            let Ok(length) = rustix::io::read(&self.ports[port].device, &mut packet.bytes[..])
            else {
                self.spare.push(packet);
                return;
            };
            packet.length = length;
            let refused = match self.destination(&packet) {
                Some(to) if !self.ports[port].cut => {
                    let chance = self.chance.random();
                    self.paths[port][to].send(clock::now(), length, chance, packet)
                }
                _ => {
                    self.spare.push(packet);
                    continue;
                }
            };
            if let Err((reason, packet)) = refused {
                tracing::trace!(?reason, "dropped a packet");
                self.spare.push(packet);
            }
        }
    }

    fn destination(&self, packet: &Packet) -> Option<usize> {
        let header = &packet.bytes[..packet.length];
        let (4, Some(address)) = (header.first()? >> 4, header.get(16..20)) else {
            return None;
        };
        let address = Ipv4Addr::from(<[u8; 4]>::try_from(address).ok()?);
        self.ports
            .iter()
            .position(|it| it.prefixes.iter().any(|prefix| prefix.contains(&address)))
    }

    /// Hands every packet that has arrived to its router.
    fn deliver(&mut self) {
        let now = clock::now();
        for (from, paths) in self.paths.iter_mut().enumerate() {
            for (to, path) in paths.iter_mut().enumerate() {
                while let Some(packet) = path.arrive(now) {
                    if !self.ports[from].cut && !self.ports[to].cut {
                        let bytes = &packet.bytes[..packet.length];
                        // A router that is going away takes no packets.
                        let _gone = rustix::io::write(&self.ports[to].device, bytes);
                    }
                    self.spare.push(packet);
                }
            }
        }
    }
}

impl Packet {
    fn empty() -> Self {
        Self {
            bytes: Box::new([0; MTU as usize]),
            length: 0,
        }
    }
}
