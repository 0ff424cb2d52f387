//! A zone of a file, and what was changed on top of it.

use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::path;
use crate::journal::file::JournalFile;
use crate::journal::frame::Frame;
use crate::journal::{Difference, History};
use crate::serial;
use crate::wire::name::Shown;
use crate::zone::Zone;

/// A zone of a file, with what others changed in it.
#[derive(Debug)]
pub(super) struct Kept {
    /// As the file has it.
    pub(super) base: Arc<Zone>,
    pub(super) served: Arc<Zone>,
    pub(super) history: Arc<History>,
    /// The changes since the base; `None` before the first, and if nothing is kept.
    pub(super) journal: Option<JournalFile>,
}

/// A journal that has grown to this is written anew, shorter.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

impl Kept {
    /// As the file has it.
    pub(super) fn new(base: &Arc<Zone>) -> Self {
        Self {
            base: Arc::clone(base),
            served: Arc::clone(base),
            history: Arc::default(),
            journal: None,
        }
    }

    /// Makes the changes of an earlier life again; returns what is wrong with them.
    pub(super) fn replay(&mut self, frames: Vec<Frame>) -> Option<String> {
        let origin = self.base.origin().to_vec();
        let shown = Shown(&origin);
        let mut frames = frames.into_iter();
        let Some(Frame::Based(from)) = frames.next() else {
            return None;
        };
        let differences: Vec<Difference> = frames
            .filter_map(|it| match it {
                Frame::Difference(difference) => Some(difference),
                Frame::Based(_) | Frame::Confirmed(_) | Frame::Whole(_) => None,
            })
            .collect();
        let (base, last) = (
            self.base.serial(),
            differences.last().map_or(from, |it| it.to),
        );
        if serial::is_newer(base, last) {
            info!(zone = %shown, serial = base, "the file is newer than the changes made since, which are dropped");
            self.forget();
            return None;
        }
        if base != from {
            return Some(stale(&origin, base, last));
        }
        let mut zone = Zone::clone(&self.base);
        let mut history = History::default();
        for difference in differences {
            let Ok(next) = zone.with(&difference.changes(zone.store())) else {
                return Some(format!(
                    "the changes of {shown} do not go with its file; raise its serial above {last} to drop them"
                ));
            };
            zone = next;
            history.push(Arc::new(difference));
        }
        self.served = Arc::new(zone);
        self.history = Arc::new(history);
        None
    }

    /// Takes over what the file says now; returns what is wrong with it.
    pub(super) fn rebase(&mut self, base: &Arc<Zone>, minds_serials: bool) -> Option<String> {
        let origin = base.origin();
        let (old, new) = (self.served.serial(), base.serial());
        let has_changes = !Arc::ptr_eq(&self.base, &self.served);
        if has_changes && base.serial() == self.base.serial() {
            // The file was only compiled anew, or edited without a word: the changes stay on top.
            return self.put_below(base);
        }
        if has_changes && !serial::is_newer(new, old) {
            return Some(stale(origin, new, old));
        }
        let difference = self
            .served
            .view(|old| base.view(|new| Difference::between(old, new)));
        let is_same = difference.is_empty();
        let mut problem = None;
        if has_changes {
            self.forget();
        }
        if serial::is_newer(new, old) {
            Arc::make_mut(&mut self.history).push(Arc::new(difference));
        } else if !is_same {
            self.history = Arc::default();
            let shown = Shown(origin);
            problem = minds_serials.then(|| format!(
                "{shown} changed and its serial did not go up from {old}: secondaries keep the old version; raise it"
            ));
        }
        (self.base, self.served) = (Arc::clone(base), Arc::clone(base));
        problem
    }

    /// Puts the changes that were made on top of another base with the same serial.
    fn put_below(&mut self, base: &Arc<Zone>) -> Option<String> {
        let difference = self
            .base
            .view(|old| self.served.view(|new| Difference::between(old, new)));
        match base.with(&difference.changes(base.store())) {
            Ok(zone) => {
                (self.base, self.served) = (Arc::clone(base), Arc::new(zone));
                None
            }
            Err(what) => Some(format!(
                "the changes of {} do not go with its file: {what}; raise its serial above {} to drop them",
                Shown(base.origin()),
                self.served.serial()
            )),
        }
    }

    /// Keeps a difference on disk.
    pub(super) fn write(
        &mut self,
        origin: &[u8],
        directory: Option<&Path>,
        difference: &Difference,
    ) -> std::io::Result<()> {
        let Some(directory) = directory else {
            return Ok(());
        };
        let frame = Frame::Difference(difference.clone());
        let Some(journal) = &mut self.journal else {
            let (mut journal, _) = JournalFile::open(&path(directory, "zone", origin))?;
            journal.replace(&[Frame::Based(self.base.serial()), frame])?;
            self.journal = Some(journal);
            return Ok(());
        };
        journal.append(&[frame])?;
        if JOURNAL_BYTES_MAX < journal.length() {
            let (base, served) = (&self.base, &self.served);
            let all = base.view(|old| served.view(|new| Difference::between(old, new)));
            let frames = [Frame::Based(base.serial()), Frame::Difference(all)];
            journal.replace(&frames)?;
            journal.append(&[Frame::Difference(difference.clone())])?;
        }
        Ok(())
    }

    /// Drops the changes: the file has taken the zone back.
    fn forget(&mut self) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.remove()
        {
            warn!(zone = %Shown(self.base.origin()), %error, "cannot remove changes that are void");
        }
        self.journal = None;
    }
}

fn stale(origin: &[u8], file: u32, last: u32) -> String {
    format!(
        "the file of {} has serial {file} and was changed up to {last} since; raise it above {last} to take the zone back",
        Shown(origin)
    )
}
