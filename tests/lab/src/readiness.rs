//! Decides whether a pod is ready, from the outcomes of its probes, as a kubelet does.

/// The readiness of one pod.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Readiness {
    ready: bool,
    /// Failures in a row.
    failures: u32,
}

/// Failures in a row that make a pod unready; one success makes it ready.
const THRESHOLD: u32 = 2;

impl Readiness {
    /// Records a probe's outcome.
    pub(crate) fn observe(&mut self, success: bool) {
        self.failures = if success {
            0
        } else {
            self.failures.saturating_add(1)
        };
        if success || THRESHOLD <= self.failures {
            self.ready = success;
        }
    }

    pub(crate) fn is_ready(self) -> bool {
        self.ready
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn falls_after_two_failures_and_rises_after_one_success() {
        check("F S F S F F F S", "- R R R R - - R");
    }

    #[track_caller]
    fn check(outcomes: &str, expected: &str) {
        let mut readiness = Readiness::default();
        let states = outcomes.split(' ').map(|it| {
            readiness.observe(it == "S");
            if readiness.is_ready() { "R" } else { "-" }
        });

        assert_eq!(states.collect::<Vec<_>>().join(" "), expected);
    }
}
