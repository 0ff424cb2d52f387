//! Allows one lab at a time on a machine.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

use crate::ground;

/// Another process has the lab of this machine.
#[derive(Clone, Debug, thiserror::Error)]
#[error("another run is active (pid {pid}); wait for it or stop it")]
pub(crate) struct AnotherRun {
    pid: String,
}

/// The right to have a lab; dropping it returns it and removes its file.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    ///
    /// [`AnotherRun`], if another process has it.
    pub(crate) fn acquire() -> Result<Self> {
        loop {
            let mut file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(ground::LOCK)
                .with_context(|| format!("cannot open {}; run as root", ground::LOCK))?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                bail!(AnotherRun { pid: owner() });
            }
            if is_current(&file)? {
                file.set_len(0)?;
                writeln!(file, "{}", process::id())?;
                return Ok(Self { _file: file });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Removed while it is still locked, so that it is nobody else's.
        let _gone = fs::remove_file(ground::LOCK);
    }
}

fn owner() -> String {
    let text = fs::read_to_string(ground::LOCK).unwrap_or_default();
    text.trim().to_owned()
}

/// Whether the file is still the one at the path, and not one that its owner has just removed.
fn is_current(file: &File) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::metadata(ground::LOCK) {
        Ok(theirs) => Ok(ours.ino() == theirs.ino() && ours.dev() == theirs.dev()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
