//! TSIG records as they travel (RFC 8945 section 4.2).

use super::{Unsigned, stripped};
use crate::wire::kind;
use crate::wire::name::Folded;

const CLASS_ANY: u16 = 255;

/// A TSIG record of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signature<'a> {
    pub(super) at: usize,
    pub(super) record: Record<'a>,
}

impl<'a> Signature<'a> {
    /// `None` if it is not what RFC 8945 section 4.2 says. Nobody compresses its names.
    pub(super) fn read(message: &'a [u8], at: usize) -> Option<Self> {
        let (name, rest) = split_name(message.get(at..)?)?;
        let (&[k0, k1, c0, c1, t0, t1, t2, t3, _, _], data) = rest.split_first_chunk::<10>()?;
        let is_fit = u16::from_be_bytes([k0, k1]) == kind::TSIG
            && u16::from_be_bytes([c0, c1]) == CLASS_ANY
            && [t0, t1, t2, t3] == [0; 4];
        let (algorithm, rest) = split_name(data)?;
        let (&[s0, s1, s2, s3, s4, s5, f0, f1], rest) = rest.split_first_chunk::<8>()?;
        let (mac, rest) = split_counted(rest)?;
        let (&[i0, i1, e0, e1], rest) = rest.split_first_chunk::<4>()?;
        let (other, rest) = split_counted(rest)?;
        let record = Record {
            name,
            algorithm,
            seconds: u64::from_be_bytes([0, 0, s0, s1, s2, s3, s4, s5]),
            fudge: u16::from_be_bytes([f0, f1]),
            mac,
            id: [i0, i1],
            error: u16::from_be_bytes([e0, e1]),
            other,
        };
        (is_fit && rest.is_empty()).then_some(Self { at, record })
    }

    /// The message as it was signed: with its first number, and without the signature.
    pub(super) fn message(&self, message: &[u8]) -> Vec<u8> {
        let mut signed = stripped(message, self.at);
        signed[..2].copy_from_slice(&self.record.id);
        signed
    }

    pub(super) fn unsigned(&self) -> Unsigned {
        Unsigned {
            name: self.record.name.to_vec(),
            algorithm: self.record.algorithm.to_vec(),
            seconds: self.record.seconds,
            fudge: self.record.fudge,
            id: self.record.id,
        }
    }

    pub(super) fn is_timely(&self, now: u64) -> bool {
        now.abs_diff(self.record.seconds) <= u64::from(self.record.fudge)
    }
}

/// What a TSIG record says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) name: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) seconds: u64,
    pub(super) fudge: u16,
    pub(super) mac: &'a [u8],
    pub(super) id: [u8; 2],
    pub(super) error: u16,
    pub(super) other: &'a [u8],
}

impl Record<'_> {
    /// What is signed of the record itself (RFC 8945 section 4.3.3).
    pub(super) fn variables(&self) -> Vec<u8> {
        let mut bytes = self.name.to_ascii_lowercase();
        bytes.extend(CLASS_ANY.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.algorithm.to_ascii_lowercase());
        bytes.extend(self.timers());
        bytes.extend(self.error.to_be_bytes());
        bytes.extend(counted(self.other));
        bytes
    }

    /// What is signed of it in all messages of a stream but the first.
    pub(super) fn timers(&self) -> [u8; 8] {
        let [_, _, seconds @ ..] = self.seconds.to_be_bytes();
        let mut timers = [0; 8];
        timers[..6].copy_from_slice(&seconds);
        timers[6..].copy_from_slice(&self.fudge.to_be_bytes());
        timers
    }

    /// Adds the record to a message as its last.
    pub(super) fn add(&self, message: &mut Vec<u8>) {
        let mut data = self.algorithm.to_vec();
        data.extend(self.timers());
        data.extend(counted(self.mac));
        data.extend(self.id);
        data.extend(self.error.to_be_bytes());
        data.extend(counted(self.other));

        message.extend_from_slice(self.name);
        message.extend(kind::TSIG.to_be_bytes());
        message.extend(CLASS_ANY.to_be_bytes());
        message.extend([0; 4]);
        message.extend(counted(&data));
        let count = u16::from_be_bytes([message[10], message[11]]);
        message[10..12].copy_from_slice(&count.saturating_add(1).to_be_bytes());
    }
}

/// Octets with their number before them.
pub(super) fn counted(octets: &[u8]) -> Vec<u8> {
    let length = u16::try_from(octets.len()).expect("MACs and names are short");
    [&length.to_be_bytes(), octets].concat()
}

fn split_counted(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = Folded::read(bytes).ok()?.length();
    bytes.split_at_checked(length)
}
