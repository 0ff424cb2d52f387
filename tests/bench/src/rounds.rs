//! What the engines did, by round, and how ours compares within each.

use std::collections::BTreeMap;

use crate::report::Row;

/// The name of our own implementation among those that are compared.
pub(crate) const OURS: &str = "ours";

/// One measurement of one implementation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// In the unit of the workload.
    pub(crate) value: f64,
    /// What it cost, in the unit that the workload counts costs in; `None` where nothing is counted.
    pub(crate) cost: Option<f64>,
}

/// What the figures of a workload are in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Units {
    pub(crate) value: &'static str,
    pub(crate) cost: &'static str,
}

/// The samples of each engine, in order of the rounds.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    samples: BTreeMap<String, Vec<Sample>>,
}

impl Rounds {
    pub(crate) fn add(&mut self, engine: &str, sample: Sample) {
        self.samples
            .entry(engine.to_owned())
            .or_default()
            .push(sample);
    }

    pub(crate) fn of(&self, engine: &str) -> impl Iterator<Item = &Sample> + Clone {
        self.samples.get(engine).into_iter().flatten()
    }

    /// Adds the median of each engine, the median of ours against it with its range, and what it
    /// cost.
    pub(crate) fn show(&self, mut row: Row, units: Units) -> Row {
        for (engine, samples) in &self.samples {
            row = row.figure(
                engine,
                median(samples.iter().map(|it| it.value)),
                units.value,
            );
            let cost = samples.iter().filter_map(|it| it.cost);
            if cost.clone().next().is_some() {
                row = row.figure(format!("{engine}, CPU"), median(cost), units.cost);
            }
            if engine == OURS {
                continue;
            }
            let ratios = self.of(OURS).zip(samples);
            let ratios = ratios.map(|(ours, other)| ours.value / other.value);
            let (least, most) = range(ratios.clone());
            let name = format!("ours/{engine}, {least:.2} to {most:.2}");
            row = row.figure(name, median(ratios), "times");
        }
        row
    }
}

/// The middle one; of an even number, the lower of the two in the middle. 0 of none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().saturating_sub(1) / 2;
    values.get(middle).copied().unwrap_or(0.0)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(least, most), it| {
        (it.min(least), it.max(most))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_ratios_within_rounds() {
        let mut rounds = Rounds::default();
        for (ours, other) in [(10.0, 1.0), (20.0, 2.0), (9.0, 3.0)] {
            for (engine, value) in [(OURS, ours), ("other", other)] {
                let sample = Sample { value, cost: None };
                rounds.add(engine, sample);
            }
        }

        let units = Units {
            value: "Gb/s",
            cost: "s/GB",
        };
        let row = rounds.show(Row::new("tcp1", String::new()), units);
        let shown = |name: &str| {
            row.figures
                .iter()
                .find(|it| it.name == name)
                .map(|it| it.value)
        };
        assert_eq!(shown("ours"), Some(10.0));
        assert_eq!(shown("other"), Some(2.0));
        assert_eq!(shown("ours/other, 3.00 to 10.00"), Some(10.0));
    }

    #[test]
    fn finds_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
