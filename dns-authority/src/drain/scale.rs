//! How much of its share of the answers is left to a value, and to which clients.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::check::fingerprint::Fnv;

/// A share from 0 to 1, in thousandths.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(try_from = "u16")]
pub struct Scale(u16);

/// What is left of values that are being drained; all others have all of theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scales(BTreeMap<Box<str>, Scale>);

impl Scale {
    pub const EMPTY: Self = Self(0);
    pub const FULL: Self = Self(1000);

    pub fn per_mille(self) -> u16 {
        self.0
    }

    /// From `from` to `to` at an even pace, when `passed` of `over` has passed.
    pub(super) fn between(from: Self, to: Self, passed: u64, over: u64) -> Self {
        if over <= passed {
            return to;
        }
        let (from, to) = (i128::from(from.0), i128::from(to.0));
        let now = from + (to - from) * i128::from(passed) / i128::from(over);
        u16::try_from(now).map_or(Self::FULL, Self)
    }
}

impl TryFrom<u16> for Scale {
    type Error = &'static str;

    fn try_from(per_mille: u16) -> Result<Self, &'static str> {
        let scale = Self(per_mille);
        (scale <= Self::FULL)
            .then_some(scale)
            .ok_or("a share is at most 1000 per mille")
    }
}

impl Scales {
    /// Nothing is drained.
    pub const fn none() -> Self {
        Self(BTreeMap::new())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left to the value with this text.
    pub fn of(&self, value: &str) -> Scale {
        self.0.get(value).copied().unwrap_or(Scale::FULL)
    }

    /// Whether the value is still answered to this client. A client that it was taken from does not
    /// get it back while the scale falls.
    pub fn takes_part(&self, value: &str, who: IpAddr) -> bool {
        match self.of(value) {
            Scale::FULL => true,
            Scale::EMPTY => false,
            Scale(scale) => lot(value, who) < u64::from(scale),
        }
    }

    /// Whether it depends on the client if this value is answered.
    pub fn depends_on_client(&self, value: &str) -> bool {
        ![Scale::EMPTY, Scale::FULL].contains(&self.of(value))
    }

    pub(super) fn lower(&mut self, value: &str, scale: Scale) {
        if scale < Scale::FULL {
            let lowest = self.0.entry(value.into()).or_insert(scale);
            *lowest = scale.min(*lowest);
        }
    }
}

/// From 0 to 999, the same for the same client and value.
fn lot(value: &str, who: IpAddr) -> u64 {
    let mut hasher = Fnv::default();
    match who {
        IpAddr::V4(it) => hasher.write(&it.to_ipv6_mapped().octets()),
        IpAddr::V6(it) => hasher.write(&it.octets()),
    }
    hasher.write(value.as_bytes());
    hasher.finish() % 1000
}
