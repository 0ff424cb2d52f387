//! Decides whether a counter is new: each datagram of a session is taken once.
//!
//! Datagrams may overtake each other; how far back one may lie is the window. The method is that of
//! RFC 6479: a ring of words that is cleared word by word as the window moves on.

/// How many counters below the greatest are still told apart. WireGuard's users expect as much as
/// the kernel's 8192 less the word that is being cleared.
pub(crate) const WINDOW: u64 = BITS - WORD_BITS;

const BITS: u64 = 8192 + WORD_BITS;
const WORD_BITS: u64 = u64::BITS as u64;
const WORDS: usize = (BITS / WORD_BITS) as usize;

/// The counters that came in lately.
#[derive(Debug)]
pub(crate) struct Replay {
    /// One more than the greatest counter; 0 before the first.
    next: u64,
    seen: Box<[u64; WORDS]>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            next: 0,
            seen: Box::new([0; WORDS]),
        }
    }
}

impl Replay {
    /// Whether `counter` was not here before and is not too old; it was here afterwards.
    ///
    /// Only for datagrams that were found genuine: anybody can write a number.
    pub(crate) fn take(&mut self, counter: u64) -> bool {
        if counter == u64::MAX || counter.saturating_add(WINDOW) < self.next {
            return false;
        }
        if self.next <= counter {
            self.move_on(counter);
        }
        let word = &mut self.seen[slot(counter / WORD_BITS)];
        let bit = 1 << (counter % WORD_BITS);
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }

    fn move_on(&mut self, counter: u64) {
        let last = counter / WORD_BITS;
        // The word of the greatest counter so far is in use already, unless there is none.
        let first = self.next.checked_sub(1).map_or(0, |it| it / WORD_BITS + 1);
        let cleared = (last + 1).saturating_sub(first).min(WORDS as u64);
        for word in last + 1 - cleared..=last {
            self.seen[slot(word)] = 0;
        }
        self.next = counter + 1;
    }
}

fn slot(word: u64) -> usize {
    usize::try_from(word % WORDS as u64).expect("less than the number of words")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_each_counter_once() {
        let mut replay = Replay::default();
        for counter in [0, 1, 9, 8, 8192, 5] {
            assert!(replay.take(counter), "{counter}");
            assert!(!replay.take(counter), "{counter}");
        }
    }

    #[test]
    fn forgets_what_lies_before_the_window_and_refuses_it() {
        let mut replay = Replay::default();
        assert!(replay.take(WINDOW + 10));

        assert!(replay.take(11));
        assert!(!replay.take(10));
        assert!(!replay.take(0));
    }

    #[test]
    fn survives_the_end_of_the_numbers() {
        let mut replay = Replay::default();

        assert!(replay.take(u64::MAX - 1));
        assert!(!replay.take(u64::MAX));
        assert!(replay.take(u64::MAX - WINDOW));
        assert!(!replay.take(5));
    }

    proptest! {
        #[test]
        fn agrees_with_a_set(steps in prop::collection::vec(step(), 1..400)) {
            let mut replay = Replay::default();
            let mut seen = BTreeSet::new();
            let mut greatest = 0_u64;
            for step in steps {
                let counter = greatest.saturating_add_signed(step);
                let is_recent = greatest < counter + WINDOW;
                prop_assert_eq!(replay.take(counter), is_recent && !seen.contains(&counter), "{}", counter);
                if is_recent {
                    seen.insert(counter);
                    greatest = greatest.max(counter);
                }
            }
        }
    }

    /// Mostly near the greatest counter, sometimes far off.
    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![6 => -70..70_i64, 2 => -9_000..9_000_i64, 1 => 0..100_000_i64]
    }
}
