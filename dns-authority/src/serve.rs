//! Answers queries from the network.

mod tcp;
mod udp;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use arc_swap::ArcSwap;
use daemon::{Clock, Drain, bind};
use rand::rngs::SmallRng;
use rand::{RngCore as _, SeedableRng as _};

use crate::answer::World;
use crate::message::{Transport, handle};
use crate::metrics::Metrics;

/// The sockets of one address.
#[derive(Debug)]
pub struct Sockets {
    tcp: tokio::net::TcpListener,
    udp: Vec<tokio::net::UdpSocket>,
}

impl Sockets {
    /// Opens `address` for TCP, and for UDP with one socket per core.
    ///
    /// TCP comes first: its port cannot be shared, so that a second authority is noticed although
    /// UDP's could be. With port 0 the system chooses one for both.
    pub async fn bind(address: SocketAddr) -> Result<Self, bind::BindError> {
        let tcp = bind::tcp(address, "--listen").await?;
        let error = |it| bind::BindError::new(it, address, "--listen");
        let address = tcp.local_addr().map_err(error)?;
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let udp = (0..cores)
            .map(|_| udp::bind(address))
            .collect::<Result<_, _>>();
        Ok(Self {
            tcp,
            udp: udp.map_err(error)?,
        })
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.local_addr().ok()
    }

    /// Answers until the drain starts.
    pub fn serve(self, responder: &Responder, drain: &Drain) {
        for (index, socket) in self.udp.into_iter().enumerate() {
            let drain = drain.named(format!("udp socket {index}"));
            tokio::spawn(udp::serve(socket, responder.clone(), drain));
        }
        tokio::spawn(tcp::serve(
            self.tcp,
            responder.clone(),
            drain.named("tcp listener"),
        ));
    }
}

/// Turns queries into answers, for one task.
#[derive(Debug)]
pub struct Responder {
    world: Arc<ArcSwap<World>>,
    metrics: Metrics,
    clock: Clock,
    chance: SmallRng,
}

impl Responder {
    pub fn new(world: Arc<ArcSwap<World>>, metrics: Metrics, clock: Clock) -> Self {
        Self {
            world,
            metrics,
            clock,
            chance: SmallRng::from_os_rng(),
        }
    }

    /// Puts the answer to `query` into `response`; false if there is none.
    fn respond(
        &mut self,
        query: &[u8],
        resolver: IpAddr,
        transport: Transport,
        response: &mut Vec<u8>,
    ) -> bool {
        let start = self.clock.now();
        let world = self.world.load();
        let entropy = self.chance.next_u64();
        let resolver = resolver.to_canonical();
        let handled = handle(&world, query, resolver, transport, entropy, response);
        match handled {
            Some(handled) => {
                let took = self.clock.now().saturating_duration_since(start);
                self.metrics.queries(transport).count(handled, took);
            }
            None => {
                self.metrics.dropped.inc();
            }
        }
        handled.is_some()
    }
}

impl Clone for Responder {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.world), self.metrics.clone(), self.clock)
    }
}
