//! Keeps a store in a directory: one file, in which a revision is whole or not at all.
//!
//! The file holds what memory holds: each version that can be read, the deletions that can be
//! watched, the leases. It is read once, at the start, and only written from then on.

mod problem;
mod rows;
pub(crate) mod snapshot;
mod tables;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use redb::{Builder, Database};

use crate::chance;
use crate::mvcc::{Change, Image, Store};
use problem::{Problem, in_use, io_error};

/// Pages in memory. Reading is done once, and writing touches the newest pages and few others.
const CACHE_BYTES: usize = 16 << 20;

/// A directory that belongs to this process.
#[derive(Debug)]
pub(crate) struct Storage {
    database: Database,
    file: PathBuf,
    /// Held as long as the database is open.
    _lock: File,
}

/// Who the store is: the same at every start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cluster_id: u64,
    pub(crate) member_id: u64,
}

impl Identity {
    pub(crate) fn random() -> Self {
        // Tables hold signed numbers.
        let id = || chance::id().unsigned_abs();
        Self {
            cluster_id: id(),
            member_id: id(),
        }
    }
}

/// The data cannot be used, or not be written any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct StorageError {
    pub path: PathBuf,
    pub problem: String,
}

impl Storage {
    /// Takes the directory, and makes it and the store in it if there is none. A new store holds what
    /// `first` says.
    pub(crate) fn open(
        directory: &Path,
        first: impl FnOnce() -> Result<Image, StorageError>,
    ) -> Result<(Self, Identity, Image), StorageError> {
        let file = file(directory);
        let lock = lock(directory).map_err(|error| lock_error(directory, &error))?;
        let is_new = !file.try_exists().map_err(|error| io_error(&file, &error))?;
        if is_new {
            create(&file, first()?)?;
        }

        // The library may panic over pages that make no sense.
        let opened = catch_unwind(AssertUnwindSafe(|| load(&file)));
        let (database, identity, image) = opened
            .unwrap_or_else(|_| Err(Problem::Damaged("it makes no sense".to_owned())))
            .map_err(|problem| problem.at(&file))?;
        let storage = Self {
            database,
            file,
            _lock: lock,
        };
        Ok((storage, identity, image))
    }

    /// Makes all changes durable at once, or none.
    pub(crate) fn write(&self, changes: &[Change]) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        tables::write(&transaction, changes)?;
        Ok(transaction.commit()?)
    }

    /// Gives space that is not needed any more back to the file system.
    pub(crate) fn defragment(&mut self) -> Result<(), redb::Error> {
        self.database.compact()?;
        Ok(())
    }

    /// What to tell when writing failed.
    pub(crate) fn failure(&self, error: &redb::Error) -> StorageError {
        StorageError {
            path: self.file.clone(),
            problem: format!(
                "{error}; the data directory must be writable and its disk have space"
            ),
        }
    }

    /// What the store in `directory` takes on disk.
    pub(crate) fn file_bytes(directory: &Path) -> Option<u64> {
        let metadata = std::fs::metadata(file(directory)).ok()?;
        Some(metadata.len())
    }
}

/// Reads a snapshot file.
pub(crate) fn read_snapshot(path: &Path) -> Result<Image, StorageError> {
    let bytes = std::fs::read(path).map_err(|error| StorageError {
        path: path.to_owned(),
        problem: format!("{error}; the snapshot must exist and be readable"),
    })?;
    snapshot::decode(&bytes).map_err(|problem| StorageError {
        path: path.to_owned(),
        problem: format!(
            "{problem}; use a file that `etcdctl snapshot save` wrote from an embedded store"
        ),
    })
}

fn file(directory: &Path) -> PathBuf {
    directory.join("store.redb")
}

fn lock(directory: &Path) -> Result<File, TryLockError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .and_then(|()| private_file(&directory.join("lock")))
        .map_err(TryLockError::Error)
        .and_then(|file| file.try_lock().map(|()| file))
}

/// A file that others may not read: it can hold what only some users of the store may see.
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

/// Writes a new store beside its place and moves it there when it is whole.
fn create(file: &Path, image: Image) -> Result<(), StorageError> {
    let draft = file.with_extension("new");
    let result = remove_if_there(&draft)
        .map_err(Problem::Io)
        .and_then(|()| fill(&draft, image).map_err(Problem::from))
        .and_then(|()| put_in_place(&draft, file).map_err(Problem::Io));
    result.map_err(|problem| problem.at(file))
}

fn fill(draft: &Path, image: Image) -> Result<(), redb::Error> {
    let database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .create_file(private_file(draft)?)?;
    let transaction = database.begin_write()?;
    tables::found(&transaction, image.revision)?;
    let changes: Vec<Change> = Store::changes_to(image).collect();
    tables::write(&transaction, &changes)?;
    Ok(transaction.commit()?)
}

fn put_in_place(draft: &Path, file: &Path) -> io::Result<()> {
    std::fs::rename(draft, file)?;
    let directory = file.parent().unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Err(_) | Ok(()) => Ok(()),
    }
}

fn load(file: &Path) -> Result<(Database, Identity, Image), Problem> {
    let mut database = Builder::new()
        .set_cache_size(CACHE_BYTES)
        .open(file)
        .map_err(redb::Error::from)?;
    let sound = database.check_integrity().map_err(redb::Error::from)?;
    if !sound {
        let what = "it was repaired to an earlier state; start again to accept that".to_owned();
        return Err(Problem::Damaged(what));
    }
    let (identity, image) = tables::read(&database)?;
    Ok((database, identity, image))
}

fn lock_error(directory: &Path, error: &TryLockError) -> StorageError {
    match error {
        TryLockError::Error(error) => io_error(directory, error),
        TryLockError::WouldBlock => StorageError {
            path: directory.to_owned(),
            problem: in_use(),
        },
    }
}

#[cfg(test)]
mod tests;
