//! Shows the data of records in their presentation format, as a zone file could have it.

use std::fmt::{self, Formatter, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};

use crate::wire::{kind, name};

/// A record's data, by its type and as it travels, names in full.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a>(pub(crate) u16, pub(crate) &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(kind, data) = *self;
        let mut rest = Rest(data);
        let shown = match kind {
            kind::A => rest.address::<4, Ipv4Addr>(formatter),
            kind::AAAA => rest.address::<16, Ipv6Addr>(formatter),
            kind::CNAME | kind::DNAME | kind::NS | kind::PTR => rest.name(formatter),
            kind::MX => rest.number(formatter).and_then(|()| rest.name(formatter)),
            kind::SOA => rest.soa(formatter),
            kind::SRV => rest.srv(formatter),
            kind::TXT => rest.strings(formatter),
            kind::CAA => rest.caa(formatter),
            kind::DS => rest.ds(formatter),
            rare => rest.rare(rare, formatter),
        };
        // What is not sound is shown as it is.
        shown.ok_or(()).or_else(|()| unknown(data, formatter))
    }
}

/// What is left of a record's data. Nothing comes of data that is not as its type has it.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const BYTES: usize>(&mut self) -> Option<[u8; BYTES]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    fn address<const BYTES: usize, T: From<[u8; BYTES]> + fmt::Display>(
        &self,
        out: &mut Formatter<'_>,
    ) -> Option<()> {
        let address = T::from(*self.0.as_array()?);
        write!(out, "{address}").ok()
    }

    /// A number of two octets, and a space.
    fn number(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        let number = u16::from_be_bytes(self.take()?);
        write!(out, "{number} ").ok()
    }

    fn name(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        let (name, rest) = self.0.split_at_checked(name::length(self.0))?;
        self.0 = rest;
        write!(out, "{}", name::Shown(name)).ok()
    }

    fn soa(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        self.name(out)?;
        out.write_char(' ').ok()?;
        self.name(out)?;
        let (numbers, rest) = self.0.as_chunks::<4>();
        let mut numbers = numbers.iter().map(|it| u32::from_be_bytes(*it));
        let written = numbers.try_for_each(|it| write!(out, " {it}"));
        written.ok().filter(|()| rest.is_empty())
    }

    fn srv(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        (0..3).try_for_each(|_| self.number(out))?;
        self.name(out)
    }

    fn strings(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        let mut space = "";
        while let Some((length, rest)) = self.0.split_first() {
            let (string, rest) = rest.split_at_checked(usize::from(*length))?;
            self.0 = rest;
            out.write_str(space).ok()?;
            quoted(string, out).ok()?;
            space = " ";
        }
        Some(())
    }

    fn caa(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        let [flags, length] = self.take()?;
        let (tag, value) = self.0.split_at_checked(usize::from(length))?;
        write!(out, "{flags} {} ", str::from_utf8(tag).ok()?).ok()?;
        quoted(value, out).ok()
    }

    fn ds(&mut self, out: &mut Formatter<'_>) -> Option<()> {
        self.number(out)?;
        let [algorithm, digest] = self.take()?;
        write!(out, "{algorithm} {digest} ").ok()?;
        self.0
            .iter()
            .try_for_each(|it| write!(out, "{it:02X}"))
            .ok()
    }

    /// Types beyond the ones above are left to the protocol library.
    fn rare(&self, kind: u16, out: &mut Formatter<'_>) -> Option<()> {
        let mut decoder = BinDecoder::new(self.0);
        let length = u16::try_from(self.0.len()).ok()?;
        let kind = RecordType::from(kind);
        match RData::read(&mut decoder, kind, Restrict::new(length)) {
            Ok(RData::Unknown { .. }) | Err(_) => None,
            Ok(known) => write!(out, "{known}").ok(),
        }
    }
}

fn quoted(string: &[u8], out: &mut Formatter<'_>) -> fmt::Result {
    out.write_char('"')?;
    for octet in string {
        match octet {
            b'"' | b'\\' => write!(out, "\\{}", char::from(*octet))?,
            b' '..=b'~' => out.write_char(char::from(*octet))?,
            _ => write!(out, "\\{octet:03}")?,
        }
    }
    out.write_char('"')
}

/// RFC 3597 section 5.
fn unknown(data: &[u8], out: &mut Formatter<'_>) -> fmt::Result {
    write!(out, "\\# {}", data.len())?;
    if !data.is_empty() {
        out.write_char(' ')?;
    }
    data.iter().try_for_each(|it| write!(out, "{it:02x}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::data_from_text;
    use super::*;

    #[test]
    fn shows_data_as_it_is_written() {
        for (kind, text) in [
            (kind::A, "192.0.2.1"),
            (kind::AAAA, "2001:db8::1"),
            (kind::CAA, "128 issue \"ca.test; x=\\\"1\\\"\""),
            (kind::DNAME, r"a\.b.Test."),
            (kind::DS, "60485 13 2 0102FF"),
            (kind::MX, "10 mail.test."),
            (kind::SOA, "ns.test. who.test. 1 2 3 4 4294967"),
            (kind::SRV, "0 5 80 ."),
            (kind::TXT, r#""two words" "" "\255\"\\ é""#),
            (65280, r"\# 2 ff00"),
            (65280, r"\# 0"),
        ] {
            let text = text.replace('é', r"\195\169");
            let data = data_from_text(kind, &text, &[0]).unwrap();
            assert_eq!(Shown(kind, &data).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn never_panics(kind in 0..300_u16, data in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Shown(kind, &data).to_string();
        }
    }
}
