//! Tells secondaries that zones have new versions (RFC 1996), again until they have heard it.

mod outbox;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::Clock;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use self::outbox::Outbox;
use super::options::Peer;
use crate::tsig::{Conversation, Key};
use crate::wire::kind;
use crate::wire::name::Shown;
use crate::wire::query::OPERATION_NOTIFY;
use crate::wire::{CLASS_IN, whole};

/// The serials of zones, by origin in lower case.
pub type Serials = BTreeMap<Box<[u8]>, u32>;

/// An answer is a header, the question, and maybe a signature.
const ANSWER_BYTES_MAX: usize = 1232;
/// Answers are looked at in this time if nothing else is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Tells a secondary of every new serial, for as long as the process lives.
pub async fn run(
    peer: Peer,
    key: Option<Arc<Key>>,
    mut serials: watch::Receiver<Serials>,
    clock: Clock,
) {
    let mut courier = Courier {
        peer,
        key,
        clock,
        socket: None,
        under_way: BTreeMap::new(),
    };
    let mut outbox = Outbox::default();
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    loop {
        outbox.learn(&serials.borrow_and_update(), clock.now());
        for (origin, serial) in outbox.take_due(clock.now()) {
            if let Err(error) = courier.send(&origin, serial).await {
                debug!(peer = %courier.peer.address, %error, "cannot notify");
            }
        }
        for origin in outbox.take_lost() {
            let (peer, zone) = (courier.peer.address, Shown(&origin));
            warn!(%peer, %zone, "a secondary does not answer notifications; it finds out by itself later");
        }
        let due = outbox.next_due().unwrap_or_else(|| clock.now() + IDLE);
        tokio::select! {
            changed = serials.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep_until(due.into()) => (),
            received = courier.receive(&mut answer) => {
                if let Some(origin) = received.ok().and_then(|it| courier.heard(&answer[..it])) {
                    outbox.handle_answer(&origin);
                }
            }
        }
    }
}

/// What is sent to one secondary, and comes back.
struct Courier {
    peer: Peer,
    key: Option<Arc<Key>>,
    clock: Clock,
    socket: Option<UdpSocket>,
    /// By the number of the message; one for each zone, or fewer.
    under_way: BTreeMap<[u8; 2], Letter>,
}

/// The zone that a notification is about, and the proof of its answer.
type Letter = (Box<[u8]>, Option<Conversation>);

impl Courier {
    async fn send(&mut self, origin: &[u8], serial: u32) -> io::Result<()> {
        let id = rand::random();
        let mut message = notification(id, origin);
        let now = self.clock.unix_milliseconds() / 1000;
        let proof = self.key.as_ref();
        let proof = proof.map(|it| Conversation::asking(it, &mut message, now));
        self.under_way.retain(|_, (zone, _)| **zone != *origin);
        self.under_way.insert(id, (origin.into(), proof));
        debug!(peer = %self.peer.address, zone = %Shown(origin), serial, "notifies");
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let any = match self.peer.address.is_ipv4() {
                    true => "0.0.0.0:0",
                    false => "[::]:0",
                };
                let socket = UdpSocket::bind(any).await?;
                socket.connect(self.peer.address).await?;
                socket
            }
        };
        let sent = socket.send(&message).await;
        self.socket = Some(socket);
        sent.map(|_| ())
    }

    async fn receive(&self, answer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Some(socket) => {
                let received = socket.recv(answer).await;
                if received.is_err() {
                    // Nobody listens there yet; the error is about what was sent before.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                received
            }
            None => std::future::pending().await,
        }
    }

    /// The zone of which the secondary says that it has heard.
    fn heard(&mut self, answer: &[u8]) -> Option<Box<[u8]>> {
        let whole = whole::read(answer).ok()?;
        let is_fit = whole.is_answer && whole.operation == OPERATION_NOTIFY;
        let (origin, mut proof) = self.under_way.remove(&whole.id).filter(|_| is_fit)?;
        let now = self.clock.unix_milliseconds() / 1000;
        if let Some(proof) = &mut proof
            && let Err(error) = proof.hear(answer, whole.signature, now)
        {
            info!(peer = %self.peer.address, zone = %Shown(&origin), %error, "cannot believe an answer");
            return None;
        }
        if whole.code != 0 {
            let code = crate::wire::code::Shown(whole.code);
            info!(peer = %self.peer.address, zone = %Shown(&origin), %code, "a secondary does not want notifications");
        }
        Some(origin)
    }
}

/// RFC 1996 section 4.5, without the SOA record, which is only a hint.
fn notification(id: [u8; 2], origin: &[u8]) -> Vec<u8> {
    let authoritative = 4;
    let flags = [OPERATION_NOTIFY << 3 | authoritative, 0];
    let mut message = [&id[..], &flags, &[0, 1, 0, 0, 0, 0, 0, 0], origin].concat();
    message.extend(kind::SOA.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message
}

/// When something is to be done.
type Due = Instant;
