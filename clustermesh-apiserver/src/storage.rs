//! The part of the command line that says where the embedded etcd keeps its data.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use kvstore::mvcc::QUOTA_BYTES_DEFAULT;
use kvstore::server::{Compaction, StorageOptions};

#[derive(Args, Clone, Debug)]
#[group(skip)]
pub struct Storage {
    /// Directory in which the embedded etcd keeps its data; without it, data live in memory
    #[arg(
        long,
        env = "CAUSEWAY_DATA_DIR",
        value_name = "DIR",
        conflicts_with = "etcd_config"
    )]
    data_dir: Option<PathBuf>,

    /// Snapshot of an embedded etcd, as `etcdctl snapshot save` writes it, to begin with where
    /// --data-dir holds no data yet
    #[arg(
        long,
        env = "CAUSEWAY_INITIAL_SNAPSHOT",
        value_name = "FILE",
        conflicts_with = "etcd_config"
    )]
    initial_snapshot: Option<PathBuf>,

    /// What the embedded etcd may hold before it refuses writes with the NOSPACE alarm
    #[arg(
        long,
        env = "CAUSEWAY_QUOTA_BACKEND_BYTES",
        value_name = "BYTES",
        default_value_t = QUOTA_BYTES_DEFAULT,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    quota_backend_bytes: u64,

    /// What --auto-compaction-retention counts: time, or revisions
    #[arg(
        long,
        env = "CAUSEWAY_AUTO_COMPACTION_MODE",
        value_name = "MODE",
        default_value = "periodic"
    )]
    auto_compaction_mode: Mode,

    /// How much of the past the embedded etcd keeps for readers that were away: a time such as 5m (or
    /// hours, without a unit), or so many revisions; 0 keeps it until somebody compacts
    #[arg(
        long,
        env = "CAUSEWAY_AUTO_COMPACTION_RETENTION",
        value_name = "TIME|N",
        default_value = "5m"
    )]
    auto_compaction_retention: Retention,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Mode {
    Periodic,
    Revision,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Retention {
    Number(u32),
    Time(Duration),
}

impl Storage {
    pub fn options(&self) -> Result<StorageOptions, String> {
        Ok(StorageOptions {
            data_dir: self.data_dir.clone(),
            snapshot: self.initial_snapshot.clone(),
            quota_bytes: self.quota_backend_bytes,
            compaction: compaction(self.auto_compaction_mode, self.auto_compaction_retention)?,
        })
    }
}

fn compaction(mode: Mode, retention: Retention) -> Result<Compaction, String> {
    match (mode, retention) {
        (_, Retention::Number(0) | Retention::Time(Duration::ZERO)) => Ok(Compaction::Off),
        (Mode::Periodic, Retention::Time(time)) => Ok(Compaction::Periodic(time)),
        // As etcd has it.
        (Mode::Periodic, Retention::Number(hours)) => {
            Ok(Compaction::Periodic(Duration::from_secs(3_600) * hours))
        }
        (Mode::Revision, Retention::Number(count)) => Ok(Compaction::Revisions(count)),
        (Mode::Revision, Retention::Time(_)) => Err(
            "--auto-compaction-retention must be a number of revisions, such as 1000, with \
             --auto-compaction-mode revision"
                .to_owned(),
        ),
    }
}

impl FromStr for Retention {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        duration(text)
            .map(Self::Time)
            .ok_or_else(|| "write a time such as 90s, 5m or 1h30m, or a number".to_owned())
    }
}

/// Numbers with units, one after the other.
fn duration(text: &str) -> Option<Duration> {
    let (mut rest, mut total) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.find(|it: char| !it.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let end = rest[digits..].find(|it: char| it.is_ascii_digit());
        let (unit, after) = rest[digits..].split_at(end.unwrap_or(rest.len() - digits));
        let unit = match unit {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return None,
        };
        total = total.checked_add(unit.checked_mul(number)?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retentions_as_etcd_does() {
        let seconds = |count| Ok(Compaction::Periodic(Duration::from_secs(count)));
        check(Mode::Periodic, "5m", seconds(300));
        check(Mode::Periodic, "1h30m", seconds(5_400));
        check(Mode::Periodic, "2", seconds(7_200));
        check(Mode::Revision, "1000", Ok(Compaction::Revisions(1_000)));
        check(Mode::Periodic, "0", Ok(Compaction::Off));
        check(Mode::Periodic, "0s", Ok(Compaction::Off));
        check(
            Mode::Revision,
            "5m",
            Err("with --auto-compaction-mode revision"),
        );
        for bad in ["", "m", "5", "5x", "5m3", "-5m", "99999999999h"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }

    #[track_caller]
    fn check(mode: Mode, retention: &str, expected: Result<Compaction, &str>) {
        let found = compaction(mode, retention.parse().unwrap());
        match (found, expected) {
            (Err(problem), Err(end)) => assert!(problem.ends_with(end), "{problem}"),
            (found, expected) => assert_eq!(found, expected.map_err(str::to_owned)),
        }
    }
}
