//! What outlives the process: the last verdicts, so that a restart does not begin blind.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use topology::health::Health;

use super::Check;

/// Verdicts of an earlier life, by what was checked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Memory {
    /// When the file was written, in milliseconds since 1970.
    saved_at: u64,
    checks: BTreeMap<String, Remembered>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
struct Remembered {
    health: Health,
    since: u64,
}

/// What is older says nothing about now.
const AGE_MAX_MILLISECONDS: u64 = 60 * 60 * 1000;

impl Memory {
    /// Of what [`Board::known`](super::board::Board::known) tells.
    pub fn of_verdicts(
        known: impl IntoIterator<Item = (Arc<Check>, Health, u64)>,
        now_unix_milliseconds: u64,
    ) -> Self {
        let checks = known.into_iter().map(|(check, health, since)| {
            let remembered = Remembered { health, since };
            (check.to_string(), remembered)
        });
        Self {
            saved_at: now_unix_milliseconds,
            checks: checks.collect(),
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote. What is too old counts as forgotten.
    pub fn from_json(text: &str, now_unix_milliseconds: u64) -> Result<Self, serde_json::Error> {
        let memory: Self = serde_json::from_str(text)?;
        // A file from the future is as doubtful as an old one: the clock was set meanwhile.
        let age = now_unix_milliseconds.abs_diff(memory.saved_at);
        Ok(if age <= AGE_MAX_MILLISECONDS {
            memory
        } else {
            Self::default()
        })
    }

    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("maps with text as keys are JSON")
    }

    /// The health of `check`, and since when.
    pub(super) fn of(&self, check: &Check) -> Option<(Health, u64)> {
        let remembered = self.checks.get(&check.to_string())?;
        Some((remembered.health, remembered.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "savedAt": 1000,
  "checks": {
    "tcp 192.0.2.1:80": {
      "health": "unhealthy",
      "since": 900
    }
  }
}"#;

    #[test]
    fn reads_what_it_wrote() {
        let memory = Memory::from_json(FILE, 2000).unwrap();

        assert_eq!(memory.checks["tcp 192.0.2.1:80"].health, Health::Unhealthy);
        assert_eq!(memory.to_json(), FILE);
    }

    #[test]
    fn forgets_what_is_too_old() {
        let memory = Memory::from_json(FILE, 1001 + AGE_MAX_MILLISECONDS).unwrap();

        assert_eq!(memory, Memory::default());
    }

    #[test]
    fn believes_a_clock_that_was_set_a_little() {
        assert_ne!(Memory::from_json(FILE, 0).unwrap(), Memory::default());
        let file = FILE.replace("1000", &(AGE_MAX_MILLISECONDS + 1).to_string());
        assert_eq!(Memory::from_json(&file, 0).unwrap(), Memory::default());
    }
}
