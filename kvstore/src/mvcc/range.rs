//! Answers range requests: which keys, in which order, how many of them.

use std::cmp::Reverse;
use std::sync::Arc;

use etcd_client::proto::{PbRangeRequest, PbRangeResponse};

use super::entry::Entry;
use super::key_range::KeyRange;
use super::{Store, header};

impl Store {
    /// `head` is what "now" means; the request's own revision was checked before.
    pub(super) fn range_at(&self, request: &PbRangeRequest, head: i64) -> PbRangeResponse {
        let revision = if request.revision <= 0 {
            head
        } else {
            request.revision
        };
        let range = KeyRange::of_request(&request.key, &request.range_end);
        let mut found = self
            .keys
            .range::<[u8], _>(range.bounds())
            .filter_map(|(_, versions)| versions.at(revision));

        let mut response = PbRangeResponse {
            header: header(head),
            ..PbRangeResponse::default()
        };
        if request.count_only {
            response.count = count(found);
            return response;
        }

        let mut entries: Vec<&Arc<Entry>> = found.by_ref().take(fetch_limit(request)).collect();
        response.count = count(found) + count(entries.iter());
        entries.retain(|it| passes(request, it));
        sort(request, &mut entries);

        let limit = usize::try_from(request.limit).unwrap_or(0);
        if 0 < limit && limit < entries.len() {
            entries.truncate(limit);
            response.more = true;
        }
        response.kvs = entries
            .into_iter()
            .map(|it| {
                let mut kv = it.to_message();
                if request.keys_only {
                    kv.value.clear();
                }
                kv
            })
            .collect();
        response
    }
}

/// Sorting and filtering need every key; otherwise one more than the limit tells whether there are more.
fn fetch_limit(request: &PbRangeRequest) -> usize {
    let filtered = request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0;
    match usize::try_from(request.limit) {
        Ok(limit) if 0 < limit && !filtered && request.sort_order == SORT_NONE => {
            limit.saturating_add(1)
        }
        Ok(_) | Err(_) => usize::MAX,
    }
}

/// A bound of 0 is no bound.
fn passes(request: &PbRangeRequest, entry: &Entry) -> bool {
    let within = |revision: i64, min: i64, max: i64| {
        (min == 0 || min <= revision) && (max == 0 || revision <= max)
    };
    within(
        entry.mod_revision,
        request.min_mod_revision,
        request.max_mod_revision,
    ) && within(
        entry.create_revision,
        request.min_create_revision,
        request.max_create_revision,
    )
}

/// Ties keep the order of keys. A target other than the key implies ascending order.
fn sort(request: &PbRangeRequest, entries: &mut [&Arc<Entry>]) {
    let descending = request.sort_order == SORT_DESCENDING;
    match request.sort_target {
        TARGET_VERSION => sort_by(entries, descending, |it| it.version),
        TARGET_CREATE => sort_by(entries, descending, |it| it.create_revision),
        TARGET_MOD => sort_by(entries, descending, |it| it.mod_revision),
        TARGET_VALUE => sort_by(entries, descending, |it| Arc::clone(&it.value)),
        // The tree is in the order of keys.
        _ if descending => entries.reverse(),
        _ => (),
    }
}

fn sort_by<K: Ord>(entries: &mut [&Arc<Entry>], descending: bool, key: impl Fn(&Entry) -> K) {
    if descending {
        entries.sort_by_cached_key(|it| Reverse(key(it)));
    } else {
        entries.sort_by_cached_key(|it| key(it));
    }
}

fn count(entries: impl Iterator) -> i64 {
    i64::try_from(entries.count()).expect("fewer keys than bytes of memory")
}

const SORT_NONE: i32 = 0;
const SORT_DESCENDING: i32 = 2;

const TARGET_VERSION: i32 = 1;
const TARGET_CREATE: i32 = 2;
const TARGET_MOD: i32 = 3;
const TARGET_VALUE: i32 = 4;
