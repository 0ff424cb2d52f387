//! Reads what the command line names: zones, places, and what an earlier life knew.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use crate::check::Checks;
use crate::check::memory::Memory;
use crate::config::{Config, ZoneSource};
use crate::geo::{Atlas, Database, Overrides};
use crate::plan::Compiler;
use crate::text::ParseError;
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

/// Reads the places that the command line names.
pub fn atlas(config: &Config) -> anyhow::Result<Atlas> {
    let overrides = match &config.geo_overrides {
        None => Overrides::default(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .with_context(|| format!("cannot read --geo-overrides {}", path.display()))?;
            text.parse()
                .map_err(|it| anyhow!("{}:{it}", path.display()))?
        }
    };
    let mut databases = Vec::new();
    for path in &config.geoip {
        let shown = path.display();
        let content = fs::read(path).with_context(|| format!("cannot read --geoip {shown}"))?;
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        databases.push(Database::new(name, content).with_context(|| shown.to_string())?);
    }
    Ok(Atlas::new(overrides, databases))
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
        let fresh = self.0.with_extension("json.new");
        let written =
            fs::write(&fresh, memory.to_json()).and_then(|()| fs::rename(&fresh, &self.0));
        written.with_context(|| format!("cannot write {}", self.0.display()))
    }
}
