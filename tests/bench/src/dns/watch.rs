//! Watches for how long an address is still answered.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, clock_gettime};

use super::query;

#[derive(Debug, clap::Args)]
pub(crate) struct WatchOptions {
    /// Whom to ask
    #[arg(long)]
    server: SocketAddr,

    /// What to ask for
    #[arg(long)]
    name: String,

    /// The address to look for
    #[arg(long)]
    address: Ipv4Addr,

    /// For how long
    #[arg(long)]
    seconds: f64,
}

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(1);
/// A server that says nothing for so long is asked again.
const TIMEOUT: Duration = Duration::from_millis(100);

/// Asks over and over, and writes when the address was answered last: on the machine's clock, 0 if
/// it never was.
///
/// # Errors
///
/// If it cannot ask.
pub(crate) fn run(options: &WatchOptions) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").context("cannot make a socket")?;
    socket.connect(options.server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let question = query::encode(&options.name)?;
    let end = clock_seconds() + options.seconds;
    let mut last = 0.0;
    let mut answer = [0; 2048];
    while clock_seconds() < end {
        let sent = socket.send(&question);
        let length = sent.and_then(|_| socket.recv(&mut answer)).unwrap_or(0);
        let address = options.address.octets();
        if answer[..length].windows(4).any(|it| it == address) {
            last = clock_seconds();
        }
        thread::sleep(PAUSE);
    }
    Ok(writeln!(std::io::stdout(), "{last}")?)
}

/// On a clock that all processes share.
pub(crate) fn clock_seconds() -> f64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}
