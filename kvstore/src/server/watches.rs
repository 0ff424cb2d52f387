//! The watches of one stream: what each has seen, and what it must see next.
//!
//! A watch pulls from history instead of being pushed to, so a slow one is merely behind: it reads on
//! where it stopped, and learns it if history no longer reaches that far back.

use std::collections::BTreeMap;
use std::sync::Arc;

use etcd_client::proto::{PbResponseHeader, PbWatchRequestUnion, PbWatchResponse};
use tonic::Status;

use prost::Message as _;

use super::MESSAGE_BYTES_MAX;
use super::fragments::split;
use super::limits::Slot;
use super::status::TOO_MANY_REQUESTS;
use super::usage::Usage;
use crate::access::Permission;
use crate::auth::Refusal;
use crate::mvcc::{EventFilter, KeyRange, Store};

/// Bytes after which a step ends, so that many watches of one stream do not read all at once.
const STEP_BYTES_MAX: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Watches {
    /// The client's, as of the last [`permit`](Self::permit).
    permission: Arc<Permission>,
    usage: Usage,
    by_id: BTreeMap<i64, Watch>,
    next_id: i64,
    /// Progress requests without an answer yet.
    progress_requests: u32,
    /// Where the last step stopped before all watches had moved on.
    unfinished: Option<Round>,
}

/// All watches move on to one revision, one after another.
#[derive(Debug)]
struct Round {
    through: i64,
    next_id: i64,
}

#[derive(Debug)]
struct Watch {
    filter: EventFilter,
    /// Everything before it was sent.
    next_revision: i64,
    progress_notify: bool,
    /// Whether the client puts large responses together from parts.
    fragment: bool,
    /// Whether it got events since the last round of progress notifications.
    active: bool,
    _slot: Slot,
}

/// What a client asks for in a watch.
struct Wanted {
    /// 0 means any.
    id: i64,
    filter: EventFilter,
    /// 0 means from now on; what is below the first revision counts as compacted.
    start_revision: i64,
    progress_notify: bool,
    fragment: bool,
}

/// What to send now. The headers carry the revision only.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) responses: Vec<PbWatchResponse>,
    /// Whether another step is due at once.
    pub(super) behind: bool,
}

impl Watches {
    pub(super) fn new(permission: Arc<Permission>, usage: Usage) -> Self {
        Self {
            permission,
            usage,
            by_id: BTreeMap::new(),
            next_id: 0,
            progress_requests: 0,
            unfinished: None,
        }
    }

    /// From now on the client may do this: cancels the watches that it may not have any more, before
    /// they see anything that happened since. (etcd asks only when a watch begins.)
    pub(super) fn permit(
        &mut self,
        permission: Arc<Permission>,
        head: i64,
    ) -> Vec<PbWatchResponse> {
        if Arc::ptr_eq(&permission, &self.permission) {
            return Vec::new();
        }
        self.permission = permission;
        let mut responses = Vec::new();
        self.by_id.retain(|id, watch| {
            let Err(refusal) = self.permission.check_read(&watch.filter.range) else {
                return true;
            };
            responses.push(PbWatchResponse {
                canceled: true,
                cancel_reason: reason(refusal),
                ..response(*id, head)
            });
            false
        });
        responses
    }

    pub(super) fn handle_request(
        &mut self,
        request: PbWatchRequestUnion,
        head: i64,
    ) -> Option<PbWatchResponse> {
        match request {
            PbWatchRequestUnion::CreateRequest(create) => {
                let wanted = Wanted {
                    id: create.watch_id,
                    filter: EventFilter {
                        range: KeyRange::of_watch(&create.key, &create.range_end),
                        deletes: !create.filters.contains(&FILTER_NO_DELETE),
                        prev_kv: create.prev_kv,
                        puts: !create.filters.contains(&FILTER_NO_PUT),
                    },
                    start_revision: create.start_revision,
                    progress_notify: create.progress_notify,
                    fragment: create.fragment,
                };
                Some(self.create(wanted, head))
            }
            PbWatchRequestUnion::CancelRequest(cancel) => {
                self.by_id.remove(&cancel.watch_id)?;
                Some(PbWatchResponse {
                    canceled: true,
                    ..response(cancel.watch_id, head)
                })
            }
            PbWatchRequestUnion::ProgressRequest(_) => {
                self.progress_requests = self.progress_requests.saturating_add(1);
                None
            }
        }
    }

    /// Moves all watches on together, up to `head`, so that no watch sees a revision that another one,
    /// further behind, has yet to see.
    pub(super) fn step(&mut self, store: &Store, head: i64) -> Step {
        let mut step = Step::default();
        if head < store.compacted_revision() {
            // A compaction that is not settled yet is nobody's loss yet.
            return step;
        }
        let round = self.unfinished.take().or_else(|| {
            let from = self.furthest_behind(head)?;
            Some(Round {
                through: store.horizon(from).min(head),
                next_id: i64::MIN,
            })
        });
        if let Some(round) = round {
            self.advance(&round, store, &mut step.responses);
            step.behind = self.unfinished.is_some() || round.through < head;
        }

        if !step.behind {
            for _ in 0..std::mem::take(&mut self.progress_requests) {
                step.responses.push(response(PROGRESS_WATCH_ID, head));
            }
        }
        step
    }

    /// Moves watches on until the round is over, or enough was read.
    fn advance(&mut self, round: &Round, store: &Store, responses: &mut Vec<PbWatchResponse>) {
        let mut ended = Vec::new();
        let mut bytes = 0;
        for (id, watch) in self.by_id.range_mut(round.next_id..) {
            if STEP_BYTES_MAX <= bytes {
                self.unfinished = Some(Round {
                    through: round.through,
                    next_id: *id,
                });
                break;
            }
            let first = responses.len();
            if !watch.advance(*id, round.through, store, responses) {
                ended.push(*id);
            }
            bytes += responses[first..]
                .iter()
                .map(|it| it.encoded_len())
                .sum::<usize>();
        }
        for id in ended {
            self.by_id.remove(&id);
        }
    }

    /// Tells the quiet watches that asked for it how far they are.
    pub(super) fn notify_progress(&mut self, head: i64) -> Vec<PbWatchResponse> {
        let mut responses = Vec::new();
        for (id, watch) in &mut self.by_id {
            let quiet = !std::mem::take(&mut watch.active);
            if quiet && watch.progress_notify && head < watch.next_revision {
                responses.push(response(*id, head));
            }
        }
        responses
    }

    fn create(&mut self, wanted: Wanted, head: i64) -> PbWatchResponse {
        let slot = if self.by_id.contains_key(&wanted.id) && wanted.id != 0 {
            Err("mvcc: duplicate watch ID provided on the WatchStream".into())
        } else if wanted.filter.range.is_empty() {
            Err("mvcc: watcher range is empty".into())
        } else if let Err(refusal) = self.permission.check_read(&wanted.filter.range) {
            Err(reason(refusal))
        } else if self.usage.watches_per_stream_max <= self.by_id.len() {
            Err(TOO_MANY_REQUESTS.into())
        } else {
            self.usage
                .watches
                .take()
                .ok_or_else(|| TOO_MANY_REQUESTS.into())
        };
        let slot = match slot {
            Ok(slot) => slot,
            Err(refusal) => {
                return PbWatchResponse {
                    created: true,
                    canceled: true,
                    cancel_reason: refusal,
                    ..response(INVALID_WATCH_ID, head)
                };
            }
        };

        let id = if wanted.id == 0 {
            self.free_id()
        } else {
            wanted.id
        };
        let watch = Watch {
            filter: wanted.filter,
            next_revision: if wanted.start_revision == 0 {
                head + 1
            } else {
                wanted.start_revision
            },
            progress_notify: wanted.progress_notify,
            fragment: wanted.fragment,
            active: false,
            _slot: slot,
        };
        self.by_id.insert(id, watch);
        PbWatchResponse {
            created: true,
            ..response(id, head)
        }
    }

    fn free_id(&mut self) -> i64 {
        while self.by_id.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// The oldest revision that exists and that some watch has yet to see.
    fn furthest_behind(&self, head: i64) -> Option<i64> {
        self.by_id
            .values()
            .map(|it| it.next_revision)
            .filter(|it| *it <= head)
            .min()
    }
}

impl Watch {
    /// Sends what happened up to `through`; false if the watch is at its end.
    fn advance(
        &mut self,
        id: i64,
        through: i64,
        store: &Store,
        responses: &mut Vec<PbWatchResponse>,
    ) -> bool {
        if through < self.next_revision {
            return true;
        }
        match store.events(&self.filter, self.next_revision, through) {
            Ok(batch) => {
                self.next_revision = through + 1;
                if !batch.events.is_empty() {
                    self.active = true;
                    let response = PbWatchResponse {
                        events: batch.events,
                        ..response(id, through)
                    };
                    if self.fragment {
                        responses.extend(split(response, MESSAGE_BYTES_MAX));
                    } else {
                        responses.push(response);
                    }
                }
                true
            }
            Err(compacted) => {
                // As etcd, which has no revision to tell where the watch has no more.
                responses.push(PbWatchResponse {
                    canceled: true,
                    compact_revision: compacted.compact_revision,
                    ..response(id, 0)
                });
                false
            }
        }
    }
}

/// As etcd's clients expect it, and know that they must prove anew who they are.
fn reason(refusal: Refusal) -> String {
    let status = Status::from(refusal);
    let (code, message) = (status.code(), status.message());
    format!("rpc error: code = {code:?} desc = {message}")
}

fn response(watch_id: i64, revision: i64) -> PbWatchResponse {
    PbWatchResponse {
        header: Some(PbResponseHeader {
            revision,
            ..PbResponseHeader::default()
        }),
        watch_id,
        ..PbWatchResponse::default()
    }
}

const FILTER_NO_PUT: i32 = 0;
const FILTER_NO_DELETE: i32 = 1;

/// An answer to a progress request concerns every watch of the stream.
const PROGRESS_WATCH_ID: i64 = -1;
const INVALID_WATCH_ID: i64 = -1;

#[cfg(test)]
mod tests;
