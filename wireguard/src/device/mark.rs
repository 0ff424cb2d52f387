//! A door: the file that says how far timestamps have gone, so that peers answer a device that
//! starts again after its clock went back.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown, openat, renameat};

use crate::stamper::Stamper;
use crate::uapi::UnixTime;

const FILE: &str = "timestamp";
const NEXT_FILE: &str = "timestamp.next";

/// Far more than any number that makes sense.
const FILE_BYTES_MAX: u64 = 64;

/// Where the marks of one interface are kept, if anywhere.
pub(super) struct Marks {
    /// Held open: whoever the process is later, it may be kept from the way there.
    directory: Option<File>,
    path: PathBuf,
}

impl Marks {
    /// Those of `interface`, in a directory of its own in `state`.
    pub(super) fn of(interface: &str, state: Option<&Path>) -> Self {
        let path = state.unwrap_or_else(|| Path::new("")).join(interface);
        let directory = state.and_then(|_| {
            let opened = open(&path);
            opened.inspect_err(|error| warn_of_loss(&path, error)).ok()
        });
        Self { directory, path }
    }

    /// A stamper that goes on where the last process ended. Without a file that can be read it starts
    /// from the clock, and without one that can be written it leaves no mark: a warning says so.
    pub(super) fn stamper(&self, now: UnixTime) -> Stamper {
        let Some(directory) = &self.directory else {
            return Stamper::default();
        };
        let mark = match read(directory) {
            Ok(mark) => mark,
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => {
                tracing::warn!(
                    directory = %self.path.display(),
                    %error,
                    "timestamps start from the clock; if it went back, peers may not answer until it has caught up"
                );
                0
            }
        };
        let stamper = Stamper::after(mark);
        self.keep_up(&stamper, now);
        stamper
    }

    /// Lets another user go on writing marks.
    pub(super) fn give_to(&self, user: u32) -> io::Result<()> {
        if let Some(directory) = &self.directory {
            let group = Gid::from_raw(user);
            fchown(directory, Some(Uid::from_raw(user)), Some(group))?;
        }
        Ok(())
    }

    /// Writes the next mark down if it is time to.
    pub(super) fn keep_up(&self, stamper: &Stamper, now: UnixTime) {
        if let Some(mark) = stamper.due(now) {
            stamper.allow(self.kept(mark));
        }
    }

    /// Writes down where stamps ended.
    pub(super) fn settle(&self, stamper: &Stamper) {
        if let Some(mark) = stamper.last_mark() {
            self.kept(mark);
        }
    }

    fn kept(&self, mark: u64) -> Option<u64> {
        let written = write(self.directory.as_ref()?, mark);
        let written = written.inspect_err(|error| warn_of_loss(&self.path, error));
        written.ok().map(|()| mark)
    }
}

fn warn_of_loss(directory: &Path, error: &io::Error) {
    tracing::warn!(
        directory = %directory.display(),
        %error,
        "timestamps are not kept; choose a --state-dir that can be written"
    );
}

fn open(directory: &Path) -> io::Result<File> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700).create(directory)?;
    File::open(directory)
}

fn read(directory: &File) -> io::Result<u64> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = File::from(openat(directory, FILE, flags, Mode::empty())?);
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    let mark = text.trim_end().parse();
    mark.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Whole or not at all, whenever the machine stops.
fn write(directory: &File, mark: u64) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    let mut file = File::from(openat(directory, NEXT_FILE, flags, mode)?);
    writeln!(file, "{mark}")?;
    file.sync_all()?;
    renameat(directory, NEXT_FILE, directory, FILE)?;
    Ok(())
}
