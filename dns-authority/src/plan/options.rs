//! Reads the table of options that ends a health-checked call.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "an option takes what it takes, whatever else expressions may be"
)]

mod url;

pub(super) use url::UrlOptions;

use std::net::IpAddr;
use std::time::Duration;

use super::call::{string, wrong};
use super::{Backup, Pick, SELECTORS, Selector};
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
    pub(super) leave_below_permille: u32,
    pub(super) spill_above_permille: Option<u32>,
    pub(super) client_bits: (u8, u8),
    pub(super) url: UrlOptions,
}

/// Options of every health check.
const COMMON: &[&str] = &[
    "backupSelector",
    "failOnIncompleteCheck",
    "interval",
    "leaveBelow",
    "minimumFailures",
    "minimumSuccesses",
    "selector",
    "source",
    "spillAbove",
    "sticky",
    "timeout",
];

/// A day: longer is a mistake in the unit.
const SECONDS_MAX: f64 = 86_400.0;
/// Far above any threshold that makes sense.
const PROBES_MAX: u32 = 1000;

impl Default for Options {
    fn default() -> Self {
        Self {
            selector: Selector::Random,
            backup: Backup::Select(Selector::Random),
            timing: Timing {
                interval: Duration::from_secs(5),
                timeout: Duration::from_secs(2),
                fall: 1,
                rise: 1,
            },
            fail_on_incomplete_check: false,
            source: None,
            leave_below_permille: 0,
            spill_above_permille: None,
            client_bits: (32, 128),
            url: UrlOptions::default(),
        }
    }
}

impl Options {
    pub(super) fn apply(&self, pick: Pick) -> Pick {
        Pick {
            selector: self.selector,
            backup: self.backup,
            fail_on_incomplete_check: self.fail_on_incomplete_check,
            leave_below_permille: self.leave_below_permille,
            spill_above_permille: self.spill_above_permille,
            client_bits: self.client_bits,
            ..pick
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
            "leaveBelow" => options.leave_below_permille = permille(value)?,
            "minimumFailures" => options.timing.fall = whole(value, 1, PROBES_MAX)?,
            "minimumSuccesses" => options.timing.rise = whole(value, 1, PROBES_MAX)?,
            "selector" => options.selector = selector(value)?,
            "source" => options.source = Some(address(value)?),
            "spillAbove" => options.spill_above_permille = Some(permille(value)?),
            "sticky" => options.client_bits = sticky_bits(value)?,
            "timeout" => options.timing.timeout = seconds(value)?,
            name => {
                if !(for_url && options.url.read(name, value)?) {
                    return Err(unknown_option(name, value, for_url));
                }
            }
        }
    }
    Ok(options)
}

fn unknown_option(name: &str, value: &Expression, for_url: bool) -> ParseError {
    let mut known: Vec<&str> = COMMON.to_vec();
    if for_url {
        known.extend(url::NAMES);
    }
    known.sort_unstable();
    let message = format!(
        "there is no option `{name}`; there are {}",
        known.join(", ")
    );
    ParseError::new(value.position, message)
}

fn selector(value: &Expression) -> Result<Selector, ParseError> {
    let name = string(value)?;
    let found = SELECTORS.iter().find(|it| it.0 == name);
    found.map(|it| it.1).ok_or_else(|| {
        let names: Vec<&str> = SELECTORS.iter().map(|it| it.0).collect();
        let message = format!(
            "there is no selector `{name}`; there are {}",
            names.join(", ")
        );
        ParseError::new(value.position, message)
    })
}

fn backup_selector(value: &Expression) -> Result<Backup, ParseError> {
    match string(value)? {
        "empty" => Ok(Backup::Empty),
        _ => selector(value).map(Backup::Select),
    }
}

/// A boolean, or the text of one, which is all that PowerDNS takes.
fn boolean(value: &Expression) -> Result<bool, ParseError> {
    match &value.kind {
        Kind::Boolean(boolean) => Ok(*boolean),
        Kind::String(text) => text.parse().map_err(|_| wrong(value, "true or false")),
        _ => Err(wrong(value, "true or false")),
    }
}

/// A number, or the text of one.
fn number(value: &Expression) -> Option<f64> {
    match &value.kind {
        Kind::Number(number) => Some(*number),
        Kind::String(text) => text.trim().parse().ok().filter(|it: &f64| it.is_finite()),
        _ => None,
    }
}

/// A part of the whole, from 0 to 1.
fn permille(value: &Expression) -> Result<u32, ParseError> {
    let share = number(value).filter(|it| (0.0..=1.0).contains(it));
    let share = share.ok_or_else(|| wrong(value, "a number from 0 to 1"))?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 1000"
    )]
    Ok((share * 1000.0).round() as u32)
}

/// How much of a client's address tells it from others where nobody says: about a customer's network.
pub(super) const STICKY_BITS: (u8, u8) = (24, 56);

/// Reads `{ipv4=24, ipv6=56}`.
pub(super) fn sticky_bits(table: &Expression) -> Result<(u8, u8), ParseError> {
    let Kind::Table(fields) = &table.kind else {
        return Err(wrong(table, "a table like {ipv4=24, ipv6=56}"));
    };
    let mut bits = STICKY_BITS;
    for field in fields {
        let length = |most| Ok(u8::try_from(whole(&field.value, 1, most)?).expect("at most 128"));
        match field.key.as_deref() {
            Some("ipv4") => bits.0 = length(32)?,
            Some("ipv6") => bits.1 = length(128)?,
            _ => return Err(wrong(table, "a table like {ipv4=24, ipv6=56}")),
        }
    }
    Ok(bits)
}

fn address(value: &Expression) -> Result<IpAddr, ParseError> {
    string(value)?
        .parse()
        .map_err(|_| wrong(value, "an IP address"))
}

fn seconds(value: &Expression) -> Result<Duration, ParseError> {
    if let Some(seconds) = number(value)
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

/// A whole number between `least` and `most`.
pub(super) fn whole(value: &Expression, least: u32, most: u32) -> Result<u32, ParseError> {
    if let Some(number) = number(value)
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
