//! Keeps a complete and current view of some prefixes of a store, over every loss of connection.

mod span;
mod update;

use std::convert::Infallible;

use etcd_client::{
    Client, Error, GetOptions, GetResponse, KvClient, WatchFilterType, WatchOptions, WatchResponse,
    WatchStream,
};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Code;

use crate::backoff::Backoff;
use crate::store::{self, Link, Loss, Store};

pub(crate) use span::Span;
pub use update::{Change, Record, Update};

use update::{changes, record};

/// Follows some prefixes of one store.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    prefixes: Vec<String>,
    options: Options,
    spans: Vec<Span>,
    position: Option<Position>,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub link: Link,
    /// Keys per page of a list.
    pub page_keys: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            link: Link::default(),
            page_keys: 1_000,
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

impl Follower {
    /// What does not end with `/` is not a prefix but a key itself; the empty prefix is all keys.
    /// They should be neighbours: what lies between them is read as well, where the store permits
    /// it, because only one watch over all of them sees a revision whole. Where it does not, each
    /// is read as it stands, and their changes come in their order as far as they come together: so
    /// name last what announces that the others are complete.
    pub fn new(store: Store, prefixes: Vec<String>, options: Options) -> Self {
        Self {
            spans: Span::over(&prefixes).into_iter().collect(),
            store,
            prefixes,
            options,
            position: None,
        }
    }

    /// Follows for ever, and ends when the receiver of `updates` is dropped.
    pub async fn run(mut self, updates: mpsc::Sender<Update>) {
        let link = self.options.link;
        let mut backoff = Backoff::new(link.backoff_min, link.backoff_max);
        // What was told of the present loss: whether it is silent.
        let mut told: Option<bool> = None;
        loop {
            let mut connected = false;
            let end = tokio::select! {
                Err(end) = self.session(&updates, &mut connected) => end,
                () = updates.closed() => End::Unheard,
            };
            let End::Lost(Loss { reason, silent }) = end else {
                return;
            };

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
                () = sleep(backoff.pause(rand::random())) => (),
                () = updates.closed() => return,
            }
        }
    }

    /// One connection, from its start to its end.
    async fn session(
        &mut self,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Infallible, End> {
        let link = self.options.link;
        let client = self.store.connect(&link).await.map_err(End::Lost)?;
        let store = self.store.clone();
        let probe_key = self.probe_key();
        tokio::select! {
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
        loop {
            let position = match self.position.take() {
                Some(position) => position,
                None => self.list(client, updates, connected).await?,
            };
            // Kept even if this future is dropped halfway.
            let position = self.position.insert(position);
            let prefixes = self.prefixes.as_slice();
            let Forgotten =
                watch(client, &self.spans, prefixes, position, updates, connected).await?;
            self.position = None;
        }
    }

    /// Reads everything at one revision, and returns where the changes start.
    async fn list(
        &mut self,
        client: &Client,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Position, End> {
        let mut kv = client
            .kv_client()
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let first_page = self.first_page(&mut kv).await.map_err(lost)?;
        let header = first_page.header();
        let (cluster_id, revision) = header.map_or((0, 0), |it| (it.cluster_id(), it.revision()));
        let mut records = Vec::new();
        let mut first_page = Some(first_page);
        for span in &self.spans {
            let page = first_page.take();
            let read = self.read(&mut kv, span, revision, page, &mut records);
            read.await.map_err(lost)?;
        }
        // Only now: a store that permits one part and not another is of no use, however often asked.
        announce(cluster_id, updates, connected).await?;
        send(updates, Update::Listed(records)).await?;
        Ok(Position {
            cluster_id,
            next_revisions: vec![revision + 1; self.spans.len()],
        })
    }

    /// Reads as widely as the store permits: everything at once, or else prefix by prefix.
    async fn first_page(&mut self, kv: &mut KvClient) -> Result<GetResponse, Error> {
        let page = self.page(kv, self.first_span()?, None, 0).await;
        let refused = page.as_ref().err().and_then(store::code) == Some(Code::PermissionDenied);
        if !refused || self.prefixes.len() <= self.spans.len() {
            return page;
        }

        let prefixes = self.prefixes.iter();
        self.spans = prefixes.map(|it| Span::of(it)).collect();
        self.page(kv, self.first_span()?, None, 0).await
    }

    /// Adds what `span` holds to `records`, page by page.
    async fn read(
        &self,
        kv: &mut KvClient,
        span: &Span,
        revision: i64,
        first_page: Option<GetResponse>,
        records: &mut Vec<Record>,
    ) -> Result<(), Error> {
        let mut page = match first_page {
            Some(page) => page,
            None => self.page(kv, span, None, revision).await?,
        };
        loop {
            let last_key = page.kvs().last().map(|it| it.key().to_vec());
            let kvs = page.take_kvs().into_iter();
            records.extend(kvs.filter_map(|it| record(it, &self.prefixes)));
            if !page.more() || last_key.is_none() {
                return Ok(());
            }
            page = self.page(kv, span, last_key, revision).await?;
        }
    }

    /// The page after `last_key`. Revision 0 is the newest.
    async fn page(
        &self,
        kv: &mut KvClient,
        span: &Span,
        last_key: Option<Vec<u8>>,
        revision: i64,
    ) -> Result<GetResponse, Error> {
        let options = GetOptions::new()
            .with_range(span.end())
            .with_limit(self.options.page_keys.into())
            .with_revision(revision);
        let start = match last_key {
            Some(last_key) => [last_key.as_slice(), &[0]].concat(),
            None => span.start().to_vec(),
        };
        kv.get(start, Some(options)).await
    }

    fn first_span(&self) -> Result<&Span, Error> {
        let none = || Error::InvalidArgs("no prefix to follow".into());
        self.spans.first().ok_or_else(none)
    }

    fn probe_key(&self) -> Vec<u8> {
        self.prefixes
            .first()
            .map_or_else(|| vec![0], |it| it.as_bytes().to_vec())
    }
}

/// A page of large records; a server that sends more in one message is broken.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;

async fn watch(
    client: &Client,
    spans: &[Span],
    prefixes: &[String],
    position: &mut Position,
    updates: &mpsc::Sender<Update>,
    connected: &mut bool,
) -> Result<Forgotten, End> {
    let mut stream = open_watch(client, spans, &position.next_revisions, |_| &[])
        .await
        .map_err(lost)?;
    while let Some(message) = stream.message().await.map_err(lost)? {
        if message.created() && !resumes(&message, position) {
            return Ok(Forgotten);
        }
        if message.canceled() {
            return canceled(&message);
        }
        if message.created() {
            announce(position.cluster_id, updates, connected).await?;
        }

        let changes = changes(message.events(), prefixes);
        if !changes.is_empty() {
            send(updates, Update::Changed(changes)).await?;
        }
        let last_revision = message
            .events()
            .last()
            .and_then(|it| it.kv())
            .map(|it| it.mod_revision());
        let index = usize::try_from(message.watch_id() - 1).ok();
        if let Some(next) = index.and_then(|it| position.next_revisions.get_mut(it)) {
            *next = last_revision.map_or(*next, |it| it + 1);
        }
    }
    Err(End::Lost(Loss::told("the store ended the watch".into())))
}

/// One stream for all spans; the watch of span `n` has id `n + 1`.
pub(crate) async fn open_watch(
    client: &Client,
    spans: &[Span],
    start_revisions: &[i64],
    filters: impl Fn(&Span) -> &'static [WatchFilterType],
) -> Result<WatchStream, Error> {
    let mut client = client
        .watch_client()
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut stream: Option<WatchStream> = None;
    for ((span, revision), id) in spans.iter().zip(start_revisions).zip(1..) {
        let options = WatchOptions::new()
            .with_range(span.end())
            .with_start_revision(*revision)
            .with_watch_id(id)
            .with_filters(filters(span));
        match &mut stream {
            None => stream = Some(client.watch(span.start(), Some(options)).await?),
            Some(stream) => stream.watch(span.start(), Some(options)).await?,
        }
    }
    stream.ok_or_else(|| Error::InvalidArgs("nothing to watch".into()))
}

/// Whether the store that answers is the one that was seen before, and not an older state of it.
fn resumes(created: &WatchResponse, position: &Position) -> bool {
    created.header().is_some_and(|header| {
        let head = header.revision();
        header.cluster_id() == position.cluster_id
            && position.next_revisions.iter().all(|it| *it <= head + 1)
    })
}

fn canceled(message: &WatchResponse) -> Result<Forgotten, End> {
    if 0 < message.compact_revision() {
        return Ok(Forgotten);
    }
    let reason = match message.cancel_reason() {
        "" => "no reason given",
        reason => reason,
    };
    Err(End::Lost(Loss::told(format!(
        "the store canceled the watch: {reason}"
    ))))
}

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
