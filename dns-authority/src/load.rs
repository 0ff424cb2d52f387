//! Reads what the command line names: zones, places, and what an earlier life knew.

mod places;

pub use places::Places;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use crate::api::ApiKey;
use crate::check::Checks;
use crate::check::memory::Memory;
use crate::config::ZoneSource;
use crate::drain::Drains;
use crate::geo::Atlas;
use crate::plan::Compiler;
use crate::text::ParseError;
use crate::transfer::options::Options;
use crate::tsig::{Keys, read_keys};
use crate::wire::name::Shown;
use crate::zone::{Source, Zone, Zones, zone};

/// The zone files, each with the last text of it that made sense.
#[derive(Debug)]
pub struct Library {
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    source: ZoneSource,
    text: Text,
    /// The files that were looked at last, those included that it includes.
    stamps: Stamps,
    /// What is wrong with the file as it is now.
    problem: Option<String>,
}

/// What a zone is read from: its file, and the files that it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text {
    main: String,
    /// By their names in `$INCLUDE`.
    included: BTreeMap<String, Arc<str>>,
}

/// By path; `None` of a file that is gone.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// All zones, compiled together so that they share checks.
#[derive(Debug)]
pub struct Loaded {
    pub zones: Zones,
    pub checks: Checks,
}

impl Library {
    /// Reads all zones; any that is missing or broken is an error.
    pub fn open(sources: &[ZoneSource], atlas: &Atlas) -> anyhow::Result<(Self, Loaded)> {
        let mut files = Vec::new();
        for source in sources {
            if files
                .iter()
                .any(|it: &File| it.source.origin.octets() == source.origin.octets())
            {
                bail!("zone {:?} is given twice; remove one --zone", source.origin);
            }
            let mut stamps = Stamps::new();
            let text = read(source, atlas, &mut stamps).map_err(|it| anyhow!(it))?;
            files.push(File {
                source: source.clone(),
                text,
                stamps,
                problem: None,
            });
        }
        let library = Self { files };
        let loaded = library.compile(atlas)?;
        Ok((library, loaded))
    }

    /// Looks for files that changed; returns all zones anew if any of them makes sense. A file that
    /// does not keeps its zone as it was.
    pub fn refresh(&mut self, atlas: &Atlas) -> Option<anyhow::Result<Loaded>> {
        let mut is_changed = false;
        for file in &mut self.files {
            let is_same = |(path, before): (&PathBuf, &Option<Stamp>)| stamp(path) == *before;
            if file.stamps.iter().all(is_same) {
                continue;
            }
            file.stamps.clear();
            match read(&file.source, atlas, &mut file.stamps) {
                Ok(text) => {
                    file.problem = None;
                    is_changed |= text != file.text;
                    file.text = text;
                }
                Err(problem) => file.problem = Some(problem),
            }
        }
        is_changed.then(|| self.compile(atlas))
    }

    /// All zones anew, since addresses are elsewhere now.
    pub fn relocate(&self, atlas: &Atlas) -> anyhow::Result<Loaded> {
        self.compile(atlas)
    }

    /// What is wrong with the files as they are now, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        self.files
            .iter()
            .filter_map(|it| it.problem.clone())
            .collect()
    }

    /// The path of the zone's file.
    pub fn file_of(&self, origin: &[u8]) -> Option<&Path> {
        let file = self
            .files
            .iter()
            .find(|it| it.source.origin.octets() == origin)?;
        Some(&file.source.file)
    }

    fn compile(&self, atlas: &Atlas) -> anyhow::Result<Loaded> {
        let mut compiler = Compiler {
            atlas,
            checks: Checks::default(),
        };
        let mut zones = Zones::default();
        for File { source, text, .. } in &self.files {
            let zone = text
                .zone(source, &mut compiler)
                .with_context(|| source.file.display().to_string())?;
            zones.insert(Arc::new(zone));
        }
        Ok(Loaded {
            zones,
            checks: compiler.checks,
        })
    }
}

impl Text {
    fn zone(&self, source: &ZoneSource, compiler: &mut Compiler<'_>) -> Result<Zone, ParseError> {
        let include = |file: &str| {
            let text = self.included.get(file).cloned();
            text.ok_or_else(|| format!("cannot read {file}"))
        };
        let text = Source {
            text: &self.main,
            include: &include,
        };
        zone(&source.origin, text, compiler)
    }
}

/// The text of a zone file that makes sense; the error says where it does not. Notes in `stamps` what was
/// looked at, whatever comes of it.
fn read(source: &ZoneSource, atlas: &Atlas, stamps: &mut Stamps) -> Result<Text, String> {
    let path = source.file.display();
    stamps.insert(source.file.clone(), stamp(&source.file));
    let main = fs::read_to_string(&source.file)
        .map_err(|it| format!("cannot read zone {:?} from {path}: {it}", source.origin))?;
    let mut scratch = Compiler {
        atlas,
        checks: Checks::default(),
    };
    let directory = source.file.parent().unwrap_or_else(|| Path::new(""));
    let (stamps, included) = (RefCell::new(stamps), RefCell::default());
    let include = |file: &str| include(directory, file, &stamps, &included);
    let text = Source {
        text: &main,
        include: &include,
    };
    match zone(&source.origin, text, &mut scratch) {
        Err(error) => Err(format!("{path}:{error}")),
        Ok(_) => Ok(Text {
            included: included.into_inner(),
            main,
        }),
    }
}

/// Reads a file that one in `directory` includes.
fn include(
    directory: &Path,
    file: &str,
    stamps: &RefCell<&mut Stamps>,
    included: &RefCell<BTreeMap<String, Arc<str>>>,
) -> Result<Arc<str>, String> {
    let path = directory.join(file);
    let noted = stamp(&path);
    stamps.borrow_mut().insert(path.clone(), noted);
    let text = fs::read_to_string(&path);
    let text = text.map_err(|it| format!("cannot read {}: {it}", path.display()))?;
    let text: Arc<str> = text.into();
    let mut included = included.borrow_mut();
    Ok(Arc::clone(included.entry(file.to_owned()).or_insert(text)))
}

/// What tells a file from one that took its place, or from itself after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    /// When it was written or renamed, in seconds and nanoseconds. The time of the last write would
    /// not do, since tools that copy files keep it.
    changed: (i64, i64),
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

/// Reads the keys that other servers sign with.
pub fn keys(options: &Options) -> anyhow::Result<Keys> {
    let keys = match &options.key_file {
        None => Keys::default(),
        Some(path) => {
            let text = secret(path, "--key-file")?;
            read_keys(&text).map_err(|it| anyhow!("{}:{it}", path.display()))?
        }
    };
    for name in options.key_names() {
        if keys.find(name).is_none() {
            let name = Shown(name);
            bail!("--key-file has no key {name}; make one with: tsig-keygen {name}");
        }
    }
    Ok(keys)
}

/// Reads the key that clients of the API show.
pub fn api_key(path: &Path) -> anyhow::Result<ApiKey> {
    let text = secret(path, "--api-key-file")?;
    ApiKey::new(&text).map_err(|it| anyhow!("{}: {it}", path.display()))
}

/// Reads a file that nobody else may read.
fn secret(path: &Path, flag: &str) -> anyhow::Result<String> {
    let shown = path.display();
    let metadata = fs::metadata(path).with_context(|| format!("cannot read {flag} {shown}"))?;
    if metadata.mode() & OTHERS != 0 {
        bail!("others can read {flag} {shown}; run: chmod 600 {shown}");
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {flag} {shown}"))
}

/// What a file's mode lets everybody but its owner do.
const OTHERS: u32 = 0o077;

/// The directory of journals, which is made if it is missing.
pub fn journals(state_dir: Option<&Path>) -> anyhow::Result<Option<PathBuf>> {
    let Some(directory) = state_dir else {
        return Ok(None);
    };
    let directory = directory.join("zones");
    fs::create_dir_all(&directory)
        .with_context(|| format!("cannot make {}", directory.display()))?;
    Ok(Some(directory))
}

/// The file that keeps the health of targets.
#[derive(Clone, Debug)]
pub struct MemoryFile(PathBuf);

impl MemoryFile {
    /// The file in `directory`, which is made if it is missing.
    pub fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make --state-dir {}", directory.display()))?;
        Ok(Self(directory.join("health.json")))
    }

    /// What is remembered; nothing if there is no file yet. A file that makes no sense is an error,
    /// which is no reason not to start.
    pub fn read(&self, now_unix_milliseconds: u64) -> anyhow::Result<Memory> {
        let text = match fs::read_to_string(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Memory::default()),
            Err(error) => return Err(error).with_context(|| self.0.display().to_string()),
        };
        Memory::from_json(&text, now_unix_milliseconds)
            .with_context(|| self.0.display().to_string())
    }

    /// Replaces the file as a whole, so that a crash leaves the old or the new one.
    pub fn write(&self, memory: &Memory) -> anyhow::Result<()> {
        replace(&self.0, memory.to_json().as_bytes())
    }

    /// The drains that were in force; none if there is no file of them.
    pub fn read_drains(&self) -> anyhow::Result<Drains> {
        let path = self.drains();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Drains::default()),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        Drains::from_json(&text).with_context(|| path.display().to_string())
    }

    /// Replaces the file of the drains as a whole.
    pub fn write_drains(&self, json: &str) -> anyhow::Result<()> {
        replace(&self.drains(), json.as_bytes())
    }

    fn drains(&self) -> PathBuf {
        self.0.with_file_name("drains.json")
    }
}

fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("json.new");
    let written = write_through(&fresh, content).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        // Half a file would only take the room that the next attempt needs.
        let _ = fs::remove_file(&fresh);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// On disk when it returns, so that a crash of the machine leaves no empty file under the final name.
fn write_through(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    file.write_all(content)?;
    file.sync_all()
}
