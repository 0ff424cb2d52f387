//! Decides when a secondary is told of which zones.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Due, Serials};

/// What one secondary is to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    known: Serials,
    letters: BTreeMap<Box<[u8]>, Letter>,
    lost: Vec<Box<[u8]>>,
}

#[derive(Debug)]
struct Letter {
    /// How often it was sent.
    tries: u32,
    due: Due,
}

/// RFC 1996 section 3.6 has 5 tries; the pauses double.
const TRIES_MAX: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);

impl Outbox {
    /// Learns which serials zones have now.
    pub(super) fn learn(&mut self, serials: &Serials, now: Due) {
        if *serials == self.known {
            return;
        }
        for (origin, serial) in serials {
            if self.known.get(origin) != Some(serial) {
                let letter = Letter { tries: 0, due: now };
                self.letters.insert(origin.clone(), letter);
            }
        }
        self.letters
            .retain(|origin, _| serials.contains_key(origin));
        self.known.clone_from(serials);
    }

    /// What is to be sent now, with the serial.
    pub(super) fn take_due(&mut self, now: Due) -> Vec<(Box<[u8]>, u32)> {
        let mut due = Vec::new();
        let (known, lost) = (&self.known, &mut self.lost);
        self.letters.retain(|origin, letter| {
            if now < letter.due {
                return true;
            }
            if letter.tries == TRIES_MAX {
                lost.push(origin.clone());
                return false;
            }
            letter.due = now + PAUSE * 2_u32.pow(letter.tries);
            letter.tries += 1;
            due.extend(known.get(origin).map(|serial| (origin.clone(), *serial)));
            true
        });
        due
    }

    pub(super) fn next_due(&self) -> Option<Due> {
        self.letters.values().map(|it| it.due).min()
    }

    pub(super) fn handle_answer(&mut self, origin: &[u8]) {
        self.letters.remove(origin);
    }

    /// The zones of which nobody answered.
    pub(super) fn take_lost(&mut self) -> Vec<Box<[u8]>> {
        std::mem::take(&mut self.lost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn tells_of_each_version_until_it_was_heard_or_for_long_enough() {
        let serials =
            |z: u32, y: u32| Serials::from([(Box::from(&b"z"[..]), z), (Box::from(&b"y"[..]), y)]);
        let start = Due::now();
        let mut outbox = Outbox::default();
        outbox.learn(&serials(1, 1), start);
        assert_eq!(outbox.take_due(start).len(), 2);
        assert_eq!(outbox.take_due(start), []);
        outbox.handle_answer(b"z");

        // A new version begins anew; the same does nothing.
        outbox.learn(&serials(1, 1), start);
        let mut seconds = Vec::new();
        while let Some(due) = outbox.next_due() {
            let origins: Vec<_> = outbox.take_due(due).into_iter().map(|it| it.0).collect();
            assert!(origins.iter().all(|it| **it == *b"y"));
            seconds.push((due - start).as_secs());
        }
        assert_eq!(seconds, [1, 3, 7, 15, 31]);
        assert_eq!(outbox.take_lost(), [Box::from(&b"y"[..])]);

        outbox.learn(&serials(1, 2), start);
        assert_eq!(outbox.take_due(start), [(Box::from(&b"y"[..]), 2)]);
        outbox.learn(&Serials::new(), start);
        assert_eq!((outbox.take_due(start), outbox.next_due()), (vec![], None));
    }
}
