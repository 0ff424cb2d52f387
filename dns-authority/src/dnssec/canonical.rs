//! Sets of records as they are signed: names in lower case, records in order, each once (RFC 4034
//! section 6, as RFC 6840 section 5.1 has it).

use crate::wire::name::{self, Folded};

/// The records of one type at one name, on the way into their canonical form.
#[derive(Debug, Default)]
pub struct Records {
    data: Vec<u8>,
    /// Where the data of each record begins and ends.
    ranges: Vec<(usize, usize)>,
}

const CLASS_IN: u16 = 1;

impl Records {
    /// Takes the data of a record of type `kind`, as it travels, names in full.
    pub fn push(&mut self, kind: u16, data: &[u8]) {
        let start = self.data.len();
        self.data.extend_from_slice(data);
        fold_names(kind, &mut self.data[start..]);
        self.ranges.push((start, self.data.len()));
    }

    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub fn clear(&mut self) {
        self.data.clear();
        self.ranges.clear();
    }

    /// Writes the set as it is signed. `owner` is in lower case, a wildcard if it was found by one;
    /// `ttl` is in seconds.
    pub fn write(&mut self, owner: &[u8], kind: u16, ttl: u32, bytes: &mut Vec<u8>) {
        let Self { data, ranges } = self;
        ranges.sort_unstable_by(|a, b| data[a.0..a.1].cmp(&data[b.0..b.1]));
        ranges.dedup_by(|a, b| data[a.0..a.1] == data[b.0..b.1]);
        for (start, end) in ranges {
            let length = u16::try_from(*end - *start).expect("data is at most 65,535 octets");
            bytes.extend_from_slice(owner);
            bytes.extend(kind.to_be_bytes());
            bytes.extend(CLASS_IN.to_be_bytes());
            bytes.extend(ttl.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend_from_slice(&data[*start..*end]);
        }
    }
}

/// How many labels of a name a signature counts: neither the root's nor a wildcard's (RFC 4034 section
/// 3.1.3).
pub fn labels(owner: &[u8]) -> u8 {
    let labels = Folded::read(owner).map_or(0, |it| it.labels());
    let is_wildcard = owner.starts_with(b"\x01*");
    u8::try_from(labels - usize::from(is_wildcard)).expect("names have at most 127 labels")
}

/// Brings the names in the data of a record into lower case, if its type is one of those that were there
/// before DNSSEC was: what is in others stays as it is, since nobody has to know what others have.
fn fold_names(kind: u16, data: &mut [u8]) {
    let (before, names) = match kind {
        // NS, MD, MF, CNAME, MB, MG, MR, PTR, NXT, DNAME
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 30 | 39 => (0, 1),
        // SOA, MINFO, RP
        6 | 14 | 17 => (0, 2),
        // MX, AFSDB, RT, KX
        15 | 18 | 21 | 36 => (2, 1),
        // PX
        26 => (2, 2),
        // SRV
        33 => (6, 1),
        // SIG, RRSIG
        24 | 46 => (18, 1),
        // NAPTR
        35 => (before_replacement(data), 1),
        _ => return,
    };
    let mut at = before;
    for _ in 0..names {
        let Some(rest) = data.get_mut(at..).filter(|it| !it.is_empty()) else {
            return;
        };
        let end = name::length(rest).min(rest.len());
        // Lengths of labels are below all letters.
        rest[..end].make_ascii_lowercase();
        at += end;
    }
}

/// Two numbers and three texts, each after its length (RFC 3403 section 4.1).
fn before_replacement(data: &[u8]) -> usize {
    (0..3).fold(4, |at, _| {
        at + 1 + data.get(at).map_or(0, |it| usize::from(*it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_records_and_takes_each_once() {
        let mut records = Records::default();
        for data in [&b"\x02\x01"[..], b"\x01", b"\x02", b"\x01", b""] {
            records.push(65_280, data);
        }
        let mut bytes = Vec::new();
        records.write(b"\x01a\x00", 65_280, 60, &mut bytes);

        let head = b"\x01a\x00\xff\x00\x00\x01\x00\x00\x00\x3c";
        let expected: Vec<u8> = [
            &b"\x00\x00"[..],
            b"\x00\x01\x01",
            b"\x00\x01\x02",
            b"\x00\x02\x02\x01",
        ]
        .iter()
        .flat_map(|it| [&head[..], it].concat())
        .collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn folds_names_of_old_types_only() {
        let check = |kind: u16, data: &[u8], expected: &[u8]| {
            let mut folded = data.to_vec();
            fold_names(kind, &mut folded);
            assert_eq!(folded, expected, "type {kind}");
        };
        check(2, b"\x02Ns\x00", b"\x02ns\x00");
        check(6, b"\x01A\x00\x01B\x00ABCD", b"\x01a\x00\x01b\x00ABCD");
        check(15, b"AA\x01X\x00", b"AA\x01x\x00");
        check(33, b"AABBCC\x01X\x00", b"AABBCC\x01x\x00");
        check(
            35,
            b"AABB\x01U\x03E2U\x02!A\x01R\x00",
            b"AABB\x01U\x03E2U\x02!A\x01r\x00",
        );
        check(16, b"\x02Hi", b"\x02Hi");
        // NSEC and SVCB came later.
        check(47, b"\x01X\x00\x00\x01\x40", b"\x01X\x00\x00\x01\x40");
        check(64, b"\x00\x01\x01X\x00", b"\x00\x01\x01X\x00");
        // What is too short for its type is left alone.
        check(33, b"AB", b"AB");
        check(35, b"AABB\xff", b"AABB\xff");
        check(6, b"\x05A", b"\x05a");
    }

    #[test]
    fn counts_labels_as_signatures_do() {
        assert_eq!(labels(b"\x00"), 0);
        assert_eq!(labels(b"\x01a\x01z\x00"), 2);
        assert_eq!(labels(b"\x01*\x01z\x00"), 1);
        assert_eq!(labels(b"\x01a\x01*\x01z\x00"), 3);
    }
}
