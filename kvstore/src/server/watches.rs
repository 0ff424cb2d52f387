//! The watches of one stream: what each has seen, and what it must see next.
//!
//! A watch pulls from history instead of being pushed to, so a slow one is merely behind: it reads on
//! where it stopped, and learns it if history no longer reaches that far back.

use std::collections::BTreeMap;

use etcd_client::proto::{PbResponseHeader, PbWatchRequestUnion, PbWatchResponse};

use crate::access::Permission;
use crate::mvcc::{EventFilter, KeyRange, Store};

/// More watches than any client needs, and few enough for one stream's memory.
const WATCHES_MAX: usize = 4_096;

#[derive(Debug)]
pub(super) struct Watches {
    /// The client's.
    permission: Permission,
    by_id: BTreeMap<i64, Watch>,
    next_id: i64,
    /// Progress requests without an answer yet.
    progress_requests: u32,
}

#[derive(Debug)]
struct Watch {
    filter: EventFilter,
    /// Everything before it was sent.
    next_revision: i64,
    progress_notify: bool,
    /// Whether it got events since the last round of progress notifications.
    active: bool,
}

/// What to send now. The headers carry the revision only.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Step {
    pub(super) responses: Vec<PbWatchResponse>,
    /// Whether another step is due at once.
    pub(super) behind: bool,
}

impl Watches {
    pub(super) fn new(permission: Permission) -> Self {
        Self {
            permission,
            by_id: BTreeMap::new(),
            next_id: 0,
            progress_requests: 0,
        }
    }

    pub(super) fn handle_request(
        &mut self,
        request: PbWatchRequestUnion,
        head: i64,
    ) -> Option<PbWatchResponse> {
        match request {
            PbWatchRequestUnion::CreateRequest(create) => {
                let filter = EventFilter {
                    range: KeyRange::of_watch(&create.key, &create.range_end),
                    deletes: !create.filters.contains(&FILTER_NO_DELETE),
                    prev_kv: create.prev_kv,
                    puts: !create.filters.contains(&FILTER_NO_PUT),
                };
                let watch = Watch {
                    filter,
                    next_revision: if create.start_revision <= 0 {
                        head + 1
                    } else {
                        create.start_revision
                    },
                    progress_notify: create.progress_notify,
                    active: false,
                };
                Some(self.create(create.watch_id, watch, head))
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

    /// Moves all watches on together, so that no watch sees a revision that another one, further
    /// behind, has yet to see.
    pub(super) fn step(&mut self, store: &Store) -> Step {
        let head = store.revision();
        let mut step = Step::default();
        if let Some(from) = self.furthest_behind(head) {
            let through = store.horizon(from);
            self.by_id
                .retain(|id, watch| watch.advance(*id, through, store, &mut step.responses));
            step.behind = through < head;
        }

        if !step.behind {
            for _ in 0..std::mem::take(&mut self.progress_requests) {
                step.responses.push(response(PROGRESS_WATCH_ID, head));
            }
        }
        step
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

    /// `wanted_id` 0 means any.
    fn create(&mut self, wanted_id: i64, watch: Watch, head: i64) -> PbWatchResponse {
        let refusal = if self.by_id.contains_key(&wanted_id) && wanted_id != 0 {
            "mvcc: duplicate watch ID provided on the WatchStream"
        } else if watch.filter.range.is_empty() {
            "mvcc: watcher range is empty"
        } else if self.permission.check_read(&watch.filter.range).is_err() {
            "rpc error: code = PermissionDenied desc = etcdserver: permission denied"
        } else if WATCHES_MAX <= self.by_id.len() {
            "etcdserver: too many watches on one stream"
        } else {
            let id = if wanted_id == 0 {
                self.free_id()
            } else {
                wanted_id
            };
            self.by_id.insert(id, watch);
            return PbWatchResponse {
                created: true,
                ..response(id, head)
            };
        };
        PbWatchResponse {
            created: true,
            canceled: true,
            cancel_reason: refusal.into(),
            ..response(INVALID_WATCH_ID, head)
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
                    responses.push(PbWatchResponse {
                        events: batch.events,
                        ..response(id, through)
                    });
                }
                true
            }
            Err(compacted) => {
                responses.push(PbWatchResponse {
                    canceled: true,
                    compact_revision: compacted.compact_revision,
                    ..response(id, store.revision())
                });
                false
            }
        }
    }
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
mod tests {
    use etcd_client::proto::PbPutRequest;

    use super::*;

    #[test]
    fn holds_back_progress_until_nothing_is_left_to_see() {
        let store = store_with(2_500);
        let mut watches = Watches::new(Permission::everything());
        watch(&mut watches, "k/");
        let progress = PbWatchRequestUnion::ProgressRequest(Default::default());
        assert_eq!(watches.handle_request(progress, store.revision()), None);

        let steps = run(&mut watches, &store);

        let last = steps.last().unwrap();
        let answers: Vec<i64> = steps.concat().iter().map(|it| it.watch_id).collect();
        assert_eq!(answers, [0, 0, 0, PROGRESS_WATCH_ID]);
        assert_eq!(revision(&last[1]), store.revision());
    }

    #[test]
    fn moves_all_watches_on_together_and_repeats_nothing() {
        let store = store_with(2_500);
        let mut watches = Watches::new(Permission::everything());
        watch(&mut watches, "k/1");
        watch(&mut watches, "k/");

        let steps = run(&mut watches, &store);

        assert_eq!(steps.len(), 3);
        for step in &steps {
            assert_eq!(
                step.iter().map(|it| it.watch_id).collect::<Vec<_>>(),
                [0, 1]
            );
            assert_eq!(revision(&step[0]), revision(&step[1]));
        }
        let events: usize = steps
            .concat()
            .iter()
            .filter(|it| it.watch_id == 1)
            .map(|it| it.events.len())
            .sum();
        assert_eq!(events, 2_500);
        assert_eq!(watches.step(&store), Step::default(), "everything was sent");
    }

    #[test]
    fn reports_progress_only_of_quiet_watches() {
        let mut store = store_with(1);
        let mut watches = Watches::new(Permission::everything());
        watch(&mut watches, "k/");
        watch(&mut watches, "other/");
        for watch in watches.by_id.values_mut() {
            watch.progress_notify = true;
        }
        assert_eq!(
            watches.notify_progress(store.revision()),
            [],
            "neither has seen revision 2 yet"
        );

        run(&mut watches, &store);
        let quiet: Vec<i64> = watches
            .notify_progress(store.revision())
            .iter()
            .map(|it| it.watch_id)
            .collect();
        assert_eq!(quiet, [1]);

        put(&mut store, 0);
        run(&mut watches, &store);
        assert_eq!(watches.notify_progress(store.revision()).len(), 1);
        assert_eq!(
            watches.notify_progress(store.revision()).len(),
            2,
            "both are quiet now"
        );
    }

    /// Steps until nothing is due, without what is empty.
    fn run(watches: &mut Watches, store: &Store) -> Vec<Vec<PbWatchResponse>> {
        let mut steps = Vec::new();
        loop {
            let step = watches.step(store);
            steps.push(step.responses);
            if !step.behind {
                return steps;
            }
        }
    }

    /// Watches everything under `prefix` from the start.
    fn watch(watches: &mut Watches, prefix: &str) {
        let mut request = PbWatchRequestUnion::CreateRequest(Default::default());
        if let PbWatchRequestUnion::CreateRequest(create) = &mut request {
            create.key = prefix.into();
            create.range_end = format!("{prefix}~").into();
            create.start_revision = 2;
        }
        assert!(watches.handle_request(request, 1).unwrap().created);
    }

    fn store_with(puts: usize) -> Store {
        let mut store = Store::default();
        (0..puts).for_each(|number| put(&mut store, number));
        store
    }

    fn put(store: &mut Store, number: usize) {
        let request = PbPutRequest {
            key: format!("k/{}", number % 10).into(),
            ..PbPutRequest::default()
        };
        store.put(request).unwrap();
    }

    fn revision(response: &PbWatchResponse) -> i64 {
        response.header.as_ref().unwrap().revision
    }
}
