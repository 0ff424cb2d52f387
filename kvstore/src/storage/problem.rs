//! Tells what is wrong with a data directory, and what to do about it.

use std::io;
use std::path::Path;

use super::StorageError;
use super::tables::FORMAT_VERSION;

/// What is wrong with a file.
#[derive(Debug)]
pub(super) enum Problem {
    Damaged(String),
    Foreign,
    Format(i64),
    Io(io::Error),
    Locked,
}

impl Problem {
    pub(super) fn at(self, file: &Path) -> StorageError {
        let problem = match self {
            Self::Damaged(what) => format!(
                "the store is damaged: {what}; move the file away to begin with an empty store or \
                 with a snapshot"
            ),
            Self::Foreign => "this is not a store's file; choose another data directory, or move \
                              the file away to begin with an empty store"
                .to_owned(),
            Self::Format(version) => format!(
                "the store has format {version} and this program reads format {FORMAT_VERSION}; \
                 use the program that wrote it, or another data directory"
            ),
            Self::Io(error) => return io_error(file, &error),
            Self::Locked => in_use(),
        };
        StorageError {
            path: file.to_owned(),
            problem,
        }
    }
}

impl From<redb::Error> for Problem {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the library may add further errors"
    )]
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => Self::Foreign,
            redb::Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Self::Damaged("it ends too early".to_owned())
            }
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::TableDoesNotExist(_) | redb::Error::UpgradeRequired(_) => Self::Foreign,
            _ => Self::Damaged(error.to_string()),
        }
    }
}

pub(super) fn in_use() -> String {
    "another process keeps its store here; stop it, or choose another data directory".to_owned()
}

pub(super) fn io_error(path: &Path, error: &io::Error) -> StorageError {
    StorageError {
        path: path.to_owned(),
        problem: format!("{error}; the data directory must be writable and its disk have space"),
    }
}
