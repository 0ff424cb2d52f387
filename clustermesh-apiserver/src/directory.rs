//! Watches a directory of small text files, and hands out what they say whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::sync::watch;

/// Events name a change within a millisecond; the directory is looked through this often beside
/// them, for file systems that send none (NFS) and for a directory that was replaced.
const RESCAN_INTERVAL: Duration = Duration::from_secs(1);

/// A manifest of 10,000 objects has a tenth of this; more is a mistake, and would eat the memory.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What the files of a directory say, by file name.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// Unchanged files keep their `Arc` from one listing to the next.
    pub files: BTreeMap<String, Arc<T>>,
    /// Why the directory could not be read; `files` is then what it said last.
    pub problem: Option<String>,
}

/// Reads `directory` now and then watches it for as long as somebody receives.
///
/// Files whose names begin with a dot are passed over, and so is what `is_wanted` refuses. `read`
/// turns a file's text, or the reason why there is none, into what is handed out; it is given what
/// the file said before.
pub fn watch<T, R>(
    directory: &Path,
    is_wanted: fn(&str) -> bool,
    read: R,
) -> anyhow::Result<watch::Receiver<Listing<T>>>
where
    T: Send + Sync + 'static,
    R: Fn(&str, Result<&str, String>, Option<&T>) -> T + Send + 'static,
{
    let notifications = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
        .context("the kernel gives out no inotify instance")?;
    let mut scanner = Scanner {
        directory: directory.to_owned(),
        is_wanted,
        read,
        notifications,
        files: BTreeMap::new(),
        problem: None,
    };
    scanner.scan(&Touched::default());
    if let Some(problem) = scanner.problem {
        return Err(anyhow!(problem));
    }

    let (sender, receiver) = watch::channel(scanner.listing());
    std::thread::Builder::new()
        .name("directory".to_owned())
        .spawn(move || {
            while !sender.is_closed() {
                let touched = scanner.wait();
                if scanner.scan(&touched) {
                    sender.send_replace(scanner.listing());
                }
            }
        })
        .context("cannot start a thread")?;
    Ok(receiver)
}

/// What a directory says that nobody configured: nothing, for ever.
pub fn nothing<T>() -> watch::Receiver<Listing<T>> {
    let listing = Listing {
        files: BTreeMap::new(),
        problem: None,
    };
    watch::channel(listing).1
}

struct Scanner<T, R> {
    directory: PathBuf,
    is_wanted: fn(&str) -> bool,
    read: R,
    notifications: OwnedFd,
    files: BTreeMap<String, (Stamp, Arc<T>)>,
    problem: Option<String>,
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
    /// The kernel's queue overflowed: any file may have changed.
    any: bool,
}

impl<T, R> Scanner<T, R>
where
    R: Fn(&str, Result<&str, String>, Option<&T>) -> T,
{
    /// Looks through the directory and reads what changed; tells whether anything did.
    fn scan(&mut self, touched: &Touched) -> bool {
        let names = self.observe().and_then(|()| self.names());
        let problem = match &names {
            Ok(_) => None,
            Err(error) => Some(format!("{}: {error}", self.directory.display())),
        };
        let mut changed = problem != self.problem;
        self.problem = problem;
        let Ok(names) = names else {
            return changed;
        };

        let before = self.files.len();
        self.files.retain(|name, _| names.contains_key(name));
        changed |= self.files.len() != before;
        for (name, stamp) in names {
            let known = self.files.get(&name);
            let is_touched = touched.any || touched.names.contains(&name);
            if known.is_some_and(|(it, _)| *it == stamp) && !is_touched {
                continue;
            }
            let text = text(&self.directory.join(&name));
            let text = text.as_deref().map_err(ToString::to_string);
            let said = (self.read)(&name, text, known.map(|(_, said)| &**said));
            self.files.insert(name, (stamp, Arc::new(said)));
            changed = true;
        }
        changed
    }

    /// Asks for notifications. Repeating it costs nothing, and finds a directory that took the
    /// place of another.
    fn observe(&self) -> io::Result<()> {
        // Not every write, but only closing: a file that is being written is not read half done.
        let events = WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&self.notifications, &self.directory, events)?;
        Ok(())
    }

    fn names(&self) -> io::Result<BTreeMap<String, Stamp>> {
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(&self.directory)? {
            let Ok(name) = entry?.file_name().into_string() else {
                continue;
            };
            if name.starts_with('.') || !(self.is_wanted)(&name) {
                continue;
            }
            // Follows links, as mounted ConfigMaps have them. One that vanished is just not there.
            if let Ok(metadata) = fs::metadata(self.directory.join(&name))
                && metadata.is_file()
            {
                names.insert(name, Stamp::from(&metadata));
            }
        }
        Ok(names)
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
                Some(Ok(name)) => drop(touched.names.insert(name.to_owned())),
                Some(Err(_)) => (),
                None => touched.any = true,
            }
        }
        touched
    }

    fn listing(&self) -> Listing<T> {
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

fn text(file: &Path) -> io::Result<String> {
    let mut text = String::new();
    let limited = fs::File::open(file)?.take(FILE_BYTES_MAX + 1);
    let bytes = io::BufReader::new(limited).read_to_string(&mut text)?;
    if bytes as u64 > FILE_BYTES_MAX {
        let problem = format!("larger than {FILE_BYTES_MAX} bytes; split the file");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn follows_a_directory_through_every_kind_of_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a.yaml"), "1").unwrap();
        fs::write(path("notes"), "ignored").unwrap();
        let mut listings = follow(directory.path()).unwrap();
        assert_eq!(summary(&listings.borrow_and_update()), "a.yaml=1");

        fs::write(path(".b.yaml"), "2").unwrap();
        fs::rename(path(".b.yaml"), path("b.yaml")).unwrap();
        expect(&mut listings, "a.yaml=1 b.yaml=2").await;

        fs::write(path("a.yaml"), "3").unwrap();
        expect(&mut listings, "a.yaml=3<1 b.yaml=2").await;

        fs::remove_file(path("a.yaml")).unwrap();
        expect(&mut listings, "b.yaml=2").await;
    }

    #[tokio::test]
    async fn keeps_what_a_directory_said_that_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("objects");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), "1").unwrap();
        let mut listings = follow(&directory).unwrap();

        fs::rename(&directory, parent.path().join("elsewhere")).unwrap();
        let gone = listings
            .wait_for(|it| it.problem.is_some())
            .await
            .unwrap()
            .clone();
        assert_eq!(summary(&gone), "a.yaml=1");

        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("a.yaml"), "2").unwrap();
        expect(&mut listings, "a.yaml=2<1").await;
    }

    #[test]
    fn names_a_directory_that_is_not_there() {
        let error = follow(Path::new("/nowhere/objects")).unwrap_err();

        assert_eq!(
            error.to_string(),
            "/nowhere/objects: No such file or directory (os error 2)"
        );
    }

    #[tokio::test]
    async fn reports_a_file_that_is_no_text() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("a.yaml"), [0xff]).unwrap();

        let listings = follow(directory.path()).unwrap();

        let summary = summary(&listings.borrow());
        assert_eq!(summary, "a.yaml=!stream did not contain valid UTF-8");
    }

    /// Each file says its text, or the problem, and what it said before.
    fn follow(directory: &Path) -> anyhow::Result<watch::Receiver<Listing<String>>> {
        watch(
            directory,
            |name| name.ends_with(".yaml"),
            |_, text, before: Option<&String>| {
                let text = text.map_or_else(|problem| format!("!{problem}"), str::to_owned);
                match before.and_then(|it| it.split('<').next()) {
                    Some(before) => format!("{text}<{before}"),
                    None => text,
                }
            },
        )
    }

    fn summary(listing: &Listing<String>) -> String {
        let files = listing.files.iter();
        let files: Vec<String> = files.map(|(name, said)| format!("{name}={said}")).collect();
        files.join(" ")
    }

    /// Waits for one of the listings to be as expected; that it never comes is a hang.
    async fn expect(listings: &mut watch::Receiver<Listing<String>>, expected: &str) {
        let arrived = listings.wait_for(|it| summary(it) == expected);
        let arrived = tokio::time::timeout(Duration::from_secs(20), arrived).await;
        assert!(arrived.is_ok(), "never {expected}");
    }
}
