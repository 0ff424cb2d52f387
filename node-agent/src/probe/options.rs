//! The part of the command line that is about probes.

use std::time::Duration;

use clap::Args;

#[derive(Args, Clone, Debug)]
pub struct Options {
    /// How often each node at the other end of a tunnel is probed, 50ms to 10s; three probes in a row
    /// without an answer, and it is passed over
    #[arg(
        long,
        env = "CAUSEWAY_PROBE_INTERVAL",
        value_name = "DURATION",
        default_value = "300ms",
        value_parser = interval
    )]
    pub probe_interval: Duration,
}

fn interval(text: &str) -> Result<Duration, String> {
    let (number, unit_milliseconds) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s').unwrap_or_default(), 1_000),
    };
    number
        .parse::<u64>()
        .ok()
        .and_then(|it| it.checked_mul(unit_milliseconds))
        .filter(|it| (INTERVAL_MILLISECONDS_MIN..=INTERVAL_MILLISECONDS_MAX).contains(it))
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is not an interval from 50ms to 10s"))
}

/// Below it, probes cost more than they tell; above it, a death is known later than from etcd.
const INTERVAL_MILLISECONDS_MIN: u64 = 50;
const INTERVAL_MILLISECONDS_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::INTERVAL;

    #[test]
    fn reads_intervals_that_make_sense() {
        assert_eq!(interval("300ms"), Ok(INTERVAL));
        assert_eq!(interval("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(interval("10s"), Ok(Duration::from_secs(10)));
        for bad in [
            "",
            "ms",
            "49ms",
            "11s",
            "300",
            "1m",
            "-1s",
            "99999999999999999999s",
        ] {
            assert!(interval(bad).is_err(), "{bad}");
        }
    }
}
