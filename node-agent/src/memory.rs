//! A door: remembers on disk which prefixes must not leave the node in plaintext, so that a guard
//! stands after a reboot before the mesh has been read.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use tracing::warn;

/// Protected prefixes, with their clusters' ids.
pub type Prefixes = BTreeMap<IpNet, u32>;

/// The file, and what it holds.
#[derive(Debug)]
pub struct Memory {
    path: PathBuf,
    prefixes: Prefixes,
}

const FILE_NAME: &str = "prefixes.json";

#[derive(Deserialize, Serialize)]
struct File {
    prefixes: Prefixes,
}

impl Memory {
    /// Reads what an earlier agent remembered. A file that makes no sense is as good as none, and
    /// said to be: without the mesh there is nothing better.
    pub fn open(directory: &Path) -> Self {
        let path = directory.join(FILE_NAME);
        let prefixes = read(&path).unwrap_or_else(|error| {
            warn!(
                error = format!("{error:#}"),
                "nothing is protected before the mesh is read"
            );
            Prefixes::new()
        });
        Self { path, prefixes }
    }

    /// Removes what an agent left in `directory`; nothing to remove is success.
    pub fn forget(directory: &Path) -> anyhow::Result<()> {
        let path = directory.join(FILE_NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub fn prefixes(&self) -> &Prefixes {
        &self.prefixes
    }

    /// Remembers `prefixes` in place of what was; costs nothing if they are the same. After an error
    /// the file is as before.
    pub fn remember(&mut self, prefixes: &Prefixes) -> anyhow::Result<()> {
        if self.prefixes == *prefixes {
            return Ok(());
        }
        write(&self.path, prefixes).with_context(|| {
            format!("cannot remember what to protect in {}", self.path.display())
        })?;
        self.prefixes.clone_from(prefixes);
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Prefixes> {
    let context = || format!("cannot read {}", path.display());
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Prefixes::new()),
        text => text.with_context(context)?,
    };
    let file: File = serde_json::from_slice(&text).with_context(context)?;
    Ok(file.prefixes)
}

fn write(path: &Path, prefixes: &Prefixes) -> anyhow::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let prefixes = prefixes.clone();
    let text = serde_json::to_vec(&File { prefixes })?;
    let unfinished = path.with_extension("new");
    let mut file = fs::File::create(&unfinished)?;
    io::Write::write_all(&mut file, &text)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_after_a_restart_what_it_knew_before() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("made");
        let prefixes = Prefixes::from([("10.2.1.0/24".parse().unwrap(), 2)]);
        let mut memory = Memory::open(&directory);
        assert_eq!(memory.prefixes(), &Prefixes::new());

        memory.remember(&prefixes).unwrap();

        assert_eq!(Memory::open(&directory).prefixes(), &prefixes);
        Memory::forget(&directory).unwrap();
        Memory::forget(&directory).unwrap();
        assert_eq!(Memory::open(&directory).prefixes(), &Prefixes::new());
    }

    #[test]
    fn takes_nonsense_for_nothing() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join(FILE_NAME), r#"{"prefixes":{"10":2}}"#).unwrap();

        assert_eq!(Memory::open(home.path()).prefixes(), &Prefixes::new());
    }
}
