//! Follows the records that a running load client writes.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::record::Record;

/// A reader of one client's records, which remembers how far it has come.
#[derive(Debug)]
pub struct Follower {
    file: PathBuf,
    offset: u64,
}

impl Follower {
    /// Starts at the beginning of `file`, the client's standard output.
    pub fn new(file: PathBuf) -> Self {
        Self { file, offset: 0 }
    }

    /// The records that were written since the last call. A line without its end waits for it.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or a line is not a record.
    pub fn read(&mut self) -> Result<Vec<Record>> {
        let context = || format!("cannot follow {}", self.file.display());
        let mut file = File::open(&self.file).with_context(context)?;
        file.seek(SeekFrom::Start(self.offset))
            .with_context(context)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).with_context(context)?;

        let whole = text
            .iter()
            .rposition(|it| *it == b'\n')
            .map_or(0, |it| it + 1);
        let lines = text[..whole]
            .split(|it| *it == b'\n')
            .filter(|it| !it.is_empty());
        let records = lines.map(|it| serde_json::from_slice(it).with_context(context));
        let records = records.collect::<Result<Vec<Record>>>()?;
        self.offset += u64::try_from(whole).unwrap_or(0);
        Ok(records)
    }
}
