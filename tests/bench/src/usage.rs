//! Reads from /proc what a process and its descendants have used.

use std::fs;

use serde::Serialize;

/// The kernel's unit in `/proc/PID/stat`, the same on every machine (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// What a process has used since it started; sums over its descendants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    /// The most memory that it had at one time.
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Of the process `pid` with all that descend from it. One that ended has used nothing.
    pub(crate) fn of(pid: u32) -> Self {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.unwrap_or_default();
        let descendants = children
            .split_whitespace()
            .filter_map(|it| it.parse().ok())
            .map(Self::of);
        descendants.fold(own(pid), |sum, it| Self {
            cpu_seconds: sum.cpu_seconds + it.cpu_seconds,
            peak_bytes: sum.peak_bytes + it.peak_bytes,
        })
    }
}

fn own(pid: u32) -> Usage {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The second field is a name in parentheses, and may hold anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = |field: usize| -> f64 {
        let text = fields.split(' ').nth(field - 3);
        text.and_then(|it| it.parse().ok()).unwrap_or(0.0)
    };
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"))
        .and_then(|it| it.trim().parse::<u64>().ok());
    Usage {
        cpu_seconds: (ticks(14) + ticks(15)) / TICKS_PER_SECOND,
        peak_bytes: peak.unwrap_or(0) * 1024,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_this_process_uses() {
        let usage = Usage::of(std::process::id());

        assert!((100 << 10) < usage.peak_bytes, "{usage:?}");
        assert_eq!(Usage::of(u32::MAX), Usage::default());
    }
}
