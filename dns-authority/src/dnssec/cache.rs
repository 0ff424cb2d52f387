//! Keeps what was signed, so that each distinct set of records is signed once.
//!
//! A signature is found by all that it covers, never by a digest of it: clients choose names, and
//! answers must not depend on two of them never meeting.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// The data of RRSIG records by what they cover.
#[derive(Debug)]
pub struct Cache {
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    /// Signatures in a shard.
    capacity: usize,
}

/// A signature, and when it may be given out: from so many seconds since 1970 until so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub data: Arc<[u8]>,
    pub from: u64,
    pub until: u64,
}

#[derive(Debug, Default)]
struct Shard {
    /// Numbers of slots.
    table: HashTable<usize>,
    slots: Vec<Slot>,
    /// The slot that is looked at next when room is needed.
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    covered: Box<[u8]>,
    signature: Signature,
    was_used: bool,
}

/// So many that threads seldom want the same.
const SHARDS: usize = 64;

impl Cache {
    /// For about so many signatures.
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::default(),
            capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// The signature of what is covered, unless there is none that can be given out `now`.
    pub fn get(&self, covered: &[u8], now: u64) -> Option<Arc<[u8]>> {
        let hash = self.hash(covered);
        let mut shard = self.shard(hash);
        let shard = &mut *shard;
        let slots = &shard.slots;
        let number = *shard
            .table
            .find(hash, |it| *slots[*it].covered == *covered)?;
        let slot = &mut shard.slots[number];
        slot.was_used = true;
        let Signature { data, from, until } = &slot.signature;
        (*from <= now && now < *until).then(|| Arc::clone(data))
    }

    /// Keeps a signature, in the place of one that nobody asked for lately if there is no room.
    pub fn put(&self, covered: &[u8], signature: Signature) {
        let hash = self.hash(covered);
        let slot = Slot {
            hash,
            covered: covered.into(),
            signature,
            was_used: false,
        };
        self.shard(hash).put(slot, self.capacity);
    }

    pub fn len(&self) -> usize {
        let lengths = self.shards.iter().map(|it| locked(it).slots.len());
        lengths.sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The table uses the bits at both ends.
        let bits = usize::try_from((hash >> 24) & 0xffff).expect("16 bits");
        locked(&self.shards[bits % SHARDS])
    }

    fn hash(&self, covered: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(covered);
        hasher.finish()
    }
}

impl Shard {
    fn put(&mut self, slot: Slot, capacity: usize) {
        let Self { table, slots, hand } = self;
        let known = table.find(slot.hash, |it| slots[*it].covered == slot.covered);
        if let Some(number) = known.copied() {
            slots[number] = slot;
            return;
        }
        let hash = slot.hash;
        let number = if slots.len() < capacity {
            slots.push(slot);
            slots.len() - 1
        } else {
            // Ends: what was passed over is not passed over again.
            while std::mem::take(&mut slots[*hand].was_used) {
                *hand = (*hand + 1) % slots.len();
            }
            let number = *hand;
            *hand = (number + 1) % slots.len();
            if let Ok(entry) = table.find_entry(slots[number].hash, |it| *it == number) {
                entry.remove();
            }
            slots[number] = slot;
            number
        };
        table.insert_unique(hash, number, |it| slots[*it].hash);
    }
}

/// What is kept is whole after every step: a panic of another thread took nothing away.
fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_out_what_it_keeps_while_that_is_valid() {
        let cache = Cache::new(1000);
        assert_eq!(cache.get(b"set", 10), None);
        cache.put(b"set", signature(7, 10, 20));

        let get = |now| cache.get(b"set", now).map(|it| it[0]);
        assert_eq!([9, 10, 19, 20].map(get), [None, Some(7), Some(7), None]);
        assert_eq!(cache.get(b"other", 10), None);

        cache.put(b"set", signature(8, 19, 30));
        assert_eq!(cache.get(b"set", 20).map(|it| it[0]), Some(8));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn forgets_what_nobody_asks_for() {
        let cache = Cache::new(10 * SHARDS);
        cache.put(b"wanted", signature(1, 0, 9));
        for number in 0_u32..10_000 {
            cache.put(&number.to_be_bytes(), signature(2, 0, 9));
            assert!(cache.get(b"wanted", 1).is_some(), "{number}");
        }
        assert_eq!(cache.len(), 10 * SHARDS);
        let kept = (0_u32..10_000).filter(|it| cache.get(&it.to_be_bytes(), 1).is_some());
        assert_eq!(kept.count(), 10 * SHARDS - 1);
    }

    fn signature(octet: u8, from: u64, until: u64) -> Signature {
        Signature {
            data: Arc::from([octet]),
            from,
            until,
        }
    }
}
