//! A store as one stream of bytes, ending in a checksum as etcd's snapshots do.
//!
//! ```text
//! magic and version (16) · facts · auth state · leases · versions, each behind its count
//! zeroes up to a multiple of 512 · SHA-256 of all of it (32)
//! ```
//! Numbers are big-endian. The size tells etcd's tools that a checksum is there.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256, digest};

use super::rows;
use crate::mvcc::{Entry, Image};

/// The last byte is the version.
const MAGIC: &[u8; 16] = b"causeway store \x01";

/// Where etcd's tools expect the end of the data.
const ALIGNMENT_BYTES: usize = 512;

const CHECKSUM_BYTES: usize = 32;

/// As etcd's own; a message stays small.
const CHUNK_BYTES: usize = 32 << 10;

/// Key length, row length and revision.
const ENTRY_HEAD_BYTES: usize = 4 + 4 + 8;

/// Writes a snapshot piece by piece, so that it is never in memory as a whole.
pub(crate) struct Writer {
    entries: std::vec::IntoIter<Arc<Entry>>,
    /// Bytes that were made and not given yet.
    ready: Vec<u8>,
    last_revision: i64,
    place: u32,
    checksum: Context,
    remaining_bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    Data,
    Checksum,
    Over,
}

/// What the next message of the stream says.
#[derive(Debug, PartialEq)]
pub(crate) struct Chunk {
    pub(crate) bytes: Vec<u8>,
    /// Of the data, without the checksum.
    pub(crate) remaining_bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("this is not a snapshot of an embedded store")]
    Foreign,
    #[error("the snapshot has another version")]
    Version,
    #[error("the snapshot is not whole: its checksum does not fit")]
    Checksum,
    #[error("the snapshot makes no sense")]
    Torn,
}

impl Writer {
    pub(crate) fn new(image: Image) -> Self {
        let head = head(&image);
        let entries = image.entries.iter().map(|it| entry_bytes(it));
        let size = head.len() + entries.sum::<usize>();
        Self {
            entries: image.entries.into_iter(),
            ready: head,
            last_revision: 0,
            place: 0,
            checksum: Context::new(&SHA256),
            remaining_bytes: size.next_multiple_of(ALIGNMENT_BYTES),
            stage: Stage::Data,
        }
    }

    fn data(&mut self) -> Chunk {
        while self.ready.len() < CHUNK_BYTES
            && let Some(entry) = self.entries.next()
        {
            let is_same = self.last_revision == entry.mod_revision;
            self.place = if is_same { self.place + 1 } else { 0 };
            self.last_revision = entry.mod_revision;
            encode_entry(self.place, &entry, &mut self.ready);
        }
        if self.ready.len() < CHUNK_BYTES {
            // Nothing more comes: the rest is padding.
            self.ready.resize(self.remaining_bytes, 0);
        }
        let bytes = std::mem::take(&mut self.ready);
        self.checksum.update(&bytes);
        self.remaining_bytes -= bytes.len();
        if self.remaining_bytes == 0 {
            self.stage = Stage::Checksum;
        }
        Chunk {
            bytes,
            remaining_bytes: self.remaining_bytes,
        }
    }
}

impl Iterator for Writer {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        match self.stage {
            Stage::Data => Some(self.data()),
            Stage::Checksum => {
                self.stage = Stage::Over;
                Some(Chunk {
                    bytes: self.checksum.clone().finish().as_ref().to_vec(),
                    remaining_bytes: 0,
                })
            }
            Stage::Over => None,
        }
    }
}

/// Reads a whole snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    let data = match bytes.first_chunk() {
        Some(magic) if magic == MAGIC => bytes,
        Some(magic) if magic[..15] == MAGIC[..15] => return Err(DecodeError::Version),
        Some(_) | None => return Err(DecodeError::Foreign),
    };
    let (data, checksum) = data
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(DecodeError::Checksum)?;
    if digest(&SHA256, data).as_ref() != checksum {
        return Err(DecodeError::Checksum);
    }
    image(&data[MAGIC.len()..]).ok_or(DecodeError::Torn)
}

fn head(image: &Image) -> Vec<u8> {
    let mut head = MAGIC.to_vec();
    head.extend(image.revision.to_be_bytes());
    head.extend(image.compacted_revision.to_be_bytes());
    head.extend(rows::encode_alarms(image.alarms));
    let auth_state = image.auth_state.as_deref();
    head.push(u8::from(auth_state.is_some()));
    put_length(auth_state.unwrap_or_default().len(), &mut head);
    head.extend(auth_state.unwrap_or_default());
    put_length(image.leases.len(), &mut head);
    for (id, ttl_seconds) in &image.leases {
        head.extend(id.to_be_bytes());
        head.extend(ttl_seconds.to_be_bytes());
    }
    put_length(image.entries.len(), &mut head);
    head
}

fn entry_bytes(entry: &Entry) -> usize {
    ENTRY_HEAD_BYTES + entry.key.len() + rows::encoded_bytes(entry)
}

fn encode_entry(place: u32, entry: &Entry, bytes: &mut Vec<u8>) {
    put_length(entry.key.len(), bytes);
    put_length(rows::encoded_bytes(entry), bytes);
    bytes.extend(entry.mod_revision.to_be_bytes());
    bytes.extend(&*entry.key);
    bytes.extend(rows::encode(place, entry));
}

fn put_length(length: usize, bytes: &mut Vec<u8>) {
    let length = u32::try_from(length).expect("requests and the quota are far below 4 GiB");
    bytes.extend(length.to_be_bytes());
}

fn image(data: &[u8]) -> Option<Image> {
    let mut reader = Reader(data);
    let (revision, compacted_revision) = (reader.number()?, reader.number()?);
    let alarms = rows::alarms(reader.bytes(1)?);
    let has_auth_state = reader.bytes(1)? == [1];
    let length = reader.length()?;
    let auth_state = reader.bytes(length)?;
    let mut image = Image {
        alarms,
        auth_state: has_auth_state.then(|| Arc::from(auth_state)),
        compacted_revision,
        revision,
        ..Image::default()
    };
    for _ in 0..reader.length()? {
        image.leases.push((reader.number()?, reader.number()?));
    }
    for _ in 0..reader.length()? {
        let (key_length, row_length) = (reader.length()?, reader.length()?);
        let revision = reader.number()?;
        let (key, row) = (reader.bytes(key_length)?, reader.bytes(row_length)?);
        let (_, entry) = rows::decode(revision, key, row)?;
        image.entries.push(Arc::new(entry));
    }
    Some(image)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<i64> {
        rows::number(self.bytes(8)?)
    }

    fn length(&mut self) -> Option<usize> {
        let bytes = self.bytes(4)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    }
}

#[cfg(test)]
mod tests;
