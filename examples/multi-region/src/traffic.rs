//! Decides from what a client wrote down who served it, and since when.

use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

use lab::record::{Outcome, Record};
use serde::Serialize;

/// What one client saw, in the order in which it asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Traffic {
    samples: VecDeque<Sample>,
    /// Which region an address in a DNS answer belongs to.
    places: BTreeMap<Ipv4Addr, String>,
}

/// One request or query. Times are in microseconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sample {
    pub(crate) sent: u64,
    /// When its answer or its failure came.
    pub(crate) ended: u64,
    pub(crate) seen: Seen,
}

/// Where a client was sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// To this region: it served the request, or the answer names its address.
    Region(String),
    /// To addresses of no region, or of several.
    Elsewhere(String),
    /// Nowhere; the text says why.
    Failed(String),
}

/// How many requests or queries there were, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Counts {
    pub(crate) total: u64,
    pub(crate) failed: u64,
}

/// Over half an hour at a hundred requests per second; the oldest are forgotten first.
const SAMPLES_MAX: usize = 200_000;

impl Traffic {
    /// The traffic of a client that makes requests; the servers say their region.
    pub(crate) fn requests() -> Self {
        Self::default()
    }

    /// The traffic of a client that asks for addresses, which `places` assigns to regions.
    pub(crate) fn answers(places: BTreeMap<Ipv4Addr, String>) -> Self {
        let samples = VecDeque::new();
        Self { samples, places }
    }

    /// Adds records in any order: a client asks again before it has its answer, so that a timeout
    /// is written down after the successes that overtook it.
    pub(crate) fn extend(&mut self, records: impl IntoIterator<Item = Record>) {
        for record in records {
            let sample = self.sample(record);
            let later = self.samples.iter().rev();
            let later = later.take_while(|it| sample.sent < it.sent).count();
            self.samples.insert(self.samples.len() - later, sample);
            if SAMPLES_MAX < self.samples.len() {
                self.samples.pop_front();
            }
        }
    }

    /// In the order in which they were sent.
    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter()
    }

    /// Counts what was sent from `from` up to, and without, `to`.
    pub(crate) fn counts(&self, from: u64, to: u64) -> Counts {
        Counts::of(self.between(from, to))
    }

    /// Counts what a change at `from` can have touched: what was sent since, and what was sent
    /// before and had no answer yet.
    pub(crate) fn counts_since(&self, from: u64) -> Counts {
        Counts::of(self.samples().filter(|it| from <= it.ended))
    }

    /// How often each region was the answer to what was sent from `from` up to, and without, `to`.
    pub(crate) fn regions(&self, from: u64, to: u64) -> BTreeMap<String, u64> {
        let mut regions = BTreeMap::new();
        for sample in self.between(from, to) {
            if let Seen::Region(region) = &sample.seen {
                *regions.entry(region.clone()).or_default() += 1;
            }
        }
        regions
    }

    /// When `region` took over for good: the first answer of the first `run_length` samples in a
    /// row, all sent from `from` on, that were all answered with `region`.
    ///
    /// A sample that has not ended is not known yet: one that then fails moves the moment, so the
    /// last word is spoken when the client's timeout has passed.
    pub(crate) fn first_steady(&self, from: u64, region: &str, run_length: usize) -> Option<u64> {
        let mut run = 0;
        let mut since = None;
        for sample in self.between(from, u64::MAX) {
            if !sample.seen.is_region(region) {
                (run, since) = (0, None);
                continue;
            }
            run += 1;
            let since = *since.get_or_insert(sample.ended);
            if run_length <= run {
                return Some(since);
            }
        }
        None
    }

    fn between(&self, from: u64, to: u64) -> impl Iterator<Item = &Sample> {
        let start = self.samples.partition_point(|it| it.sent < from);
        let rest = self.samples.range(start..);
        rest.take_while(move |it| it.sent < to)
    }

    fn sample(&self, record: Record) -> Sample {
        let sent = record.at_microseconds;
        Sample {
            sent,
            ended: sent.saturating_add(record.duration_microseconds),
            seen: match record.outcome {
                Outcome::Served(server) => Seen::Region(server.region),
                Outcome::Resolved { addresses, .. } => self.seen(&addresses),
                Outcome::Failed(reason) => Seen::Failed(reason),
            },
        }
    }

    /// The one region that all addresses belong to, if there is one.
    fn seen(&self, addresses: &[Ipv4Addr]) -> Seen {
        let Some(first) = addresses.first() else {
            return Seen::Failed("no address".to_owned());
        };
        let place = |address| self.places.get(address);
        match place(first) {
            Some(region) if addresses.iter().all(|it| place(it) == Some(region)) => {
                Seen::Region(region.clone())
            }
            Some(_) | None => {
                let addresses: Vec<String> = addresses.iter().map(Ipv4Addr::to_string).collect();
                Seen::Elsewhere(addresses.join(", "))
            }
        }
    }
}

impl Counts {
    fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Self {
        samples.fold(Self::default(), |counts, it| Self {
            total: counts.total + 1,
            failed: counts.failed + u64::from(matches!(it.seen, Seen::Failed(_))),
        })
    }
}

impl Seen {
    pub(crate) fn is_region(&self, region: &str) -> bool {
        matches!(self, Self::Region(it) if it == region)
    }
}

#[cfg(test)]
mod tests {
    use lab::record::Server;

    use super::*;

    #[test]
    fn a_region_has_taken_over_when_a_whole_run_came_from_it() {
        check_steady("e e e u u u u", 3, Some(3));
        check_steady("e u u x u u u", 3, Some(4));
        check_steady("e u u e u u x", 3, None);
        check_steady("e u u", 3, None);
        check_steady("", 1, None);
        check_steady("u e u", 1, Some(0));
    }

    #[test]
    fn what_was_sent_before_the_change_does_not_count() {
        let traffic = traffic("u u e u u");

        assert_eq!(traffic.first_steady(sent(1), "us", 2), Some(ended(3)));
        assert_eq!(traffic.first_steady(sent(2), "eu", 1), Some(ended(2)));
        assert_eq!(traffic.first_steady(sent(3), "eu", 1), None);
    }

    #[test]
    fn counts_failures_and_regions_without_the_end_of_the_window() {
        let traffic = traffic("e x x u u u x");
        let counts = |from, to| traffic.counts(sent(from), sent(to));

        assert_eq!(
            counts(0, 7),
            Counts {
                total: 7,
                failed: 3
            }
        );
        assert_eq!(
            counts(1, 2),
            Counts {
                total: 1,
                failed: 1
            }
        );
        assert_eq!(
            counts(3, 6),
            Counts {
                total: 3,
                failed: 0
            }
        );
        assert_eq!(counts(7, 9), Counts::default());
        let regions = traffic.regions(sent(0), sent(5));
        assert_eq!(
            regions,
            BTreeMap::from([("eu".into(), 1), ("us".into(), 2)])
        );
    }

    #[test]
    fn a_request_that_is_open_at_a_change_counts_as_after_it() {
        let traffic = traffic("e x u");
        let counts = |from| traffic.counts_since(from);
        let (total, failed) = (2, 1);

        assert_eq!(counts(sent(1)), Counts { total, failed });
        assert_eq!(counts(ended(1)), Counts { total, failed });
        assert_eq!(
            counts(ended(1) + 1),
            Counts {
                total: 1,
                failed: 0
            }
        );
    }

    #[test]
    fn a_timeout_that_was_overtaken_is_put_where_it_was_sent() {
        let mut traffic = Traffic::requests();
        traffic.extend([record(0, 'u'), record(2, 'u'), record(3, 'u')]);
        assert_eq!(traffic.first_steady(sent(0), "us", 2), Some(ended(0)));

        traffic.extend([record(1, 'x')]);

        let order: Vec<u64> = traffic.samples().map(|it| it.sent).collect();
        assert_eq!(order, [sent(0), sent(1), sent(2), sent(3)]);
        assert_eq!(traffic.first_steady(sent(0), "us", 2), Some(ended(2)));
    }

    #[test]
    fn tells_the_region_of_an_answer_by_its_addresses() {
        check_answer(&[[192, 0, 2, 11]], Seen::Region("eu".into()));
        check_answer(
            &[[192, 0, 2, 11], [192, 0, 2, 12]],
            Seen::Region("eu".into()),
        );
        let two = "192.0.2.11, 198.51.100.11";
        check_answer(
            &[[192, 0, 2, 11], [198, 51, 100, 11]],
            Seen::Elsewhere(two.into()),
        );
        check_answer(&[[127, 0, 0, 1]], Seen::Elsewhere("127.0.0.1".into()));
        check_answer(&[], Seen::Failed("no address".into()));
    }

    #[test]
    fn forgets_the_oldest_samples_beyond_its_limit() {
        let mut traffic = Traffic::requests();
        let moments = 0..u64::try_from(SAMPLES_MAX).unwrap() + 5;
        traffic.extend(moments.map(|it| record(it, 'e')));

        assert_eq!(traffic.samples().count(), SAMPLES_MAX);
        assert_eq!(traffic.samples().next().unwrap().sent, sent(5));
        assert!(traffic.samples().last().unwrap().seen.is_region("eu"));
    }

    /// Looks for a run of `us` from the start; `expected` is the position of its first sample.
    #[track_caller]
    fn check_steady(seen: &str, run_length: usize, expected: Option<u64>) {
        let found = traffic(seen).first_steady(sent(0), "us", run_length);

        assert_eq!(found, expected.map(ended), "{seen}");
    }

    #[track_caller]
    fn check_answer(addresses: &[[u8; 4]], expected: Seen) {
        let place = |octets, region: &str| (Ipv4Addr::from(octets), region.to_owned());
        let mut traffic = Traffic::answers(BTreeMap::from([
            place([192, 0, 2, 11], "eu"),
            place([192, 0, 2, 12], "eu"),
            place([198, 51, 100, 11], "us"),
        ]));
        let addresses = addresses.iter().copied().map(Ipv4Addr::from).collect();
        let outcome = Outcome::Resolved {
            addresses,
            ttl_seconds: None,
        };
        traffic.extend([Record {
            at_microseconds: 0,
            duration_microseconds: 0,
            outcome,
        }]);

        assert_eq!(traffic.samples().last().unwrap().seen, expected);
    }

    /// One sample per letter: served by `e`u or `u`s, or failed.
    fn traffic(seen: &str) -> Traffic {
        let mut traffic = Traffic::requests();
        let letters = (0..).zip(seen.split_whitespace());
        traffic.extend(letters.map(|(at, it)| record(at, it.chars().next().unwrap())));
        traffic
    }

    fn record(at: u64, letter: char) -> Record {
        let region = if letter == 'e' { "eu" } else { "us" }.to_owned();
        let server = Server {
            region,
            node: "node-1".into(),
            pod: "shop-1".into(),
        };
        Record {
            at_microseconds: sent(at),
            duration_microseconds: ended(at) - sent(at),
            outcome: match letter {
                'x' => Outcome::Failed("timeout".to_owned()),
                _ => Outcome::Served(server),
            },
        }
    }

    fn sent(at: u64) -> u64 {
        1_000_000 + at * 100_000
    }

    fn ended(at: u64) -> u64 {
        sent(at) + 20_000
    }
}
