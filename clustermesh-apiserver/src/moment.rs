//! What the time is: for people, and for spans.

/// A moment as the process sees it.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moment {
    /// Since 1970; jumps when the machine's clock is set.
    pub unix_milliseconds: u64,
    /// Since some time before the process began; never jumps.
    pub uptime_milliseconds: u64,
}

/// A moment of a clock that is never set.
impl From<u64> for Moment {
    fn from(milliseconds: u64) -> Self {
        Self {
            unix_milliseconds: milliseconds,
            uptime_milliseconds: milliseconds,
        }
    }
}
