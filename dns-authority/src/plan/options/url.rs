//! Reads the options that only checks of URLs have: what is sent, and which answer is healthy.

use std::ops::RangeInclusive;

use super::{boolean, string, whole, wrong};
use crate::check::method::{BODY_BYTES_MAX, USER_AGENT};
use crate::check::{Headers, StatusSet, TlsProbe};
use crate::expression::{Expression, Kind};
use crate::text::ParseError;

/// What only checks of URLs understand.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::plan) struct UrlOptions {
    pub(in crate::plan) user_agent: String,
    pub(in crate::plan) headers: Headers,
    pub(in crate::plan) expected_status: StatusSet,
    pub(in crate::plan) body_contains: Option<String>,
    pub(in crate::plan) body_bytes_max: usize,
    certificate: Certificate,
}

/// What is asked of a certificate, where there is one.
#[derive(Clone, Debug, Default, PartialEq)]
struct Certificate {
    verify: bool,
    expected_name: Option<String>,
    days_left_min: Option<u32>,
}

pub(super) const NAMES: &[&str] = &[
    "byteslimit",
    "headers",
    "httpcode",
    "stringmatch",
    "tlsdays",
    "tlsname",
    "useragent",
    "verify",
];

/// Longer than any certificate is in force.
const DAYS_MAX: u32 = 3650;
/// More than any health endpoint asks for.
const HEADERS_MAX: usize = 32;

impl Default for UrlOptions {
    fn default() -> Self {
        Self {
            user_agent: USER_AGENT.to_owned(),
            headers: Headers::default(),
            expected_status: 200.into(),
            body_contains: None,
            body_bytes_max: BODY_BYTES_MAX,
            certificate: Certificate::default(),
        }
    }
}

impl UrlOptions {
    /// Takes the option `name`; `false` if it is none of these.
    pub(super) fn read(&mut self, name: &str, value: &Expression) -> Result<bool, ParseError> {
        let certificate = &mut self.certificate;
        match name {
            "byteslimit" => {
                let most = u32::try_from(BODY_BYTES_MAX).expect("64 KiB fit");
                self.body_bytes_max = whole(value, 1, most)? as usize;
            }
            "headers" => self.headers = headers(value)?,
            "httpcode" => self.expected_status = StatusSet::new(statuses(value)?),
            "stringmatch" => self.body_contains = Some(string(value)?.to_owned()),
            "tlsdays" => certificate.days_left_min = Some(whole(value, 1, DAYS_MAX)?),
            "tlsname" => certificate.expected_name = Some(host_name(value)?),
            "useragent" => self.user_agent = header_value(value)?,
            "verify" => certificate.verify = boolean(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// How a target at `host` is asked over TLS.
    pub(in crate::plan) fn tls(&self, host: &str) -> TlsProbe {
        let Certificate {
            verify,
            expected_name,
            days_left_min,
        } = self.certificate.clone();
        TlsProbe {
            verify,
            expected_name,
            days_left_min,
            ..TlsProbe::new(host)
        }
    }
}

/// Reads `{Accept = 'text/plain', X_Token = 'a'}`. Plain keys of Lua have no hyphens, and headers no
/// underscores.
fn headers(table: &Expression) -> Result<Headers, ParseError> {
    let wanted = || wrong(table, "a table like {Accept = 'text/plain', X_Token = 'a'}");
    let Kind::Table(fields) = &table.kind else {
        return Err(wanted());
    };
    if fields.len() > HEADERS_MAX {
        let message = format!("there are more than {HEADERS_MAX} headers");
        return Err(ParseError::new(table.position, message));
    }
    let read = fields.iter().map(|field| {
        let name = field.key.as_ref().ok_or_else(wanted)?.replace('_', "-");
        let fits = |it: char| it.is_ascii_alphanumeric() || it == '-';
        if name.is_empty() || !name.chars().all(fits) {
            let message = format!(
                "`{name}` is not the name of a header, which has letters, digits and hyphens"
            );
            return Err(ParseError::new(field.value.position, message));
        }
        Ok((name, header_value(&field.value)?))
    });
    let headers: Vec<(String, String)> = read.collect::<Result<_, _>>()?;
    Ok(headers.into())
}

/// Reads `200`, `'200-299,301'`, or a table of such.
fn statuses(value: &Expression) -> Result<Vec<RangeInclusive<u16>>, ParseError> {
    let wanted = || {
        wrong(
            value,
            "status codes from 100 to 599 like 200, '200-299,301' or {200, '300-399'}",
        )
    };
    match &value.kind {
        Kind::Number(_) => {
            let status = whole(value, 100, 599).map_err(|_| wanted())?;
            let status = u16::try_from(status).expect("at most 599");
            Ok(vec![status..=status])
        }
        Kind::String(text) => {
            let ranges = text.split(',').map(|it| range(it.trim()));
            ranges.collect::<Option<_>>().ok_or_else(wanted)
        }
        Kind::Table(fields) if !fields.is_empty() && fields.iter().all(|it| it.key.is_none()) => {
            let found = fields.iter().map(|it| match it.value.kind {
                Kind::Table(_) => Err(wanted()),
                _ => statuses(&it.value),
            });
            Ok(found.collect::<Result<Vec<_>, _>>()?.concat())
        }
        _ => Err(wanted()),
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let [first, last] = [first, last].map(|it| it.trim().parse::<u16>().ok());
    let (first, last) = (first?, last?);
    (100 <= first && first <= last && last <= 599).then_some(first..=last)
}

fn host_name(value: &Expression) -> Result<String, ParseError> {
    let name = string(value)?;
    let fits = |it: char| it.is_ascii_alphanumeric() || "-._:".contains(it);
    match !name.is_empty() && name.chars().all(fits) {
        true => Ok(name.to_owned()),
        false => Err(wrong(value, "a host name or an address")),
    }
}

/// A string that can stand in a header of a request.
fn header_value(value: &Expression) -> Result<String, ParseError> {
    let string = string(value)?;
    match string.chars().all(|it| it == ' ' || it.is_ascii_graphic()) {
        true => Ok(string.to_owned()),
        false => Err(wrong(value, "a string of printable ASCII characters")),
    }
}

#[cfg(test)]
mod tests;
