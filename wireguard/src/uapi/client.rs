//! A door: asks whoever serves an interface: a userspace device over its socket, with one connection
//! for each request, or the kernel.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{DeviceState, ReplyError, Request, SOCKET_DIRECTORY, Update, reply, request};
use crate::kernel;

/// How long a device may take to answer; it answers from memory.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(5);

/// The longest answer read, enough for 100 000 peers; more is not a WireGuard device.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// A WireGuard interface, whoever serves it.
///
/// No connection is kept, so it stays valid when the device restarts.
#[derive(Clone, Debug)]
pub struct Interface {
    name: String,
    socket: PathBuf,
    backend: Backend,
}

/// Who serves an interface.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// A userspace device if one answers, else the kernel, as `wg(8)` looks for them.
    #[default]
    Auto,
    Kernel,
    Userspace,
}

/// A word that names no backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected `auto`, `kernel` or `userspace`")]
pub struct UnknownBackend;

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody serves the interface, or not any more.
    #[error("cannot ask the WireGuard device at {}; is `wireguard-device` running for it?", socket.display())]
    Unreachable { socket: PathBuf, source: io::Error },
    #[error("the WireGuard device at {} did not answer as expected", socket.display())]
    Answer { socket: PathBuf, source: ReplyError },
    #[error("cannot use the kernel's WireGuard for interface {interface}")]
    Kernel {
        interface: String,
        source: KernelError,
    },
}

/// Why the kernel does not do what it is asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(
        "this kernel has no WireGuard; load its module, or serve the interface with `wireguard-device` (backend `userspace`)"
    )]
    NoModule,
    #[error("there is no such WireGuard interface; add it with `ip link add NAME type wireguard`")]
    NoInterface,
    #[error("only `wireguard-device` knows `{0}`; use backend `userspace`")]
    Unsupported(&'static str),
    #[error("the kernel refused the request")]
    Refused(#[source] io::Error),
    #[error("cannot talk to the kernel")]
    Socket(#[source] io::Error),
    #[error("the kernel's answer makes no sense")]
    Malformed,
}

impl Interface {
    /// The interface called `name`, served by whoever is found at each request. Opens nothing yet.
    pub fn open(name: &str) -> Self {
        Self::served_by(Backend::Auto, name)
    }

    /// The interface called `name`, served by `backend`. Opens nothing yet.
    pub fn served_by(backend: Backend, name: &str) -> Self {
        Self {
            backend,
            ..Self::in_directory(Path::new(SOCKET_DIRECTORY), name)
        }
    }

    /// The interface called `name` whose userspace device keeps its socket in `directory`.
    pub fn in_directory(directory: &Path, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            socket: directory.join(format!("{name}.sock")),
            backend: Backend::Userspace,
        }
    }

    pub fn get(&self) -> Result<DeviceState, ClientError> {
        self.served(
            || {
                let answer = self.ask(&Request::Get)?;
                reply::parse(&answer).map_err(|source| self.misanswered(source))
            },
            || kernel::get(&self.name),
        )
    }

    /// Applies `update` as a whole, or not at all if the device refuses it. The kernel takes a large
    /// update in several parts, of which the first may be applied when a later one is refused.
    pub fn set(&self, update: &Update) -> Result<(), ClientError> {
        self.served(
            || {
                let answer = self.ask(&Request::Set(update.clone()))?;
                reply::parse_result(&answer).map_err(|source| self.misanswered(source))
            },
            || kernel::set(&self.name, update),
        )
    }

    fn served<T>(
        &self,
        by_userspace: impl FnOnce() -> Result<T, ClientError>,
        by_kernel: impl FnOnce() -> Result<T, KernelError>,
    ) -> Result<T, ClientError> {
        let refused = |source| ClientError::Kernel {
            interface: self.name.clone(),
            source,
        };
        match self.backend {
            Backend::Userspace => by_userspace(),
            Backend::Kernel => by_kernel().map_err(refused),
            Backend::Auto => match by_userspace() {
                Err(ClientError::Unreachable { socket, source }) => match by_kernel() {
                    // It may be that nobody serves it yet, which the first answer says better.
                    Err(KernelError::NoModule | KernelError::NoInterface) => {
                        Err(ClientError::Unreachable { socket, source })
                    }
                    outcome => outcome.map_err(refused),
                },
                outcome => outcome,
            },
        }
    }

    fn ask(&self, request: &Request) -> Result<Zeroizing<String>, ClientError> {
        let request = Zeroizing::new(request::render(request));
        self.exchange(&request)
            .map_err(|source| ClientError::Unreachable {
                socket: self.socket.clone(),
                source,
            })
    }

    fn exchange(&self, text: &str) -> io::Result<Zeroizing<String>> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_SECONDS_MAX))?;
        stream.set_write_timeout(Some(ANSWER_SECONDS_MAX))?;
        stream.write_all(text.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;

        let mut answer = Zeroizing::new(String::new());
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

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        match text {
            "auto" => Ok(Self::Auto),
            "kernel" => Ok(Self::Kernel),
            "userspace" => Ok(Self::Userspace),
            _ => Err(UnknownBackend),
        }
    }
}
