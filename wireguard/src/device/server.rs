//! A door: serves the configuration socket. Several clients may be connected; what they ask is done
//! one request after the other.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use nix::net::if_::if_nametoindex;
use zeroize::Zeroizing;

use super::control::Control;
use super::{Shared, clock};
use crate::uapi::{Errno, Request};
use requests::Requests;

mod requests;

/// Clients that are served at once; more wait until one leaves, or is cut off.
const CLIENTS_MAX: usize = 8;

/// In milliseconds: how long a client may stay without a request, how long a request may take to
/// come in, and an answer to be read. Far more than any needs, so that none keeps others waiting.
const CLIENT_MILLISECONDS_MAX: u64 = 5_000;

/// What is read at once.
const PIECE_BYTES: usize = 16 << 10;

const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(10);

const ADVICE: &str = "run as root, or choose another --uapi-dir";

/// Removes the socket that a dead device left behind; a living one is not to be replaced.
pub(super) fn make_way(interface: &str, directory: &Path) -> anyhow::Result<()> {
    let socket = path(interface, directory);
    match UnixStream::connect(&socket) {
        Ok(_) => anyhow::bail!(
            "interface {interface} is already served; stop the process that listens on {}",
            socket.display()
        ),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => remove(&socket),
        // Nothing there, or something that binding will complain about.
        Err(_) => (),
    }
    Ok(())
}

/// Opens the socket for `interface`.
pub(super) fn listen(interface: &str, directory: &Path) -> anyhow::Result<(UnixListener, PathBuf)> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("cannot create directory {}; {ADVICE}", directory.display()))?;
    let socket = path(interface, directory);
    let listener = UnixListener::bind(&socket)
        .and_then(|it| fs::set_permissions(&socket, Permissions::from_mode(0o600)).map(|()| it))
        .with_context(|| format!("cannot listen on {}; {ADVICE}", socket.display()))?;
    Ok((listener, socket))
}

fn path(interface: &str, directory: &Path) -> PathBuf {
    directory.join(format!("{interface}.sock"))
}

pub(super) fn remove(socket: &Path) {
    // It may be gone already, which is as well.
    fs::remove_file(socket).ok();
}

/// Starts to serve, with as many threads as there may be clients.
pub(super) fn start(shared: &Arc<Shared>, listener: UnixListener) -> anyhow::Result<()> {
    let control = Arc::new(Mutex::new(Control::new(Arc::clone(shared))));
    let listener = Arc::new(listener);
    for _ in 0..CLIENTS_MAX {
        let (control, listener) = (Arc::clone(&control), Arc::clone(&listener));
        shared.spawn("uapi", move |_| run(&control, &listener))?;
    }
    Ok(())
}

fn run(control: &Mutex<Control>, listener: &UnixListener) {
    for client in listener.incoming() {
        match client.and_then(|it| serve(control, &it)) {
            Ok(()) => (),
            Err(error) => {
                tracing::debug!(%error, "configuration client lost");
                // Accepting may fail for want of descriptors; trying at once would spin.
                thread::sleep(PAUSE_AFTER_ERROR);
            }
        }
    }
}

/// Answers requests until the client closes or falls silent.
fn serve(control: &Mutex<Control>, client: &UnixStream) -> io::Result<()> {
    let mut requests = Requests::new();
    let mut piece = Zeroizing::new(vec![0; PIECE_BYTES]);
    let mut deadline = Deadline::new();
    loop {
        while let Some(request) = requests.next() {
            write(client, answer(control, &request).as_bytes())?;
            deadline = Deadline::new();
        }
        client.set_read_timeout(Some(deadline.left()?))?;
        match (&mut &*client).read(&mut piece) {
            Ok(0) if requests.is_amid() => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(0) => return Ok(()),
            Ok(length) => {
                if !requests.is_amid() {
                    deadline = Deadline::new();
                }
                let taken = requests.take(&piece[..length]);
                taken.map_err(|_too_long| io::ErrorKind::FileTooLarge)?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
}

fn write(mut client: &UnixStream, mut text: &[u8]) -> io::Result<()> {
    let deadline = Deadline::new();
    while !text.is_empty() {
        client.set_write_timeout(Some(deadline.left()?))?;
        match client.write(text) {
            Ok(length) => text = &text[length..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(control: &Mutex<Control>, text: &str) -> Zeroizing<String> {
    // A control that died half-way ends the device; until then its answers are as good as ever.
    let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
    let zone = |name: &str| if_nametoindex(name).ok();
    let outcome = match Request::read(text, &zone) {
        Ok(Request::Get) => return control.describe(),
        Ok(Request::Set(update)) => control.apply(&update),
        Err(error) => {
            tracing::warn!(%error, "request refused");
            Err(error.errno())
        }
    };
    Zeroizing::new(format!(
        "errno={}\n\n",
        outcome.map_or_else(Errno::code, |()| 0)
    ))
}

/// When a client's time is up, in milliseconds of the device's clock.
struct Deadline(u64);

impl Deadline {
    fn new() -> Self {
        Self(clock::now().milliseconds + CLIENT_MILLISECONDS_MAX)
    }

    fn left(&self) -> io::Result<Duration> {
        match self.0.saturating_sub(clock::now().milliseconds) {
            0 => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(Duration::from_millis(left)),
        }
    }
}
