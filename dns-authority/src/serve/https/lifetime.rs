//! Decides how long a cache may keep an answer.

const HEADER_BYTES: usize = 12;
/// Type, class, time to live and length.
const FIXED_BYTES: usize = 10;
const KIND_SOA: u16 = 6;

/// The least time to live among what `message` answers with, or of the denial if it answers with nothing
/// (RFC 2308 section 5); `None` if it says neither.
pub(super) fn lifetime_seconds(message: &[u8]) -> Option<u32> {
    let count = |at: usize| {
        Some(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ]))
    };
    let (questions, answers, authorities) = (count(4)?, count(6)?, count(8)?);
    let mut at = HEADER_BYTES;
    for _ in 0..questions {
        at = end_of_name(message, at)? + 4;
    }
    let mut records = std::iter::from_fn(|| {
        let record = record(message, at)?;
        at = record.end;
        Some(record)
    });
    if answers != 0 {
        let answers = records.take(answers.into());
        return answers.map(|it| it.ttl).min();
    }
    let soa = records
        .by_ref()
        .take(authorities.into())
        .find(|it| it.kind == KIND_SOA)?;
    // The last of its numbers is for how long nothing is nothing.
    let negative = message[..soa.end].last_chunk()?;
    Some(soa.ttl.min(u32::from_be_bytes(*negative)))
}

struct Record {
    kind: u16,
    ttl: u32,
    end: usize,
}

fn record(message: &[u8], start: usize) -> Option<Record> {
    let at = end_of_name(message, start)?;
    let fixed = message.get(at..)?.first_chunk::<FIXED_BYTES>()?;
    let &[k0, k1, _, _, t0, t1, t2, t3, l0, l1] = fixed;
    let end = at + FIXED_BYTES + usize::from(u16::from_be_bytes([l0, l1]));
    (end <= message.len()).then_some(Record {
        kind: u16::from_be_bytes([k0, k1]),
        ttl: u32::from_be_bytes([t0, t1, t2, t3]),
        end,
    })
}

/// Where the name that begins at `at` ends: behind the root's label, or behind a pointer to the rest.
fn end_of_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            192.. => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const QUESTION: &[u8] = b"\x01a\x04test\x00\x00\x01\x00\x01";
    const HOUR: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x0e\x10\x00\x04\x01\x02\x03\x04";
    const MINUTE: &[u8] = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x01\x02\x03\x04";
    const NS: &[u8] = b"\x00\x00\x02\x00\x01\x00\x00\x00\x01\x00\x01\x00";

    #[test]
    fn is_the_least_of_the_answers() {
        assert_eq!(check([1, 0], &[HOUR]), Some(3600));
        assert_eq!(check([2, 0], &[HOUR, MINUTE]), Some(60));
        assert_eq!(check([1, 1], &[HOUR, NS]), Some(3600));
    }

    #[test]
    fn is_the_denials_where_nothing_is_answered() {
        assert_eq!(check([0, 2], &[NS, &soa(250, 60)]), Some(60));
        assert_eq!(check([0, 1], &[&soa(30, 60)]), Some(30));
        assert_eq!(check([0, 1], &[NS]), None);
        assert_eq!(check([0, 0], &[]), None);
    }

    proptest! {
        #[test]
        fn noise_is_no_reason_to_panic(noise in prop::collection::vec(any::<u8>(), 0..80)) {
            lifetime_seconds(&noise);
        }
    }

    fn check([answers, authorities]: [u8; 2], records: &[&[u8]]) -> Option<u32> {
        let header = [0, 0, 0x80, 0, 0, 1, 0, answers, 0, authorities, 0, 0];
        let message = [&header, QUESTION, &records.concat()].concat();
        lifetime_seconds(&message)
    }

    fn soa(ttl: u8, minimum: u8) -> Vec<u8> {
        let head = [0, 0, 6, 0, 1, 0, 0, 0, ttl, 0, 22];
        let numbers = [0; 16];
        [&head[..], &[0, 0], &numbers, &[0, 0, 0, minimum]].concat()
    }
}
