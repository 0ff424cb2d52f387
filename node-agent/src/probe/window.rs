//! Decides what the last hundred probes to one node say of the way there.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Half a minute of probes: old enough to tell a percentile, young enough to tell of now.
pub const PROBES_MAX: usize = 100;

/// An answer that took longer is as good as none.
const LATE_MAX: Duration = Duration::from_secs(3);

/// The last probes, in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Window {
    probes: VecDeque<Sent>,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    sequence: u64,
    at: Instant,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// After so many microseconds.
    Answered(u32),
    Lost,
    Waiting,
}

/// What the probes of a window say together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quality {
    /// The median round trip, in microseconds.
    pub p50_microseconds: Option<u32>,
    pub p99_microseconds: Option<u32>,
    /// Of those whose fate is known.
    pub loss_per_mille: u16,
}

impl Window {
    /// Remembers a probe; sequences only grow.
    pub fn send(&mut self, sequence: u64, now: Instant) {
        if self.probes.len() == PROBES_MAX {
            self.probes.pop_front();
        }
        self.probes.push_back(Sent {
            sequence,
            at: now,
            fate: Fate::Waiting,
        });
    }

    /// Takes in an answer, and returns whether it is one: to a probe that has none yet, also if it
    /// was given up a moment ago.
    pub fn answer(&mut self, sequence: u64, now: Instant) -> bool {
        let Ok(index) = self
            .probes
            .binary_search_by_key(&sequence, |it| it.sequence)
        else {
            return false;
        };
        let probe = &mut self.probes[index];
        let round_trip = now.saturating_duration_since(probe.at);
        if matches!(probe.fate, Fate::Answered(_)) || LATE_MAX < round_trip {
            return false;
        }
        let microseconds = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX);
        probe.fate = Fate::Answered(microseconds);
        true
    }

    /// Gives up the probes that have waited for `timeout`, and returns their sequences.
    pub fn expire(&mut self, timeout: Duration, now: Instant) -> impl Iterator<Item = u64> {
        let waiting = self.probes.iter_mut().filter(|it| it.is_waiting());
        let overdue = waiting.filter(move |it| it.at + timeout <= now);
        overdue.map(|it| {
            it.fate = Fate::Lost;
            it.sequence
        })
    }

    /// When the oldest probe that waits was sent.
    pub fn waits_since(&self) -> Option<Instant> {
        let oldest = self.probes.iter().find(|it| it.is_waiting());
        oldest.map(|it| it.at)
    }

    /// Whether the probe is known to have come back.
    pub fn is_answered(&self, sequence: u64) -> bool {
        let index = self
            .probes
            .binary_search_by_key(&sequence, |it| it.sequence);
        index.is_ok_and(|it| matches!(self.probes[it].fate, Fate::Answered(_)))
    }

    pub fn quality(&self) -> Quality {
        let mut round_trips: Vec<u32> = Vec::with_capacity(self.probes.len());
        let mut lost = 0;
        for probe in &self.probes {
            match probe.fate {
                Fate::Answered(microseconds) => round_trips.push(microseconds),
                Fate::Lost => lost += 1,
                Fate::Waiting => (),
            }
        }
        round_trips.sort_unstable();
        let known = round_trips.len() + lost;
        Quality {
            p50_microseconds: percentile(&round_trips, 50),
            p99_microseconds: percentile(&round_trips, 99),
            loss_per_mille: (lost * 1_000)
                .checked_div(known)
                .and_then(|it| u16::try_from(it).ok())
                .unwrap_or_default(),
        }
    }
}

impl Sent {
    fn is_waiting(&self) -> bool {
        self.fate == Fate::Waiting
    }
}

/// The smallest value that `percent` of all do not exceed.
fn percentile(sorted: &[u32], percent: usize) -> Option<u32> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use super::*;

    #[test]
    fn tells_percentiles_and_loss_of_the_last_hundred() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!(window.quality(), Quality::default());

        for sequence in 0..1_000 {
            window.send(sequence, start);
        }
        for round_trip in 1..=90 {
            assert!(window.answer(899 + round_trip, start + Duration::from_micros(round_trip)));
        }
        let second = Duration::from_secs(1);
        let lost: Vec<u64> = window.expire(second, start + second).collect();
        assert_eq!(lost, (990..1_000).collect::<Vec<_>>());

        let expected = Quality {
            p50_microseconds: Some(45),
            p99_microseconds: Some(90),
            loss_per_mille: 100,
        };
        assert_eq!(window.quality(), expected);
    }

    #[test]
    fn counts_late_answers_once_and_others_never() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let mut window = Window::default();
        for sequence in 1..=3 {
            window.send(sequence, start);
        }
        assert_eq!(window.waits_since(), Some(start));
        assert_eq!(window.expire(Duration::from_millis(100), at(99)).count(), 0);
        assert_eq!(
            window.expire(Duration::from_millis(100), at(100)).count(),
            3
        );
        assert_eq!(window.waits_since(), None);
        assert_eq!(window.quality().loss_per_mille, 1_000);

        assert!(window.answer(2, at(150)), "late");
        assert!(!window.answer(2, at(151)), "a duplicate");
        assert!(!window.answer(3, at(3_001)), "too late");
        assert!(!window.answer(4, at(160)), "never sent");

        let quality = window.quality();
        assert_eq!(quality.loss_per_mille, 666);
        assert_eq!(quality.p50_microseconds, Some(150_000));
        assert!(window.is_answered(2) && !window.is_answered(1) && !window.is_answered(9));
    }
}
