//! Reads what a client sends, as far as is needed to answer or to refuse it.

use super::edns::Edns;
use super::kind;
use super::name::Folded;

/// Octets of the header, which every message begins with (RFC 1035 section 4.1.1).
pub const HEADER_BYTES: usize = 12;

/// The header, without the numbers of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// As it was sent.
    pub id: [u8; 2],
    pub operation: u8,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
}

/// What a client wants to know.
#[derive(Clone, Debug)]
pub struct Query<'a> {
    pub header: Header,
    /// Name, type and class as they were sent: what comes back has the case of what was asked, by which
    /// resolvers know their own questions.
    pub question: &'a [u8],
    pub name: Folded,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns<'a>>,
    /// Where the TSIG record begins, if there is one (RFC 8945).
    pub signature: Option<usize>,
}

/// What a message is.
#[derive(Clone, Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are queries, none of which should cost an allocation"
)]
pub enum Received<'a> {
    /// No question: too short for one, or an answer. Nobody waits for a reply.
    Nothing,
    /// Something other than a question for records, such as an update or a notification.
    Other(Header),
    Query(Query<'a>),
    /// The client breaks the rules, and shall hear that.
    Malformed(Header),
}

/// RFC 1035 section 4.1.1, and the later ones that IANA has.
pub const OPERATION_QUERY: u8 = 0;
pub const OPERATION_NOTIFY: u8 = 4;
pub const OPERATION_UPDATE: u8 = 5;

impl Header {
    /// The header of a question, or `None` if `bytes` are none.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let &[id_high, id_low, first, second, ..] = bytes.first_chunk::<HEADER_BYTES>()?;
        let is_answer = first & 0x80 != 0;
        (!is_answer).then_some(Self {
            id: [id_high, id_low],
            operation: first >> 3 & 0xf,
            recursion_desired: first & 1 != 0,
            checking_disabled: second & 0x10 != 0,
        })
    }
}

/// Reads a message.
pub fn read(bytes: &[u8]) -> Received<'_> {
    let Some(header) = Header::read(bytes) else {
        return Received::Nothing;
    };
    if header.operation != OPERATION_QUERY {
        return Received::Other(header);
    }
    query(header, bytes).map_or(Received::Malformed(header), Received::Query)
}

/// `None` if the message breaks the rules.
fn query(header: Header, bytes: &[u8]) -> Option<Query<'_>> {
    let count = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let [questions, answers, authorities, additionals] = [4, 6, 8, 10].map(count);
    if questions != 1 {
        return None;
    }
    let after_header = &bytes[HEADER_BYTES..];
    let name = Folded::read(after_header).ok()?;
    let question = after_header.get(..name.length() + 4)?;
    let &[.., kind_high, kind_low, class_high, class_low] = question else {
        return None;
    };
    let mut query = Query {
        header,
        question,
        name,
        kind: u16::from_be_bytes([kind_high, kind_low]),
        class: u16::from_be_bytes([class_high, class_low]),
        edns: None,
        signature: None,
    };

    let mut at = HEADER_BYTES + question.len();
    for _ in 0..u32::from(answers) + u32::from(authorities) {
        at = Record::read(bytes, at)?.end;
    }
    for _ in 0..additionals {
        // A signature is the last there is.
        if query.signature.is_some() {
            return None;
        }
        let record = Record::read(bytes, at)?;
        match record.kind {
            kind::OPT if query.edns.is_none() && record.is_of_root => {
                query.edns = Some(Edns::read(record.class, record.ttl, record.data).ok()?);
            }
            kind::OPT => return None,
            kind::TSIG => query.signature = Some(at),
            _ => (),
        }
        at = record.end;
    }
    (at == bytes.len()).then_some(query)
}

/// A record of a message.
pub(crate) struct Record<'a> {
    is_of_root: bool,
    pub(crate) kind: u16,
    class: u16,
    pub(crate) ttl: [u8; 4],
    pub(crate) data: &'a [u8],
    pub(crate) end: usize,
}

impl<'a> Record<'a> {
    pub(crate) fn read(bytes: &'a [u8], start: usize) -> Option<Self> {
        let at = end_of_name(bytes, start)?;
        let (fixed, rest) = bytes.get(at..)?.split_first_chunk::<10>()?;
        let &[
            kind_high,
            kind_low,
            class_high,
            class_low,
            t0,
            t1,
            t2,
            t3,
            high,
            low,
        ] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        Some(Self {
            is_of_root: at == start + 1,
            kind: u16::from_be_bytes([kind_high, kind_low]),
            class: u16::from_be_bytes([class_high, class_low]),
            ttl: [t0, t1, t2, t3],
            data: rest.get(..length)?,
            end: at + fixed.len() + length,
        })
    }
}

/// Where the name that begins at `start` ends: behind the root's label, or behind a pointer to the rest
/// (RFC 1035 section 4.1.4), which nobody follows here.
fn end_of_name(bytes: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        match *bytes.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            64..192 => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: [u8; 12] = [0xab, 0xcd, 1, 0x10, 0, 1, 0, 0, 0, 0, 0, 0];
    const QUESTION: &[u8] = b"\x03wWw\x02eu\x00\x00\x1c\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00";
    const TSIG: &[u8] = b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x02ab";

    #[test]
    fn reads_a_question() {
        let bytes = message([0, 0, 0], &[]);
        let Received::Query(query) = read(&bytes) else {
            panic!("it is one");
        };
        let header = Header {
            id: [0xab, 0xcd],
            operation: 0,
            recursion_desired: true,
            checking_disabled: true,
        };
        assert_eq!(query.header, header);
        assert_eq!(query.question, QUESTION);
        assert_eq!(query.name.octets(), b"\x03www\x02eu\x00");
        assert_eq!((query.kind, query.class, query.edns), (28, 1, None));
    }

    #[test]
    fn finds_what_comes_after_the_question() {
        let soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x00\x00\x01x";
        let bytes = message([1, 1, 2], &[soa, soa, OPT, TSIG]);
        let Received::Query(query) = read(&bytes) else {
            panic!("it is one");
        };
        assert_eq!(
            query.edns.map(|it| (it.payload, it.dnssec_ok)),
            Some((1232, true))
        );
        assert_eq!(query.signature, Some(bytes.len() - TSIG.len()));
    }

    #[test]
    fn has_nothing_to_say_to_answers_and_to_noise() {
        let mut answer = message([0, 0, 0], &[]);
        answer[2] |= 0x80;
        for bytes in [&answer[..], &answer[..11], &[]] {
            assert!(matches!(read(bytes), Received::Nothing), "{bytes:?}");
        }
        let mut notify = message([0, 0, 0], &[]);
        notify[2] |= OPERATION_NOTIFY << 3;
        assert!(matches!(read(&notify), Received::Other(it) if it.operation == OPERATION_NOTIFY));
    }

    #[test]
    fn notices_what_breaks_the_rules() {
        let check = |bytes: &[u8]| {
            assert!(matches!(read(bytes), Received::Malformed(_)), "{bytes:?}");
        };
        let good = message([0, 0, 1], &[OPT]);
        for length in HEADER_BYTES..good.len() {
            check(&good[..length]);
        }
        check(&[&good[..], &[0]].concat());
        check(&message([0, 0, 2], &[OPT, OPT]));
        check(&message([0, 0, 2], &[TSIG, OPT]));
        check(&message(
            [0, 0, 1],
            &[b"\x01a\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"],
        ));
        check(&message(
            [0, 0, 1],
            &[b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x01\x00"],
        ));
        for questions in [0, 2] {
            let mut bytes = message([0, 0, 0], &[]);
            bytes[5] = questions;
            check(&bytes);
        }
    }

    fn message(counts: [u8; 3], records: &[&[u8]]) -> Vec<u8> {
        let mut bytes = HEAD.to_vec();
        for (at, count) in [7, 9, 11].into_iter().zip(counts) {
            bytes[at] = count;
        }
        bytes.extend_from_slice(QUESTION);
        bytes.extend(records.concat());
        bytes
    }
}
