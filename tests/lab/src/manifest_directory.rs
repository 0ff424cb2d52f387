//! A directory of manifests that is safe to watch: files change as a whole.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// A directory that a control plane reads its objects from.
#[derive(Clone, Debug)]
pub struct ManifestDirectory {
    path: PathBuf,
}

impl ManifestDirectory {
    /// Creates the directory, if it is not there.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the manifest `NAME.yaml`; a reader sees the old one or the new one, never a part.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, name: &str, manifest: &str) -> Result<()> {
        let file = self.path.join(format!("{name}.yaml"));
        // Hidden and with another ending, so that nobody takes it for a manifest.
        let unfinished = self.path.join(format!(".{name}.unfinished"));
        fs::write(&unfinished, manifest)
            .and_then(|()| fs::rename(&unfinished, &file))
            .with_context(|| format!("cannot write {}", file.display()))
    }

    /// Removes the manifest `NAME.yaml`.
    ///
    /// # Errors
    ///
    /// If it cannot be removed.
    pub fn remove(&self, name: &str) -> Result<()> {
        let file = self.path.join(format!("{name}.yaml"));
        fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))
    }
}
