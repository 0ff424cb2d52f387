//! Reads the table of options that ends a health-checked call.

use std::net::IpAddr;
use std::time::Duration;

use super::{Backup, Selector};
use crate::check::Timing;
use crate::expression::{Expression, Kind};
use crate::text::ParseError;

/// PowerDNS's defaults, but for the name we go by.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) selector: Selector,
    pub(super) backup: Backup,
    pub(super) timing: Timing,
    pub(super) fail_on_incomplete_check: bool,
    pub(super) source: Option<IpAddr>,
    pub(super) url: UrlOptions,
}

/// What only checks of URLs understand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct UrlOptions {
    pub(super) user_agent: String,
    pub(super) expected_status: u16,
    pub(super) body_contains: Option<String>,
    pub(super) body_bytes_max: usize,
}

/// Options of every health check, and those only of URLs.
const COMMON: &[&str] = &[
    "backupSelector",
    "failOnIncompleteCheck",
    "interval",
    "minimumFailures",
    "selector",
    "source",
    "timeout",
];
const URL_ONLY: &[&str] = &["byteslimit", "httpcode", "stringmatch", "useragent"];

/// A day: longer is a mistake in the unit.
const SECONDS_MAX: f64 = 86_400.0;
/// Far above any threshold that makes sense.
const FAILURES_MAX: u32 = 1000;
/// Enough of a body to find a word in, and little enough to read from every target at once.
const BODY_BYTES_MAX: usize = 64 * 1024;

impl Default for Options {
    fn default() -> Self {
        Self {
            selector: Selector::Random,
            backup: Backup::Select(Selector::Random),
            timing: Timing {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                fall: 1,
            },
            fail_on_incomplete_check: false,
            source: None,
            url: UrlOptions {
                user_agent: "causeway-dns-authority".to_owned(),
                expected_status: 200,
                body_contains: None,
                body_bytes_max: BODY_BYTES_MAX,
            },
        }
    }
}

/// Reads `table`; `for_url` tells whether options about URLs mean something.
pub(super) fn options(table: &Expression, for_url: bool) -> Result<Options, ParseError> {
    let mut options = Options::default();
    let Kind::Table(fields) = &table.kind else {
        let message = format!("options are a table, and this is {}", table.kind.noun());
        return Err(ParseError::new(table.position, message));
    };

    for field in fields {
        let value = &field.value;
        let Some(key) = &field.key else {
            return Err(ParseError::new(
                value.position,
                "an option needs a name: {timeout=2}",
            ));
        };
        match key.as_str() {
            "backupSelector" => options.backup = backup_selector(value)?,
            "failOnIncompleteCheck" => options.fail_on_incomplete_check = boolean(value)?,
            "interval" => options.timing.interval = seconds(value)?,
            "minimumFailures" => options.timing.fall = count(value, FAILURES_MAX)?,
            "selector" => options.selector = selector(value)?,
            "source" => options.source = Some(address(value)?),
            "timeout" => options.timing.timeout = seconds(value)?,
            "byteslimit" if for_url => {
                let most = u32::try_from(BODY_BYTES_MAX).expect("64 KiB fit");
                options.url.body_bytes_max = count(value, most)? as usize;
            }
            "httpcode" if for_url => options.url.expected_status = status(value)?,
            "stringmatch" if for_url => options.url.body_contains = Some(string(value)?.to_owned()),
            "useragent" if for_url => options.url.user_agent = header_value(value)?,
            unknown => return Err(unknown_option(unknown, value, for_url)),
        }
    }
    Ok(options)
}

fn unknown_option(name: &str, value: &Expression, for_url: bool) -> ParseError {
    let mut known: Vec<&str> = COMMON.to_vec();
    if for_url {
        known.extend(URL_ONLY);
    }
    known.sort_unstable();
    let message = format!(
        "there is no option `{name}`; there are {}",
        known.join(", ")
    );
    ParseError::new(value.position, message)
}

fn selector(value: &Expression) -> Result<Selector, ParseError> {
    match string(value)? {
        "all" => Ok(Selector::All),
        "hashed" => Ok(Selector::Hashed),
        "pickclosest" => Ok(Selector::Closest),
        "random" => Ok(Selector::Random),
        unknown => Err(ParseError::new(
            value.position,
            format!("there is no selector `{unknown}`; there are all, hashed, pickclosest, random"),
        )),
    }
}

fn backup_selector(value: &Expression) -> Result<Backup, ParseError> {
    match string(value)? {
        "empty" => Ok(Backup::Empty),
        _ => selector(value).map(Backup::Select),
    }
}

fn boolean(value: &Expression) -> Result<bool, ParseError> {
    let Kind::Boolean(boolean) = value.kind else {
        return Err(wrong(value, "true or false"));
    };
    Ok(boolean)
}

fn string(value: &Expression) -> Result<&str, ParseError> {
    let Kind::String(string) = &value.kind else {
        return Err(wrong(value, "a string"));
    };
    Ok(string)
}

/// A string that can stand in a header of a request.
fn header_value(value: &Expression) -> Result<String, ParseError> {
    let string = string(value)?;
    match string.chars().all(|it| it == ' ' || it.is_ascii_graphic()) {
        true => Ok(string.to_owned()),
        false => Err(wrong(value, "a string of printable ASCII characters")),
    }
}

fn address(value: &Expression) -> Result<IpAddr, ParseError> {
    string(value)?
        .parse()
        .map_err(|_| wrong(value, "an IP address"))
}

fn seconds(value: &Expression) -> Result<Duration, ParseError> {
    if let Kind::Number(seconds) = value.kind
        && 0.0 < seconds
        && seconds <= SECONDS_MAX
    {
        return Ok(Duration::from_secs_f64(seconds.max(SECONDS_MIN)));
    }
    Err(wrong(
        value,
        "a number of seconds, more than 0 and at most a day",
    ))
}

/// More than ten probes a second of one target are an attack on it.
const SECONDS_MIN: f64 = 0.1;

fn count(value: &Expression, most: u32) -> Result<u32, ParseError> {
    whole(value, 1, most)
}

fn status(value: &Expression) -> Result<u16, ParseError> {
    Ok(u16::try_from(whole(value, 100, 599)?).expect("at most 599"))
}

/// A whole number between `least` and `most`.
pub(super) fn whole(value: &Expression, least: u32, most: u32) -> Result<u32, ParseError> {
    if let Kind::Number(number) = value.kind
        && number.fract() == 0.0
        && f64::from(least) <= number
        && number <= f64::from(most)
    {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole and between two u32, as just checked"
        )]
        return Ok(number as u32);
    }
    Err(wrong(
        value,
        &format!("a whole number from {least} to {most}"),
    ))
}

fn wrong(value: &Expression, wanted: &str) -> ParseError {
    ParseError::new(
        value.position,
        format!("expected {wanted} and found {}", value.kind.noun()),
    )
}
