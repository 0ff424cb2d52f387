//! Decides whether a record is gone that may stand in two places: in the open, and scoped to us.
//!
//! A record moves from one to the other when its annotation changes. For a moment it stands in both,
//! and its end in one place says nothing of the other.

use std::collections::BTreeMap;

/// The records that are scoped to us, by their keys as they would stand in the open. Only those that
/// are believed, or were: so there are no more of them than a peer may have records.
#[derive(Debug, Default)]
pub(super) struct Placements(BTreeMap<String, Scoped>);

#[derive(Debug)]
struct Scoped {
    is_also_open: bool,
}

impl Placements {
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes in that a record is there. `is_known` if it was, in either place.
    pub(super) fn put(&mut self, key: &str, is_scoped: bool, is_known: bool) {
        match self.0.get_mut(key) {
            Some(scoped) => scoped.is_also_open |= !is_scoped,
            None if is_scoped => {
                let is_also_open = is_known;
                self.0.insert(key.to_owned(), Scoped { is_also_open });
            }
            None => (),
        }
    }

    /// Takes in that a record is gone from one place, and tells whether it is gone altogether.
    pub(super) fn delete(&mut self, key: &str, is_scoped: bool) -> bool {
        if is_scoped {
            return self.0.remove(key).is_some_and(|it| !it.is_also_open);
        }
        match self.0.get_mut(key) {
            Some(scoped) => {
                scoped.is_also_open = false;
                false
            }
            None => true,
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `O` and `S` put a record in the open and scoped, `o` and `s` take it away.
    #[track_caller]
    fn check(events: &str, is_there: bool) {
        let mut placements = Placements::default();
        let mut is_known = false;
        for event in events.chars() {
            let is_scoped = event.eq_ignore_ascii_case(&'s');
            if event.is_ascii_uppercase() {
                placements.put("a", is_scoped, is_known);
                is_known = true;
            } else if placements.delete("a", is_scoped) {
                is_known = false;
            }
        }
        assert_eq!(is_known, is_there, "{events}");
    }

    #[test]
    fn keeps_a_record_that_moves() {
        for (events, is_there) in [
            ("O", true),
            ("Oo", false),
            ("S", true),
            ("Ss", false),
            ("SOs", true),
            ("OSo", true),
            ("SsO", true),
            ("OoS", true),
            ("OSos", false),
            ("SOso", false),
            ("SOsSo", true),
            ("OSoOs", true),
            ("s", false),
            ("Os", true),
        ] {
            check(events, is_there);
        }
    }
}
