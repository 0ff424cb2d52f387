//! Keeps a complete and current view of some prefixes of a store, over every loss of connection.

mod list;
mod parts;
mod span;
mod update;
mod watch;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, Error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::sleep;

use crate::backoff::Backoff;
use crate::chance;
use crate::measures::Measures;
use crate::store::{Link, Loss, Store};

pub(crate) use span::{Span, covers};
pub use update::{Change, Record, Update};
pub(crate) use watch::open_watch;

/// Follows some prefixes of one store.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    prefixes: Vec<String>,
    options: Options,
    spans: Vec<Span>,
    /// Spans, by index, that the store does not permit and that we can do without.
    refused: BTreeSet<usize>,
    position: Option<Position>,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub link: Link,
    /// Keys per page of a list.
    pub page_keys: u32,
    /// Read every prefix for itself, in the order in which they are named, and report a list page by
    /// page ([`Update::Page`]) instead of holding all of it.
    pub is_paged: bool,
    /// Prefixes, if paged, that count as empty where the store does not permit them. They are asked
    /// for again at each connection.
    pub optional_prefixes: Vec<String>,
    /// Lists wait here, if paged, so that many followers do not hold a page each at once.
    pub lists: Option<Arc<Semaphore>>,
    /// How long to wait at most before the first connection; chance decides, so that many followers do
    /// not start in step.
    pub start_delay_max: Duration,
    pub measures: Measures,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            link: Link::default(),
            page_keys: 1_000,
            is_paged: false,
            optional_prefixes: Vec::new(),
            lists: None,
            start_delay_max: Duration::ZERO,
            measures: Measures::default(),
        }
    }
}

/// Where to read on.
#[derive(Clone, Debug)]
struct Position {
    cluster_id: u64,
    /// For each span, the first revision that was not seen.
    next_revisions: Vec<i64>,
}

/// Why a connection, or the whole follower, is over.
enum End {
    Lost(Loss),
    /// Nobody receives updates any more.
    Unheard,
}

/// Changes that happened since cannot be had: only a list helps.
struct Forgotten;

/// A list that takes longer no longer keeps others from starting: a slow store is no reason that the
/// rest of the mesh waits.
const LIST_TURN: Duration = Duration::from_secs(5);

impl Follower {
    /// What does not end with `/` is not a prefix but a key itself; the empty prefix is all keys.
    /// They should be neighbours: what lies between them is read as well, where the store permits
    /// it, because only one watch over all of them sees a revision whole. Where it does not, or if
    /// [`Options::is_paged`], each is read as it stands, and their changes come in their order as far
    /// as they come together: so name last what announces that the others are complete.
    pub fn new(store: Store, prefixes: Vec<String>, options: Options) -> Self {
        let spans = if options.is_paged {
            prefixes.iter().map(|it| Span::of(it)).collect()
        } else {
            Span::over(&prefixes).into_iter().collect()
        };
        Self {
            spans,
            store,
            prefixes,
            options,
            refused: BTreeSet::new(),
            position: None,
        }
    }

    /// Follows for ever, and ends when the receiver of `updates` is dropped.
    pub async fn run(mut self, updates: mpsc::Sender<Update>) {
        let link = self.options.link;
        let mut backoff = Backoff::new(link.backoff_min, link.backoff_max);
        // What was told of the present loss: whether it is silent.
        let mut told: Option<bool> = None;
        let mut losses = 0_usize;
        sleep(self.options.start_delay_max.mul_f64(chance::fraction())).await;
        loop {
            let mut connected = false;
            let end = tokio::select! {
                biased;
                Err(end) = self.session(losses, &updates, &mut connected) => end,
                () = updates.closed() => End::Unheard,
            };
            let End::Lost(Loss { reason, silent }) = end else {
                return;
            };

            losses = losses.wrapping_add(1);
            self.options.measures.given_up(silent);
            if connected {
                backoff.reset();
                told = None;
            }
            if told.is_none_or(|before| silent && !before) {
                told = Some(silent);
                tracing::debug!(reason, silent, "lost the store");
                if updates.send(Update::Lost { reason, silent }).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = sleep(backoff.pause(chance::fraction())) => (),
                () = updates.closed() => return,
            }
        }
    }

    /// One connection, from its start to its end. `losses` before it decide where it is tried first.
    async fn session(
        &mut self,
        losses: usize,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Infallible, End> {
        let link = self.options.link;
        let connecting = self.store.connect_beginning_at(losses, &link);
        let client = connecting.await.map_err(End::Lost)?;
        let store = self.store.clone();
        let probe_key = self.probe_key();
        tokio::select! {
            biased;
            loss = store.silence(&client, &probe_key, &link) => Err(End::Lost(loss)),
            result = self.follow(&client, updates, connected) => result,
        }
    }

    async fn follow(
        &mut self,
        client: &Client,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Infallible, End> {
        self.reconsider_refused(client).await?;
        loop {
            let position = match self.position.take() {
                Some(position) => position,
                None => self.list_in_turn(client, updates, connected).await?,
            };
            let Forgotten = self.watch(client, position, updates, connected).await?;
        }
    }

    /// Lists when it is our turn, and makes room for the next.
    async fn list_in_turn(
        &mut self,
        client: &Client,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Position, End> {
        if !self.options.is_paged {
            return self.list(client, updates, connected).await;
        }
        let mut turn: Option<OwnedSemaphorePermit> = None;
        if let Some(lists) = self.options.lists.clone() {
            // Nobody closes it.
            turn = lists.acquire_owned().await.ok();
        }
        let listing = self.list_by_page(client, updates, connected);
        let mut listing = std::pin::pin!(listing);
        tokio::select! {
            biased;
            position = &mut listing => return position,
            () = sleep(LIST_TURN) => drop(turn),
        }
        listing.await
    }

    fn probe_key(&self) -> Vec<u8> {
        self.prefixes
            .first()
            .map_or_else(|| vec![0], |it| it.as_bytes().to_vec())
    }
}

/// A page of large records, or all parts of what a watch tells at once; a server that sends more is
/// broken.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// The first answer of a connection shows that the store is there.
async fn announce(
    cluster_id: u64,
    updates: &mpsc::Sender<Update>,
    connected: &mut bool,
) -> Result<(), End> {
    if std::mem::replace(connected, true) {
        return Ok(());
    }
    send(updates, Update::Connected { cluster_id }).await
}

async fn send(updates: &mpsc::Sender<Update>, update: Update) -> Result<(), End> {
    updates.send(update).await.map_err(|_| End::Unheard)
}

fn lost(error: Error) -> End {
    End::Lost(Loss::of(&error))
}
