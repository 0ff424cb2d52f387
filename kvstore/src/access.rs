//! Decides which requests may be made: by the ranges of keys that a user may read and write.
//!
//! As in etcd, with what its advisories of 2026 corrected. Stricter in one place: who may only read has
//! no business with leases.

mod request;

use std::sync::Arc;

use crate::auth::Refusal;
use crate::mvcc::{KeyRange, KeySet};

/// What somebody may do.
#[derive(Clone, Debug, PartialEq)]
pub enum Permission {
    /// An administrator's, and everybody's as long as authentication is disabled.
    Everything,
    /// Nothing, and why.
    Nothing(Refusal),
    /// A known user's.
    Ranges(Ranges),
}

/// The keys that a user may read and write.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ranges {
    // Shared with the leases that are judged by them.
    read: Arc<KeySet>,
    write: Arc<KeySet>,
}

impl Permission {
    pub fn ranges(
        read: impl IntoIterator<Item = KeyRange>,
        write: impl IntoIterator<Item = KeyRange>,
    ) -> Self {
        Self::Ranges(Ranges {
            read: Arc::new(KeySet::new(read)),
            write: Arc::new(KeySet::new(write)),
        })
    }

    /// Whether the user is anybody: for what tells nothing of the keys.
    pub fn check_known(&self) -> Result<(), Refusal> {
        self.check(|_| true)
    }

    /// For what concerns the whole store.
    pub fn check_everything(&self) -> Result<(), Refusal> {
        self.check(|_| false)
    }

    /// For leases: whoever writes nothing needs none.
    pub fn check_writer(&self) -> Result<(), Refusal> {
        self.check(|it| !it.write.is_empty())
    }

    pub fn check_read(&self, range: &KeyRange) -> Result<(), Refusal> {
        self.check(|it| it.read.covers(range))
    }

    pub fn check_write(&self, range: &KeyRange) -> Result<(), Refusal> {
        self.check(|it| it.write.covers(range))
    }

    fn check(&self, permitted: impl FnOnce(&Ranges) -> bool) -> Result<(), Refusal> {
        match self {
            Self::Everything => Ok(()),
            Self::Nothing(refusal) => Err(*refusal),
            Self::Ranges(ranges) if permitted(ranges) => Ok(()),
            Self::Ranges(_) => Err(Refusal::PermissionDenied),
        }
    }
}

#[cfg(test)]
mod tests;
