//! Writes a zone, or what changed in it, for another server (RFC 5936, RFC 1995).
//!
//! Records that choose their answers are written as all that they may answer: a copy answers with every
//! candidate, as this server does when it knows nothing of their health.

use std::sync::Arc;

use crate::journal::{Difference, History, Record, soa_serial};
use crate::serial;
use crate::wire::query::Query;
use crate::wire::reply::{Reply, Section};
use crate::wire::{code, kind};
use crate::zone::Zone;

/// What a client is given.
#[derive(Clone, Debug)]
pub enum Body {
    /// It has the newest version, or cannot be told more over UDP: the SOA record alone.
    Current,
    Steps(Vec<Arc<Difference>>),
    Whole,
}

impl Body {
    /// What brings a copy with this serial up to date.
    pub fn since(theirs: u32, zone: &Zone, history: Option<&History>) -> Self {
        let ours = zone.serial();
        if theirs == ours || serial::is_newer(theirs, ours) {
            return Self::Current;
        }
        let known = history.filter(|it| it.last() == Some(ours));
        let steps = known.and_then(|it| it.since(theirs));
        // Many small steps may say more than the whole (RFC 1995 section 4).
        let fewer = |it: &Vec<Arc<Difference>>| {
            it.iter().map(|it| it.len()).sum::<usize>() < 2 * zone.names() + 16
        };
        steps.filter(fewer).map_or(Self::Whole, Self::Steps)
    }
}

/// Writes `body` in as few messages as it fits into, of `limit` octets at most, and gives each to `send`
/// until that says false. False if it was not all.
pub fn write(
    zone: &Zone,
    query: &Query<'_>,
    body: &Body,
    limit: usize,
    send: &mut dyn FnMut(Vec<u8>) -> bool,
) -> bool {
    let (owner, set) = zone.soa();
    let soa = Record {
        owner: owner.into(),
        kind: kind::SOA,
        ttl: set.ttl,
        data: set.data().next().unwrap_or_default().into(),
    };
    let frame = || std::iter::once(soa.clone());
    match body {
        Body::Current => pages(query, frame(), limit, send),
        Body::Steps(steps) => {
            let steps = steps
                .iter()
                .flat_map(|it| it.removed.iter().chain(&it.added));
            pages(
                query,
                frame().chain(steps.cloned()).chain(frame()),
                limit,
                send,
            )
        }
        Body::Whole => zone.view(|view| {
            let all = view.store.nodes().flat_map(|it| view.records(it));
            let others = all.filter(|it| it.kind != kind::SOA);
            pages(query, frame().chain(others).chain(frame()), limit, send)
        }),
    }
}

fn pages(
    query: &Query<'_>,
    records: impl Iterator<Item = Record>,
    limit: usize,
    send: &mut dyn FnMut(Vec<u8>) -> bool,
) -> bool {
    let mut records = records.peekable();
    while records.peek().is_some() {
        let mut buffer = Vec::with_capacity(limit);
        let mut reply = Reply::new(&mut buffer, query, limit, None);
        let mut count = 0;
        while let Some(it) = records.peek()
            && reply
                .record(Section::Answer, &it.owner, (it.kind, it.ttl), &it.data)
                .is_ok()
        {
            records.next();
            count += 1;
        }
        reply.finish(code::NO_ERROR, true, false, None);
        // A record that fits into no message cannot be transferred at all.
        if count == 0 || !send(buffer) {
            return false;
        }
    }
    true
}

impl Zone {
    /// The serial of this version.
    pub fn serial(&self) -> u32 {
        let (_, set) = self.soa();
        set.data().next().and_then(soa_serial).unwrap_or_default()
    }
}
