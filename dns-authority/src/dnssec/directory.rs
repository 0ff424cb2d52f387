//! A door: keeps the keys of zones on disk, where only their owner may read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use zeroize::Zeroizing;

use super::keys::Keys;
use crate::wire::name::Shown;

/// A directory with a file for each zone that is signed, `ZONE.keys`.
#[derive(Clone, Debug)]
pub struct Directory(PathBuf);

/// What tells a file from one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    inode: u64,
    /// When it was written or renamed, in seconds and nanoseconds.
    changed: (i64, i64),
    mode: u32,
}

/// What the group and all others may do.
const OTHERS: u32 = 0o077;

/// A file of keys is far shorter.
const FILE_BYTES_MAX: u64 = 64 * 1024;

impl Directory {
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Which file holds the zone's keys now; `None` if there is none.
    pub fn stamp(&self, origin: &[u8]) -> Option<Stamp> {
        let metadata = fs::metadata(self.path(origin)).ok()?;
        Some(Stamp {
            inode: metadata.ino(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            mode: metadata.mode(),
        })
    }

    /// The keys of the zone at `origin`, which is in lower case; `None` if it has none.
    ///
    /// # Errors
    ///
    /// Others may read the file, or it holds no keys of the zone.
    pub fn read(&self, origin: &[u8]) -> anyhow::Result<Option<Keys>> {
        let path = self.path(origin);
        let shown = path.display();
        let context = || format!("cannot read the keys of a zone from {shown}");
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.with_context(context)?,
        };
        if metadata.mode() & OTHERS != 0 {
            bail!(
                "others may read the private keys in {shown}: whoever had access may have them, so roll the keys over, or at least: chmod 600 {shown}"
            );
        }
        if FILE_BYTES_MAX < metadata.len() {
            bail!("{shown} is longer than any file of keys: restore it from a copy");
        }
        let text = Zeroizing::new(fs::read_to_string(&path).with_context(context)?);
        let keys = Keys::from_text(origin, &text).with_context(|| shown.to_string())?;
        Ok(Some(keys))
    }

    /// Writes the keys of a zone. After an error, and after a kill, the old ones or the new ones are
    /// there.
    pub fn write(&self, keys: &Keys) -> anyhow::Result<()> {
        let path = self.path(&keys.origin);
        let text = keys.to_text()?;
        write(&self.0, &path, text.as_bytes())
            .with_context(|| format!("cannot keep the keys of a zone in {}", path.display()))
    }

    /// Where a zone's keys are.
    pub fn path(&self, origin: &[u8]) -> PathBuf {
        let name = Shown(origin).to_string();
        let name = match name.strip_suffix('.') {
            None | Some("") => "root",
            Some(name) => name,
        };
        // A label may have what separates directories.
        self.0.join(format!("{}.keys", name.replace('/', "\\047")))
    }
}

fn write(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    let unfinished = path.with_extension("keys.new");
    // What a kill left may have any mode.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => (),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    // Once this returns, no loss of power takes it back.
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::dnssec::algorithm::Algorithm;
    use crate::dnssec::denial::Denial;

    const ORIGIN: &[u8] = b"\x03a/b\x04test\x00";

    #[test]
    fn keeps_keys_for_their_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::new(&home.path().join("made"));
        assert!(directory.read(ORIGIN).unwrap().is_none());
        assert_eq!(directory.stamp(ORIGIN), None);
        fs::create_dir(home.path().join("made")).unwrap();
        fs::write(home.path().join("made/a\\047b.test.keys.new"), "cut off").unwrap();

        let keys = generate();
        directory.write(&keys).unwrap();

        let path = directory.path(ORIGIN);
        assert_eq!(path, home.path().join("made/a\\047b.test.keys"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = directory.read(ORIGIN).unwrap().unwrap();
        assert_eq!(read.to_text().unwrap(), keys.to_text().unwrap());
        let stamp = directory.stamp(ORIGIN);
        directory.write(&keys).unwrap();
        assert_ne!(directory.stamp(ORIGIN), stamp);
        assert_eq!(fs::read_dir(home.path().join("made")).unwrap().count(), 1);
        assert_eq!(directory.path(&[0]), home.path().join("made/root.keys"));
    }

    #[test]
    fn refuses_keys_that_others_may_read() {
        let home = tempfile::tempdir().unwrap();
        let directory = Directory::new(home.path());
        directory.write(&generate()).unwrap();
        let open = fs::Permissions::from_mode(0o640);
        fs::set_permissions(directory.path(ORIGIN), open).unwrap();

        let error = directory.read(ORIGIN).unwrap_err().to_string();

        assert!(error.contains("chmod 600"), "{error}");
    }

    fn generate() -> Keys {
        Keys::generate(ORIGIN, Algorithm::Ed25519, true, Denial::Compact, 5).unwrap()
    }
}
