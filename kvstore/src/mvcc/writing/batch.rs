//! Writes from inside the process: many keys in one revision, sharing their bytes with the caller.

use std::sync::Arc;

use super::super::refusal::Refusal;
use super::super::{Store, check};

/// One write of a batch.
#[derive(Clone, Debug)]
pub enum BatchOperation {
    Delete {
        key: Arc<[u8]>,
    },
    /// `lease` 0 is none.
    Put {
        key: Arc<[u8]>,
        value: Arc<[u8]>,
        lease: i64,
    },
}

impl Store {
    /// Writes all of `operations` in one revision, or nothing, and returns the store's revision. No
    /// key may occur twice. How many there may be is the caller's to bound: watchers get a revision
    /// in one piece.
    pub fn batch(&mut self, operations: Vec<BatchOperation>) -> Result<i64, Refusal> {
        for operation in &operations {
            match operation {
                BatchOperation::Delete { key } => check::key(key)?,
                BatchOperation::Put { key, lease, .. } => {
                    check::key(key)?;
                    if *lease != 0 && !self.leases.contains(*lease) {
                        return Err(Refusal::LeaseNotFound);
                    }
                }
            }
        }

        self.raise(self.space.check_batch(&operations))?;

        let mut writing = self.write();
        for operation in operations {
            match operation {
                BatchOperation::Delete { key } => writing.delete(&key),
                BatchOperation::Put { key, value, lease } => {
                    writing.write(key, |_| (value, lease));
                }
            }
        }
        writing.finish();
        Ok(self.revision)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn writes_a_batch_in_one_revision_or_not_at_all() {
        let mut store = Store::default();
        store.lease_grant(7, 60, now()).unwrap();

        assert_eq!(store.batch(vec![put("a", 7), put("b", 7)]).unwrap(), 2);
        assert_eq!(store.batch(vec![delete("a"), put("b", 7)]).unwrap(), 3);
        assert!(matches!(
            store.batch(vec![delete("b"), put("c", 8)]),
            Err(Refusal::LeaseNotFound)
        ));

        assert_eq!(store.revision(), 3);
        assert_eq!(store.lease_keys(7).collect::<Vec<_>>(), [b"b"]);
        assert_eq!(store.current(b"b").unwrap().version, 2);
        assert!(store.current(b"a").is_none());
    }

    #[test]
    fn keeps_one_copy_of_a_value() {
        let mut store = Store::default();
        let value: Arc<[u8]> = Arc::from(*b"large");

        let key = Arc::from(*b"a");
        let operation = BatchOperation::Put {
            key,
            value: Arc::clone(&value),
            lease: 0,
        };
        store.batch(vec![operation]).unwrap();

        assert!(Arc::ptr_eq(&store.current(b"a").unwrap().value, &value));
    }

    fn put(key: &str, lease: i64) -> BatchOperation {
        BatchOperation::Put {
            key: key.as_bytes().into(),
            value: Arc::default(),
            lease,
        }
    }

    fn delete(key: &str) -> BatchOperation {
        BatchOperation::Delete {
            key: key.as_bytes().into(),
        }
    }

    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    fn now() -> Instant {
        Instant::now()
    }
}
