//! Reads the data of records in their presentation format, and writes it as it travels.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::rr::{RData, RecordType};
use hickory_proto::serialize::binary::{
    BinDecoder, BinEncodable as _, BinEncoder, NameEncoding, Restrict,
};
use hickory_proto::serialize::txt::parse_ttl;

use super::lex::{Lines, Token, characters, octets};
use crate::text::{ParseError, Position};
use crate::wire::{kind, name};

/// Longer texts do not fit the length octet of a character string (RFC 1035 section 3.3).
const CHARACTER_STRING_BYTES_MAX: usize = 255;

/// The data that `tokens` spell for a record of type `kind`; `end` is where a missing one would be.
pub(super) fn data(
    kind: u16,
    tokens: &[Token<'_>],
    origin: &[u8],
    end: Position,
) -> Result<Vec<u8>, ParseError> {
    if let [first, rest @ ..] = tokens
        && !first.quoted
        && first.raw == r"\#"
    {
        return unknown(kind, first, rest);
    }
    let mut words = Words {
        tokens,
        origin,
        end,
        data: Vec::new(),
    };
    match kind {
        kind::A => words.ipv4()?,
        kind::AAAA => words.ipv6()?,
        kind::CAA => words.caa()?,
        kind::CNAME | kind::DNAME | kind::NS | kind::PTR => words.name()?,
        kind::DS => words.ds()?,
        kind::MX => {
            words.number::<u16, 2>("a preference", u16::to_be_bytes)?;
            words.name()?;
        }
        kind::SOA => words.soa()?,
        kind::SRV => {
            for what in ["a priority", "a weight", "a port"] {
                words.number::<u16, 2>(what, u16::to_be_bytes)?;
            }
            words.name()?;
        }
        kind::TXT => words.txt()?,
        // Types beyond these are left to the protocol library.
        other => return rare(other, tokens, end),
    }
    if let Some(token) = words.tokens.first() {
        let message = format!(
            "a record of type {} ends before `{}`",
            kind::Shown(kind),
            token.raw
        );
        return Err(ParseError::new(token.position, message));
    }
    if DATA_BYTES_MAX < words.data.len() {
        return Err(ParseError::new(end, "the record is longer than a message"));
    }
    Ok(words.data)
}

/// What a message over TCP has room for beside its header and a question of the longest name, so that
/// whatever a zone has can be answered.
const DATA_BYTES_MAX: usize = 65_000;

/// The data that `text`, a value of an expression, spells. An unquoted text of several words is one
/// character string.
pub(crate) fn data_from_text(kind: u16, text: &str, origin: &[u8]) -> Result<Vec<u8>, String> {
    if kind == kind::TXT && !text.trim_start().starts_with('"') {
        let mut data = Vec::new();
        let strings = text.as_bytes().chunks(CHARACTER_STRING_BYTES_MAX);
        strings.for_each(|it| character_string(&mut data, it));
        if text.is_empty() {
            character_string(&mut data, b"");
        }
        return Ok(data);
    }
    let mut lines = Lines::new(text);
    let line = lines.next().transpose().map_err(|it| it.message)?;
    let tokens = line.map(|it| it.tokens).unwrap_or_default();
    if lines.next().is_some() {
        return Err("it has more than one line".to_owned());
    }
    let end = Position { line: 1, column: 1 };
    data(kind, &tokens, origin, end).map_err(|it| it.message)
}

/// Reads a domain name: `@` is the origin, and what does not end with a dot goes on with it.
pub(super) fn name(token: &Token<'_>, origin: &[u8]) -> Result<Vec<u8>, ParseError> {
    name::parse(token.raw, origin).map_err(|why| {
        let message = format!("`{}` is not a domain name: {why}", token.raw);
        ParseError::new(token.position, message)
    })
}

/// Reads a time to live: seconds, or numbers with units (`1h30m`). At most 2³¹ − 1 (RFC 2181).
pub(super) fn ttl(token: &Token<'_>) -> Option<u32> {
    let starts_with_digit = token.raw.starts_with(|it: char| it.is_ascii_digit());
    if token.quoted || !starts_with_digit {
        return None;
    }
    parse_ttl(token.raw).ok().filter(|it| *it <= TTL_MAX)
}

const TTL_MAX: u32 = (1 << 31) - 1;

/// What is left of a record's data, and what was read of it.
struct Words<'a, 'b> {
    tokens: &'a [Token<'b>],
    origin: &'a [u8],
    end: Position,
    data: Vec<u8>,
}

impl<'b> Words<'_, 'b> {
    fn next(&mut self, what: &str) -> Result<Token<'b>, ParseError> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(ParseError::new(self.end, format!("{what} is missing")));
        };
        self.tokens = rest;
        Ok(*token)
    }

    fn name(&mut self) -> Result<(), ParseError> {
        let token = self.next("a domain name")?;
        self.data.extend(name(&token, self.origin)?);
        Ok(())
    }

    fn parsed<T: FromStr>(&mut self, what: &str) -> Result<T, ParseError> {
        let token = self.next(what)?;
        token.raw.parse().map_err(|_| {
            ParseError::new(
                token.position,
                format!("expected {what} and found `{}`", token.raw),
            )
        })
    }

    fn ipv4(&mut self) -> Result<(), ParseError> {
        let address: Ipv4Addr = self.parsed("an IPv4 address")?;
        self.data.extend(address.octets());
        Ok(())
    }

    fn ipv6(&mut self) -> Result<(), ParseError> {
        let address: Ipv6Addr = self.parsed("an IPv6 address")?;
        self.data.extend(address.octets());
        Ok(())
    }

    fn number<T: FromStr, const BYTES: usize>(
        &mut self,
        what: &str,
        octets: impl Fn(T) -> [u8; BYTES],
    ) -> Result<(), ParseError> {
        let number = self.parsed(what)?;
        self.data.extend(octets(number));
        Ok(())
    }

    fn seconds(&mut self, what: &str) -> Result<(), ParseError> {
        let token = self.next(what)?;
        let seconds = ttl(&token).ok_or_else(|| {
            ParseError::new(
                token.position,
                format!("expected {what} and found `{}`", token.raw),
            )
        })?;
        self.data.extend(seconds.to_be_bytes());
        Ok(())
    }

    fn text(&mut self, what: &str) -> Result<Vec<u8>, ParseError> {
        let token = self.next(what)?;
        Ok(octets(&characters(&token)?))
    }

    fn soa(&mut self) -> Result<(), ParseError> {
        self.name()?;
        self.name()?;
        self.number("a serial number", u32::to_be_bytes)?;
        let intervals = [
            "a refresh interval",
            "a retry interval",
            "an expiry",
            "a negative time to live",
        ];
        intervals.into_iter().try_for_each(|it| self.seconds(it))
    }

    /// `tag algorithm digest-type digest` (RFC 4034 section 5.3).
    fn ds(&mut self) -> Result<(), ParseError> {
        self.number::<u16, 2>("a key tag", u16::to_be_bytes)?;
        self.number::<u8, 1>("the number of an algorithm", u8::to_be_bytes)?;
        self.number::<u8, 1>("the number of a digest's type", u8::to_be_bytes)?;
        let position = self.tokens.first().map_or(self.end, |it| it.position);
        let digest = hexadecimal(self.tokens).filter(|it| !it.is_empty());
        let expected = || ParseError::new(position, "expected a digest in hexadecimal");
        self.data.extend(digest.ok_or_else(expected)?);
        self.tokens = &[];
        Ok(())
    }

    fn txt(&mut self) -> Result<(), ParseError> {
        while self.data.is_empty() || !self.tokens.is_empty() {
            let position = self.tokens.first().map_or(self.end, |it| it.position);
            let string = self.text("a text")?;
            if string.len() > CHARACTER_STRING_BYTES_MAX {
                let message = format!(
                    "a string of {} octets; at most 255 fit, so split it",
                    string.len()
                );
                return Err(ParseError::new(position, message));
            }
            character_string(&mut self.data, &string);
        }
        Ok(())
    }

    /// `flags tag value` (RFC 8659 section 4.1.1).
    fn caa(&mut self) -> Result<(), ParseError> {
        self.number::<u8, 1>("flags from 0 to 255", u8::to_be_bytes)?;
        let token = self.next("a tag")?;
        let tag = token.raw.to_ascii_lowercase();
        let fits = !tag.is_empty() && tag.len() <= CHARACTER_STRING_BYTES_MAX;
        if !fits || !tag.bytes().all(|it| it.is_ascii_alphanumeric()) {
            let message = format!("`{tag}` is not a tag");
            return Err(ParseError::new(token.position, message));
        }
        let value = self.text("a value")?;
        character_string(&mut self.data, tag.as_bytes());
        self.data.extend(value);
        Ok(())
    }
}

/// Adds a string of at most 255 octets.
fn character_string(data: &mut Vec<u8>, string: &[u8]) {
    data.push(u8::try_from(string.len()).expect("at most 255 octets"));
    data.extend_from_slice(string);
}

/// `\# length octets`, for data of types that nobody can spell (RFC 3597 section 5).
fn unknown(kind: u16, mark: &Token<'_>, tokens: &[Token<'_>]) -> Result<Vec<u8>, ParseError> {
    let error = |message: &str| ParseError::new(mark.position, message);
    let [length, digits @ ..] = tokens else {
        return Err(error("`\\#` needs a length and octets in hexadecimal"));
    };
    let octets = hexadecimal(digits);
    let octets = octets.ok_or_else(|| error("the octets after `\\#` are not in hexadecimal"))?;
    match length.raw.parse::<usize>() {
        Ok(length) if octets.len() == length && length <= DATA_BYTES_MAX => {
            let wrong = format!("no data of a record of type {}", kind::Shown(kind));
            sound(kind, &octets).ok_or_else(|| error(&wrong))
        }
        _ => Err(ParseError::new(
            length.position,
            format!("there are {} octets, not `{}`", octets.len(), length.raw),
        )),
    }
}

/// The data of a record of a type as it should travel, names in full; `None` if it is none.
fn sound(kind: u16, data: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = BinDecoder::new(data);
    let length = u16::try_from(data.len()).ok()?;
    let known = RData::read(&mut decoder, RecordType::from(kind), Restrict::new(length)).ok()?;
    written(&known).ok()
}

fn written(known: &RData) -> Result<Vec<u8>, String> {
    let mut data = Vec::new();
    let mut encoder = BinEncoder::new(&mut data);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    known.emit(&mut encoder).map_err(|it| it.to_string())?;
    Ok(data)
}

/// The octets that the tokens spell together.
fn hexadecimal(tokens: &[Token<'_>]) -> Option<Vec<u8>> {
    let digits: String = tokens.iter().map(|it| it.raw).collect();
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let octet = |pair: &[u8; 2]| {
        let pair = str::from_utf8(pair).ok()?;
        u8::from_str_radix(pair, 16).ok()
    };
    let octets: Option<Vec<u8>> = pairs.iter().map(octet).collect();
    octets.filter(|_| rest.is_empty())
}

fn rare(kind: u16, tokens: &[Token<'_>], end: Position) -> Result<Vec<u8>, ParseError> {
    let position = tokens.first().map_or(end, |it| it.position);
    let error = |why: String| {
        let message = format!(
            "not the data of a record of type {}: {why}",
            kind::Shown(kind)
        );
        ParseError::new(position, message)
    };
    let words: Vec<String> = tokens
        .iter()
        .map(|it| match it.quoted {
            true => format!("\"{}\"", it.raw),
            false => it.raw.to_owned(),
        })
        .collect();
    let data = parse_rare(RecordType::from(kind), &words.join(" ")).map_err(error)?;
    if DATA_BYTES_MAX < data.len() {
        return Err(error("it is longer than a message".to_owned()));
    }
    Ok(data)
}

fn parse_rare(kind: RecordType, text: &str) -> Result<Vec<u8>, String> {
    let known = RData::try_from_str(kind, text).map_err(|it| it.to_string())?;
    written(&known)
}
