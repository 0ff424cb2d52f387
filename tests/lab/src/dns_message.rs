//! A question for an IPv4 address as a DNS message, and the addresses in an answer (RFC 1035).

use std::net::Ipv4Addr;

/// What a name server answered without an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// In the order of the message.
    pub addresses: Vec<Ipv4Addr>,
    /// The lifetime of the first address.
    pub ttl_seconds: Option<u32>,
}

/// Why a message is not an answer with addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    #[error("malformed answer")]
    Malformed,
    #[error("answer to another question")]
    Unrelated,
    #[error("response code {0}")]
    ResponseCode(u8),
}

const TYPE_A: u16 = 1;
const CLASS_INTERNET: u16 = 1;
const HEADER: usize = 12;

/// The query for the addresses of `name`, recursion not desired; `None` if it is not a name.
pub fn query(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    message.extend(id.to_be_bytes());
    message.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|it| (1..64).contains(it))?;
        message.push(length);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(TYPE_A.to_be_bytes());
    message.extend(CLASS_INTERNET.to_be_bytes());
    (message.len() <= HEADER + 255 + 4).then_some(message)
}

/// The addresses in `message`, which must answer the query with this `id`.
///
/// # Errors
///
/// If it does not, or not with the response code 0.
pub fn answer(id: u16, message: &[u8]) -> Result<Answer, BadAnswer> {
    let number = |at| number(message, at).ok_or(BadAnswer::Malformed);
    let flags = number(2)?;
    if number(0)? != id || flags & 0x8000 == 0 {
        return Err(BadAnswer::Unrelated);
    }
    if flags & 0xf != 0 {
        return Err(BadAnswer::ResponseCode(message[3] & 0xf));
    }

    let (questions, answers) = (number(4)?, number(6)?);
    let mut at = HEADER;
    for _ in 0..questions {
        at = after_name(message, at).ok_or(BadAnswer::Malformed)? + 4;
    }
    let mut answer = Answer {
        addresses: Vec::new(),
        ttl_seconds: None,
    };
    for _ in 0..answers {
        at = after_name(message, at).ok_or(BadAnswer::Malformed)?;
        let length = usize::from(number(at + 8)?);
        let data = message
            .get(at + 10..at + 10 + length)
            .ok_or(BadAnswer::Malformed)?;
        if let (TYPE_A, Ok(octets)) = (number(at)?, <[u8; 4]>::try_from(data)) {
            let ttl = u32::from(number(at + 4)?) << 16 | u32::from(number(at + 6)?);
            answer.addresses.push(Ipv4Addr::from(octets));
            answer.ttl_seconds.get_or_insert(ttl);
        }
        at += 10 + length;
    }
    Ok(answer)
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    let bytes = message.get(at..at + 2)?;
    bytes.try_into().ok().map(u16::from_be_bytes)
}

/// Where the name that starts at `at` ends; its first pointer ends it.
fn after_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match message.get(at)? {
            0 => return Some(at + 1),
            length if 0xc0 <= *length => return Some(at + 2),
            length => at += 1 + usize::from(*length),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_an_answer_with_two_addresses_behind_an_alias() {
        let mut message = query(7, "www.example").unwrap();
        message[2] = 0x84;
        message[7] = 3;
        message.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x05\x00\x02\xc0\x0c");
        message.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x05\x00\x04\xc0\x00\x02\x01");
        message.extend(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x05\x00\x04\xc0\x00\x02\x02");

        let expected = Answer {
            addresses: vec![Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)],
            ttl_seconds: Some(261),
        };
        assert_eq!(answer(7, &message), Ok(expected));
        assert_eq!(answer(8, &message), Err(BadAnswer::Unrelated));
    }

    #[test]
    fn an_error_code_is_not_an_answer() {
        let mut message = query(7, "www.example").unwrap();
        message[2] = 0x84;
        message[3] = 3;

        assert_eq!(answer(7, &message), Err(BadAnswer::ResponseCode(3)));
        assert_eq!(answer(7, &message[..9]), Err(BadAnswer::ResponseCode(3)));
        assert_eq!(answer(7, &message[..3]), Err(BadAnswer::Malformed));
    }

    #[test]
    fn refuses_names_that_are_none() {
        assert_eq!(query(1, "two..dots"), None);
        assert_eq!(query(1, &"x".repeat(64)), None);
        assert_eq!(query(1, &"long.".repeat(60)), None);
    }

    proptest! {
        #[test]
        fn no_message_makes_it_panic(message: Vec<u8>) {
            let _any = answer(0, &message);
            let mut message = message;
            message.splice(0..0, [0, 0, 0x80, 0, 0, 1, 0, 9, 0, 0, 0, 0]);
            let _any = answer(0, &message);
        }
    }
}
