//! Carries out a plan: connects, finds out what is there, and writes step by step.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use etcd_client::{
    Client, Error, Event, EventType, GetOptions, LeaseClient, PutOptions, Txn, TxnOp,
    WatchFilterType, WatchStream,
};
use futures_util::{StreamExt as _, stream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior, interval, sleep};

use super::plan::{Operation, Plan, Step};
use super::{Command, Options, Progress};
use crate::backoff::Backoff;
use crate::follower::{MESSAGE_BYTES_MAX, Span, open_watch};
use crate::store::{Loss, Store};

/// Keys per page when looking at what is there.
const PAGE_KEYS: i64 = 4_096;

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
    /// Generations that the plan has taken in.
    generation: u64,
}

/// Why a connection, or all writing, is over.
enum End {
    Lost(String),
    /// The owner is gone.
    Stopped,
}

impl From<Error> for End {
    fn from(error: Error) -> Self {
        Self::Lost(Loss::of(&error).reason)
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
            generation: 0,
        }
    }

    pub(super) async fn run(mut self) {
        let link = self.options.link;
        let mut backoff = Backoff::new(link.backoff_min, link.backoff_max);
        loop {
            let Err(end) = self.connection().await;
            let End::Lost(problem) = end else {
                return;
            };

            if self.progress.borrow().connected {
                backoff.reset();
            }
            tracing::debug!(problem, "lost the store");
            self.progress.send_modify(|it| {
                it.connected = false;
                it.problem = Some(problem);
            });
            let pause = sleep(backoff.pause(rand::random()));
            if self.take_commands_until(pause).await.is_err() {
                return;
            }
        }
    }

    /// One connection, from its start to its end.
    async fn connection(&mut self) -> Result<Infallible, End> {
        let link = self.options.link;
        let store = self.store.clone();
        let client = self.take_commands_until(store.connect(&link)).await?;
        let client = client.map_err(|it| End::Lost(it.reason))?;

        let probe_key = self
            .spans
            .first()
            .map_or_else(|| vec![0], |it| it.start().to_vec());
        tokio::select! {
            loss = store.silence(&client, &probe_key, &link) => Err(End::Lost(loss.reason)),
            result = self.write(client.clone()) => result,
        }
    }

    async fn write(&mut self, mut client: Client) -> Result<Infallible, End> {
        let mut meddling = self.look_around(&client).await?;
        self.progress.send_modify(|it| {
            it.connected = true;
            it.problem = None;
        });

        let mut renewal = timer(self.options.lease_ttl / RENEWALS_PER_TTL);
        let mut reassertion = timer(REASSERT_INTERVAL);
        loop {
            let busy = self.step(&mut client).await?;
            if !busy {
                self.publish_settled();
            }

            // While there is work, what else is due is done only if it need not be waited for.
            let idle = async {
                if !busy {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                biased;
                _ = renewal.tick() => self.renew(client.lease_client()).await?,
                command = self.commands.recv() => self.handle_command(command, Some(&mut client)).await?,
                events = meddling.next() => self.handle_events(&events?),
                _ = reassertion.tick() => self.plan.reassert(),
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
        // Under a prefix our own writes would come back to us, all of them.
        let filters = |span: &Span| -> &'static [WatchFilterType] {
            if span.is_one_key() {
                &[]
            } else {
                &[WatchFilterType::NoPut]
            }
        };
        let stream = open_watch(client, &self.spans, &start_revisions, filters).await?;
        Ok(Meddling(Some(stream)))
    }

    /// Carries out one step; false if there is nothing to do.
    async fn step(&mut self, client: &mut Client) -> Result<bool, End> {
        match self.plan.next() {
            Step::Idle => return Ok(false),
            Step::Grant => {
                let ttl = i64::try_from(self.options.lease_ttl.as_secs()).unwrap_or(i64::MAX);
                let lease = client.lease_grant(ttl, None).await?.id();
                self.plan.handle_granted(lease);
            }
            Step::Write(operations) => {
                let requests: Vec<TxnOp> = operations.iter().map(request).collect();
                client.txn(Txn::new().and_then(requests)).await?;
                self.plan.handle_written(operations);
            }
        }
        Ok(true)
    }

    /// `client` is absent while there is no connection.
    async fn handle_command(
        &mut self,
        command: Option<Command>,
        client: Option<&mut Client>,
    ) -> Result<(), End> {
        match command {
            Some(Command::Apply(changes)) => self.plan.apply(changes),
            Some(Command::Set(desired)) => self.plan.set(desired),
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
        self.generation += 1;
        Ok(())
    }

    fn handle_events(&mut self, events: &[Event]) {
        for event in events {
            let Some((kv, Ok(key))) = event.kv().map(|it| (it, it.key_str())) else {
                continue;
            };
            match event.event_type() {
                EventType::Delete => self.plan.handle_deleted(key),
                EventType::Put => self.plan.handle_put(key, kv.value()),
            }
        }
    }

    /// Waits for `future`, and takes in commands in the meantime.
    async fn take_commands_until<T>(&mut self, future: impl Future<Output = T>) -> Result<T, End> {
        let mut future = pin!(future);
        loop {
            tokio::select! {
                output = &mut future => return Ok(output),
                command = self.commands.recv() => self.handle_command(command, None).await?,
            }
        }
    }

    async fn renew(&self, leases: LeaseClient) -> Result<(), End> {
        let known = self.plan.leases().count();
        let alive = self.living_leases(leases).await?;
        if alive.len() < known {
            return Err(End::Lost("a lease ended before its time".into()));
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
        self.progress.send_if_modified(|it| {
            let changed = it.settled_generation < self.generation;
            it.settled_generation = self.generation;
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

/// Deletions under the owned prefixes, and any change of the owned keys; our own included.
struct Meddling(Option<WatchStream>);

impl Meddling {
    async fn next(&mut self) -> Result<Vec<Event>, End> {
        let Some(stream) = &mut self.0 else {
            return std::future::pending().await;
        };
        match stream.message().await? {
            Some(message) if message.canceled() => Err(End::Lost(format!(
                "the store canceled the watch: {}",
                message.cancel_reason()
            ))),
            Some(message) => Ok(message.events().to_vec()),
            None => Err(End::Lost("the store ended the watch".into())),
        }
    }
}

/// Adds the keys of `span` and their leases to `found`. The first page sets the revision for all.
async fn list(
    client: &Client,
    span: &Span,
    revision: &mut i64,
    found: &mut BTreeMap<String, i64>,
) -> Result<(), End> {
    let mut kv = client
        .kv_client()
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut start = span.start().to_vec();
    loop {
        let options = GetOptions::new()
            .with_range(span.end())
            .with_limit(PAGE_KEYS)
            .with_revision(*revision)
            .with_keys_only();
        let page = kv.get(start, Some(options)).await?;
        if *revision == 0 {
            *revision = page.header().map_or(0, |it| it.revision());
        }
        for kv in page.kvs() {
            if let Ok(key) = kv.key_str() {
                found.insert(key.to_owned(), kv.lease());
            }
        }
        let (true, Some(last)) = (page.more(), page.kvs().last()) else {
            return Ok(());
        };
        start = [last.key(), &[0]].concat();
    }
}

fn request(operation: &Operation) -> TxnOp {
    match operation {
        Operation::Delete { key } => TxnOp::delete(key.as_str(), None),
        Operation::Put { key, value, lease } => TxnOp::put(
            key.as_str(),
            value.as_slice(),
            Some(PutOptions::new().with_lease(*lease)),
        ),
    }
}
