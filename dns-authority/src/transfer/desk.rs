//! Serves what is no plain query: transfers, notifications, updates, and whatever is signed.

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use daemon::Clock;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{debug, info};

use super::fetch::Followers;
use super::incoming::Fetched;
use super::options::Options;
use super::outgoing::{self, Body};
use crate::answer::World;
use crate::guard::Guard;
use crate::journal::soa_serial;
use crate::keeper::{Change, Histories, Refused};
use crate::message::{self, Transport};
use crate::tsig::{Conversation, Keys, Refusal, stripped};
use crate::update;
use crate::wire::name::Shown;
use crate::wire::query::{Header, OPERATION_NOTIFY, OPERATION_UPDATE, Query, Received, read};
use crate::wire::reply::{Reply, refuse};
use crate::wire::{code, kind, whole};

/// A message that is served here, and the way back.
#[derive(Debug)]
pub struct Errand {
    pub message: Vec<u8>,
    pub client: IpAddr,
    pub transport: Transport,
    /// Takes the answers, of which a transfer has many.
    pub answers: mpsc::Sender<Vec<u8>>,
}

/// Takes errands.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Errand>);

/// A change of a zone that the owner of zones is asked for, and where it tells the response code.
pub struct Request {
    pub origin: Box<[u8]>,
    pub edit: Edit,
    pub done: oneshot::Sender<Result<(), Refused>>,
}

/// What becomes of a zone.
pub enum Edit {
    Change(Change),
    /// The copy is too old to be served.
    Expire,
    /// A primary said what is new.
    Install(Fetched),
}

/// What errands are served from.
#[derive(Clone)]
pub struct Clerk {
    pub options: Arc<Options>,
    pub keys: Arc<Keys>,
    pub world: Arc<ArcSwap<World>>,
    pub histories: Arc<ArcSwap<Histories>>,
    pub requests: mpsc::Sender<Request>,
    pub followers: Arc<Followers>,
    pub clock: Clock,
}

/// Errands that wait; more are dropped, and their clients ask again.
const WAITING_MAX: usize = 256;
/// Errands that are served at once. A transfer holds a thread, and a message of 64 KiB.
const SERVED_MAX: usize = 32;
/// Answers of an errand that wait to be sent.
pub const ANSWERS_MAX: usize = 4;
/// The length of a message over TCP, and of one that travels unfragmented over UDP.
const TCP_BYTES_MAX: usize = 65_535;
const UDP_BYTES_MAX: usize = 1232;

impl Desk {
    /// Takes an errand, if there is room for one more.
    pub fn take(&self, errand: Errand) {
        if self.0.try_send(errand).is_err() {
            debug!("too many transfers and updates at once");
        }
    }

    /// Opens the desk.
    pub fn open(clerk: Clerk) -> Self {
        let (sender, mut errands) = mpsc::channel::<Errand>(WAITING_MAX);
        tokio::spawn(async move {
            let places = Arc::new(Semaphore::new(SERVED_MAX));
            while let Some(errand) = errands.recv().await {
                let place = Arc::clone(&places).acquire_owned().await;
                let place = place.expect("nobody closes it");
                let clerk = clerk.clone();
                tokio::spawn(async move {
                    clerk.serve(errand).await;
                    drop(place);
                });
            }
        });
        Self(sender)
    }
}

impl Clerk {
    async fn serve(&self, errand: Errand) {
        let (plain, proof) = match self.open(&errand.message) {
            Ok(opened) => opened,
            // Nobody waits for an answer to what is none.
            Err(None) => return,
            Err(Some(answer)) => return drop(errand.answers.send(answer).await),
        };
        let mut case = Case {
            clerk: self.clone(),
            plain,
            proof,
            errand,
        };
        if case.proof.as_ref().is_some_and(|it| it.error() != 0) {
            return case.refuse(code::NOT_AUTHORITATIVE).await;
        }
        let plain = std::mem::take(&mut case.plain);
        match read(&plain) {
            Received::Query(query) if [kind::AXFR, kind::IXFR].contains(&query.kind) => {
                case.transfer(plain.clone()).await;
            }
            Received::Query(_) => case.answer(&plain).await,
            Received::Other(header) if header.operation == OPERATION_UPDATE => {
                let code = case.update(&plain).await;
                case.plain = plain;
                case.refuse(code).await;
            }
            Received::Other(header) if header.operation == OPERATION_NOTIFY => {
                let code = case.notice(&plain);
                case.plain = plain;
                case.refuse(code).await;
            }
            Received::Malformed(_) | Received::Nothing | Received::Other(_) => {
                case.plain = plain;
                case.refuse(code::FORMAT_ERROR).await;
            }
        }
    }

    /// The message without its signature, and what the signature proves; else the answer, if there is one.
    #[expect(clippy::type_complexity, reason = "two things, one of them optional")]
    fn open(&self, message: &[u8]) -> Result<(Vec<u8>, Option<Conversation>), Option<Vec<u8>>> {
        let header = Header::read(message).ok_or(None)?;
        let refused = |code| {
            let mut answer = Vec::new();
            refuse(&mut answer, header, code);
            answer
        };
        let whole = whole::read(message).map_err(|_| Some(refused(code::FORMAT_ERROR)))?;
        let Some(at) = whole.signature else {
            return Ok((message.to_vec(), None));
        };
        match self.keys.check(message, at, self.now()) {
            Ok(proof) => Ok((stripped(message, at), Some(proof))),
            Err(Refusal::Malformed) => Err(Some(refused(code::FORMAT_ERROR))),
            Err(Refusal::Unproven { error, record }) => {
                let plain = stripped(message, at);
                let mut answer = Vec::new();
                match read(&plain) {
                    Received::Query(query) => {
                        refuse_query(&mut answer, &query, code::NOT_AUTHORITATIVE);
                    }
                    Received::Malformed(_) | Received::Nothing | Received::Other(_) => {
                        refuse(&mut answer, header, code::NOT_AUTHORITATIVE);
                    }
                }
                record.add(&mut answer, error);
                Err(Some(answer))
            }
        }
    }

    fn now(&self) -> u64 {
        self.clock.unix_milliseconds() / 1000
    }
}

/// An errand that is being served.
struct Case {
    clerk: Clerk,
    plain: Vec<u8>,
    proof: Option<Conversation>,
    errand: Errand,
}

impl Case {
    /// Answers a query that was signed.
    async fn answer(&mut self, plain: &[u8]) {
        let mut answer = Vec::new();
        let world = self.clerk.world.load_full();
        let client = self.errand.client;
        let chance = rand::random();
        let transport = self.errand.transport;
        // Who signs is known, and not limited.
        let guard = Guard::open(self.clerk.clock.now());
        let handled = message::handle(
            &world,
            &guard,
            plain,
            client,
            transport,
            chance,
            &mut answer,
        );
        if handled.is_some() {
            self.send(answer).await;
        }
    }

    /// Gives a zone out, or what changed in it.
    async fn transfer(&mut self, plain: Vec<u8>) {
        let Received::Query(query) = read(&plain) else {
            return;
        };
        let client = self.errand.client;
        let key = self.proof.as_ref().map(Conversation::key_name);
        let world = self.clerk.world.load_full();
        let zone = world.zones.0.get(query.name.octets()).cloned();
        let is_udp = self.errand.transport == Transport::Udp;
        let refusal = match &zone {
            _ if is_udp && query.kind == kind::AXFR => Some(code::FORMAT_ERROR),
            _ if !self.clerk.options.may_transfer(client, key) => Some(code::REFUSED),
            None => Some(code::NOT_AUTHORITATIVE),
            Some(zone) if zone.lack().is_some() => Some(code::SERVER_FAILURE),
            Some(_) => None,
        };
        let (Some(zone), None) = (zone, refusal) else {
            let code = refusal.unwrap_or(code::REFUSED);
            info!(%client, zone = %Shown(query.name.octets()), code = %code::Shown(code), "gave no zone out");
            let mut answer = Vec::new();
            refuse_query(&mut answer, &query, code);
            return self.send(answer).await;
        };
        let histories = self.clerk.histories.load_full();
        let history = histories.get(zone.origin()).map(|it| &**it);
        let body = match theirs(&plain, &query) {
            // Over UDP a client only learns whether it has to come back over TCP.
            Some(_) if is_udp => Body::Current,
            Some(serial) => Body::since(serial, &zone, history),
            None => Body::Whole,
        };
        debug!(%client, zone = %Shown(zone.origin()), serial = zone.serial(), "gives a zone out");
        let answers = self.errand.answers.clone();
        let (mut proof, clock) = (self.proof.take(), self.clerk.clock);
        let limit = if is_udp { UDP_BYTES_MAX } else { TCP_BYTES_MAX };
        let limit = limit - proof.as_ref().map_or(0, Conversation::record_bytes);
        // What ends early was the client's wish.
        let _ = tokio::task::spawn_blocking(move || {
            let Received::Query(query) = read(&plain) else {
                return false;
            };
            outgoing::write(&zone, &query, &body, limit, &mut |mut message| {
                if let Some(proof) = &mut proof {
                    proof.sign(&mut message, clock.unix_milliseconds() / 1000);
                }
                answers.blocking_send(message).is_ok()
            })
        })
        .await;
    }

    /// Has a zone changed; returns the response code.
    async fn update(&self, plain: &[u8]) -> u16 {
        let Ok(whole) = whole::read(plain) else {
            return code::FORMAT_ERROR;
        };
        let Some(zone) = whole.question.filter(|it| it.kind == kind::SOA) else {
            return code::FORMAT_ERROR;
        };
        let origin = zone.name.to_ascii_lowercase().into_boxed_slice();
        if !self.clerk.world.load().zones.0.contains_key(&origin) {
            return code::NOT_AUTHORITATIVE;
        }
        let key = self.proof.as_ref().map(Conversation::key_name);
        let client = self.errand.client;
        if !self.clerk.options.may_update(&origin, key) {
            info!(%client, zone = %Shown(&origin), "refused an update");
            return code::REFUSED;
        }
        let [prerequisites, updates, _] = whole.sections;
        let change: Change = Box::new(move |zone| {
            Ok(update::apply(
                zone.store(),
                zone.origin(),
                &prerequisites,
                &updates,
            )?)
        });
        let outcome = ask(&self.clerk.requests, origin, Edit::Change(change)).await;
        let code = outcome.map_or_else(|it| it.code, |()| code::NO_ERROR);
        info!(%client, zone = %Shown(&zone.name), code = %code::Shown(code), "an update");
        code
    }

    /// A primary says that it has something new (RFC 1996 section 3.11); returns the response code.
    fn notice(&self, plain: &[u8]) -> u16 {
        let Some(question) = whole::read(plain).ok().and_then(|it| it.question) else {
            return code::FORMAT_ERROR;
        };
        let origin = question.name.to_ascii_lowercase();
        let Some(follower) = self.clerk.followers.get(&*origin) else {
            return code::NOT_AUTHORITATIVE;
        };
        let client = self.errand.client;
        let key = self.proof.as_ref().map(Conversation::key_name);
        let mut primaries = follower.primaries.iter();
        let is_known = primaries.any(|it| match &it.key {
            Some(name) => key == Some(&**name),
            None => it.address.ip().to_canonical() == client,
        });
        if !is_known {
            info!(%client, zone = %Shown(&origin), "a notification of a stranger");
            return code::REFUSED;
        }
        follower.wake.notify_one();
        code::NO_ERROR
    }

    async fn refuse(&mut self, code: u16) {
        let Some(header) = Header::read(&self.errand.message) else {
            return;
        };
        let mut answer = Vec::new();
        match read(&self.plain) {
            Received::Query(query) => refuse_query(&mut answer, &query, code),
            Received::Malformed(_) | Received::Nothing | Received::Other(_) => {
                refuse(&mut answer, header, code);
            }
        }
        self.send(answer).await;
    }

    async fn send(&mut self, mut answer: Vec<u8>) {
        if let Some(proof) = &mut self.proof {
            proof.sign(&mut answer, self.clerk.now());
        }
        // A client that has gone does not wait.
        let _ = self.errand.answers.send(answer).await;
    }
}

/// Has the owner of zones do something with one.
///
/// # Errors
///
/// It was not done.
pub async fn ask(
    requests: &mpsc::Sender<Request>,
    origin: Box<[u8]>,
    edit: Edit,
) -> Result<(), Refused> {
    let (done, outcome) = oneshot::channel();
    let request = Request { origin, edit, done };
    let asked = requests.send(request).await;
    match (asked, outcome.await) {
        (Ok(()), Ok(outcome)) => outcome,
        // The process is ending.
        _ => Err(code::SERVER_FAILURE.into()),
    }
}

/// The serial that a client has, if it asks for what is newer.
fn theirs(plain: &[u8], query: &Query<'_>) -> Option<u32> {
    let whole = whole::read(plain)
        .ok()
        .filter(|_| query.kind == kind::IXFR)?;
    let [_, authorities, _] = whole.sections;
    let soa = authorities.iter().find(|it| it.kind == kind::SOA);
    soa.and_then(|it| soa_serial(&it.data))
}

/// The answer to a query that is not served.
fn refuse_query(answer: &mut Vec<u8>, query: &Query<'_>, code: u16) {
    Reply::new(answer, query, UDP_BYTES_MAX, None).finish(code, false, false, None);
}
