//! Decides which requests a user may make: by rules over names of users and ranges of keys.
//!
//! As in etcd, where a user is the common name of a client's certificate. Stricter in two places: who
//! may only read has no business with leases, and only who may do everything compacts the past.

mod request;

use crate::mvcc::{KeyRange, Refusal};

/// Who may do what. The first rule that covers a user counts; whom none covers may do nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

#[derive(Clone, Debug)]
pub struct Rule {
    pub users: Users,
    pub permission: Permission,
}

#[derive(Clone, Debug)]
pub enum Users {
    Named(String),
    /// Every user whose name begins so.
    Prefixed(String),
}

/// The keys that a user may read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Permission {
    read: Keys,
    write: Keys,
}

/// A set of keys: ranges in order, with a gap between any two.
#[derive(Clone, Debug, Default, PartialEq)]
struct Keys(Vec<Interval>);

/// From `start` on, up to and without `end`, or without a bound.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Interval {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl Rules {
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// What `user` may do; a client without a name may do nothing.
    pub fn permission(&self, user: Option<&str>) -> Permission {
        let rule = user.and_then(|user| self.0.iter().find(|it| it.users.cover(user)));
        rule.map(|it| it.permission.clone()).unwrap_or_default()
    }
}

impl Users {
    fn cover(&self, user: &str) -> bool {
        match self {
            Self::Named(name) => user == name,
            Self::Prefixed(prefix) => user.starts_with(prefix.as_str()),
        }
    }
}

impl Permission {
    pub fn everything() -> Self {
        let all = Keys::new([KeyRange::all()]);
        Self {
            read: all.clone(),
            write: all,
        }
    }

    pub fn nothing() -> Self {
        Self::default()
    }

    /// Reading `ranges`, and writing nothing.
    pub fn reading(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        Self {
            read: Keys::new(ranges),
            write: Keys::default(),
        }
    }

    /// Whether the user is anybody: for what tells nothing of the keys.
    pub fn check_known(&self) -> Result<(), Refusal> {
        permitted(*self != Self::default())
    }

    /// For what concerns the whole store.
    pub fn check_everything(&self) -> Result<(), Refusal> {
        permitted(*self == Self::everything())
    }

    /// For leases: whoever writes nothing needs none.
    pub fn check_writer(&self) -> Result<(), Refusal> {
        permitted(!self.write.0.is_empty())
    }

    pub fn check_read(&self, range: &KeyRange) -> Result<(), Refusal> {
        permitted(self.read.contain(range))
    }

    pub fn check_write(&self, range: &KeyRange) -> Result<(), Refusal> {
        permitted(self.write.contain(range))
    }
}

impl Keys {
    fn new(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        let mut intervals: Vec<Interval> = ranges.into_iter().map(|it| interval(&it)).collect();
        intervals.sort();
        let mut keys: Vec<Interval> = Vec::new();
        for interval in intervals {
            match keys.last_mut() {
                Some(last) if last.reaches(&interval.start) => {
                    if !last.ends_no_earlier(&interval) {
                        last.end = interval.end;
                    }
                }
                Some(_) | None => keys.push(interval),
            }
        }
        Self(keys)
    }

    fn contain(&self, range: &KeyRange) -> bool {
        let wanted = interval(range);
        let mut intervals = self.0.iter();
        intervals.any(|it| it.start <= wanted.start && it.ends_no_earlier(&wanted))
    }
}

impl Interval {
    /// Whether nothing lies between this interval, which starts no later, and `key`.
    fn reaches(&self, key: &[u8]) -> bool {
        self.end.as_ref().is_none_or(|end| key <= end.as_slice())
    }

    fn ends_no_earlier(&self, other: &Self) -> bool {
        match (&self.end, &other.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(other)) => other <= end,
        }
    }
}

fn interval(range: &KeyRange) -> Interval {
    let (start, end) = range.interval();
    Interval { start, end }
}

fn permitted(is_permitted: bool) -> Result<(), Refusal> {
    if is_permitted {
        Ok(())
    } else {
        Err(Refusal::PermissionDenied)
    }
}

#[cfg(test)]
mod tests;
