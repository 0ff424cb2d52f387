//! Decides how long to pause between two attempts to connect.

use std::time::Duration;

/// Doubles from a first pause up to a longest one, with jitter, so that peers which lost the same
/// store do not return to it in step.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// The pause before the next attempt; `jitter` from 0 to 1 places it within ±25 %.
    pub(crate) fn pause(&mut self, jitter: f64) -> Duration {
        let pause = self.next.mul_f64(0.75 + jitter.clamp(0.0, 1.0) / 2.0);
        self.next = (self.next * 2).min(self.max);
        pause
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_longest_pause_and_starts_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));

        let pauses: Vec<u128> = (0..4).map(|_| backoff.pause(0.5).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 400]);

        backoff.reset();
        assert_eq!(backoff.pause(0.0), Duration::from_millis(75));
        assert_eq!(backoff.pause(1.0), Duration::from_millis(250));
    }
}
