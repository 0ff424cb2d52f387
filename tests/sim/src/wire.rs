//! The way between a process and a store: messages take their time, get stuck, or find nobody there.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use etcd_client::Channel;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use kvstore::server::Local;
use kvstore::store::{Loss, Way};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;

use crate::signal::Signal;

/// What the way to a store is like.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Link {
    /// Somebody answers, and says no: the process is down, and its host is not.
    Refused,
    /// Nothing comes back.
    Silent,
    Up,
}

/// What is wrong on purpose, so that the checks can be seen to fail.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Defect {
    /// Followers miss some of what their watches tell.
    LostEvents,
    /// Writers are told that what they write is in the store, and some of it is not.
    LostWrites,
}

/// Dropping it ends all connections, as the death of the process does.
#[derive(Debug)]
pub(crate) struct Wire {
    state: Signal<State>,
    rng: SharedRng,
    defect: Option<Defect>,
}

#[derive(Clone, Debug)]
struct State {
    link: Link,
    /// With the number of its life.
    server: Option<(u64, Local)>,
    /// Connections that began in another era have ended.
    era: u64,
}

/// Where the next pause comes from.
type SharedRng = Arc<Mutex<SmallRng>>;

/// How long a message may be on its way.
const DELAY_MAX: Duration = Duration::from_millis(40);

/// Messages on their way; more wait where they come from.
const MESSAGES_MAX: usize = 4;

/// No message that tells only of a watch's beginning is longer.
const QUIET_BYTES_MAX: usize = 100;

impl Wire {
    /// One that leads nowhere yet.
    pub(crate) fn new(seed: u64, defect: Option<Defect>) -> Self {
        let state = State {
            link: Link::Refused,
            server: None,
            era: 0,
        };
        Self {
            state: Signal::new(state),
            rng: Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))),
            defect,
        }
    }

    /// Where it leads from now on, and what it is like.
    pub(crate) fn set(&self, link: Link, server: Option<(u64, Local)>) {
        self.state.change(|state| {
            let life = |it: &Option<(u64, Local)>| it.as_ref().map(|it| it.0);
            let is_other = life(&state.server) != life(&server);
            let is_changed = is_other || state.link != link;
            if is_other || (is_changed && link == Link::Refused) {
                state.era += 1;
            }
            state.link = link;
            state.server = server;
            is_changed
        });
    }

    pub(crate) fn way(&self) -> Way {
        let (state, rng) = (self.state.clone(), Arc::clone(&self.rng));
        let defect = self.defect;
        Way::new(move || Box::pin(dial(state.clone(), Arc::clone(&rng), defect)))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.state.close();
    }
}

async fn dial(
    state: Signal<State>,
    rng: SharedRng,
    defect: Option<Defect>,
) -> Result<Channel, Loss> {
    sleep(pause(&mut fork(&rng))).await;
    let found = state.wait_for(|it| it.link != Link::Silent).await;
    let found = found.ok_or_else(refused)?;
    let (Link::Up, Some((_, server))) = (found.link, found.server) else {
        return Err(refused());
    };
    let channel = server.channel();
    let connect = move || Connection {
        state: state.clone(),
        rng: fork(&rng),
        era: found.era,
        defect,
    };
    let service = tower::service_fn(move |request| connect().call(channel.clone(), request));
    Ok(Channel::Custom(BoxCloneSyncService::new(service)))
}

/// Both ends of what carries messages. Each of its streams has a chance of its own, so that it makes
/// no difference which of them runs first.
struct Connection {
    state: Signal<State>,
    rng: SmallRng,
    era: u64,
    defect: Option<Defect>,
}

type Frames = mpsc::Sender<Result<Frame<Bytes>, Status>>;

impl Connection {
    async fn call(
        mut self,
        channel: Channel,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, tower::BoxError> {
        self.pass().await?;
        let path = request.uri().path();
        let loses_events = self.has(Defect::LostEvents) && path == "/etcdserverpb.Watch/Watch";
        let loses_write = self.has(Defect::LostWrites) && path == "/etcdserverpb.KV/Txn";
        let request = match loses_write && self.happens(0.1) {
            true => request.map(|_| nothing()),
            false => request.map(|it| self.carry(it, false)),
        };
        let response = tokio::select! {
            biased;
            () = ended(self.state.clone(), self.era) => return Err(reset().into()),
            response = channel.oneshot(request) => response?,
        };
        self.pass().await?;
        Ok(response.map(|it| self.carry(it, loses_events)))
    }

    /// The body as it comes out at the other end.
    fn carry(&mut self, body: Body, is_lossy: bool) -> Body {
        let (frames, carried) = mpsc::channel(MESSAGES_MAX);
        let stream = Self {
            state: self.state.clone(),
            rng: SmallRng::from_rng(&mut self.rng),
            era: self.era,
            defect: self.defect,
        };
        tokio::spawn(stream.pump(body, frames, is_lossy));
        Body::new(StreamBody::new(ReceiverStream::new(carried)))
    }

    async fn pump(mut self, mut body: Body, frames: Frames, is_lossy: bool) {
        loop {
            let frame = tokio::select! {
                biased;
                () = ended(self.state.clone(), self.era) => Some(Err(reset())),
                () = frames.closed() => return,
                frame = body.frame() => frame,
            };
            let Some(mut frame) = frame else {
                return;
            };
            let passed = tokio::select! {
                biased;
                () = frames.closed() => return,
                passed = self.pass() => passed,
            };
            if let Err(status) = passed {
                frame = Err(status);
            }
            if is_lossy && tells(&frame) && self.happens(0.2) {
                continue;
            }
            let is_over = frame.is_err();
            if frames.send(frame).await.is_err() || is_over {
                return;
            }
        }
    }

    /// Waits for as long as a message takes.
    async fn pass(&mut self) -> Result<(), Status> {
        sleep(pause(&mut self.rng)).await;
        let era = self.era;
        let moving = |it: &State| it.era != era || it.link != Link::Silent;
        match self.state.wait_for(moving).await {
            Some(state) if state.era == era => Ok(()),
            Some(_) | None => Err(reset()),
        }
    }

    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    fn happens(&mut self, probability: f64) -> bool {
        self.rng.random_bool(probability)
    }
}

async fn ended(state: Signal<State>, era: u64) {
    // Without a state the process is gone, which is an end too.
    let _ = state.wait_for(|it| it.era != era).await;
}

/// Whether a watch's message tells of an event.
fn tells(frame: &Result<Frame<Bytes>, Status>) -> bool {
    let data = frame.as_ref().ok().and_then(|it| it.data_ref());
    data.is_some_and(|it| QUIET_BYTES_MAX < it.len())
}

/// A transaction that does nothing: the length of a message without fields.
fn nothing() -> Body {
    Body::new(Full::new(Bytes::from_static(&[0; 5])))
}

fn pause(rng: &mut SmallRng) -> Duration {
    rng.random_range(Duration::from_millis(1)..DELAY_MAX)
}

fn fork(rng: &SharedRng) -> SmallRng {
    SmallRng::from_rng(&mut rng.lock().unwrap_or_else(PoisonError::into_inner))
}

fn refused() -> Loss {
    Loss {
        reason: "connection refused".to_owned(),
        silent: false,
    }
}

fn reset() -> Status {
    Status::unavailable("connection reset")
}
