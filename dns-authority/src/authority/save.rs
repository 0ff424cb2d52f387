//! A door: keeps verdicts and drains on disk for the next life, beside everything else that goes on.

use std::path::Path;
use std::time::{Duration, Instant};

use daemon::Clock;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::warn;

use super::state::News;
use crate::check::memory::Memory;
use crate::drain::Drains;
use crate::load::MemoryFile;

/// Writes one state of affairs at a time.
pub(super) struct Saver {
    file: Option<MemoryFile>,
    writing: Option<JoinHandle<anyhow::Result<()>>>,
    began: Instant,
    not_before: Instant,
    clock: Clock,
}

/// A disk is busy with verdicts for a fiftieth of the time at most.
const PAUSE_FACTOR: u32 = 50;

impl Saver {
    /// Reads what an earlier life wrote into `directory`, and makes it if it is missing.
    pub(super) fn open(directory: Option<&Path>, clock: Clock) -> anyhow::Result<(Self, Memory)> {
        let file = directory.map(MemoryFile::in_directory).transpose()?;
        let now = clock.unix_milliseconds();
        let memory = file
            .as_ref()
            .map_or(Ok(Memory::default()), |it| it.read(now));
        let memory = memory.unwrap_or_else(|error| {
            warn!(
                error = format!("{error:#}"),
                "cannot read the last health; it begins unknown"
            );
            Memory::default()
        });
        let saver = Self {
            file,
            writing: None,
            began: clock.now(),
            not_before: clock.now(),
            clock,
        };
        Ok((saver, memory))
    }

    /// The drains that an earlier life left in force.
    pub(super) fn drains(&self) -> anyhow::Result<Drains> {
        let read = self.file.as_ref().map(MemoryFile::read_drains);
        read.unwrap_or_else(|| Ok(Drains::default()))
    }

    /// Whether it is time to write news, and nothing is being written.
    pub(super) fn is_free(&self) -> bool {
        self.file.is_some() && self.writing.is_none() && self.not_before <= self.clock.now()
    }

    pub(super) fn save(&mut self, news: News) {
        let Some(file) = self.file.clone() else {
            return;
        };
        self.began = self.clock.now();
        self.writing = Some(spawn_blocking(move || {
            let (memory, drains) = news.into_parts();
            let drains = drains.map_or(Ok(()), |it| file.write_drains(&it));
            memory.map_or(Ok(()), |it| file.write(&it)).and(drains)
        }));
    }

    /// How the writing ended, once it has.
    pub(super) async fn saved(&mut self) -> anyhow::Result<()> {
        let Some(writing) = &mut self.writing else {
            return std::future::pending().await;
        };
        let outcome = writing.await.unwrap_or_else(|error| Err(error.into()));
        self.writing = None;
        let now = self.clock.now();
        let took: Duration = now.saturating_duration_since(self.began);
        self.not_before = now + took * PAUSE_FACTOR;
        outcome
    }

    /// Writes the last news.
    pub(super) async fn end(mut self, news: Option<News>) {
        let mut outcome = match self.writing {
            None => Ok(()),
            Some(_) => self.saved().await,
        };
        if let Some(news) = news.filter(|_| self.file.is_some()) {
            self.save(news);
            outcome = self.saved().await;
        }
        if let Err(error) = outcome {
            warn!(
                error = format!("{error:#}"),
                "the health of targets is not kept"
            );
        }
    }
}
