//! A door: goes to the background, and comes back with an answer.
//!
//! The process starts itself again and reads that child's stderr to its end. The child points its
//! stderr elsewhere once it serves, which ends the reading with nothing read; a child that fails
//! says why before its own end does the same.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use crate::config::Config;

/// The longest failure message passed on.
const MESSAGE_BYTES_MAX: u64 = 64 << 10;

/// Returns once the interface and its socket are ready.
pub(crate) fn start_in_background(config: &Config) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program's file")?;
    let mut child = Command::new(program)
        .arg("--detached")
        // Logs before the child is ready would be taken for a failure.
        .args(["--log", "off"])
        .arg("--uapi-dir")
        .arg(&config.uapi_dir)
        .arg("--state-dir")
        .arg(&config.state_dir)
        .args(config.user.map(|it| format!("--user={it}")))
        .args(config.keep_privileges.then_some("--keep-privileges"))
        .arg("--")
        .arg(&config.interface)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;

    let stderr = child.stderr.take().context("the child has no stderr")?;
    let mut message = String::new();
    stderr
        .take(MESSAGE_BYTES_MAX)
        .read_to_string(&mut message)
        .context("cannot hear from the background process")?;
    if message.is_empty() {
        return Ok(());
    }
    child
        .wait()
        .context("cannot wait for the background process")?;
    anyhow::bail!(
        "{}",
        message.trim_end().trim_start_matches("wireguard-device: ")
    )
}

/// Makes the process independent of the terminal it was started from.
pub(crate) fn leave_session() -> anyhow::Result<()> {
    rustix::process::setsid().context("cannot start a session")?;
    Ok(())
}

/// Tells the waiting parent that the device serves.
pub(crate) fn report_ready() -> anyhow::Result<()> {
    let null = OpenOptions::new()
        .write(true)
        .open("/dev/null")
        .context("cannot open /dev/null")?;
    rustix::stdio::dup2_stderr(null).context("cannot redirect stderr")?;
    Ok(())
}
