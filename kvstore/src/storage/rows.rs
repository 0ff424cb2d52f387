//! Decides how a version of a key looks in the file.

use std::sync::Arc;

use crate::mvcc::{Alarms, Entry};

/// The numbers before the value: the place within the revision, the revision of creation, the version,
/// and the lease.
const NUMBERS_BYTES: usize = 4 + 8 + 8 + 8;

/// The row of `entry`, which its revision and key find.
pub(super) fn encode(place: u32, entry: &Entry) -> Vec<u8> {
    let mut row = Vec::with_capacity(encoded_bytes(entry));
    row.extend(place.to_be_bytes());
    row.extend(entry.create_revision.to_be_bytes());
    row.extend(entry.version.to_be_bytes());
    row.extend(entry.lease.to_be_bytes());
    row.extend(&*entry.value);
    row
}

pub(super) fn encoded_bytes(entry: &Entry) -> usize {
    NUMBERS_BYTES + entry.value.len()
}

/// The place within the revision and the version, or `None` if the row makes no sense.
pub(super) fn decode(mod_revision: i64, key: &[u8], row: &[u8]) -> Option<(u32, Entry)> {
    let (place, row) = row.split_first_chunk()?;
    let (create_revision, row) = row.split_first_chunk()?;
    let (version, row) = row.split_first_chunk()?;
    let (lease, value) = row.split_first_chunk()?;
    let entry = Entry {
        key: Arc::from(key),
        value: Arc::from(value),
        create_revision: i64::from_be_bytes(*create_revision),
        mod_revision,
        version: i64::from_be_bytes(*version),
        lease: i64::from_be_bytes(*lease),
    };
    let is_sound = 0 <= entry.version && entry.create_revision <= mod_revision;
    is_sound.then_some((u32::from_be_bytes(*place), entry))
}

pub(super) fn number(bytes: &[u8]) -> Option<i64> {
    bytes.try_into().ok().map(i64::from_be_bytes)
}

/// One byte, a bit for each alarm.
pub(super) fn encode_alarms(alarms: Alarms) -> [u8; 1] {
    [u8::from(alarms.no_space) | u8::from(alarms.corrupt) << 1]
}

pub(super) fn alarms(bytes: &[u8]) -> Alarms {
    let bits = bytes.first().copied().unwrap_or(0);
    Alarms {
        corrupt: bits & 2 != 0,
        no_space: bits & 1 != 0,
    }
}
