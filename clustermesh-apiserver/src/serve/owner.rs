//! The one task that owns the model: takes inputs to it, one at a time, and its effects to the hands.

use std::time::{Duration, Instant};

use daemon::{Clock, Readiness, ReadinessGuard};
use kvstore::follower::Update;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use topology::id::ClusterName;
use topology::report::ApiserverStatus;
use tracing::{debug, info, warn};

use crate::admin::{Peer, Question};
use crate::certificates::{Certificates, Watchman};
use crate::directory::Listing;
use crate::hands::{Hands, Heard};
use crate::journal::Journal;
use crate::manifest::catalog::Manifests;
use crate::metrics::Metrics;
use crate::model::peers::Surroundings;
use crate::model::{Input, Model};
use crate::moment::Moment;
use crate::publish::{Cluster, Remembered};
use crate::remote_file::RemoteFile;
use crate::users::file::UsersFile;

/// Grace periods and the heartbeat are counted in seconds.
const TICK: Duration = Duration::from_secs(1);

/// How often peers of our own kind can measure how long a change takes to them.
const PULSE_INTERVAL: Duration = Duration::from_secs(5);

/// Everything that can wake the owner.
pub(super) struct Inputs {
    /// What our store remembers, as soon as it can be read. Objects wait for it.
    pub(super) remembered: oneshot::Receiver<Remembered>,
    pub(super) agents: mpsc::Receiver<Update>,
    pub(super) objects: mpsc::Receiver<Manifests>,
    pub(super) remotes: watch::Receiver<Listing<RemoteFile>>,
    pub(super) users: watch::Receiver<Listing<UsersFile>>,
    pub(super) updates: mpsc::Receiver<Heard>,
    pub(super) questions: mpsc::Receiver<Question>,
}

/// The one task that owns the model.
pub(super) struct Owner {
    pub(super) model: Model,
    pub(super) metrics: Metrics,
    pub(super) hands: Hands,
    pub(super) journal: Journal,
    pub(super) certificates: Watchman,
    pub(super) started: Instant,
    pub(super) cluster: Cluster,
    pub(super) clock: Clock,
    pub(super) readiness: Readiness,
    /// Delays readiness until the remotes are met.
    pub(super) met: Option<ReadinessGuard>,
}

impl Owner {
    /// Runs until it is dropped. `written` is told when the first publication is in the store.
    pub(super) async fn run(mut self, mut inputs: Inputs, written: oneshot::Sender<()>) -> ! {
        // The remotes first: what is announced of them belongs to the first publication.
        let remotes = inputs.remotes.borrow_and_update().clone();
        self.take_in(Input::Configured(remotes)).await;
        inputs.users.mark_changed();
        let mut written = Some(written);
        let mut remembers = false;

        let mut ticks = timer(TICK);
        let mut pulses = timer(PULSE_INTERVAL);
        loop {
            tokio::select! {
                remembered = &mut inputs.remembered, if !remembers => {
                    remembers = true;
                    // The task ends without a word only with the process.
                    self.take_in(Input::Remembered(remembered.unwrap_or_default())).await;
                }
                Some(objects) = inputs.objects.recv(), if remembers => {
                    self.take_in(Input::Objects(objects)).await;
                    if let Some(written) = written.take() {
                        tokio::spawn(self.hands.tell_written(written));
                    }
                }
                Some(update) = inputs.agents.recv(), if remembers => {
                    self.take_in(Input::Agents(update)).await;
                }
                _ = pulses.tick() => {
                    let unix_microseconds = self.clock.unix_microseconds();
                    self.take_in(Input::Pulse { unix_microseconds }).await;
                }
                listing = next(&mut inputs.remotes) => {
                    self.take_in(Input::Configured(listing)).await;
                }
                users = next(&mut inputs.users) => self.take_in(Input::Users(users)).await,
                Some(Heard { input, turn }) = inputs.updates.recv() => {
                    self.take_in(input).await;
                    drop(turn);
                }
                Some(question) = inputs.questions.recv() => self.answer(question),
                _ = ticks.tick() => {
                    self.take_in(Input::Tick).await;
                    self.note_beats();
                    self.show();
                }
            }
        }
    }

    async fn take_in(&mut self, input: Input) {
        let now = moment(self.clock, self.started);
        self.witness(&input, now.unix_milliseconds);
        for effect in self.model.apply(input, now) {
            self.hands.carry_out(effect).await;
        }
        if self.met.is_some() && self.model.has_met_remotes(now) {
            self.met = None;
            self.metrics.set_mirrored(self.clock.now() - self.started);
        }
    }

    /// Takes in how long remotes' pulses were on their way.
    fn note_beats(&mut self) {
        let now = self.clock.unix_milliseconds();
        for beat in self.hands.take_beats() {
            self.journal
                .beat(&beat.remote, beat.latency_microseconds, now);
            let latency = Duration::from_micros(beat.latency_microseconds);
            self.metrics
                .observe_latency(&self.cluster.name, &beat.remote, latency);
        }
    }

    /// Takes in which remotes are held back.
    fn note_throttles(&mut self) {
        self.journal.hold(self.hands.throttles());
    }

    /// Brings what is shown outside up to date.
    fn show(&mut self) {
        self.note_throttles();
        self.journal.keep(self.model.remote_names());
        self.metrics
            .show(&self.cluster.name, &self.model, &self.journal);
        let files = self.model.client_certificates().cloned();
        self.certificates.watch(files.collect());
        self.certificates.warn(self.clock.unix_milliseconds());
        let server = self.certificates.server();
        let clients = self.certificates.files();
        self.metrics
            .show_certificates(server.as_ref(), clients.values());
    }

    /// Logs and counts what an operator cares about.
    fn witness(&mut self, input: &Input, now: u64) {
        if let Input::Said { remote, update, .. } = input {
            self.journal.hear(remote, update, now);
        }
        match input {
            Input::Said {
                remote,
                update: Update::Lost { reason, .. },
                ..
            } => {
                warn!(%remote, reason, "a remote cluster is lost");
            }
            Input::Said {
                remote,
                update: Update::Connected { .. },
                ..
            } => {
                info!(%remote, "a remote cluster answers");
            }
            Input::Said {
                remote,
                update: Update::Listed(records),
                ..
            } => {
                debug!(%remote, records = records.len(), "the end of a remote cluster's list");
            }
            Input::Said {
                update: Update::Changed(_) | Update::Page(_),
                ..
            }
            | Input::Agents(_)
            | Input::Configured(_)
            | Input::Objects(_)
            | Input::Pulse { .. }
            | Input::Remembered(_)
            | Input::Tick
            | Input::Users(_) => (),
        }
    }

    fn answer(&mut self, question: Question) {
        self.note_throttles();
        // Who asked may have left.
        match question {
            Question::Peer { name, answer } => {
                let _ = answer.send(self.peer(&name));
            }
            Question::Status(answer) => {
                let _ = answer.send(self.status());
            }
        }
    }

    fn status(&self) -> ApiserverStatus {
        let ready = self.readiness.is_ready();
        ApiserverStatus {
            peers: self
                .model
                .peers(self.surroundings(&self.certificates.files())),
            certificate: self.certificates.server(),
            ..self.model.status(ready, self.hands.store_problem())
        }
    }

    fn peer(&self, name: &ClusterName) -> Option<Peer> {
        Some(Peer {
            report: (self.model).peer(name, self.surroundings(&self.certificates.files()))?,
            view: self.model.view(name, moment(self.clock, self.started))?,
            store: self.hands.store().clone(),
        })
    }

    fn surroundings<'a>(&'a self, certificates: &'a Certificates) -> Surroundings<'a> {
        Surroundings {
            journal: &self.journal,
            certificates,
        }
    }
}

pub(super) fn moment(clock: Clock, started: Instant) -> Moment {
    let uptime = clock.now().duration_since(started).as_millis();
    Moment {
        unix_milliseconds: clock.unix_milliseconds(),
        uptime_milliseconds: u64::try_from(uptime).unwrap_or(u64::MAX),
    }
}

/// The next listing; waits for ever once nobody watches the directory.
async fn next<T: Clone>(listings: &mut watch::Receiver<T>) -> T {
    if listings.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    listings.borrow_and_update().clone()
}

fn timer(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
