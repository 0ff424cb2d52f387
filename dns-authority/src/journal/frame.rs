//! How journals are written: pieces, each with its length and a checksum, so that one that was cut off
//! by a crash is known.

use aws_lc_rs::digest;

use super::{Difference, Record};
use crate::wire::name::Folded;

/// A piece of a journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The differences that follow are to a zone that is kept elsewhere, in this version.
    Based(u32),
    /// The whole zone.
    Whole(Vec<Record>),
    Difference(Difference),
    /// The primary server vouched for this version, in seconds since 1970.
    Confirmed(u64),
}

/// Before the content: its length, and the first octets of its SHA-256.
const HEAD_BYTES: usize = 4 + SUM_BYTES;
const SUM_BYTES: usize = 8;

const BASED: u8 = 1;
const WHOLE: u8 = 2;
const DIFFERENCE: u8 = 3;
const CONFIRMED: u8 = 4;

impl Frame {
    /// As it stands in the file; `None` if it is too large for one.
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        match self {
            Self::Based(serial) => {
                content.push(BASED);
                content.extend(serial.to_be_bytes());
            }
            Self::Whole(records) => {
                content.push(WHOLE);
                write_records(records, &mut content);
            }
            Self::Difference(difference) => {
                content.push(DIFFERENCE);
                content.extend(difference.from.to_be_bytes());
                content.extend(difference.to.to_be_bytes());
                write_records(&difference.removed, &mut content);
                write_records(&difference.added, &mut content);
            }
            Self::Confirmed(seconds) => {
                content.push(CONFIRMED);
                content.extend(seconds.to_be_bytes());
            }
        }
        let length = u32::try_from(content.len()).ok()?;
        Some([&length.to_be_bytes(), &sum(&content)[..], &content].concat())
    }

    /// The piece that `bytes` begin with, and how many octets it takes; `None` if it is not whole.
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (expected, rest) = rest.split_first_chunk::<SUM_BYTES>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let content = rest.get(..length)?;
        if sum(content) != *expected {
            return None;
        }
        Some((Self::content(content)?, HEAD_BYTES + length))
    }

    fn content(bytes: &[u8]) -> Option<Self> {
        let (tag, mut rest) = bytes.split_first()?;
        let frame = match *tag {
            BASED => Self::Based(number(&mut rest)?),
            WHOLE => Self::Whole(read_records(&mut rest)?),
            DIFFERENCE => Self::Difference(Difference {
                from: number(&mut rest)?,
                to: number(&mut rest)?,
                removed: read_records(&mut rest)?,
                added: read_records(&mut rest)?,
            }),
            CONFIRMED => {
                let (seconds, after) = rest.split_first_chunk()?;
                rest = after;
                Self::Confirmed(u64::from_be_bytes(*seconds))
            }
            _ => return None,
        };
        rest.is_empty().then_some(frame)
    }
}

/// All whole pieces of a file, and how many octets they take: what follows was cut off.
pub fn read_all(bytes: &[u8]) -> (Vec<Frame>, usize) {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((frame, length)) = Frame::read(&bytes[at..]) {
        frames.push(frame);
        at += length;
    }
    (frames, at)
}

fn sum(content: &[u8]) -> [u8; SUM_BYTES] {
    let digest = digest::digest(&digest::SHA256, content);
    *digest.as_ref().first_chunk().expect("it has 32 octets")
}

fn write_records(records: &[Record], bytes: &mut Vec<u8>) {
    let count = u32::try_from(records.len()).expect("far below 2³² records fit into memory");
    bytes.extend(count.to_be_bytes());
    for record in records {
        bytes.extend_from_slice(&record.owner);
        bytes.extend(record.kind.to_be_bytes());
        bytes.extend(record.ttl.to_be_bytes());
        let length = u16::try_from(record.data.len()).expect("data is at most 65,535 octets");
        bytes.extend(length.to_be_bytes());
        bytes.extend_from_slice(&record.data);
    }
}

fn read_records(bytes: &mut &[u8]) -> Option<Vec<Record>> {
    let count = number(bytes)?;
    let mut records = Vec::new();
    for _ in 0..count {
        let length = Folded::read(bytes).ok()?.length();
        let (owner, rest) = bytes.split_at(length);
        let (&[k0, k1, t0, t1, t2, t3, l0, l1], rest) = rest.split_first_chunk::<8>()?;
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        let (data, rest) = rest.split_at_checked(length)?;
        records.push(Record {
            owner: owner.into(),
            kind: u16::from_be_bytes([k0, k1]),
            ttl: u32::from_be_bytes([t0, t1, t2, t3]),
            data: data.into(),
        });
        *bytes = rest;
    }
    Some(records)
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_be_bytes(*number))
}
