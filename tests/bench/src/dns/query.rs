//! Questions as they travel.

use anyhow::{Context as _, Result, bail};

/// A question for the A record of the name in `line`, after which the client's network may stand:
/// `closest.bench.test 81.2.69.0/24`. Its number is 0.
///
/// # Errors
///
/// If that is no name, or no IPv4 network of 24 bits.
pub(crate) fn encode(line: &str) -> Result<Vec<u8>> {
    let mut words = line.split_whitespace();
    let name = words.next().context("a line without a name")?;
    // One question, and one record beside it: EDNS.
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.trim_end_matches('.').split('.') {
        if label.is_empty() || 63 < label.len() {
            bail!("{name:?} is no name");
        }
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend([0, 0, TYPE_A, 0, CLASS_IN]);
    query.extend([0, 0, TYPE_OPT, 0x04, 0xd0, 0, 0, 0, 0]);
    match words.next() {
        None => query.extend([0, 0]),
        Some(network) => {
            let (address, length) = network.split_once('/').unwrap_or((network, "24"));
            let [a, b, c, _] = address.parse::<std::net::Ipv4Addr>()?.octets();
            if length != "24" {
                bail!("{network} is not a network of 24 bits");
            }
            query.extend([0, 11, 0, OPTION_SUBNET, 0, 7, 0, 1, 24, 0, a, b, c]);
        }
    }
    Ok(query)
}

const TYPE_A: u8 = 1;
const TYPE_OPT: u8 = 41;
const CLASS_IN: u8 = 1;
const OPTION_SUBNET: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_names_and_networks() {
        let plain = encode("a.test").unwrap();
        assert_eq!(
            plain[12..],
            *b"\x01a\x04test\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0"
        );
        let placed = encode("a.test 192.0.2.0/24").unwrap();
        assert_eq!(
            placed[plain.len() - 2..],
            *b"\0\x0b\0\x08\0\x07\0\x01\x18\0\xc0\0\x02"
        );

        assert!(encode("a..test").is_err());
        assert!(encode("a.test 192.0.2.0/20").is_err());
        assert!(encode("").is_err());
    }
}
