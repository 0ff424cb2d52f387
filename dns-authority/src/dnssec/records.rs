//! The data of the records that DNSSEC adds (RFC 4034, 5155, 7344).

use std::collections::BTreeSet;

use aws_lc_rs::digest;

use super::algorithm::{Algorithm, SIGNATURE_BYTES};

/// What a key is for (RFC 4034 section 2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The parent vouches for it.
    Entry,
    /// It signs what the zone says, and nothing else.
    Zone,
}

const FLAG_ZONE: u16 = 0x0100;
const FLAG_ENTRY: u16 = 0x0001;
/// The only protocol there is (RFC 4034 section 2.1.2).
const PROTOCOL: u8 = 3;

/// Of the two digests that are not forbidden (RFC 8624 section 3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    Sha256,
    Sha384,
}

/// The data of a DNSKEY or CDNSKEY record.
pub fn dnskey(purpose: Purpose, algorithm: Algorithm, public: &[u8]) -> Vec<u8> {
    let flags = match purpose {
        Purpose::Entry => FLAG_ZONE | FLAG_ENTRY,
        Purpose::Zone => FLAG_ZONE,
    };
    let mut data = Vec::from(flags.to_be_bytes());
    data.extend([PROTOCOL, algorithm.number()]);
    data.extend_from_slice(public);
    data
}

/// By which signatures find their key among few (RFC 4034 appendix B), of a DNSKEY record's data.
pub fn tag(dnskey: &[u8]) -> u16 {
    let octets = dnskey.iter().enumerate();
    let sum: u32 = octets
        .map(|(index, octet)| u32::from(*octet) << if index % 2 == 0 { 8 } else { 0 })
        .fold(0, u32::wrapping_add);
    let [_, _, high, low] = sum.wrapping_add(sum >> 16).to_be_bytes();
    u16::from_be_bytes([high, low])
}

/// The data of a DS or CDS record for the key of a zone, whose name is in lower case.
pub fn ds(origin: &[u8], dnskey: &[u8], digest: Digest) -> Vec<u8> {
    let (number, algorithm) = match digest {
        Digest::Sha256 => (2, &digest::SHA256),
        Digest::Sha384 => (4, &digest::SHA384),
    };
    let mut data = Vec::from(tag(dnskey).to_be_bytes());
    data.extend([dnskey.get(3).copied().unwrap_or_default(), number]);
    let mut context = digest::Context::new(algorithm);
    context.update(origin);
    context.update(dnskey);
    data.extend_from_slice(context.finish().as_ref());
    data
}

/// What an RRSIG record says of the set that it covers.
#[derive(Clone, Copy, Debug)]
pub struct Covers<'a> {
    pub kind: u16,
    pub algorithm: Algorithm,
    /// Of the set's owner, as [`labels`](super::canonical::labels) counts them.
    pub labels: u8,
    /// In seconds.
    pub ttl: u32,
    /// In seconds since 1970, of which the lower half travels (RFC 4034 section 3.1.5).
    pub expiration: u64,
    pub inception: u64,
    pub tag: u16,
    /// The zone's name in lower case.
    pub signer: &'a [u8],
}

impl Covers<'_> {
    /// Writes the record's data up to the signature.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.kind.to_be_bytes());
        bytes.extend([self.algorithm.number(), self.labels]);
        bytes.extend(self.ttl.to_be_bytes());
        bytes.extend(low(self.expiration));
        bytes.extend(low(self.inception));
        bytes.extend(self.tag.to_be_bytes());
        bytes.extend_from_slice(self.signer);
    }

    /// How many octets the record's data has.
    pub fn length(&self) -> usize {
        18 + self.signer.len() + SIGNATURE_BYTES
    }
}

fn low(seconds: u64) -> [u8; 4] {
    let [_, _, _, _, low @ ..] = seconds.to_be_bytes();
    low
}

/// The data of an NSEC record: the next name in full, and what is at this one.
pub fn nsec(next: &[u8], kinds: &BTreeSet<u16>) -> Vec<u8> {
    let mut data = next.to_vec();
    write_bitmap(kinds, &mut data);
    data
}

/// The data of an NSEC3 record: SHA-1 once and without salt, as RFC 9276 wants it, and no part of the
/// zone left out.
pub fn nsec3(next: &[u8; HASH_BYTES], kinds: &BTreeSet<u16>) -> Vec<u8> {
    let mut data = NSEC3_HEAD.to_vec();
    data.push(20);
    data.extend_from_slice(next);
    write_bitmap(kinds, &mut data);
    data
}

/// The data of an NSEC3PARAM record: algorithm 1, no flags, no iterations, no salt.
pub const NSEC3_HEAD: [u8; 5] = [1, 0, 0, 0, 0];

/// Of SHA-1, which is all that NSEC3 knows.
pub const HASH_BYTES: usize = 20;

/// The hash of a name in lower case, as NSEC3 orders names by.
pub fn hash(name: &[u8]) -> [u8; HASH_BYTES] {
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, name);
    hash.as_ref().try_into().expect("SHA-1 has 20 octets")
}

/// The name that a hash stands for in a zone: one label, in the base 32 of RFC 4648 section 7, which
/// keeps the order.
pub fn hashed_owner(hash: &[u8; HASH_BYTES], origin: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut owner = vec![32];
    for group in hash.as_chunks::<5>().0 {
        let bits = group
            .iter()
            .fold(0_u64, |bits, it| bits << 8 | u64::from(*it));
        let digits = (0..8).rev().map(|it| bits >> (5 * it) & 31);
        owner.extend(digits.map(|it| DIGITS[usize::try_from(it).expect("5 bits")]));
    }
    owner.extend_from_slice(origin);
    owner
}

/// RFC 4034 section 4.1.2: for each block of 256 types that has any, its number, its length, its bits.
fn write_bitmap(kinds: &BTreeSet<u16>, data: &mut Vec<u8>) {
    let mut block = [0_u8; 32];
    let mut kinds = kinds.iter().map(|it| it.to_be_bytes()).peekable();
    while let Some([window, low]) = kinds.next() {
        block[usize::from(low / 8)] |= 0x80 >> (low % 8);
        if kinds.peek().is_none_or(|it| it[0] != window) {
            let length = low / 8 + 1;
            data.extend([window, length]);
            data.extend_from_slice(&block[..usize::from(length)]);
            block = [0; 32];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::kind;

    #[test]
    fn writes_the_bitmap_of_the_standard() {
        // RFC 4034 section 4.3.
        let kinds = BTreeSet::from([1, 15, kind::RRSIG, kind::NSEC, 1234]);
        let mut data = Vec::new();
        write_bitmap(&kinds, &mut data);

        let expected = [&[0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27][..], &[0; 26], &[0x20]].concat();
        assert_eq!(data, expected);

        data.clear();
        write_bitmap(&BTreeSet::new(), &mut data);
        assert!(data.is_empty());
    }

    #[test]
    fn hashes_as_the_standard_spells_it() {
        let hash = [
            0, 0x44, 0x32, 0x14, 0xc7, 0x42, 0x54, 0xb6, 0x35, 0xcf, 0x84, 0x65, 0x3a, 0x56, 0xd7,
            0xc6, 0x75, 0xbe, 0x77, 0xdf,
        ];
        let owner = hashed_owner(&hash, &[0]);
        assert_eq!(owner, b"\x200123456789abcdefghijklmnopqrstuv\x00");
        assert_eq!(hashed_owner(&[0xff; 20], &[0])[1..33], [b'v'; 32]);
    }
}
