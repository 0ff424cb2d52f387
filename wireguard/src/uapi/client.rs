//! A door: asks a running device over its socket, one connection for each request.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{DeviceState, ReplyError, Request, SOCKET_DIRECTORY, Update, reply, request};

/// How long a device may take to answer; it answers from memory.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(5);

/// The longest answer read, enough for 100 000 peers; more is not a WireGuard device.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A WireGuard interface that a userspace device serves.
///
/// No connection is kept, so it stays valid when the device restarts.
#[derive(Clone, Debug)]
pub struct Interface {
    socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the interface, or not any more.
    #[error("cannot ask the WireGuard device at {}; is `wireguard-device` running for it?", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the WireGuard device at {} did not answer as expected", socket.display())]
    Answer { socket: PathBuf, source: ReplyError },
}

impl Interface {
    /// The interface called `name`, at the place where `wg(8)` looks for it. Opens nothing yet.
    pub fn open(name: &str) -> Self {
        Self::in_directory(Path::new(SOCKET_DIRECTORY), name)
    }

    /// The interface called `name` whose device keeps its socket in `directory`.
    pub fn in_directory(directory: &Path, name: &str) -> Self {
        Self {
            socket: directory.join(format!("{name}.sock")),
        }
    }

    pub fn get(&self) -> Result<DeviceState, ClientError> {
        let answer = self.ask(&Request::Get)?;
        reply::parse(&answer).map_err(|source| self.misanswered(source))
    }

    /// Applies `update` as a whole, or not at all if the device refuses it.
    pub fn set(&self, update: &Update) -> Result<(), ClientError> {
        let answer = self.ask(&Request::Set(update.clone()))?;
        reply::parse_result(&answer).map_err(|source| self.misanswered(source))
    }

    fn ask(&self, request: &Request) -> Result<String, ClientError> {
        self.exchange(&request::render(request))
            .map_err(|source| ClientError::Unreachable {
                socket: self.socket.clone(),
                source,
            })
    }

    fn exchange(&self, text: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_SECONDS_MAX))?;
        stream.set_write_timeout(Some(ANSWER_SECONDS_MAX))?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;

        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn misanswered(&self, source: ReplyError) -> ClientError {
        ClientError::Answer {
            socket: self.socket.clone(),
            source,
        }
    }
}
