//! A copy of another server's zone: on disk with every version, so that it is served at once after a
//! restart.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::path;
use crate::journal::file::JournalFile;
use crate::journal::frame::Frame;
use crate::journal::{Difference, History, Record};
use crate::transfer::incoming::{self, Fetched};
use crate::wire::name::{Folded, Shown};
use crate::zone::{Lack, Zone};

/// A copy, or the place for one.
#[derive(Debug)]
pub(super) struct Copy {
    origin: Folded,
    /// Answers nothing while there is no copy, or one that is too old.
    pub(super) zone: Arc<Zone>,
    pub(super) history: Arc<History>,
    /// When the primary vouched for it last, in seconds since 1970.
    pub(super) confirmed: Option<u64>,
    journal: Option<JournalFile>,
    /// The journal's length when it was written anew.
    fresh_bytes: u64,
}

/// A journal is written anew when it has grown to twice what it was, and by this.
const GROWTH_BYTES: u64 = 1 << 20;

impl Copy {
    /// Reads the copy of an earlier life.
    ///
    /// # Errors
    ///
    /// It cannot be read. There is none then, and nothing is kept.
    pub(super) fn open(origin: &Folded, directory: Option<&Path>) -> (Self, Option<io::Error>) {
        let mut copy = Self {
            origin: origin.clone(),
            zone: Arc::new(Zone::absent(origin)),
            history: Arc::default(),
            confirmed: None,
            journal: None,
            fresh_bytes: 0,
        };
        let opened = directory.map(|it| JournalFile::open(&path(it, "copy", origin.octets())));
        match opened.transpose() {
            Ok(None) => (copy, None),
            Ok(Some((journal, frames))) => {
                copy.fresh_bytes = journal.length();
                copy.journal = Some(journal);
                copy.replay(frames);
                (copy, None)
            }
            Err(error) => (copy, Some(error)),
        }
    }

    fn replay(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            match frame {
                Frame::Whole(records) => {
                    let Ok(zone) = incoming::zone(&self.origin, &records) else {
                        return;
                    };
                    self.zone = Arc::new(zone);
                }
                Frame::Difference(difference) => {
                    let Ok(zone) = self.zone.with(&difference.changes(self.zone.store())) else {
                        return;
                    };
                    self.zone = Arc::new(zone);
                    Arc::make_mut(&mut self.history).push(Arc::new(difference));
                }
                Frame::Confirmed(seconds) => self.confirmed = Some(seconds),
                Frame::Based(_) => (),
            }
        }
    }

    /// Takes over what a primary said at this time, in seconds since 1970.
    ///
    /// # Errors
    ///
    /// It makes no zone, or cannot be kept; the copy is as it was.
    pub(super) fn install(&mut self, fetched: Fetched, now: u64) -> Result<(), String> {
        let confirmed = Frame::Confirmed(now);
        match fetched {
            Fetched::Current => {
                // Written down with the next change, or rarely: it only matters after a restart.
                if self.confirmed.is_none_or(|it| it + CONFIRMED_SECONDS < now) {
                    self.append(vec![confirmed])?;
                }
                self.zone = Arc::new(self.zone.lacking(None));
            }
            Fetched::Steps(steps) => {
                let mut zone = Zone::clone(&self.zone);
                for step in &steps {
                    if zone.serial() != step.from {
                        return Err("what changed is of another version".to_owned());
                    }
                    zone = zone.with(&step.changes(zone.store()))?;
                }
                let mut frames: Vec<Frame> = steps.iter().cloned().map(Frame::Difference).collect();
                frames.push(confirmed);
                self.append(frames)?;
                let history = Arc::make_mut(&mut self.history);
                steps.into_iter().for_each(|it| history.push(Arc::new(it)));
                self.zone = Arc::new(zone);
            }
            Fetched::Whole(records) => {
                let zone = incoming::zone(&self.origin, &records)?;
                let known = Arc::clone(&self.zone);
                let difference = known.view(|old| zone.view(|new| Difference::between(old, new)));
                self.replace(&[Frame::Whole(records), confirmed])?;
                let history = Arc::make_mut(&mut self.history);
                match known.lack() == Some(Lack::Absent) {
                    true => *history = History::default(),
                    false => history.push(Arc::new(difference)),
                }
                self.zone = Arc::new(zone);
            }
        }
        self.confirmed = Some(now);
        Ok(())
    }

    /// The primary has been silent for too long.
    pub(super) fn expire(&mut self) {
        self.zone = Arc::new(self.zone.lacking(Some(Lack::Expired)));
    }

    fn append(&mut self, frames: Vec<Frame>) -> Result<(), String> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.append(&frames).map_err(|it| cannot_keep(&it))?;
        if 2 * self.fresh_bytes + GROWTH_BYTES < journal.length() {
            let records = self.zone.view(|it| {
                let all = it.store.nodes().flat_map(|node| it.records(node));
                all.collect::<Vec<Record>>()
            });
            // What was appended is not in there yet.
            let frames = [&[Frame::Whole(records)], &frames[..]].concat();
            self.replace(&frames)?;
        }
        Ok(())
    }

    fn replace(&mut self, frames: &[Frame]) -> Result<(), String> {
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.replace(frames).map_err(|it| cannot_keep(&it))?;
        self.fresh_bytes = journal.length();
        Ok(())
    }

    /// What is wrong, if nothing is served.
    pub(super) fn problem(&self) -> Option<String> {
        let shown = Shown(self.origin.octets());
        self.zone.lack().is_some().then(|| match self.confirmed {
            None => format!("there is no copy of {shown} yet"),
            Some(_) => {
                format!("the copy of {shown} has expired: no primary vouched for it in time")
            }
        })
    }
}

/// How exactly it is known after a restart when a primary vouched last.
const CONFIRMED_SECONDS: u64 = 600;

fn cannot_keep(error: &io::Error) -> String {
    format!("cannot keep it: {error}")
}
