//! Answers queries from the network.

mod files;
mod fresh;
mod https;
pub mod options;
mod places;
mod quic;
pub mod sockets;
mod stream;
pub mod tally;
mod tcp;
mod udp;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use daemon::Clock;
use tokio::sync::mpsc;

use crate::answer::World;
use crate::cookie::Secrets;
use crate::guard::{Guard, Treatment};
use crate::limit::Limiter;
use crate::message::{Transport, handle};
use crate::transfer::desk::{ANSWERS_MAX, Desk, Errand};
use options::Options;
use tally::{Fate, Tallies, Tally};

pub use files::certificate;

/// What all queries are answered from.
#[derive(Clone, Debug)]
pub struct Service {
    world: Arc<ArcSwap<World>>,
    /// Takes what is no plain query.
    desk: Desk,
    tallies: Tallies,
    clock: Clock,
    secrets: Arc<ArcSwap<Secrets>>,
    limiter: Option<Arc<Limiter>>,
    name: Arc<[u8]>,
}

impl Service {
    /// Answers from `world`, as `options` say, and hands the rest over to `desk`; from then on it follows
    /// the files that the options name.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or has something else.
    pub fn new(
        (world, desk): (Arc<ArcSwap<World>>, Desk),
        tallies: Tallies,
        clock: Clock,
        options: &Options,
    ) -> anyhow::Result<Self> {
        let limiter = options
            .rates()
            .map(|it| Arc::new(Limiter::new(it, rand::random(), clock.now())));
        Ok(Self {
            world,
            desk,
            tallies,
            clock,
            secrets: files::secrets(options)?,
            limiter,
            name: options.nsid.as_bytes().into(),
        })
    }

    /// Answers the queries of one thread, or of all connections to one address.
    fn open(&self, transport: Transport) -> Responder {
        Responder {
            transport,
            tally: self.tallies.open(transport.name()),
            service: self.clone(),
            patience: Duration::ZERO,
        }
    }
}

/// What became of a message.
#[derive(Debug)]
enum Outcome {
    Answered,
    /// The desk answers it, with as many messages as come.
    HandedOver(mpsc::Receiver<Vec<u8>>),
    /// Nobody waits for an answer, or none shall have one.
    Unanswered,
}

/// Turns queries into answers.
#[derive(Clone, Debug)]
struct Responder {
    transport: Transport,
    service: Service,
    tally: Arc<Tally>,
    /// How long a client that asks is told that its connection may idle.
    patience: Duration,
}

impl Responder {
    fn world(&self) -> Arc<ArcSwap<World>> {
        Arc::clone(&self.service.world)
    }

    fn with_patience(&self, patience: Duration) -> Self {
        Self {
            patience,
            ..self.clone()
        }
    }

    /// Puts the answer to one query into `answer`, if that is what becomes of it.
    fn respond(&self, query: &[u8], client: IpAddr, answer: &mut Vec<u8>) -> Outcome {
        let world = self.service.world.load();
        let mut turn = self.turn(&world);
        let outcome = turn.respond(query, client, rand::random(), answer);
        turn.end();
        outcome
    }

    /// Gives a message to the desk.
    fn hand_over(&self, message: &[u8], client: IpAddr) -> Outcome {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        self.service.desk.take(Errand {
            message: message.to_vec(),
            client,
            transport: self.transport,
            answers,
        });
        Outcome::HandedOver(receiver)
    }

    /// Begins to answer queries that came together.
    fn turn<'a>(&'a self, world: &'a World) -> Turn<'a> {
        let clock = self.service.clock;
        let seconds = clock.unix_milliseconds() / 1000;
        let tenths = self.patience.as_millis() / 100;
        Turn {
            started: clock.now(),
            // Cookies go by serial numbers of seconds, which wrap.
            unix_seconds: u32::try_from(seconds & u64::from(u32::MAX)).unwrap_or_default(),
            patience: tenths.try_into().unwrap_or(u16::MAX),
            secrets: self.service.secrets.load(),
            count: 0,
            world,
            responder: self,
        }
    }
}

/// The time in which queries that came together are answered: they see one world, and one moment.
struct Turn<'a> {
    responder: &'a Responder,
    world: &'a World,
    secrets: arc_swap::Guard<Arc<Secrets>>,
    started: Instant,
    unix_seconds: u32,
    patience: u16,
    count: u64,
}

impl Turn<'_> {
    /// Puts the answer to `query` into `answer`, if that is what becomes of it.
    fn respond(
        &mut self,
        query: &[u8],
        client: IpAddr,
        entropy: u64,
        answer: &mut Vec<u8>,
    ) -> Outcome {
        self.count += 1;
        let Responder {
            service,
            tally,
            transport,
            ..
        } = self.responder;
        let guard = Guard {
            now: self.started,
            unix_seconds: self.unix_seconds,
            secrets: Some(&self.secrets),
            limiter: service.limiter.as_deref(),
            name: &service.name,
            patience: self.patience,
        };
        let client = client.to_canonical();
        let handled = handle(
            self.world, &guard, query, client, *transport, entropy, answer,
        );
        let Some(handled) = handled else {
            tally.note(Fate::Ignored);
            return Outcome::Unanswered;
        };
        if handled.is_errand && handled.treatment == Treatment::Answered && transport.has_errands()
        {
            tally.note(Fate::HandedOver);
            return self.responder.hand_over(query, client);
        }
        tally.count(handled);
        match handled.treatment {
            Treatment::Dropped => Outcome::Unanswered,
            Treatment::Answered | Treatment::CookieWanted | Treatment::Slipped => Outcome::Answered,
        }
    }

    fn end(self) {
        let now = self.responder.service.clock.now();
        let took = now.saturating_duration_since(self.started);
        self.responder.tally.time(self.count, took);
    }
}
