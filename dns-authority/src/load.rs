//! Reads what the command line names: zones, places, and what an earlier life knew.

mod library;
mod places;

pub use library::{Library, Loaded};
pub use places::Places;

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};

use crate::api::ApiKey;
use crate::check::memory::Memory;
use crate::drain::Drains;
use crate::transfer::options::Options;
use crate::tsig::{Keys, read_keys};
use crate::wire::name::Shown;

/// What tells a file from one that took its place, or from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// When it was written or renamed, in seconds and nanoseconds. The time of the last write would
    /// not do, since tools that copy files keep it.
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Reads the keys that other servers sign with.
pub fn keys(options: &Options) -> anyhow::Result<Keys> {
    let keys = match &options.key_file {
        None => Keys::default(),
        Some(path) => {
            let text = secret(path, "--key-file")?;
            read_keys(&text).map_err(|it| anyhow!("{}:{it}", path.display()))?
        }
    };
    for name in options.key_names() {
        if keys.find(name).is_none() {
            let name = Shown(name);
            bail!("--key-file has no key {name}; make one with: tsig-keygen {name}");
        }
    }
    Ok(keys)
}

/// Reads the key that clients of the API show.
pub fn api_key(path: &Path) -> anyhow::Result<ApiKey> {
    let text = secret(path, "--api-key-file")?;
    ApiKey::new(&text).map_err(|it| anyhow!("{}: {it}", path.display()))
}

/// Reads a file that nobody else may read.
fn secret(path: &Path, flag: &str) -> anyhow::Result<String> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {flag} {shown}"))?;
    if metadata.mode() & OTHERS != 0 {
        bail!("others can read {flag} {shown}; run: chmod 600 {shown}");
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {flag} {shown}"))
}

/// What a file's mode lets everybody but its owner do.
const OTHERS: u32 = 0o077;

/// The directory of journals, which is made if it is missing.
pub fn journals(state_dir: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let Some(directory) = state_dir else {
        return Ok(None);
    };
    let directory = directory.join("zones");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(Some(directory))
}

/// The file that keeps the health of targets.
#[derive(Clone, Debug)]
pub struct MemoryFile(PathBuf);

impl MemoryFile {
    /// The file in `directory`, which is made if it is missing.
    pub fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make --state-dir {}", directory.display()))?;
        Ok(Self(directory.join("health.json")))
    }

    /// What is remembered; nothing if there is no file yet. A file that makes no sense is an error,
    /// which is no reason not to start.
    pub fn read(&self, now_unix_milliseconds: u64) -> anyhow::Result<Memory> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            Err(error) => return Err(error).with_context(|| self.0.display().to_string()),
        };
        Memory::from_json(&text, now_unix_milliseconds)
            .with_context(|| self.0.display().to_string())
    }

    /// Replaces the file as a whole, so that a crash leaves the old or the new one.
    pub fn write(&self, memory: &Memory) -> anyhow::Result<()> {
        replace(&self.0, memory.to_json().as_bytes())
    }

    /// The drains that were in force; none if there is no file of them.
    pub fn read_drains(&self) -> anyhow::Result<Drains> {
        let path = self.drains();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Drains::default()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Drains::from_json(&text).with_context(|| path.display().to_string())
    }

    /// Replaces the file of the drains as a whole.
    pub fn write_drains(&self, json: &str) -> anyhow::Result<()> {
        replace(&self.drains(), json.as_bytes())
    }

    fn drains(&self) -> PathBuf {
        self.0.with_file_name("drains.json")
    }
}

fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("json.new");
    let written = write_through(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // Half a file would only take the room that the next attempt needs.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// On disk when it returns, so that a crash of the machine leaves no empty file under the final name.
fn write_through(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}
