//! Reads everything that is followed, at one revision.

use std::collections::BTreeSet;

use etcd_client::{Client, Error, GetOptions, GetResponse, KvClient};
use futures_util::future::try_join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Code;

use super::update::record;
use super::{
    End, Follower, MESSAGE_BYTES_MAX, Position, Record, Span, Update, announce, lost, send,
};
use crate::measures::Operation;
use crate::store::{self, Loss};

impl Follower {
    /// Reads everything, tells it at once, and returns where the changes start.
    pub(super) async fn list(
        &mut self,
        client: &Client,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Position, End> {
        let mut kv = kv_client(client);
        let first_page = self.first_page(&mut kv).await.map_err(lost)?;
        let position = self.position_after(&first_page);
        let revision = revision(&first_page);
        let mut records = Vec::new();
        let mut first_page = Some(first_page);
        for span in &self.spans {
            let mut page = match first_page.take() {
                Some(page) => page,
                None => self
                    .page(&mut kv, span, None, revision)
                    .await
                    .map_err(lost)?,
            };
            loop {
                let next = next_key(&page);
                self.take_records(&mut page, &mut records);
                let Some(next) = next else {
                    break;
                };
                let following = self.page(&mut kv, span, Some(next), revision);
                page = following.await.map_err(lost)?;
            }
        }
        // Only now: a store that permits one part and not another is of no use, however often asked.
        announce(position.cluster_id, updates, connected).await?;
        send(updates, Update::Listed(records)).await?;
        Ok(position)
    }

    /// Reads everything, tells it page by page, and returns where the changes start.
    pub(super) async fn list_by_page(
        &mut self,
        client: &Client,
        updates: &mpsc::Sender<Update>,
        connected: &mut bool,
    ) -> Result<Position, End> {
        let refused = self.refused_spans(client).await?;
        self.refused = refused;
        let mut kv = kv_client(client);
        let mut position: Option<Position> = None;
        let mut revision_of_all = 0;
        let mut held = Vec::new();
        let spans = self.spans.iter().enumerate();
        for (_, span) in spans.filter(|(index, _)| !self.refused.contains(index)) {
            let page = self.page(&mut kv, span, None, revision_of_all);
            let mut page = page.await.map_err(lost)?;
            if position.is_none() {
                let found = self.position_after(&page);
                revision_of_all = revision(&page);
                announce(found.cluster_id, updates, connected).await?;
                position = Some(found);
            }
            loop {
                check_cluster(&page, position.as_ref())?;
                let next = next_key(&page);
                self.take_records(&mut page, &mut held);
                // The last page stays here, to be the list's end.
                let Some(next) = next else {
                    break;
                };
                // The next one comes while this one is heard.
                let update = Update::Page(std::mem::take(&mut held));
                let following = self.page(&mut kv, span, Some(next), revision_of_all);
                let (sent, following) = tokio::join!(send(updates, update), following);
                sent?;
                page = following.map_err(lost)?;
            }
            if PAGE_RECORDS_HELD_MAX <= held.len() {
                send(updates, Update::Page(std::mem::take(&mut held))).await?;
            }
        }
        let position = position.ok_or_else(|| lost(nothing_to_follow()))?;
        send(updates, Update::Listed(held)).await?;
        Ok(position)
    }

    /// Forgets where it was if a span that was refused is permitted now: it has to be listed.
    pub(super) async fn reconsider_refused(&mut self, client: &Client) -> Result<(), End> {
        if !self.refused.is_empty()
            && self.position.is_some()
            && self.refused_spans(client).await? != self.refused
        {
            self.position = None;
        }
        Ok(())
    }

    /// The optional spans that the store does not permit; an error if it does not permit another.
    async fn refused_spans(&self, client: &Client) -> Result<BTreeSet<usize>, End> {
        let asking = self.spans.iter().enumerate().map(|(index, span)| {
            let mut kv = kv_client(client);
            async move {
                let options = GetOptions::new()
                    .with_range(span.end())
                    .with_limit(1)
                    .with_keys_only();
                match kv.get(span.start(), Some(options)).await {
                    Ok(_) => Ok(None),
                    Err(error) if self.is_dispensable(index, &error) => Ok(Some(index)),
                    Err(error) => Err(lost(error)),
                }
            }
        });
        let refused = try_join_all(asking).await?;
        Ok(refused.into_iter().flatten().collect())
    }

    fn is_dispensable(&self, index: usize, error: &Error) -> bool {
        let prefix = self.prefixes.get(index);
        let is_optional = prefix.is_some_and(|it| self.options.optional_prefixes.contains(it));
        is_optional && store::code(error) == Some(Code::PermissionDenied)
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

    /// The page that starts at `start`, or with the span. Revision 0 is the newest.
    async fn page(
        &self,
        kv: &mut KvClient,
        span: &Span,
        start: Option<Vec<u8>>,
        revision: i64,
    ) -> Result<GetResponse, Error> {
        let options = GetOptions::new()
            .with_range(span.end())
            .with_limit(self.options.page_keys.into())
            .with_revision(revision);
        let start = start.unwrap_or_else(|| span.start().to_vec());
        let prefix = std::str::from_utf8(span.start()).ok();
        let ongoing = self.options.measures.begin(Operation::ListPrefix, prefix);
        let asked = Instant::now();
        let page = kv.get(start, Some(options)).await;
        ongoing.end(asked.elapsed(), page.is_ok());
        page
    }

    fn take_records(&self, page: &mut GetResponse, records: &mut Vec<Record>) {
        let kvs = page.take_kvs().into_iter();
        records.extend(kvs.filter_map(|it| record(it, &self.prefixes)));
    }

    fn position_after(&self, page: &GetResponse) -> Position {
        Position {
            cluster_id: page.header().map_or(0, |it| it.cluster_id()),
            next_revisions: vec![revision(page) + 1; self.spans.len()],
        }
    }

    fn first_span(&self) -> Result<&Span, Error> {
        self.spans.first().ok_or_else(nothing_to_follow)
    }
}

/// The ends of short spans go together, up to so many records.
const PAGE_RECORDS_HELD_MAX: usize = 256;

fn kv_client(client: &Client) -> KvClient {
    client
        .kv_client()
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// Where the page after this one starts, if there is one.
fn next_key(page: &GetResponse) -> Option<Vec<u8>> {
    let last = page.kvs().last().filter(|_| page.more())?;
    Some([last.key(), &[0]].concat())
}

fn revision(page: &GetResponse) -> i64 {
    page.header().map_or(0, |it| it.revision())
}

/// A front that spreads requests over several stores would mix their records.
fn check_cluster(page: &GetResponse, position: Option<&Position>) -> Result<(), End> {
    let answering = page.header().map(|it| it.cluster_id());
    if position.is_some_and(|it| Some(it.cluster_id) != answering) {
        let reason = "the etcd cluster id has changed within a connection: name members of one etcd \
                      cluster as endpoints, and nothing that spreads requests over several";
        return Err(End::Lost(Loss::told(reason.to_owned())));
    }
    Ok(())
}

fn nothing_to_follow() -> Error {
    Error::InvalidArgs("no prefix to follow".into())
}
