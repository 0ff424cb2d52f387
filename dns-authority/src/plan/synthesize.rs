//! Makes names out of addresses and addresses out of names, for whole networks at once.
//!
//! As PowerDNS's documentation of 5.1 says: where its older releases understand fewer forms, these
//! are understood all the same.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::value::labels;

/// A format of names: text with places that are filled in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Format(Vec<Piece>);

#[derive(Clone, Debug, PartialEq)]
enum Piece {
    /// Counted from 1.
    Place(usize),
    Text(String),
}

/// What is answered for a name that says nothing about an address.
const UNKNOWN: &str = "unknown";

/// Labels before `in-addr.arpa` and before `ip6.arpa`.
const OCTETS: usize = 4;
const NIBBLES: usize = 32;

impl Format {
    /// Reads `%1%` to `%places%`, and `%%` for a percent sign.
    pub(crate) fn parse(text: &str, places: usize) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut parts = text.split('%');
        pieces.extend(parts.next().map(|it| Piece::Text(it.to_owned())));
        while let Some(inside) = parts.next() {
            let after = parts
                .next()
                .ok_or_else(|| "a `%` is never closed; `%%` is a percent sign".to_owned())?;
            pieces.push(match inside {
                "" => Piece::Text("%".to_owned()),
                number => {
                    let number = number.parse().ok().filter(|it| (1..=places).contains(it));
                    Piece::Place(
                        number.ok_or_else(|| {
                            format!("`%{inside}%` is not one of %1% to %{places}%")
                        })?,
                    )
                }
            });
            pieces.push(Piece::Text(after.to_owned()));
        }
        Ok(Self(pieces))
    }

    fn fill(&self, values: &[String]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Place(number) => values.get(number - 1).cloned().unwrap_or_default(),
            Piece::Text(text) => text.clone(),
        };
        self.0.iter().map(piece).collect()
    }
}

/// `createReverse`: the name of the address whose octets `name` begins with, the last one first.
pub(crate) fn reverse(name: &[u8], format: &Format, exceptions: &[(IpAddr, String)]) -> String {
    let labels = texts(name);
    let Some(octets) = labels.first_chunk::<OCTETS>() else {
        return UNKNOWN.to_owned();
    };
    let mut octets = octets.clone();
    octets.reverse();
    let address: Option<Ipv4Addr> = octets.join(".").parse().ok();
    if let Some(name) = exception(address.map(IpAddr::V4), exceptions) {
        return name;
    }

    let mut hexadecimal = String::new();
    for octet in &octets {
        let _ = write!(hexadecimal, "{:02x}", octet.parse::<u8>().unwrap_or(0));
    }
    let mut values = octets.to_vec();
    values.push(octets.join("-"));
    values.push(hexadecimal);
    format.fill(&values)
}

/// `createReverse6`: the same of an IPv6 address, by nibbles.
pub(crate) fn reverse6(name: &[u8], format: &Format, exceptions: &[(IpAddr, String)]) -> String {
    let labels = texts(name);
    let Some(nibbles) = labels.first_chunk::<NIBBLES>() else {
        return UNKNOWN.to_owned();
    };
    let nibbles: Vec<String> = nibbles.iter().rev().cloned().collect();
    let first = |it: &String| it.chars().next().unwrap_or('0');
    let chunks: Vec<String> = nibbles
        .chunks(4)
        .map(|it| it.iter().map(first).collect())
        .collect();
    let Ok(address) = chunks.join(":").parse::<Ipv6Addr>() else {
        return UNKNOWN.to_owned();
    };
    if let Some(name) = exception(Some(IpAddr::V6(address)), exceptions) {
        return name;
    }

    let mut values = nibbles;
    values.push(dashed(address));
    values.extend(chunks);
    format.fill(&values)
}

/// The short form with dashes, which as a label must not begin or end with one, nor look like one of
/// an internationalised name (`xn--`).
fn dashed(address: Ipv6Addr) -> String {
    let mut dashed = address.to_string().replace(':', "-");
    if dashed.ends_with('-') {
        dashed.push('0');
    }
    if dashed.starts_with('-') || dashed.get(2..4) == Some("--") {
        dashed.insert(0, '0');
    }
    dashed
}

fn exception(address: Option<IpAddr>, exceptions: &[(IpAddr, String)]) -> Option<String> {
    let found = exceptions.iter().find(|it| Some(it.0) == address);
    found.map(|it| it.1.clone())
}

/// `createForward`: the address in the labels of `name` that the wildcard `owner` stands for;
/// 0.0.0.0 if there is none.
pub(crate) fn forward(name: &[u8], owner: &[u8]) -> Ipv4Addr {
    let address = || {
        let labels = below(name, owner)?;
        if let [a, b, c, d, ..] = &labels[..] {
            return format!("{a}.{b}.{c}.{d}").parse().ok();
        }
        let label = labels.first()?;
        let start = label.find(|it: char| it.is_ascii_hexdigit())?;
        let text = &label[start..];
        let parts: Vec<&str> = text.split('-').filter(|it| !it.is_empty()).collect();
        if let Some(octets) = parts.last_chunk::<OCTETS>() {
            let octets: Option<Vec<u8>> = octets.iter().map(|it| it.parse().ok()).collect();
            return octets?.first_chunk().map(|it| Ipv4Addr::from(*it));
        }
        let digits = text.get(text.len().checked_sub(2 * OCTETS)?..)?;
        u32::from_str_radix(digits, 16).ok().map(Ipv4Addr::from)
    };
    address().unwrap_or(Ipv4Addr::UNSPECIFIED)
}

/// `createForward6`: the same for IPv6; `::` if there is none.
pub(crate) fn forward6(name: &[u8], owner: &[u8]) -> Ipv6Addr {
    let address = || {
        let labels = below(name, owner)?;
        match &labels[..] {
            [_, _, _, _, _, _, _, _] => labels.join(":").parse().ok(),
            [label] if label.contains('-') => label.replace('-', ":").parse().ok(),
            [label] => {
                let digits = label.get(label.len().checked_sub(NIBBLES)?..)?;
                u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from)
            }
            _ => None,
        }
    };
    address().unwrap_or(Ipv6Addr::UNSPECIFIED)
}

/// `closestMagic`: the addresses in the first labels of `name`, with dashes for dots.
pub(crate) fn magic(name: &[u8]) -> Vec<IpAddr> {
    let address = |label: String| label.replace('-', ".").parse::<Ipv4Addr>().ok();
    texts(name)
        .into_iter()
        .map_while(address)
        .map(IpAddr::V4)
        .collect()
}

/// The labels of `name` that the `*` of `owner` stands for; `None` if it is no wildcard above it.
fn below(name: &[u8], owner: &[u8]) -> Option<Vec<String>> {
    let parent = owner.strip_prefix(b"\x01*")?;
    let mut all = texts(name);
    all.truncate(all.len().checked_sub(labels(parent).len())?);
    Some(all)
}

fn texts(name: &[u8]) -> Vec<String> {
    let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
    labels(name).into_iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::value::Name;

    #[test]
    fn makes_names_of_addresses() {
        check_reverse(
            "4.3.2.10.in-addr.arpa.",
            "%1%.%2%.%3%.%4%.x.",
            "10.2.3.4.x.",
        );
        check_reverse("4.3.2.10.in-addr.arpa.", "%5%.x.", "10-2-3-4.x.");
        check_reverse(
            "15.0.0.127.in-addr.arpa.",
            "a%6%-100%%.x.",
            "a7f00000f-100%.x.",
        );
        check_reverse("9.9.9.9.in-addr.arpa.", "%5%.x.", "quad9.x.");
        check_reverse("2.10.x.", "%1%", "unknown");
        let parse = |it| Format::parse(it, 6).unwrap_err();
        assert_eq!(parse("%7%.x"), "`%7%` is not one of %1% to %6%");
        assert_eq!(parse("%1"), "a `%` is never closed; `%%` is a percent sign");
    }

    #[test]
    fn makes_names_of_long_addresses() {
        let name = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.0.0.0.a.0.0.0.1.0.0.2.ip6.arpa.";
        let check = |format: &str, expected: &str| {
            let format = Format::parse(format, 41).unwrap();
            let exceptions = [("2001::9".parse().unwrap(), "nine".to_owned())];
            assert_eq!(reverse6(&wire(name), &format, &exceptions), expected);
        };
        check("%33%.x.", "2001-a-b--1.x.");
        check("%34%.%35%.%41%", "2001.000a.0001");
        check("%1%%2%%3%%4%%32%", "20011");

        let dashes = |it: &str| dashed(it.parse().unwrap());
        assert_eq!(dashes("::1"), "0--1");
        assert_eq!(dashes("2001::"), "2001--0");
        assert_eq!(dashes("aa::a"), "0aa--a");
    }

    #[test]
    fn finds_addresses_in_names() {
        for (name, expected) in [
            ("127.0.0.5.s.", "127.0.0.5"),
            ("127.0.0.5.more.s.", "127.0.0.5"),
            ("ip40414243.s.", "64.65.66.67"),
            ("40414243.s.", "64.65.66.67"),
            ("1-2-3-4.s.", "1.2.3.4"),
            ("host-1-2-3-4.s.", "1.2.3.4"),
            ("1-2-3-400.s.", "0.0.0.0"),
            ("nothing.s.", "0.0.0.0"),
            ("1.2.s.", "0.0.0.0"),
        ] {
            assert_eq!(
                forward(&wire(name), &wire("*.s.")).to_string(),
                expected,
                "{name}"
            );
        }
        assert_eq!(
            forward(&wire("1-2-3-4.s."), &wire("1-2-3-4.s.")),
            Ipv4Addr::UNSPECIFIED
        );

        for (name, expected) in [
            ("2001-a-b--1.s.", "2001:a:b::1"),
            ("2001.db8.6.5.4.3.2.1.s.", "2001:db8:6:5:4:3:2:1"),
            (
                "20010002000300040005000600070db8.s.",
                "2001:2:3:4:5:6:7:db8",
            ),
            (
                "x20010002000300040005000600070db8.s.",
                "2001:2:3:4:5:6:7:db8",
            ),
            ("nothing.s.", "::"),
            ("a.b.s.", "::"),
        ] {
            assert_eq!(
                forward6(&wire(name), &wire("*.s.")).to_string(),
                expected,
                "{name}"
            );
        }
        let found = magic(&wire("192-0-2-1.198-51-100-2.magic.1-2-3-4."));
        assert_eq!(
            found,
            ["192.0.2.1", "198.51.100.2"].map(|it| it.parse::<IpAddr>().unwrap())
        );
    }

    #[track_caller]
    fn check_reverse(name: &str, format: &str, expected: &str) {
        let format = Format::parse(format, 6).unwrap();
        let exceptions = [("9.9.9.9".parse().unwrap(), "quad9.x.".to_owned())];
        assert_eq!(reverse(&wire(name), &format, &exceptions), expected);
    }

    fn wire(name: &str) -> Box<[u8]> {
        Name::parse(name).unwrap().0
    }
}
