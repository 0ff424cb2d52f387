//! Looks at the files of a directory, and tells which of them changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle, available_parallelism};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use daemon::Clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use super::{FileChanges, Listing};

/// Events name a change within a millisecond; the directory is looked through this often beside
/// them, for file systems that send none (NFS) and for a directory that was replaced.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);

/// So that a directory of 100,000 files does not cost more than a fiftieth of a processor.
const RESCAN_PAUSE_PER_DURATION: u32 = 50;
const RESCAN_INTERVAL_MAX: Duration = Duration::from_secs(60);

/// Fewer files are read by the time that a thread has started.
const FILES_PER_READER_MIN: usize = 4;

/// A manifest of 10,000 objects has a tenth of this; more is a mistake, and would eat the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(super) struct Scanner<T, R> {
    directory: PathBuf,
    is_wanted: fn(&str) -> bool,
    read: R,
    notifications: OwnedFd,
    files: BTreeMap<String, (Stamp, Arc<T>)>,
    problem: Option<String>,
    /// Which directory was read last: another one may stand in its place.
    identity: Option<(u64, u64)>,
    /// What another directory has that stands in its place, and since when.
    replacement: Option<(BTreeSet<String>, Instant)>,
    /// Files that were found to have changed without a notification: somebody may be writing them.
    unsettled: BTreeMap<String, Stamp>,
    /// When all files are looked at again.
    rescan: Instant,
}

/// What changes with a file's content. The change time tells apart two writes that leave the same
/// length; where it is too coarse for that, the notification decides.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The files that notifications named.
#[derive(Debug, Default)]
struct Touched {
    names: BTreeSet<String>,
    /// Any file may have changed: the kernel's queue overflowed, or a link was moved.
    any: bool,
}

impl<T, R> Scanner<T, R>
where
    T: Send + Sync,
    R: Fn(&str, Result<&str, String>, Option<&T>) -> T + Sync,
{
    /// Reads the directory for the first time.
    pub(super) fn start(
        directory: &Path,
        is_wanted: fn(&str) -> bool,
        read: R,
    ) -> anyhow::Result<(Self, FileChanges<T>)> {
        let notifications = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .context("the kernel gives out no inotify instance")?;
        let mut scanner = Self {
            directory: directory.to_owned(),
            is_wanted,
            read,
            notifications,
            files: BTreeMap::new(),
            problem: None,
            identity: None,
            replacement: None,
            unsettled: BTreeMap::new(),
            rescan: Clock.now(),
        };
        let changes = scanner.scan(&Touched::default());
        match scanner.problem {
            Some(problem) => Err(anyhow!(problem)),
            None => Ok((scanner, changes)),
        }
    }

    /// Waits a while for changes; `None` if there were none.
    pub(super) fn next(&mut self) -> Option<FileChanges<T>> {
        let touched = self.wait();
        let problem = self.problem.clone();
        let is_due = self.rescan <= Clock.now();
        let changes = if touched.any || is_due || problem.is_some() {
            self.scan(&touched)
        } else {
            self.look_at(&touched)
        };
        let is_changed = !changes.files.is_empty() || changes.problem != problem;
        is_changed.then_some(changes)
    }

    /// Looks through the directory and reads what changed.
    fn scan(&mut self, touched: &Touched) -> FileChanges<T> {
        let start = Clock.now();
        let mut files = BTreeMap::new();
        match self
            .observe()
            .and_then(|identity| Ok((identity, self.names()?)))
        {
            Ok((identity, names)) => self.compare(identity, names, touched, start, &mut files),
            Err(error) => self.problem = Some(format!("{}: {error}", self.directory.display())),
        }
        // A directory of so many files that looking at them takes time is looked at more seldom.
        let end = Clock.now();
        let pause = (end - start) * RESCAN_PAUSE_PER_DURATION;
        self.rescan = end + pause.clamp(RESCAN_INTERVAL, RESCAN_INTERVAL_MAX);
        self.changes(files)
    }

    /// Takes in what the directory holds.
    fn compare(
        &mut self,
        identity: (u64, u64),
        names: BTreeMap<String, Stamp>,
        touched: &Touched,
        now: Instant,
        files: &mut BTreeMap<String, Option<Arc<T>>>,
    ) {
        let is_first = self.identity.is_none();
        if !is_first && self.identity != Some(identity) && names.is_empty() {
            self.problem = Some(format!(
                "{}: another directory, which is empty, stands in its place",
                self.directory.display()
            ));
            return;
        }
        self.problem = None;
        if self.is_whole(identity, &names, now) {
            let gone = |name: &&String| !names.contains_key(*name);
            let gone: Vec<String> = self.files.keys().filter(gone).cloned().collect();
            for name in gone {
                self.files.remove(&name);
                files.insert(name, None);
            }
        }
        let mut unsettled = BTreeMap::new();
        let mut due = Vec::new();
        for (name, stamp) in names {
            let is_touched = is_first || touched.any || touched.names.contains(&name);
            if !is_touched && self.files.get(&name).is_some_and(|(it, _)| *it == stamp) {
                continue;
            }
            // One that is still being written is read when it is closed, or has come to rest.
            if is_touched || self.unsettled.get(&name) == Some(&stamp) {
                due.push((name, stamp));
            } else {
                unsettled.insert(name, stamp);
            }
        }
        self.unsettled = unsettled;
        self.examine(due, files);
    }

    /// Whether what is missing in the directory is gone. In one that took the place of another it may
    /// be yet to come: until nothing more has come for a while.
    fn is_whole(
        &mut self,
        identity: (u64, u64),
        names: &BTreeMap<String, Stamp>,
        now: Instant,
    ) -> bool {
        if self.identity.is_none() || self.identity == Some(identity) {
            self.identity = Some(identity);
            self.replacement = None;
            return true;
        }
        match &self.replacement {
            Some((before, since)) if before.iter().eq(names.keys()) => {
                if now.duration_since(*since) < RESCAN_INTERVAL {
                    return false;
                }
                self.identity = Some(identity);
                self.replacement = None;
                true
            }
            _ => {
                self.replacement = Some((names.keys().cloned().collect(), now));
                false
            }
        }
    }

    /// Looks at the files that notifications named, and at no other.
    fn look_at(&mut self, touched: &Touched) -> FileChanges<T> {
        let mut files = BTreeMap::new();
        let mut due = Vec::new();
        for name in &touched.names {
            match self.stamp(name) {
                Some(stamp) => due.push((name.clone(), stamp)),
                None if self.files.remove(name).is_some() => {
                    files.insert(name.clone(), None);
                }
                None => (),
            }
        }
        self.examine(due, &mut files);
        self.changes(files)
    }

    /// Reads files, each of which may have changed.
    fn examine(&mut self, due: Vec<(String, Stamp)>, files: &mut BTreeMap<String, Option<Arc<T>>>) {
        let said = self.read_all(&due);
        for ((name, stamp), said) in due.into_iter().zip(said) {
            files.insert(name.clone(), Some(Arc::clone(&said)));
            self.files.insert(name, (stamp, said));
        }
    }

    /// Reads with every processor: at the start there may be a lot to read.
    fn read_all(&self, due: &[(String, Stamp)]) -> Vec<Arc<T>> {
        let read = |(name, _): &(String, Stamp)| {
            let text = text(&self.directory.join(name));
            let text = text.as_deref().map_err(ToString::to_string);
            let known = self.files.get(name).map(|(_, said)| &**said);
            Arc::new((self.read)(name, text, known))
        };
        if due.len() < FILES_PER_READER_MIN {
            return due.iter().map(read).collect();
        }
        // Asked only now: the answer takes longer to find out than a small file to read.
        let readers = available_parallelism().map_or(1, usize::from);
        let share = due.len().div_ceil(readers).max(FILES_PER_READER_MIN);
        thread::scope(|scope| {
            let readers = due.chunks(share).map(|share| {
                let read = &read;
                scope.spawn(move || share.iter().map(read).collect::<Vec<_>>())
            });
            let readers: Vec<_> = readers.collect();
            let said = readers.into_iter().map(ScopedJoinHandle::join);
            said.flat_map(|it| it.unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    }

    fn changes(&self, files: BTreeMap<String, Option<Arc<T>>>) -> FileChanges<T> {
        FileChanges {
            files,
            problem: self.problem.clone(),
        }
    }

    /// Asks for notifications, and tells which directory it is. Repeating it costs nothing, and finds
    /// a directory that took the place of another.
    fn observe(&self) -> io::Result<(u64, u64)> {
        // Not every write, but only closing: a file that is being written is not read half done.
        let events = WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.notifications, &self.directory, events)?;
        let metadata = fs::metadata(&self.directory)?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn names(&self) -> io::Result<BTreeMap<String, Stamp>> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)? {
            if let Ok(name) = entry?.file_name().into_string()
                && let Some(stamp) = self.stamp(&name)
            {
                names.insert(name, stamp);
            }
        }
        Ok(names)
    }

    /// `None` for what is not wanted, or not there.
    fn stamp(&self, name: &str) -> Option<Stamp> {
        if name.starts_with('.') || !(self.is_wanted)(name) {
            return None;
        }
        // Follows links, as mounted ConfigMaps have them.
        let metadata = fs::metadata(self.directory.join(name)).ok()?;
        metadata.is_file().then(|| Stamp::from(&metadata))
    }

    /// Returns at the first notification, with all that have arrived, or after the interval.
    fn wait(&self) -> Touched {
        let timeout = Timespec {
            tv_sec: RESCAN_INTERVAL.as_secs().cast_signed(),
            tv_nsec: RESCAN_INTERVAL.subsec_nanos().into(),
        };
        let mut awaited = [PollFd::new(&self.notifications, PollFlags::IN)];
        // An interrupted wait is a short one.
        let _ = poll(&mut awaited, Some(&timeout));

        let mut touched = Touched::default();
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = inotify::Reader::new(&self.notifications, &mut buffer);
        while let Ok(event) = events.next() {
            match event.file_name().map(|it| it.to_str()) {
                // The link behind all files of a mounted ConfigMap.
                Some(Ok(name)) if name.starts_with("..") => touched.any = true,
                Some(Ok(name)) => drop(touched.names.insert(name.to_owned())),
                Some(Err(_)) => (),
                None => touched.any = true,
            }
        }
        touched
    }

    pub(super) fn listing(&self) -> Listing<T> {
        let files = self.files.iter();
        Listing {
            files: files
                .map(|(name, (_, said))| (name.clone(), Arc::clone(said)))
                .collect(),
            problem: self.problem.clone(),
        }
    }
}

impl From<&Metadata> for Stamp {
    fn from(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a file says. Where it is no text, the error begins with line and column.
fn text(file: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limited = fs::File::open(file)?.take(FILE_BYTES_MAX + 1);
    let count = io::BufReader::new(limited).read_to_end(&mut bytes)?;
    if count as u64 > FILE_BYTES_MAX {
        let problem = format!("larger than {FILE_BYTES_MAX} bytes; split the file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let lines = good.iter().filter(|it| **it == b'\n').count();
        let last = good.rsplit(|it| *it == b'\n').next().unwrap_or_default();
        let column = String::from_utf8_lossy(last).chars().count() + 1;
        let problem = format!("{}:{column}: not UTF-8; save the file as text", lines + 1);
        io::Error::new(io::ErrorKind::InvalidData, problem)
    })
}

#[cfg(test)]
mod tests;
