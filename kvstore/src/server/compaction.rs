//! Decides when the past is old enough to be forgotten.

use std::collections::VecDeque;
use std::sync::Weak;
use std::time::{Duration, Instant};

use super::database::Database;

/// Long enough for a reader that was away for a few minutes to go on where it stopped.
const RETENTION_DEFAULT: Duration = Duration::from_secs(300);

/// Compacting ten times in a retention keeps at most a tenth more than asked for.
const TICKS_PER_RETENTION: u32 = 10;

const TICK_MIN: Duration = Duration::from_millis(100);
const TICK_MAX: Duration = Duration::from_secs(300);

/// What is compacted without anybody's asking. History has bounds of its own beside it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compaction {
    Off,
    /// What is older than this.
    Periodic(Duration),
    /// What is so many revisions before the newest.
    Revisions(u32),
}

/// A state machine: told the time and the revision, it says where to compact.
#[derive(Debug)]
struct Compactor {
    compaction: Compaction,
    /// When a revision was the newest, oldest first.
    samples: VecDeque<(Instant, i64)>,
}

impl Default for Compaction {
    fn default() -> Self {
        Self::Periodic(RETENTION_DEFAULT)
    }
}

impl Compaction {
    fn tick(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::Periodic(retention) => {
                Some((retention / TICKS_PER_RETENTION).clamp(TICK_MIN, TICK_MAX))
            }
            Self::Revisions(_) => Some(TICK_MAX / TICKS_PER_RETENTION),
        }
    }
}

/// Compacts as long as somebody holds the database.
pub(super) async fn run(database: Weak<Database>, compaction: Compaction) {
    let Some(tick) = compaction.tick() else {
        return;
    };
    let mut compactor = Compactor {
        compaction,
        samples: VecDeque::new(),
    };
    let mut ticks = tokio::time::interval(tick);
    loop {
        ticks.tick().await;
        let Some(database) = database.upgrade() else {
            return;
        };
        let revision = database.with(|store| store.revision());
        if let Some(revision) = compactor.handle_tick(revision, Database::now()) {
            while !compact_step(&database, revision) {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Compacts a part of history, so that nobody has to wait for long; true if it was the last part.
fn compact_step(database: &Database, revision: i64) -> bool {
    database.with(|store| {
        let step = store.horizon(store.compacted_revision() + 1).min(revision);
        // Refused if somebody compacted further already, which is as well.
        store.compact(step).is_err() || step == revision
    })
}

impl Compactor {
    fn handle_tick(&mut self, revision: i64, now: Instant) -> Option<i64> {
        match self.compaction {
            Compaction::Off => None,
            Compaction::Periodic(retention) => {
                self.samples.push_back((now, revision));
                let is_old = |at: Instant| retention <= now.saturating_duration_since(at);
                let mut found = None;
                while let Some((at, revision)) = self.samples.front().copied()
                    && is_old(at)
                {
                    self.samples.pop_front();
                    found = Some(revision);
                }
                found
            }
            Compaction::Revisions(count) => Some(revision - i64::from(count)).filter(|it| 0 < *it),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_what_is_older_than_the_retention() {
        check(
            Compaction::Periodic(Duration::from_secs(300)),
            &[
                (0, 5),
                (100, 20),
                (299, 30),
                (300, 30),
                (399, 40),
                (400, 50),
                (900, 50),
            ],
            "- - - 5 - 20 50",
        );
    }

    #[test]
    fn forgets_what_is_so_many_revisions_ago() {
        check(
            Compaction::Revisions(10),
            &[(0, 5), (1, 10), (2, 11), (3, 30)],
            "- - 1 20",
        );
        check(Compaction::Off, &[(0, 5), (9_999, 10_000)], "- -");
    }

    #[test]
    fn keeps_few_samples() {
        let start = Database::now();
        let retention = Duration::from_secs(300);
        let mut compactor = compactor(Compaction::Periodic(retention));
        let tick = Compaction::Periodic(retention).tick().unwrap();
        for count in 0..1_000 {
            compactor.handle_tick(1, start + tick * count);
        }
        assert!(compactor.samples.len() <= 10, "{}", compactor.samples.len());
    }

    /// Ticks at seconds with revisions; what each compacts to.
    #[track_caller]
    fn check(compaction: Compaction, ticks: &[(u64, i64)], expected: &str) {
        let start = Database::now();
        let mut compactor = compactor(compaction);
        let found: Vec<String> = ticks
            .iter()
            .map(|(seconds, revision)| {
                let now = start + Duration::from_secs(*seconds);
                let found = compactor.handle_tick(*revision, now);
                found.map_or_else(|| "-".to_owned(), |it| it.to_string())
            })
            .collect();
        assert_eq!(found.join(" "), expected);
    }

    fn compactor(compaction: Compaction) -> Compactor {
        Compactor {
            compaction,
            samples: VecDeque::new(),
        }
    }
}
