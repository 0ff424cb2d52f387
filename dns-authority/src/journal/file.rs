//! Keeps journals on disk: what was written is there after a crash, and what was cut off is not.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::frame::{Frame, read_all};

/// The journal of one zone.
#[derive(Debug)]
pub struct JournalFile {
    path: PathBuf,
    /// Open once there is one.
    file: Option<File>,
    /// Octets that are known to be on disk, whole.
    length: u64,
}

/// Zones and journals that are longer than this are nobody's who has so little memory.
const FILE_BYTES_MAX: u64 = 2 << 30;

impl JournalFile {
    /// Opens the file and reads it; there may be none yet.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is larger than a journal gets.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Frame>)> {
        let mut journal = Self {
            path: path.to_owned(),
            file: None,
            length: 0,
        };
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, vec![])),
            Err(error) => return Err(error),
            Ok(metadata) if FILE_BYTES_MAX < metadata.len() => {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    "more than 2 GiB; move it away",
                ));
            }
            Ok(_) => (),
        }
        let (frames, length) = read_all(&fs::read(path)?);
        let file = OpenOptions::new().append(true).open(path)?;
        journal.length = length as u64;
        // A crash while the last piece was written: it was never acknowledged.
        file.set_len(journal.length)?;
        journal.file = Some(file);
        Ok((journal, frames))
    }

    /// Octets of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Adds pieces. When this returns they are on disk.
    ///
    /// # Errors
    ///
    /// They are not, and the file is as it was before.
    pub fn append(&mut self, frames: &[Frame]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return self.replace(frames);
        };
        let bytes = encoded(frames)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        match written {
            Ok(()) => self.length += bytes.len() as u64,
            Err(error) => {
                // If this fails as well, the next life finds the piece cut off.
                let _ = file.set_len(self.length);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Puts another file in the place of this one, whole or not at all.
    ///
    /// # Errors
    ///
    /// The old one is still there.
    pub fn replace(&mut self, frames: &[Frame]) -> io::Result<()> {
        let bytes = encoded(frames)?;
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&fresh)?;
        let written = file.write_all(&bytes).and_then(|()| file.sync_all());
        let written = written.and_then(|()| fs::rename(&fresh, &self.path));
        if let Err(error) = written {
            // Whatever it was, a half-written file helps nobody.
            let _ = fs::remove_file(&fresh);
            return Err(error);
        }
        if let Some(directory) = self.path.parent() {
            File::open(directory)?.sync_all()?;
        }
        self.file = Some(OpenOptions::new().append(true).open(&self.path)?);
        self.length = bytes.len() as u64;
        Ok(())
    }

    /// Takes the file away.
    ///
    /// # Errors
    ///
    /// It is still there.
    pub fn remove(&mut self) -> io::Result<()> {
        self.file = None;
        self.length = 0;
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

fn encoded(frames: &[Frame]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for frame in frames {
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, "a zone of 4 GiB");
        bytes.extend(frame.write().ok_or_else(too_large)?);
    }
    Ok(bytes)
}
