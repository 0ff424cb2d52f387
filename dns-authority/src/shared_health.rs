//! What several authorities think of the same targets, and what follows from it.
//!
//! Each writes its own verdicts into the mesh's store, in [`record`]s on a lease, and reads the
//! others'; [`quorum`] decides. Nothing here reads or writes: the owner's task does.

pub mod publication;
pub mod quorum;
pub mod record;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where targets are looked at from: one authority, by the name that its operator gave it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Vantage(Arc<str>);

/// As long as a label of a host name, which it usually is.
const NAME_BYTES_MAX: usize = 63;

impl Vantage {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Vantage {
    type Err = InvalidVantage;

    fn from_str(text: &str) -> Result<Self, InvalidVantage> {
        let fits = |it: u8| it.is_ascii_alphanumeric() || b"-_.".contains(&it);
        match (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(fits) {
            true => Ok(Self(text.into())),
            false => Err(InvalidVantage(text.to_owned())),
        }
    }
}

impl fmt::Display for Vantage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no name of an authority; use up to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores"
)]
pub struct InvalidVantage(String);
