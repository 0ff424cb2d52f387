//! Gives a check a number that is the same in every process: authorities compare notes by it.

use std::hash::{Hash as _, Hasher};

use super::Check;

/// Tells checks apart by target, question and timing. Two of a million checks share one with a
/// chance of 1 to 30 million, and would then share a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    pub fn of(check: &Check) -> Self {
        let mut hasher = Fnv::default();
        check.hash(&mut hasher);
        Self(hasher.finish())
    }
}

/// FNV-1a, mixed so that every bit depends on every octet. Not the standard library's hasher, which
/// may differ between releases.
pub(crate) struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        for octet in octets {
            self.0 = (self.0 ^ u64::from(*octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let hash = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^ (hash >> 33)
    }
}
