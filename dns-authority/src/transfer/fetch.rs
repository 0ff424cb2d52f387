//! Follows the primaries of a zone: asks for what is new when it is time, or when they say so.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use daemon::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tracing::{info, warn};

use super::desk::{self, Edit, Request};
use super::incoming::{Fetched, Incoming, Useless};
use super::options::Peer;
use super::timers::{Intervals, Timers};
use crate::answer::World;
use crate::tsig::{Conversation, Key};
use crate::wire::name::{Folded, Shown};
use crate::wire::{CLASS_IN, code, kind, whole};
use crate::zone::{Lack, Zone};

/// Those who follow primaries, by origin: woken by a notification.
pub type Followers = BTreeMap<Box<[u8]>, Follower>;

/// Where a notification goes, and from whom it may come.
#[derive(Clone, Debug)]
pub struct Follower {
    pub wake: Arc<Notify>,
    pub primaries: Arc<[Peer]>,
}

/// What follows the primaries of one zone.
pub struct Fetcher {
    pub origin: Folded,
    pub primaries: Arc<[Peer]>,
    /// In the order of the primaries.
    pub keys: Vec<Option<Arc<Key>>>,
    pub wake: Arc<Notify>,
    pub world: Arc<ArcSwap<World>>,
    pub requests: mpsc::Sender<Request>,
    pub clock: Clock,
}

/// For a connection, and for each message: a primary that is slower is down.
const PATIENCE: Duration = Duration::from_secs(10);
/// For a whole transfer.
const TRANSFER_MAX: Duration = Duration::from_secs(600);

impl Fetcher {
    /// Follows for as long as the process lives; the copy that is there was confirmed then, in seconds
    /// since 1970.
    pub async fn run(self, confirmed: Option<u64>) {
        let start = self.clock.now();
        let age = confirmed.map(|it| (self.unix_seconds().saturating_sub(it)).cast_signed());
        let copy = self.zone().filter(|it| it.lack() != Some(Lack::Absent));
        let copy = copy
            .map(|it| Intervals::of(it.soa().1))
            .zip(age.map(|it| -it));
        let mut timers = Timers::new(copy, 0);
        loop {
            let now = self.seconds_since(start);
            if timers.expires().is_some_and(|it| it <= now) {
                self.ask(Edit::Expire).await;
            }
            if timers.due() <= now {
                match self.fetch().await {
                    Some(intervals) => {
                        timers.handle_success(intervals, self.seconds_since(start), rand::random());
                    }
                    None => timers.handle_failure(self.seconds_since(start)),
                }
                continue;
            }
            // Expiry is looked at in time as well.
            let next = timers.expires().filter(|it| now < *it).unwrap_or(i64::MAX);
            let pause = u64::try_from(timers.due().min(next) - now).unwrap_or_default();
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(pause)) => (),
                () = self.wake.notified() => timers.handle_notify(self.seconds_since(start)),
            }
        }
    }

    /// Asks one primary after the other until one has answered.
    async fn fetch(&self) -> Option<Intervals> {
        for (peer, key) in self.primaries.iter().zip(&self.keys) {
            let zone = self.zone().filter(|it| it.lack() != Some(Lack::Absent));
            let have = zone.map(|it| it.serial());
            let fetched = timeout(TRANSFER_MAX, self.fetch_from(peer, key.as_ref(), have)).await;
            let fetched = fetched.unwrap_or_else(|_| Err(anyhow::anyhow!("it takes too long")));
            let shown = Shown(self.origin.octets());
            match fetched {
                Ok(fetched) => {
                    let is_news = fetched != Fetched::Current;
                    if !self.ask(Edit::Install(fetched)).await {
                        continue;
                    }
                    let zone = self.zone()?;
                    if is_news {
                        info!(zone = %shown, primary = %peer.address, serial = zone.serial(), "a new version");
                    }
                    return Some(Intervals::of(zone.soa().1));
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    warn!(zone = %shown, primary = %peer.address, error, "cannot compare with the primary");
                }
            }
        }
        None
    }

    /// Asks for what changed, or for the whole where that is not to be had.
    async fn fetch_from(
        &self,
        peer: &Peer,
        key: Option<&Arc<Key>>,
        have: Option<u32>,
    ) -> anyhow::Result<Fetched> {
        if let Some(have) = have {
            match self.transfer(peer, key, Some(have)).await {
                Err(error) if is_no_ixfr(&error) => (),
                outcome => return outcome,
            }
        }
        self.transfer(peer, key, None).await
    }

    async fn transfer(
        &self,
        peer: &Peer,
        key: Option<&Arc<Key>>,
        have: Option<u32>,
    ) -> anyhow::Result<Fetched> {
        let id = rand::random();
        let mut request = request(id, self.origin.octets(), have);
        let proof = key.map(|it| Conversation::asking(it, &mut request, self.unix_seconds()));
        let mut proof = proof;
        let stream = timeout(PATIENCE, TcpStream::connect(peer.address)).await;
        let mut stream = BufReader::new(stream.context("it does not answer")??);
        let length = u16::try_from(request.len()).expect("a question is short");
        stream
            .write_all(&[&length.to_be_bytes(), &request[..]].concat())
            .await?;

        let mut incoming = Incoming::new(&self.origin, have);
        loop {
            let message = timeout(PATIENCE, read(&mut stream)).await;
            let message = message
                .context("it does not go on")?
                .context("it ended early")?;
            let whole = whole::read(&message)?;
            if !whole.is_answer || whole.id != id {
                bail!("it answers something else");
            }
            if let Some(proof) = &mut proof {
                proof.hear(&message, whole.signature, self.unix_seconds())?;
            }
            if let Some(fetched) = incoming.take(whole)? {
                if proof.as_ref().is_some_and(|it| !it.is_complete()) {
                    bail!("the end is not signed");
                }
                return Ok(fetched);
            }
        }
    }

    /// Has the owner of zones do something; whether it was done.
    async fn ask(&self, edit: Edit) -> bool {
        let origin = self.origin.octets().into();
        desk::ask(&self.requests, origin, edit).await.is_ok()
    }

    fn zone(&self) -> Option<Arc<Zone>> {
        self.world.load().zones.0.get(self.origin.octets()).cloned()
    }

    fn unix_seconds(&self) -> u64 {
        self.clock.unix_milliseconds() / 1000
    }

    fn seconds_since(&self, start: Instant) -> i64 {
        let age = self.clock.now().saturating_duration_since(start);
        i64::try_from(age.as_secs()).unwrap_or(i64::MAX)
    }
}

/// Whether a primary only does not know how to say what changed.
fn is_no_ixfr(error: &anyhow::Error) -> bool {
    let codes = [code::FORMAT_ERROR, code::NOT_IMPLEMENTED, code::REFUSED];
    match error.downcast_ref() {
        Some(Useless::Refused(code)) => codes.contains(code),
        Some(Useless::Wrong(_)) => true,
        Some(Useless::TooLarge) | None => false,
    }
}

/// Asks for the zone, or for what changed in it since a version (RFC 1995 section 3).
fn request(id: [u8; 2], origin: &[u8], have: Option<u32>) -> Vec<u8> {
    let authorities = u8::from(have.is_some());
    let mut message = [&id[..], &[0, 0, 0, 1, 0, 0, 0, authorities, 0, 0], origin].concat();
    let kind = if have.is_some() {
        kind::IXFR
    } else {
        kind::AXFR
    };
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    if let Some(serial) = have {
        // Of the SOA record only the serial counts.
        message.extend_from_slice(origin);
        message.extend(kind::SOA.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message.extend([0, 0, 0, 0, 0, 22, 0, 0]);
        message.extend([serial, 0, 0, 0, 0].map(u32::to_be_bytes).concat());
    }
    message
}

async fn read(stream: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
    let mut message = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}
