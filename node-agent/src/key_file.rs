//! A door: keeps the node's WireGuard keys on disk, where only their owner may read them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, bail};
use wireguard::PrivateKey;

use crate::keys::{Kept, Step};

/// The key's file as `wg genkey` writes it, and beside it `FILE.next` while another key is about to
/// take its place.
#[derive(Clone, Debug)]
pub struct KeyFile {
    path: PathBuf,
}

impl KeyFile {
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// What an earlier agent, or an operator, left there; nothing is as good as a start.
    ///
    /// Fails for a file that others may read, and for one that holds no key.
    pub fn read(&self) -> anyhow::Result<Kept> {
        let Some((current, made_unix_milliseconds)) = read(&self.path)? else {
            return Ok(Kept::default());
        };
        Ok(Kept {
            current: Some(current),
            made_unix_milliseconds,
            next: read(&self.next())?.map(|(key, _)| key),
        })
    }

    /// Does what `step` wants of the disk. After an error, and after a kill, the files are as before
    /// it or as after it.
    pub fn record(&self, step: &Step) -> anyhow::Result<()> {
        let result = match step {
            Step::Keep(key) => remove(&self.next()).and_then(|()| write(&self.path, key)),
            Step::Prepare(key) => write(&self.next(), key),
            Step::Switch => rename(&self.next(), &self.path),
            Step::Settle => Ok(()),
        };
        result.with_context(|| {
            format!(
                "cannot keep the node's WireGuard key in {}",
                self.path.display()
            )
        })
    }

    fn next(&self) -> PathBuf {
        beside(&self.path, ".next")
    }
}

/// The key, and when it was written in milliseconds since 1970.
fn read(path: &Path) -> anyhow::Result<Option<(PrivateKey, u64)>> {
    let context = || format!("cannot read --wireguard-key {}", path.display());
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata.with_context(context)?,
    };
    if metadata.mode() & OTHERS != 0 {
        bail!(
            "others may read the private key in {0}: whoever had access may have it, so remove it and let the agent make another, or at least: chmod 600 {0}",
            path.display()
        );
    }
    let text = fs::read_to_string(path).with_context(context)?;
    let key = text.trim().parse::<PrivateKey>().with_context(|| {
        format!(
            "{} holds no WireGuard key: remove it and the agent makes one, or write the output of `wg genkey` there",
            path.display()
        )
    })?;
    let written = metadata.modified().with_context(context)?;
    let written = written.duration_since(UNIX_EPOCH).unwrap_or_default();
    let milliseconds = u64::try_from(written.as_millis()).unwrap_or(u64::MAX);
    Ok(Some((key, milliseconds)))
}

/// What the group and all others may do.
const OTHERS: u32 = 0o077;

fn write(path: &Path, key: &PrivateKey) -> io::Result<()> {
    if let Some(directory) = directory(path) {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(directory)?;
    }
    let unfinished = beside(path, ".new");
    // What a kill left may have any mode.
    remove(&unfinished)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    file.write_all(key.to_base64().as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    rename(&unfinished, path)
}

/// What is not there is as good as removed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Once this returns, no loss of power takes it back.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    File::open(directory(to).unwrap_or_else(|| Path::new(".")))?.sync_all()
}

fn directory(path: &Path) -> Option<&Path> {
    path.parent().filter(|it| !it.as_os_str().is_empty())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keeps_a_key_for_its_owner_alone() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("made/wireguard.key");
        let file = KeyFile::new(&path);
        assert!(file.read().unwrap().current.is_none());

        file.record(&Step::Keep(key(1))).unwrap();

        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", key(1).to_base64()));
        let kept = file.read().unwrap();
        assert_eq!((kept.current, kept.next), (Some(key(1)), None));
        assert!(1_600_000_000_000 < kept.made_unix_milliseconds);
    }

    #[test]
    fn puts_the_next_key_in_the_place_of_the_first() {
        let home = tempfile::tempdir().unwrap();
        let file = KeyFile::new(&home.path().join("wireguard.key"));
        fs::write(home.path().join("wireguard.key.next.new"), "cut off").unwrap();
        file.record(&Step::Keep(key(1))).unwrap();

        file.record(&Step::Prepare(key(2))).unwrap();
        let kept = file.read().unwrap();
        assert_eq!((kept.current, kept.next), (Some(key(1)), Some(key(2))));

        file.record(&Step::Switch).unwrap();
        let kept = file.read().unwrap();
        assert_eq!((kept.current, kept.next), (Some(key(2)), None));
        let names: Vec<_> = fs::read_dir(home.path()).unwrap().collect();
        assert_eq!(names.len(), 1, "{names:?}");
    }

    #[test]
    fn refuses_a_key_that_others_may_read() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wireguard.key");
        let file = KeyFile::new(&path);
        file.record(&Step::Keep(key(1))).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();

        let error = file.read().unwrap_err().to_string();

        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn says_what_to_do_about_a_file_without_a_key() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("wireguard.key");
        let file = KeyFile::new(&path);
        file.record(&Step::Keep(key(1))).unwrap();
        fs::write(&path, "5ec4e7").unwrap();

        let error = format!("{:#}", file.read().unwrap_err());

        assert!(error.contains("wg genkey"), "{error}");
        assert!(!error.contains("5ec4e7"), "{error}");
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn key(number: u8) -> PrivateKey {
        PrivateKey::from([number; 32])
    }
}
