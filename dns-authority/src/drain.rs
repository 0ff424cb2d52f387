//! Takes regions and targets out of answers little by little, and says when nobody can have them
//! cached any more.

mod record;
mod scale;

pub use record::{InvalidDrain, PREFIX, key};
pub use scale::{Scale, Scales};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// What is drained.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A place by its name, such as Frankfurt, or a value as records have it.
    Named(String),
    /// All addresses of a network, or one.
    Network(IpNet),
}

/// A way from one share of the answers to another, at an even pace.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    #[serde(rename = "fromPerMille")]
    pub from: Scale,
    #[serde(rename = "toPerMille")]
    pub to: Scale,
    /// When it begins, in milliseconds since 1970.
    pub begin: u64,
    pub over_milliseconds: u64,
}

/// The drains that are in force, and what they mean for the values that may be answered.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    drains: BTreeMap<Subject, Drain>,
    /// The values that each drain is about, as records have them.
    values: BTreeMap<Subject, BTreeSet<Box<str>>>,
}

/// More than an operator ever has in mind at once.
pub const DRAINS_MAX: usize = 256;

const SUBJECT_BYTES_MAX: usize = 253;

impl Drain {
    /// The share of the answers that is left at a moment.
    pub fn scale(&self, now_unix_milliseconds: u64) -> Scale {
        let passed = now_unix_milliseconds.saturating_sub(self.begin);
        Scale::between(self.from, self.to, passed, self.over_milliseconds)
    }

    /// When it is where it leads, in milliseconds since 1970.
    pub fn end(&self) -> u64 {
        self.begin.saturating_add(self.over_milliseconds)
    }

    /// Whether it is on its way yet.
    pub fn is_moving(&self, now_unix_milliseconds: u64) -> bool {
        now_unix_milliseconds < self.end()
    }
}

impl Subject {
    /// Whether a value that may be answered is meant. `place` names where an address is.
    pub fn is_about(&self, value: &str, place: impl Fn(IpAddr) -> Option<String>) -> bool {
        let address: Option<IpAddr> = value.parse().ok();
        match self {
            Self::Network(network) => address.is_some_and(|it| network.contains(&it)),
            Self::Named(name) => {
                let is_it = |it: String| it.eq_ignore_ascii_case(name);
                value.eq_ignore_ascii_case(name) || address.and_then(place).is_some_and(is_it)
            }
        }
    }
}

impl FromStr for Subject {
    type Err = InvalidSubject;

    fn from_str(text: &str) -> Result<Self, InvalidSubject> {
        let fits = |it: char| !it.is_control();
        if text.is_empty() || text.len() > SUBJECT_BYTES_MAX || !text.chars().all(fits) {
            return Err(InvalidSubject);
        }
        let network = text.parse::<IpNet>().map(|it| it.trunc());
        let network = network.or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        Ok(match network {
            Ok(network) => Self::Network(network),
            Err(_) => Self::Named(text.to_owned()),
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => formatter.write_str(name),
            Self::Network(network) if network.prefix_len() == network.max_prefix_len() => {
                write!(formatter, "{}", network.addr())
            }
            Self::Network(network) => write!(formatter, "{network}"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("name a region, an address or a prefix, in up to {SUBJECT_BYTES_MAX} bytes")]
pub struct InvalidSubject;

impl Drains {
    /// Begins to drain, or to undo that, from where the subject is now.
    pub fn order(
        &self,
        subject: &Subject,
        to: Scale,
        over_milliseconds: u64,
        now_unix_milliseconds: u64,
    ) -> Drain {
        let before = self.drains.get(subject);
        Drain {
            from: before.map_or(Scale::FULL, |it| it.scale(now_unix_milliseconds)),
            to,
            begin: now_unix_milliseconds,
            over_milliseconds,
        }
    }

    /// Puts a drain in force, unless there are too many.
    pub fn insert(&mut self, subject: Subject, drain: Drain) {
        if self.drains.len() < DRAINS_MAX || self.drains.contains_key(&subject) {
            self.drains.insert(subject, drain);
        }
    }

    pub fn remove(&mut self, subject: &Subject) {
        self.drains.remove(subject);
        self.values.remove(subject);
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Subject, &Drain)> {
        self.drains.iter()
    }

    /// Finds out which of all values each drain is about. To be told again when either changes.
    pub fn find<'a>(
        &mut self,
        values: impl Iterator<Item = &'a str>,
        place: impl Fn(IpAddr) -> Option<String>,
    ) {
        self.values.clear();
        if self.drains.is_empty() {
            return;
        }
        for value in values {
            for subject in self.drains.keys() {
                if subject.is_about(value, &place) {
                    let found = self.values.entry(subject.clone()).or_default();
                    found.insert(value.into());
                }
            }
        }
    }

    /// What is left of each value that is drained.
    pub fn scales(&self, now_unix_milliseconds: u64) -> Scales {
        let mut scales = Scales::default();
        for (subject, values) in &self.values {
            let scale = self.drains[subject].scale(now_unix_milliseconds);
            values.iter().for_each(|it| scales.lower(it, scale));
        }
        scales
    }

    /// Whether scales change by themselves.
    pub fn is_moving(&self, now_unix_milliseconds: u64) -> bool {
        let mut drains = self.drains.values();
        drains.any(|it| it.is_moving(now_unix_milliseconds))
    }

    /// Those that lead nowhere any more: undone, and at their end.
    pub fn is_over(&self, subject: &Subject, now_unix_milliseconds: u64) -> bool {
        let drain = self.drains.get(subject);
        drain.is_some_and(|it| it.to == Scale::FULL && !it.is_moving(now_unix_milliseconds))
    }
}

#[cfg(test)]
mod tests;
