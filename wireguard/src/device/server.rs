//! A door: serves the configuration socket, one request after the other.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::Shared;
use super::control::Control;
use crate::uapi::{Errno, Request};

/// How long a client may keep the others waiting between two requests.
const IDLE_MAX: Duration = Duration::from_secs(2);

/// The longest request, enough for 100 000 peers with several prefixes each.
const REQUEST_BYTES_MAX: u64 = 64 << 20;

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

pub(super) fn run(shared: &Arc<Shared>, listener: &UnixListener) {
    let mut control = Control::new(Arc::clone(shared));
    for client in listener.incoming() {
        match client.and_then(|it| serve(&mut control, &it)) {
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
fn serve(control: &mut Control, client: &UnixStream) -> io::Result<()> {
    client.set_read_timeout(Some(IDLE_MAX))?;
    client.set_write_timeout(Some(IDLE_MAX))?;
    let mut reader = BufReader::new(client);
    let mut writer = client;
    while let Some(text) = read_request(&mut reader)? {
        writer.write_all(answer(control, &text).as_bytes())?;
    }
    Ok(())
}

/// The lines up to and with an empty one, or nothing if the client is done.
///
/// What ends in between is not a request: half of one must not be applied.
fn read_request(reader: &mut BufReader<&UnixStream>) -> io::Result<Option<String>> {
    let mut limited = reader.take(REQUEST_BYTES_MAX);
    let mut text = String::new();
    loop {
        let length = limited.read_line(&mut text)?;
        if text.ends_with("\n\n") {
            return Ok(Some(text));
        }
        if length == 0 {
            return if text.is_empty() {
                Ok(None)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            };
        }
    }
}

fn answer(control: &mut Control, text: &str) -> String {
    let outcome = match text.parse() {
        Ok(Request::Get) => return control.describe(),
        Ok(Request::Set(update)) => control.apply(&update),
        Err(error) => {
            tracing::warn!(%error, "request refused");
            Err(error.errno())
        }
    };
    format!("errno={}\n\n", outcome.map_or_else(Errno::code, |()| 0))
}
