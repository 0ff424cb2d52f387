//! Reads the data of records in their presentation format.

use std::str::FromStr;

use hickory_proto::rr::rdata::{A, AAAA, CAA, CNAME, MX, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::txt::parse_ttl;

use super::lex::{Lines, Token, characters, octets};
use crate::text::{ParseError, Position};

/// Longer texts do not fit the length octet of a character string (RFC 1035 section 3.3).
const CHARACTER_STRING_BYTES_MAX: usize = 255;

/// The data that `tokens` spell for a record of type `kind`; `end` is where a missing one would be.
pub(super) fn rdata(
    kind: RecordType,
    tokens: &[Token<'_>],
    origin: &Name,
    end: Position,
) -> Result<RData, ParseError> {
    let mut words = Words {
        tokens,
        origin,
        end,
    };
    // Types beyond the ones below are left to the protocol library.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are dozens of record types"
    )]
    let data = match kind {
        RecordType::A => RData::A(A(words.parsed("an IPv4 address")?)),
        RecordType::AAAA => RData::AAAA(AAAA(words.parsed("an IPv6 address")?)),
        RecordType::CAA => caa(&mut words)?,
        RecordType::CNAME => RData::CNAME(CNAME(words.name()?)),
        RecordType::MX => RData::MX(MX::new(words.parsed("a preference")?, words.name()?)),
        RecordType::NS => RData::NS(NS(words.name()?)),
        RecordType::PTR => RData::PTR(PTR(words.name()?)),
        RecordType::SOA => soa(&mut words)?,
        RecordType::SRV => {
            let priority = words.parsed("a priority")?;
            let weight = words.parsed("a weight")?;
            let port = words.parsed("a port")?;
            RData::SRV(SRV::new(priority, weight, port, words.name()?))
        }
        RecordType::TXT => txt(&mut words)?,
        other => return generic(other, tokens, end),
    };
    match words.tokens.first() {
        None => Ok(data),
        Some(token) => Err(ParseError::new(
            token.position,
            format!("a record of type {kind} ends before `{}`", token.raw),
        )),
    }
}

/// The data that `text`, a value of an expression, spells. An unquoted text of several words is one
/// character string.
pub(crate) fn rdata_from_text(
    kind: RecordType,
    text: &str,
    origin: &Name,
) -> Result<RData, String> {
    if kind == RecordType::TXT && !text.trim_start().starts_with('"') {
        return Ok(RData::TXT(TXT::from_bytes(
            text.as_bytes().chunks(CHARACTER_STRING_BYTES_MAX).collect(),
        )));
    }
    let mut lines = Lines::new(text);
    let line = lines.next().transpose().map_err(|it| it.message)?;
    let tokens = line.map(|it| it.tokens).unwrap_or_default();
    if lines.next().is_some() {
        return Err("it has more than one line".to_owned());
    }
    let end = Position { line: 1, column: 1 };
    rdata(kind, &tokens, origin, end).map_err(|it| it.message)
}

/// Reads a domain name: `@` is the origin, and what does not end with a dot goes on with it.
pub(super) fn name(token: &Token<'_>, origin: &Name) -> Result<Name, ParseError> {
    if token.raw == "@" && !token.quoted {
        return Ok(origin.clone());
    }
    let error = |why: &str| {
        ParseError::new(
            token.position,
            format!("`{}` is not a domain name: {why}", token.raw),
        )
    };
    let characters = characters(token)?;
    let mut labels: Vec<Vec<u8>> = characters
        .split(|it| it.value == '.' && !it.escaped)
        .map(octets)
        .collect();

    let absolute = labels.last().is_some_and(Vec::is_empty);
    if absolute {
        labels.pop();
    }
    if token.raw == "." {
        return Ok(Name::root());
    }
    if labels.iter().any(Vec::is_empty) || labels.is_empty() {
        return Err(error("a label is empty"));
    }
    let name = Name::from_labels(labels).map_err(|it| error(&it.to_string()))?;
    match absolute {
        true => Ok(name),
        false => name
            .append_domain(origin)
            .map_err(|it| error(&it.to_string())),
    }
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

/// What is left of a record's data.
struct Words<'a, 'b> {
    tokens: &'a [Token<'b>],
    origin: &'a Name,
    end: Position,
}

impl<'b> Words<'_, 'b> {
    fn next(&mut self, what: &str) -> Result<Token<'b>, ParseError> {
        let Some((token, rest)) = self.tokens.split_first() else {
            return Err(ParseError::new(self.end, format!("{what} is missing")));
        };
        self.tokens = rest;
        Ok(*token)
    }

    fn name(&mut self) -> Result<Name, ParseError> {
        let token = self.next("a domain name")?;
        name(&token, self.origin)
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

    fn seconds(&mut self, what: &str) -> Result<u32, ParseError> {
        let token = self.next(what)?;
        ttl(&token).ok_or_else(|| {
            ParseError::new(
                token.position,
                format!("expected {what} and found `{}`", token.raw),
            )
        })
    }

    fn text(&mut self, what: &str) -> Result<Vec<u8>, ParseError> {
        let token = self.next(what)?;
        Ok(octets(&characters(&token)?))
    }
}

fn soa(words: &mut Words<'_, '_>) -> Result<RData, ParseError> {
    let primary = words.name()?;
    let mailbox = words.name()?;
    let serial = words.parsed("a serial number")?;
    let mut interval = |what| {
        let seconds = words.seconds(what)?;
        Ok::<i32, ParseError>(i32::try_from(seconds).expect("at most TTL_MAX"))
    };
    let (refresh, retry, expire) = (
        interval("a refresh interval")?,
        interval("a retry interval")?,
        interval("an expiry")?,
    );
    let minimum = words.seconds("a negative time to live")?;
    Ok(RData::SOA(SOA::new(
        primary, mailbox, serial, refresh, retry, expire, minimum,
    )))
}

fn txt(words: &mut Words<'_, '_>) -> Result<RData, ParseError> {
    let mut strings = Vec::new();
    while strings.is_empty() || !words.tokens.is_empty() {
        let position = words.tokens.first().map_or(words.end, |it| it.position);
        let string = words.text("a text")?;
        if string.len() > CHARACTER_STRING_BYTES_MAX {
            let message = format!(
                "a string of {} octets; at most 255 fit, so split it",
                string.len()
            );
            return Err(ParseError::new(position, message));
        }
        strings.push(string);
    }
    Ok(RData::TXT(TXT::from_bytes(
        strings.iter().map(Vec::as_slice).collect(),
    )))
}

/// `flags tag value` (RFC 8659 section 4.1.1).
fn caa(words: &mut Words<'_, '_>) -> Result<RData, ParseError> {
    let flags: u8 = words.parsed("flags from 0 to 255")?;
    let tag_token = words.next("a tag")?;
    let tag = tag_token.raw.to_ascii_lowercase();
    if tag.is_empty() || !tag.chars().all(|it| it.is_ascii_alphanumeric()) {
        return Err(ParseError::new(
            tag_token.position,
            format!("`{tag}` is not a tag"),
        ));
    }
    let value = words.text("a value")?;

    let mut data = CAA::new_issue(flags & CAA_CRITICAL != 0, None, Vec::new());
    data.reserved_flags = flags & !CAA_CRITICAL;
    data.tag = tag;
    data.value = value;
    Ok(RData::CAA(data))
}

/// The one flag of a CAA record that has a meaning.
const CAA_CRITICAL: u8 = 0x80;

fn generic(kind: RecordType, tokens: &[Token<'_>], end: Position) -> Result<RData, ParseError> {
    let position = tokens.first().map_or(end, |it| it.position);
    let words: Vec<String> = tokens
        .iter()
        .map(|it| {
            if it.quoted {
                format!("\"{}\"", it.raw)
            } else {
                it.raw.to_owned()
            }
        })
        .collect();
    RData::try_from_str(kind, &words.join(" ")).map_err(|error| {
        ParseError::new(
            position,
            format!("not the data of a record of type {kind}: {error}"),
        )
    })
}
