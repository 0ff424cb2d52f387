//! Targets of health checks: accepts connections, and notes how regularly they come.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use lab::now;
use serde::{Deserialize, Serialize};

/// How regularly targets were asked.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Regularity {
    pub(crate) connections: u64,
    /// Between two connections to one target.
    pub(crate) p1_seconds: f64,
    pub(crate) p50_seconds: f64,
    pub(crate) p99_seconds: f64,
}

#[derive(Debug, Default)]
struct Seen {
    last: BTreeMap<IpAddr, Instant>,
    pauses: Vec<Duration>,
    connections: u64,
}

/// Pauses that are kept; of more, the first.
const PAUSES_MAX: usize = 4 << 20;

/// Accepts connections at `address` until stdin ends; then tells what came.
///
/// # Errors
///
/// If the address is in use.
pub(crate) fn run(address: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(address);
    let listener = listener.with_context(|| format!("cannot listen on {address}"))?;
    writeln!(io::stdout())?;
    io::stdout().flush()?;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let Ok(target) = stream.local_addr() else {
                continue;
            };
            let mut seen = shared.lock().unwrap_or_else(PoisonError::into_inner);
            seen.note(target.ip(), now());
        }
    });
    io::stdin().read_to_end(&mut Vec::new())?;
    let regularity = seen.lock().unwrap_or_else(PoisonError::into_inner).tell();
    writeln!(io::stdout(), "{}", serde_json::to_string(&regularity)?)?;
    Ok(())
}

impl Seen {
    fn note(&mut self, target: IpAddr, at: Instant) {
        self.connections += 1;
        let before = self.last.insert(target, at);
        if let Some(before) = before.filter(|_| self.pauses.len() < PAUSES_MAX) {
            self.pauses.push(at - before);
        }
    }

    fn tell(&mut self) -> Regularity {
        self.pauses.sort_unstable();
        let count = self.pauses.len();
        let at = |percent: usize| {
            let place = count.saturating_sub(1) * percent / 100;
            self.pauses.get(place).map_or(0.0, Duration::as_secs_f64)
        };
        Regularity {
            connections: self.connections,
            p1_seconds: at(1),
            p50_seconds: at(50),
            p99_seconds: at(99),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_pauses_between_connections_to_one_target() {
        let (a, b) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let start = now();
        let mut seen = Seen::default();
        for (target, seconds) in [(a, 0), (b, 1), (a, 5), (b, 8)] {
            seen.note(target, start + Duration::from_secs(seconds));
        }

        let told = seen.tell();
        assert_eq!(told.connections, 4);
        assert_eq!((told.p1_seconds, told.p99_seconds), (5.0, 5.0));
    }
}
