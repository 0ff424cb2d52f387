//! Carries out a plan: connects, finds out what is there, and writes step by step.

mod access;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use etcd_client::{Client, Error, Event, EventType, LeaseClient, WatchFilterType};
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::plan::{Plan, Step};
use super::{Command, Options, Progress};
use crate::backoff::Backoff;
use crate::chance;
use crate::follower::{Span, covers, open_watch};
use crate::measures::Operation;
use crate::store::{Loss, Store};
use access::{Landed, Landing, Meddling, list, write, write_local};

/// Transactions on their way to a store elsewhere: enough to hide a round trip of some milliseconds,
/// and few enough that a slow store is not buried.
const FLIGHTS_MAX: usize = 8;

/// Commands taken in between two transactions, so that many small ones become one transaction.
const COMMANDS_PER_STEP_MAX: usize = 32;

/// Leases asked about at a time.
const LEASE_REQUESTS_MAX: usize = 16;

/// A lease is renewed three times before it would end.
const RENEWALS_PER_TTL: u32 = 3;

/// How often what others changed is put again.
const REASSERT_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Session {
    store: Store,
    options: Options,
    spans: Vec<Span>,
    plan: Plan,
    commands: mpsc::Receiver<Command>,
    progress: watch::Sender<Progress>,
    /// Connections that were lost before this one.
    losses: usize,
}

/// What a step came to.
enum Stepped {
    Done,
    /// There is nothing to do now.
    Not,
    Started(Landing),
}

/// Why a connection, or all writing, is over.
enum End {
    Lost(Loss),
    /// The owner is gone.
    Stopped,
}

impl End {
    fn told(reason: impl Into<String>) -> Self {
        Self::Lost(Loss::told(reason.into()))
    }
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Lost(Loss::of(&error))
    }
}

impl Session {
    pub(super) fn new(
        store: Store,
        options: Options,
        plan: Plan,
        commands: mpsc::Receiver<Command>,
        progress: watch::Sender<Progress>,
    ) -> Self {
        let prefixes = options.owned_prefixes.iter();
        Self {
            spans: prefixes.map(|it| Span::of(it)).collect(),
            store,
            options,
            plan,
            commands,
            progress,
            losses: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let link = self.options.link;
        let mut backoff = Backoff::new(link.backoff_min, link.backoff_max);
        loop {
            let Err(end) = self.connection().await;
            let End::Lost(Loss { reason, silent }) = end else {
                return;
            };

            if self.progress.borrow().connected {
                backoff.reset();
            }
            self.losses = self.losses.wrapping_add(1);
            self.options.measures.given_up(silent);
            tracing::debug!(reason, silent, "lost the store");
            self.progress.send_modify(|it| {
                it.connected = false;
                it.problem = Some(reason);
            });
            let pause = sleep(backoff.pause(chance::fraction()));
            if self.take_commands_until(pause).await.is_err() {
                return;
            }
        }
    }

    /// One connection, from its start to its end.
    async fn connection(&mut self) -> Result<Infallible, End> {
        let link = self.options.link;
        let store = self.store.clone();
        let connecting = store.connect_beginning_at(self.losses, &link);
        let client = self.take_commands_until(connecting).await?;
        let client = client.map_err(End::Lost)?;

        let probe_key = self
            .spans
            .first()
            .map_or_else(|| vec![0], |it| it.start().to_vec());
        tokio::select! {
            biased;
            loss = store.silence(&client, &probe_key, &link) => Err(End::Lost(loss)),
            result = self.write(client.clone()) => result,
        }
    }

    async fn write(&mut self, mut client: Client) -> Result<Infallible, End> {
        let mut meddling = self.look_around(&client).await?;
        self.progress.send_modify(|it| {
            it.connected = true;
            it.problem = None;
        });

        let mut flights: FuturesUnordered<Landing> = FuturesUnordered::new();
        let mut renewal = timer(self.options.lease_ttl / RENEWALS_PER_TTL);
        let mut reassertion = timer(REASSERT_INTERVAL);
        loop {
            self.take_waiting_commands(&mut client).await?;
            let busy = match self.step(&mut client).await? {
                Stepped::Done => true,
                Stepped::Not => false,
                Stepped::Started(landing) => {
                    flights.push(landing);
                    true
                }
            };
            self.publish_settled();

            // While there is work, what else is due is done only if it need not be waited for.
            let idle = async {
                match busy {
                    true => tokio::task::yield_now().await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = renewal.tick() => self.renew(client.lease_client()).await?,
                Some(landed) = flights.next() => self.handle_landed(landed?),
                events = meddling.next() => self.handle_events(&events?),
                _ = reassertion.tick() => self.plan.reassert(),
                command = self.commands.recv() => self.handle_command(command, Some(&mut client)).await?,
                () = idle => (),
            }
        }
    }

    /// Finds out which keys and leases there are, and watches what others do from then on.
    async fn look_around(&mut self, client: &Client) -> Result<Meddling, End> {
        let mut found = BTreeMap::new();
        let mut revision = 0;
        for span in &self.spans {
            list(client, span, &mut revision, &mut found).await?;
        }

        let alive = self.living_leases(client.lease_client()).await?;
        self.plan.handle_found(found, &alive);

        if self.spans.is_empty() {
            return Ok(Meddling(None));
        }
        let start_revisions = vec![revision + 1; self.spans.len()];
        let reasserted = &self.options.reasserted_prefixes;
        // Elsewhere under a prefix our own writes would come back to us, all of them.
        let filters = |span: &Span| -> &'static [WatchFilterType] {
            let start = std::str::from_utf8(span.start()).unwrap_or_default();
            if span.is_one_key() || reasserted.iter().any(|it| covers(it, start)) {
                &[]
            } else {
                &[WatchFilterType::NoPut]
            }
        };
        let spans = &self.spans;
        let stream = open_watch(client, spans, &start_revisions, &BTreeSet::new(), filters).await?;
        Ok(Meddling(Some(stream)))
    }

    /// Carries out one step, or as much of it as need not be waited for.
    async fn step(&mut self, client: &mut Client) -> Result<Stepped, End> {
        if FLIGHTS_MAX <= self.plan.flight_count() {
            return Ok(Stepped::Not);
        }
        match self.plan.next_step() {
            Step::Idle => return Ok(Stepped::Not),
            Step::Grant => {
                let ttl = i64::try_from(self.options.lease_ttl.as_secs()).unwrap_or(i64::MAX);
                let ongoing = self.options.measures.begin(Operation::AcquireLease, []);
                let asked = Instant::now();
                let lease = client.lease_grant(ttl, None).await;
                ongoing.end(asked.elapsed(), lease.is_ok());
                self.plan.handle_granted(lease?.id());
            }
            Step::Write { number, operations } => match &self.store {
                Store::Local(local) => {
                    let written = write_local(local, operations, &self.options.measures).await;
                    self.plan.handle_written(number, written?);
                }
                Store::Etcd(_) | Store::Via(_) => {
                    let measures = &self.options.measures;
                    let landing = write(client, number, &operations, measures);
                    return Ok(Stepped::Started(landing));
                }
            },
        }
        Ok(Stepped::Done)
    }

    fn handle_landed(&mut self, landed: Landed) {
        self.plan.handle_written(landed.number, landed.revision);
    }

    /// Takes in commands that are there already, so that they are written together.
    async fn take_waiting_commands(&mut self, client: &mut Client) -> Result<(), End> {
        for _ in 0..COMMANDS_PER_STEP_MAX {
            match self.commands.try_recv() {
                Ok(command) => self.handle_command(Some(command), Some(client)).await?,
                Err(mpsc::error::TryRecvError::Empty) => return Ok(()),
                Err(mpsc::error::TryRecvError::Disconnected) => return Err(End::Stopped),
            }
        }
        Ok(())
    }

    /// `client` is absent while there is no connection.
    async fn handle_command(
        &mut self,
        command: Option<Command>,
        client: Option<&mut Client>,
    ) -> Result<(), End> {
        match command {
            Some(Command::Apply { lane, changes }) => self.plan.apply(&lane, changes),
            Some(Command::Set {
                lane,
                prefixes,
                table,
            }) => {
                let prefixes = prefixes.as_ref().unwrap_or(&self.options.owned_prefixes);
                self.plan.set(&lane, prefixes, table);
            }
            Some(Command::Withdraw(done)) => {
                if let Some(client) = client {
                    for lease in self.plan.leases() {
                        // What cannot be revoked ends by itself.
                        let _ = client.lease_revoke(lease).await;
                    }
                }
                let _ = done.send(());
                return Err(End::Stopped);
            }
            None => return Err(End::Stopped),
        }
        Ok(())
    }

    fn handle_events(&mut self, events: &[Event]) {
        for event in events {
            let Some((kv, Ok(key))) = event.kv().map(|it| (it, it.key_str())) else {
                continue;
            };
            match event.event_type() {
                EventType::Delete => self.plan.handle_deleted(key, kv.mod_revision()),
                EventType::Put => self.plan.handle_put(key, kv.value()),
            }
        }
    }

    /// Waits for `future`, and takes in commands in the meantime.
    async fn take_commands_until<T>(&mut self, future: impl Future<Output = T>) -> Result<T, End> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                biased;
                output = &mut future => return Ok(output),
                command = self.commands.recv() => self.handle_command(command, None).await?,
            }
        }
    }

    async fn renew(&self, leases: LeaseClient) -> Result<(), End> {
        let known = self.plan.leases().count();
        let alive = self.living_leases(leases).await?;
        if alive.len() < known {
            return Err(End::told("a lease ended before its time"));
        }
        Ok(())
    }

    /// Renews all leases and returns those that still exist.
    async fn living_leases(&self, client: LeaseClient) -> Result<BTreeSet<i64>, End> {
        let requests = self.plan.leases().map(|lease| {
            let mut client = client.clone();
            async move {
                match client.keep_alive(lease).await {
                    Ok(_) => Ok(Some(lease)),
                    Err(Error::LeaseKeepAliveError(_)) => Ok(None),
                    Err(error) => Err(End::from(error)),
                }
            }
        });
        let answers: Vec<Result<Option<i64>, End>> = stream::iter(requests)
            .buffer_unordered(LEASE_REQUESTS_MAX)
            .collect()
            .await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }

    fn publish_settled(&self) {
        let settled = self.plan.settled_generation();
        self.progress.send_if_modified(|it| {
            let changed = it.settled_generation < settled;
            it.settled_generation = settled.max(it.settled_generation);
            changed
        });
    }
}

/// Ticks for the first time when `period` is over.
fn timer(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval.reset();
    interval
}
