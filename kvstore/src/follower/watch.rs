//! Follows the changes of some spans on one stream.

use std::collections::BTreeSet;

use etcd_client::{Client, Error, WatchFilterType, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::parts::Parts;
use super::update::changes;
use super::{
    End, Follower, Forgotten, MESSAGE_BYTES_MAX, Position, Span, Update, announce, lost, send,
};
use crate::store::Loss;

impl Follower {
    /// Tells every change from `position` on, until only a list helps.
    pub(super) async fn watch(
        &mut self,
        client: &Client,
        position: Position,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Forgotten, End> {
        // Kept even if this future is dropped halfway.
        let position = self.position.insert(position);
        let (spans, revisions) = (&self.spans, &position.next_revisions);
        let stream = open_watch(client, spans, revisions, &self.refused, |_| &[]);
        let mut stream = stream.await.map_err(lost)?;
        let mut parts = Parts::new(MESSAGE_BYTES_MAX);
        while let Some(message) = stream.message().await.map_err(lost)? {
            let Some(message) = parts.join(message).map_err(End::Lost)? else {
                continue;
            };
            let is_forgotten = message.created() && !resumes(&message, position);
            // A store that guards its keys since it was listed may permit each prefix by itself.
            let is_too_wide = is_denied(&message) && self.spans.len() < self.prefixes.len();
            if is_forgotten || is_too_wide {
                self.position = None;
                return Ok(Forgotten);
            }
            if message.canceled() {
                // Either way a list says what there is, and what is still permitted of it.
                self.position = None;
                return canceled(&message);
            }
            if message.created() {
                announce(position.cluster_id, updates, connected).await?;
            }

            let changes = changes(message.events(), &self.prefixes);
            if !changes.is_empty() {
                let received = Instant::now();
                send(updates, Update::Changed(changes)).await?;
                let waited = received.elapsed();
                self.options.measures.queued(message.events(), waited);
            }
            let index = usize::try_from(message.watch_id() - 1).ok();
            if let Some(next) = index.and_then(|it| position.next_revisions.get_mut(it)) {
                *next = next_revision(&message).unwrap_or(*next).max(*next);
            }
        }
        Err(End::Lost(Loss::told("the store ended the watch".into())))
    }
}

/// One stream for all spans but the `skipped` ones; the watch of span `n` has id `n + 1`. Large
/// responses come in parts.
pub(crate) async fn open_watch(
    client: &Client,
    spans: &[Span],
    start_revisions: &[i64],
    skipped: &BTreeSet<usize>,
    filters: impl Fn(&Span) -> &'static [WatchFilterType],
) -> Result<WatchStream, Error> {
    let mut client = client
        .watch_client()
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let mut stream: Option<WatchStream> = None;
    let watches = spans.iter().zip(start_revisions).zip(1..).enumerate();
    let watches = watches.filter(|(index, _)| !skipped.contains(index));
    for (_, ((span, revision), id)) in watches {
        let options = WatchOptions::new()
            .with_range(span.end())
            .with_start_revision(*revision)
            .with_watch_id(id)
            .with_progress_notify()
            .with_fragment()
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

/// The first revision that the message's watch has yet to see. A message without events is a progress
/// notification: without it, the position of a quiet span would be compacted away.
fn next_revision(message: &WatchResponse) -> Option<i64> {
    let last = match message.events().last() {
        Some(event) => event.kv().map(|it| it.mod_revision()),
        None if message.created() => None,
        None => message.header().map(|it| it.revision()),
    };
    last.map(|it| it + 1)
}

fn is_denied(message: &WatchResponse) -> bool {
    message.canceled() && message.cancel_reason().contains("permission denied")
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
