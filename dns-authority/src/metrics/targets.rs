//! What is counted of each target: numbers that the owner's task keeps, and names that only a scrape
//! puts together. A hundred thousand targets cost a few megabytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use topology::health::Health;

use crate::check::{Check, Checks};

/// The numbers of all checks, by id. Clones are the same numbers.
#[derive(Clone, Debug, Default)]
pub struct Targets(Arc<ArcSwap<Vec<Row>>>);

#[derive(Debug)]
struct Row {
    check: Arc<Check>,
    numbers: Arc<Numbers>,
    /// Another check asks the same of the same target, and differs in what no label tells.
    is_hidden: bool,
}

#[derive(Debug, Default)]
struct Numbers {
    health: AtomicU64,
    microseconds: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    falls: AtomicU64,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    target: String,
    question: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OutcomeLabels {
    target: String,
    question: String,
    outcome: &'static str,
}

impl Targets {
    /// Takes over a new set of checks. The numbers of the same ones go on.
    pub fn load(&self, checks: &Checks) {
        let before = self.0.load_full();
        let before: BTreeMap<&Arc<Check>, &Arc<Numbers>> =
            before.iter().map(|it| (&it.check, &it.numbers)).collect();
        let mut named = BTreeSet::new();
        let rows = checks.iter().map(|check| {
            let labels = (check.target.to_string(), check.question());
            Row {
                check: Arc::clone(check),
                numbers: before
                    .get(check)
                    .copied()
                    .map_or_else(Arc::default, Arc::clone),
                is_hidden: !named.insert(labels),
            }
        });
        let rows = rows.collect();
        self.0.store(Arc::new(rows));
    }

    /// Counts a probe of the check with this index.
    pub fn count_probe(&self, index: usize, is_success: bool, took: Duration) {
        let rows = self.0.load();
        let Some(Row { numbers, .. }) = rows.get(index) else {
            return;
        };
        match is_success {
            true => numbers.succeeded.fetch_add(1, Relaxed),
            false => numbers.failed.fetch_add(1, Relaxed),
        };
        let took = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        numbers.microseconds.store(took, Relaxed);
    }

    /// Shows what answers follow.
    pub fn show_health(&self, index: usize, health: Health) {
        let rows = self.0.load();
        let Some(Row { numbers, .. }) = rows.get(index) else {
            return;
        };
        let before = numbers.health.swap(number(health), Relaxed);
        if before == number(Health::Healthy) && health == Health::Unhealthy {
            numbers.falls.fetch_add(1, Relaxed);
        }
    }
}

/// 0 is what numbers begin with.
fn number(health: Health) -> u64 {
    match health {
        Health::Unknown => 0,
        Health::Healthy => 1,
        Health::Unhealthy => 2,
    }
}

impl Collector for Targets {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let rows = self.0.load();
        let rows = rows.iter().filter(|it| !it.is_hidden);
        let rows: Vec<(Labels, &Numbers)> = rows.map(|it| (it.labels(), &*it.numbers)).collect();

        let help = "1 if the target is healthy, 0 if not; absent before a verdict.";
        let mut family = encoder.encode_descriptor("check_up", help, None, MetricType::Gauge)?;
        for (labels, numbers) in &rows {
            let health = numbers.health.load(Relaxed);
            if health != number(Health::Unknown) {
                let up = i64::from(health == number(Health::Healthy));
                family.encode_family(labels)?.encode_gauge(&up)?;
            }
        }

        let help = "How long the last probe of the target took.";
        let (name, unit) = ("check_last_probe", Some(&Unit::Seconds));
        let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, numbers) in &rows {
            let took = Duration::from_micros(numbers.microseconds.load(Relaxed)).as_secs_f64();
            family.encode_family(labels)?.encode_gauge(&took)?;
        }

        let help = "Probes of the target that ended, by outcome.";
        let mut family =
            encoder.encode_descriptor("check_probes", help, None, MetricType::Counter)?;
        for (Labels { target, question }, numbers) in &rows {
            let counts = [
                ("success", &numbers.succeeded),
                ("failure", &numbers.failed),
            ];
            for (outcome, count) in counts {
                let labels = OutcomeLabels {
                    target: target.clone(),
                    question: question.clone(),
                    outcome,
                };
                let mut metric = family.encode_family(&labels)?;
                metric.encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
            }
        }

        let help = "How often the target was healthy and then was not.";
        let mut family =
            encoder.encode_descriptor("check_falls", help, None, MetricType::Counter)?;
        for (labels, numbers) in &rows {
            let mut metric = family.encode_family(labels)?;
            metric.encode_counter::<NoLabelSet, _, u64>(&numbers.falls.load(Relaxed), None)?;
        }
        Ok(())
    }
}

impl Row {
    fn labels(&self) -> Labels {
        Labels {
            target: self.check.target.to_string(),
            question: self.check.question(),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::check::{Method, Timing};

    #[test]
    fn shows_each_target_once_with_its_numbers() {
        let targets = Targets::default();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(targets.clone()));
        targets.load(&checks(&[5, 6]));
        targets.count_probe(0, true, Duration::from_millis(2));
        targets.count_probe(0, false, Duration::from_millis(4));
        targets.show_health(0, Health::Healthy);
        targets.show_health(0, Health::Unhealthy);
        let shown = || {
            let mut shown = String::new();
            text::encode(&mut shown, &registry).unwrap();
            shown
        };

        let expected = "\
            # HELP check_up 1 if the target is healthy, 0 if not; absent before a verdict.\n\
            # TYPE check_up gauge\n\
            check_up{target=\"192.0.2.1:80\",question=\"tcp\"} 0\n\
            # HELP check_last_probe_seconds How long the last probe of the target took.\n\
            # TYPE check_last_probe_seconds gauge\n\
            # UNIT check_last_probe_seconds seconds\n\
            check_last_probe_seconds{target=\"192.0.2.1:80\",question=\"tcp\"} 0.004\n\
            # HELP check_probes Probes of the target that ended, by outcome.\n\
            # TYPE check_probes counter\n\
            check_probes_total{target=\"192.0.2.1:80\",question=\"tcp\",outcome=\"success\"} 1\n\
            check_probes_total{target=\"192.0.2.1:80\",question=\"tcp\",outcome=\"failure\"} 1\n\
            # HELP check_falls How often the target was healthy and then was not.\n\
            # TYPE check_falls counter\n\
            check_falls_total{target=\"192.0.2.1:80\",question=\"tcp\"} 1\n\
            # EOF\n";
        assert_eq!(shown(), expected);
        // A check that stays keeps its numbers.
        targets.load(&checks(&[6, 5]));
        assert!(
            shown().contains("check_falls_total{target=\"192.0.2.1:80\",question=\"tcp\"} 0\n")
        );
        targets.load(&checks(&[5]));
        assert!(
            shown().contains("check_falls_total{target=\"192.0.2.1:80\",question=\"tcp\"} 1\n")
        );
    }

    /// One target, asked the same at different intervals.
    fn checks(intervals: &[u64]) -> Checks {
        let mut checks = Checks::default();
        for interval in intervals {
            checks.intern(Check {
                target: std::net::SocketAddr::from(([192, 0, 2, 1], 80)).into(),
                method: Method::Tcp,
                timing: Timing {
                    interval: Duration::from_secs(*interval),
                    timeout: Duration::from_secs(1),
                    fall: 1,
                    rise: 1,
                },
                source: None,
            });
        }
        checks
    }
}
