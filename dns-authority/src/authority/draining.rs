//! What operators order of drains, what that means for the records at hand, and how it is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kvstore::follower::Update;
use topology::report::DrainReport;
use tracing::{info, warn};

use super::planned::Planned;
use crate::drain::{DRAINS_MAX, Drain, Drains, Scale, Scales, Subject, key};
use crate::geo::Atlas;
use crate::lifetime::Bounds;
use crate::wire::name::Shown;

pub(super) struct Draining {
    drains: Drains,
    /// Whether they have to be written down.
    is_news: bool,
}

/// What an operator wants.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) subject: Subject,
    pub(super) to: Scale,
    pub(super) over_milliseconds: u64,
}

/// What becomes of it.
#[derive(Debug)]
pub(super) struct Ordered {
    pub(super) report: DrainReport,
    /// What to do in the store, if there is one: a key, and its value unless it has to go.
    pub(super) key: String,
    pub(super) value: Option<Vec<u8>>,
}

/// Enough names to see what is meant.
const NAMES_SHOWN_MAX: usize = 10;
const PLACES_SHOWN_MAX: usize = 20;

impl Draining {
    pub(super) fn new(drains: Drains) -> Self {
        Self {
            drains,
            is_news: false,
        }
    }

    /// Takes in what the store says; returns whether that may change answers.
    pub(super) fn handle_update(&mut self, update: &Update) -> bool {
        let (is_news, rejected) = self.drains.handle(update);
        for (key, error) in rejected {
            warn!(key, reason = %error, "dropped a drain that makes no sense");
        }
        self.is_news |= is_news;
        is_news
    }

    /// Finds out anew what is drained.
    pub(super) fn find(&mut self, planned: &[Planned], atlas: &Atlas) {
        let candidates = planned.iter().flat_map(Planned::candidates);
        let values = candidates.map(|it| it.text.as_str());
        self.drains.find(values, |it| atlas.describe(it).name);
    }

    pub(super) fn scales(&self, now: u64) -> Arc<Scales> {
        Arc::new(self.drains.scales(now))
    }

    pub(super) fn is_moving(&self, now: u64) -> bool {
        self.drains.is_moving(now)
    }

    /// Decides what an order comes to. Where there is no store, it is in force at once.
    ///
    /// # Errors
    ///
    /// Says why it comes to nothing, with the remedy.
    pub(super) fn order(
        &mut self,
        order: &Order,
        (planned, atlas): (&[Planned], &Atlas),
        (bounds, now): (Bounds, u64),
        is_shared: bool,
    ) -> Result<Ordered, String> {
        let Order {
            subject,
            to,
            over_milliseconds,
        } = order;
        let is_undo = *to == Scale::FULL;
        let is_known = self.drains.iter().any(|(it, _)| it == subject);
        if is_undo && !is_known {
            return Err(format!("{subject} is not being drained"));
        }
        if !is_undo && !is_known && self.drains.iter().count() >= DRAINS_MAX {
            return Err(format!("{DRAINS_MAX} drains are in force; undo some first"));
        }
        let drain = self.drains.order(subject, *to, *over_milliseconds, now);
        let report = DrainReport {
            everywhere: is_shared,
            ..report(subject, &drain, (planned, atlas), (bounds, now))
        };
        if !is_undo && report.records == 0 {
            return Err(nothing(subject, planned, atlas));
        }
        let is_over = is_undo && *over_milliseconds == 0;
        if !is_shared {
            info!(%subject, per_mille = to.per_mille(), over_milliseconds, "drains");
            match is_over {
                true => self.drains.remove(subject),
                false => self.drains.insert(subject.clone(), drain),
            }
            self.is_news = true;
        }
        Ok(Ordered {
            report,
            key: key(subject),
            value: (!is_over).then(|| drain.encode()),
        })
    }

    /// Forgets what has been undone and is at its end, and returns its keys in the store.
    pub(super) fn forget_over(&mut self, now: u64) -> Vec<String> {
        let subjects = self.drains.iter().map(|(subject, _)| subject.clone());
        let over: Vec<Subject> = subjects.filter(|it| self.drains.is_over(it, now)).collect();
        for subject in &over {
            self.drains.remove(subject);
            self.is_news = true;
        }
        over.iter().map(key).collect()
    }

    /// What is to be written down, if it is news.
    pub(super) fn take_news(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_news).then(|| self.drains.to_json())
    }

    /// The news were not written down, and are news yet.
    pub(super) fn keep_news(&mut self) {
        self.is_news = true;
    }

    pub(super) fn reports(
        &self,
        records: (&[Planned], &Atlas),
        at: (Bounds, u64),
    ) -> Vec<DrainReport> {
        let drains = self.drains.iter();
        drains
            .map(|(subject, drain)| report(subject, drain, records, at))
            .collect()
    }
}

fn report(
    subject: &Subject,
    drain: &Drain,
    (planned, atlas): (&[Planned], &Atlas),
    (bounds, now): (Bounds, u64),
) -> DrainReport {
    let place = |it: IpAddr| atlas.describe(it).name;
    let is_meant = |it: &&Planned| {
        let mut values = it.candidates();
        values.any(|it| subject.is_about(&it.text, place))
    };
    let meant: Vec<&Planned> = planned.iter().filter(is_meant).collect();
    let ttls = meant.iter().map(|it| it.ttl.max(bounds.max.unwrap_or(0)));
    let ttl = u64::from(ttls.max().unwrap_or(0));
    let names: BTreeSet<String> = meant
        .iter()
        .map(|it| Shown(&it.owner).to_string())
        .collect();
    DrainReport {
        subject: subject.to_string(),
        per_mille: drain.scale(now).per_mille(),
        to_per_mille: drain.to.per_mille(),
        begin: drain.begin,
        end: drain.end(),
        expires: (drain.to == Scale::EMPTY).then(|| drain.end().saturating_add(ttl * 1_000)),
        records: meant.len(),
        names: names.into_iter().take(NAMES_SHOWN_MAX).collect(),
        everywhere: false,
    }
}

/// Says that nothing is meant, and what could have been.
fn nothing(subject: &Subject, planned: &[Planned], atlas: &Atlas) -> String {
    let candidates = planned.iter().flat_map(Planned::candidates);
    let addresses = candidates.filter_map(|it| it.text.parse().ok());
    let places: BTreeSet<String> = addresses.filter_map(|it| atlas.describe(it).name).collect();
    let places: Vec<String> = places.into_iter().take(PLACES_SHOWN_MAX).collect();
    match places.is_empty() {
        true => format!("no record chooses {subject}; name an address or a prefix that one does"),
        false => format!(
            "no record chooses {subject}; there are the regions {}, and the addresses in them",
            places.join(", ")
        ),
    }
}
