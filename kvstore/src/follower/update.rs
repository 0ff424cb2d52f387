//! What a follower reports, and what of a store's messages that is.

use etcd_client::{Event, EventType, KeyValue};

use super::span::covers;

/// What happened to the followed prefixes, in order.
///
/// ```text
/// start ─▶ Connected ─▶ Listed ─▶ Changed ─▶ Changed ─▶ … ─▶ Lost ─┐
///            ▲   └─ resumed ──────▲                                │
///            └──────────────────────────── reconnected ────────────┘
/// ```
///
/// `Listed` may also come instead of a `Changed`, when the store forgot what the follower had yet to
/// see. A first connection that fails is a `Lost` too. A follower that is asked to tells a list page
/// by page: some `Page`s, and a `Listed` with what is left; a `Lost` among them ends the list halfway.
#[derive(Clone, Debug, PartialEq)]
pub enum Update {
    /// The store answers. Changes go on where they stopped, unless `Listed` follows.
    Connected { cluster_id: u64 },
    /// The complete view of all prefixes, by key: whatever it does not name, nor any `Page` since the
    /// last other update, is gone.
    Listed(Vec<Record>),
    /// A part of a list, which says nothing of what it does not name.
    Page(Vec<Record>),
    /// One or more whole revisions, oldest first. (A store that permits only single prefixes is
    /// followed one by one, and then a revision is whole per prefix.)
    Changed(Vec<Change>),
    /// The link or the store is gone; what was seen last stays believed. Sent once per loss, and
    /// once more if the other side falls silent only later.
    Lost {
        reason: String,
        /// Nothing comes back. Otherwise somebody is there, who closed or refused the connection.
        silent: bool,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub key: String,
    pub value: Vec<u8>,
    pub mod_revision: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Delete { key: String, mod_revision: i64 },
    Put(Record),
}

pub(super) fn changes(events: &[Event], prefixes: &[String]) -> Vec<Change> {
    events
        .iter()
        .filter_map(|event| {
            let kv = event.kv()?;
            let (key, mod_revision) = (followed(kv, prefixes)?, kv.mod_revision());
            Some(match event.event_type() {
                EventType::Put => Change::Put(Record {
                    key,
                    value: kv.value().to_vec(),
                    mod_revision,
                }),
                EventType::Delete => Change::Delete { key, mod_revision },
            })
        })
        .collect()
}

pub(super) fn record(kv: KeyValue, prefixes: &[String]) -> Option<Record> {
    let key = followed(&kv, prefixes)?;
    let mod_revision = kv.mod_revision();
    let (_, value) = kv.into_key_value();
    Some(Record {
        key,
        value,
        mod_revision,
    })
}

/// Keys of the mesh are text; others are somebody else's.
fn followed(kv: &KeyValue, prefixes: &[String]) -> Option<String> {
    let key = kv.key_str().ok()?;
    prefixes
        .iter()
        .any(|it| covers(it, key))
        .then(|| key.to_owned())
}
