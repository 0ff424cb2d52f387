//! Decides when a thread stays awake for what comes next.
//!
//! On a machine that has nothing else to do, to fall asleep and to be woken takes longer than all
//! else that a packet needs. So after a silence that a single packet broke, its answer is looked out
//! for: it comes within microseconds, or it can bear a wake-up. Streams leave no silence, and whoever
//! they are for needs the processor.

use std::time::Duration;

/// How long to look out: what a round trip takes to somebody on the same wire.
pub(crate) const LOOKOUT: Duration = Duration::from_micros(60);

/// Long enough that looking out takes no more than six percent of a processor, however often.
const SILENCE: Duration = Duration::from_millis(1);

/// Who looked out in vain so often in a row does so more rarely: answers come from afar, or never.
const VAIN_MAX: u32 = 4;

/// How rarely: once in so many times, in case things have changed.
const RARELY: u32 = 16;

/// What a thread that waits again and again remembers of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookout {
    is_after_silence: bool,
    /// Times in a row that brought nothing, or were left out for that.
    vain: u32,
}

impl Lookout {
    /// Whether to look out now; `is_expectant` if what came last may be answered. Once after each
    /// silence at most.
    pub(crate) fn is_worth(&mut self, is_expectant: bool) -> bool {
        let is_after_silence = std::mem::take(&mut self.is_after_silence);
        if !is_after_silence || !is_expectant {
            return false;
        }
        let is_worth = self.vain < VAIN_MAX || self.vain.is_multiple_of(RARELY);
        self.vain = self.vain.wrapping_add(1);
        is_worth
    }

    /// Something came while it was looked out for.
    pub(crate) fn paid(&mut self) {
        self.vain = 0;
    }

    pub(crate) fn slept(&mut self, duration: Duration) {
        self.is_after_silence = SILENCE <= duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_out_once_after_a_silence_for_what_may_be_answered() {
        let mut lookout = Lookout::default();
        assert!(!lookout.is_worth(true), "nobody slept");

        lookout.slept(SILENCE);
        assert!(lookout.is_worth(true));
        assert!(!lookout.is_worth(true), "that was it");
        lookout.slept(SILENCE);
        assert!(!lookout.is_worth(false));
        lookout.slept(SILENCE.checked_sub(Duration::from_nanos(1)).unwrap());
        assert!(!lookout.is_worth(true));
    }

    #[test]
    fn looks_out_rarely_where_nothing_comes_and_always_where_it_does() {
        let mut lookout = Lookout::default();

        assert_eq!(times(&mut lookout, 4), 4);
        assert_eq!(times(&mut lookout, 12), 0);
        assert_eq!(times(&mut lookout, 160), 10);
        lookout.paid();
        assert_eq!(times(&mut lookout, 4), 4);
    }

    fn times(lookout: &mut Lookout, silences: usize) -> usize {
        let mut silence = || {
            lookout.slept(SILENCE);
            lookout.is_worth(true)
        };
        (0..silences).filter(|_| silence()).count()
    }
}
