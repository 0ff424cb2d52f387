//! Reads whole messages, every record of them with its names in full: transfers, notifications, updates
//! and their answers, where every record counts. Queries are read by [`query`](super::query), in place.

use super::kind;
use super::name::{LABEL_BYTES_MAX, NAME_BYTES_MAX};
use super::query::HEADER_BYTES;

/// A message with all of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    pub id: [u8; 2],
    pub operation: u8,
    pub is_answer: bool,
    pub authoritative: bool,
    pub truncated: bool,
    /// The low four bits of the response's code; what EDNS adds is not read.
    pub code: u16,
    /// `None` only in answers of a stream, where the first has it and the others need not.
    pub question: Option<Question>,
    /// Answers, authorities and additionals; in an update prerequisites, updates and additionals.
    pub sections: [Vec<Entry>; 3],
    /// Where the TSIG record begins, if there is one: it is the last, and not among the additionals.
    pub signature: Option<usize>,
}

/// What the message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// As it travels, in the case that it was sent in.
    pub name: Vec<u8>,
    pub kind: u16,
    pub class: u16,
}

/// A record of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub owner: Vec<u8>,
    pub kind: u16,
    pub class: u16,
    /// In seconds.
    pub ttl: u32,
    /// Names of it in full.
    pub data: Vec<u8>,
}

/// A message that breaks the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a malformed message")]
pub struct Malformed;

/// Reads a message to its last octet.
///
/// # Errors
///
/// It ends early or late, a name is none, a pointer does not point back, or the data of a record is not
/// what its type says.
pub fn read(bytes: &[u8]) -> Result<Whole, Malformed> {
    let header = bytes.first_chunk::<HEADER_BYTES>().ok_or(Malformed)?;
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    let mut reader = Reader {
        bytes,
        at: HEADER_BYTES,
    };
    let question = match count(4) {
        0 => None,
        1 => Some(Question {
            name: reader.name()?,
            kind: reader.u16()?,
            class: reader.u16()?,
        }),
        _ => return Err(Malformed),
    };
    let mut signature = None;
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (section, count) in sections.iter_mut().zip([6, 8, 10].map(count)) {
        for _ in 0..count {
            // A signature is the last there is.
            if signature.is_some() {
                return Err(Malformed);
            }
            let start = reader.at;
            let entry = reader.entry()?;
            match entry.kind {
                kind::TSIG => signature = Some(start),
                kind::OPT => (),
                _ => section.push(entry),
            }
        }
    }
    if reader.at != bytes.len() {
        return Err(Malformed);
    }
    Ok(Whole {
        id: [header[0], header[1]],
        operation: header[2] >> 3 & 0xf,
        is_answer: header[2] & 0x80 != 0,
        authoritative: header[2] & 4 != 0,
        truncated: header[2] & 2 != 0,
        code: u16::from(header[3] & 0xf),
        question,
        sections,
        signature,
    })
}

/// What the data of a type consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// So many octets.
    Fixed(usize),
    /// A name, which may end elsewhere in the message.
    Name,
    /// Texts, each after its length, one or more up to the end.
    Texts,
    /// Whatever is left.
    Rest,
}

/// The types whose data has names that may be compressed, old senders included (RFC 3597 section 4), and
/// those whose form is checked, since zones rely on it.
fn parts(kind: u16) -> &'static [Part] {
    use Part::{Fixed, Name, Rest, Texts};
    match kind {
        1 => &[Fixed(4)],
        2 | 5 | 12 | 39 => &[Name],
        6 => &[Name, Name, Fixed(20)],
        15 | 18 | 21 | 36 => &[Fixed(2), Name],
        16 | 99 => &[Texts],
        17 => &[Name, Name],
        26 => &[Fixed(2), Name, Name],
        28 => &[Fixed(16)],
        33 => &[Fixed(6), Name],
        _ => &[Rest],
    }
}

/// Whether `data`, names in full, is what records of this type have.
pub fn is_data_of(kind: u16, data: &[u8]) -> bool {
    let mut reader = Reader { bytes: data, at: 0 };
    reader.data(kind, data.len()).is_ok_and(|it| it == data)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.bytes.get(self.at..).and_then(|it| it.get(..length));
        self.at += length;
        taken.ok_or(Malformed)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        let octets = self.take(2)?;
        Ok(u16::from_be_bytes([octets[0], octets[1]]))
    }

    fn entry(&mut self) -> Result<Entry, Malformed> {
        let owner = self.name()?;
        let kind = self.u16()?;
        let class = self.u16()?;
        let ttl = *self.take(4)?.first_chunk().ok_or(Malformed)?;
        let length = usize::from(self.u16()?);
        // In updates, records without data stand for whole sets, or for all there is.
        let data = match length {
            0 => Vec::new(),
            _ => self.data(kind, length)?,
        };
        Ok(Entry {
            owner,
            kind,
            class,
            ttl: u32::from_be_bytes(ttl),
            data,
        })
    }

    fn data(&mut self, kind: u16, length: usize) -> Result<Vec<u8>, Malformed> {
        let end = self.at + length;
        if self.bytes.len() < end {
            return Err(Malformed);
        }
        let mut data = Vec::with_capacity(length);
        for part in parts(kind) {
            match part {
                Part::Fixed(length) => data.extend_from_slice(self.take(*length)?),
                Part::Name => data.extend(self.name()?),
                Part::Texts => {
                    self.texts(end)?;
                    data.extend_from_slice(&self.bytes[end - length..end]);
                }
                Part::Rest => {
                    data.extend_from_slice(self.take(end.checked_sub(self.at).ok_or(Malformed)?)?);
                }
            }
        }
        (self.at == end).then_some(data).ok_or(Malformed)
    }

    fn texts(&mut self, end: usize) -> Result<(), Malformed> {
        loop {
            let length = self.take(1)?[0];
            self.take(usize::from(length))?;
            if end <= self.at {
                return Ok(());
            }
        }
    }

    /// A name in full. Pointers lead back, each further than the one before, so that there is an end.
    fn name(&mut self) -> Result<Vec<u8>, Malformed> {
        let mut name = Vec::new();
        let mut at = self.at;
        let mut first = self.at;
        let mut behind = None;
        loop {
            let length = *self.bytes.get(at).ok_or(Malformed)?;
            if length >= POINTER {
                let low = *self.bytes.get(at + 1).ok_or(Malformed)?;
                let target = usize::from(u16::from_be_bytes([length & !POINTER, low]));
                if target >= first {
                    return Err(Malformed);
                }
                behind.get_or_insert(at + 2);
                (at, first) = (target, target);
                continue;
            }
            let end = at + 1 + usize::from(length);
            let label = self.bytes.get(at..end).ok_or(Malformed)?;
            if LABEL_BYTES_MAX < usize::from(length) || NAME_BYTES_MAX < name.len() + label.len() {
                return Err(Malformed);
            }
            name.extend_from_slice(label);
            at = end;
            if length == 0 {
                self.at = behind.unwrap_or(end);
                return Ok(name);
            }
        }
    }
}

/// The first two bits of a pointer (RFC 1035 section 4.1.4).
const POINTER: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use hickory_proto::op::Message;
    use hickory_proto::rr::rdata::{MX, SOA, SRV, TXT};
    use hickory_proto::rr::{Name, RData, Record};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_others_compress() {
        let name = |it: &str| Name::from_ascii(it).unwrap();
        let soa = SOA::new(name("ns.z."), name("h.z."), 7, 1, 2, 3, 4);
        let records = [
            RData::SOA(soa),
            RData::MX(MX::new(9, name("mail.z."))),
            RData::SRV(SRV::new(1, 2, 3, name("mail.z."))),
            RData::TXT(TXT::from_bytes(vec![b"a", b"bc"])),
        ];
        let mut message = Message::query();
        message.add_answers(records.map(|it| Record::from_rdata(name("a.z."), 60, it)));
        let whole = read(&message.to_vec().unwrap()).unwrap();

        let data: Vec<&[u8]> = whole.sections[0].iter().map(|it| &*it.data).collect();
        assert_eq!(
            data[0],
            b"\x02ns\x01z\0\x01h\x01z\0\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04"
        );
        assert_eq!(data[1], b"\0\x09\x04mail\x01z\0");
        assert_eq!(data[2], b"\0\x01\0\x02\0\x03\x04mail\x01z\0");
        assert_eq!(data[3], b"\x01a\x02bc");
        assert!(
            whole.sections[0]
                .iter()
                .all(|it| it.owner == b"\x01a\x01z\0")
        );
        assert!(
            whole.sections[0]
                .iter()
                .all(|it| is_data_of(it.kind, &it.data))
        );
    }

    #[test]
    fn refuses_pointers_that_lead_nowhere_and_data_of_the_wrong_form() {
        let head = |answers: u8| [0, 0, 0x80, 0, 0, 0, 0, answers, 0, 0, 0, 0];
        let check = |rest: &[u8]| {
            assert_eq!(
                read(&[&head(1)[..], rest].concat()),
                Err(Malformed),
                "{rest:?}"
            );
        };
        check(b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04abcd");
        check(b"\x01a\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04abcd");
        check(b"\0\0\x01\0\x01\0\0\0\0\0\x03abc");
        check(b"\0\0\x10\0\x01\0\0\0\0\0\x02\x02a");
        check(b"\0\0\x02\0\x01\0\0\0\0\0\x02\0\0");
        check(b"\0\0\x01\0\x01\0\0\0\0\0\x04abcdx");
        check(b"\0\0\x01\0\x01\0\0\0\0\0\x04abc");
    }

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..80), counts in 0..3_u8) {
            let mut message = vec![0, 0, 0, 0, 0, 1, 0, counts, 0, counts, 0, counts];
            message.extend(&bytes);
            let _ = read(&bytes);
            let _ = read(&message);
        }
    }
}
