//! Reads zone files, and reads them again when they change.
//!
//! Only what changed is read again, but for zones with LUA records, which share their checks: all of
//! these are compiled anew together, from the texts that made sense last.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail};

use super::{Stamp, stamp};
use crate::check::Checks;
use crate::config::ZoneSource;
use crate::geo::Atlas;
use crate::plan::Compiler;
use crate::text::ParseError;
use crate::zone::{Source, Zone, Zones, zone};

/// The zone files, each with what it said last that made sense.
#[derive(Debug)]
pub struct Library {
    files: Vec<File>,
    /// Of all zones.
    checks: Checks,
}

#[derive(Debug)]
struct File {
    source: ZoneSource,
    zone: Arc<Zone>,
    /// What it was read from, if that may have to be compiled again: the zone has LUA records.
    text: Option<Text>,
    /// Of the text, to tell a change from a touch.
    digest: u64,
    /// The files that were looked at last, those included that it includes.
    stamps: Stamps,
    /// What is wrong with the file as it is now.
    problem: Option<String>,
}

/// What a zone is read from: its file, and the files that it includes.
#[derive(Debug)]
struct Text {
    main: String,
    /// By their names in `$INCLUDE`.
    included: BTreeMap<String, Arc<str>>,
}

/// By path; `None` of a file that is gone.
type Stamps = BTreeMap<PathBuf, Option<Stamp>>;

/// All zones, with the checks that they share.
#[derive(Debug)]
pub struct Loaded {
    pub zones: Zones,
    pub checks: Checks,
}

impl Library {
    /// Reads all zones; any that is missing or broken is an error.
    pub fn open(sources: &[ZoneSource], atlas: &Atlas) -> anyhow::Result<(Self, Loaded)> {
        let mut files: Vec<File> = Vec::new();
        let mut compiler = Compiler {
            atlas,
            checks: Checks::default(),
        };
        for source in sources {
            let is_same = |it: &File| it.source.origin.octets() == source.origin.octets();
            if files.iter().any(is_same) {
                bail!("zone {:?} is given twice; remove one --zone", source.origin);
            }
            let mut stamps = Stamps::new();
            let read = read(source, &mut compiler, &mut stamps);
            let (text, zone) = read.map_err(|it| anyhow!(it))?;
            files.push(File::new(source.clone(), text, zone, stamps));
        }
        let library = Self {
            files,
            checks: compiler.checks,
        };
        let loaded = library.loaded();
        Ok((library, loaded))
    }

    /// Looks for files that changed; returns all zones if any of them makes sense. A file that does not
    /// keeps its zone as it was.
    pub fn refresh(&mut self, atlas: &Atlas) -> Option<anyhow::Result<Loaded>> {
        let mut has_plans = false;
        let mut before = Vec::new();
        for (index, file) in self.files.iter_mut().enumerate() {
            let is_same = |(path, before): (&PathBuf, &Option<Stamp>)| stamp(path) == *before;
            if file.stamps.iter().all(is_same) {
                continue;
            }
            let mut scratch = Compiler {
                atlas,
                checks: Checks::default(),
            };
            let mut stamps = Stamps::new();
            let read = read(&file.source, &mut scratch, &mut stamps);
            match read {
                Ok((text, zone)) => {
                    let fresh = File::new(file.source.clone(), text, zone, stamps);
                    if fresh.digest == file.digest {
                        file.stamps = fresh.stamps;
                        file.problem = None;
                    } else {
                        has_plans |= fresh.text.is_some() || file.text.is_some();
                        before.push((index, std::mem::replace(file, fresh)));
                    }
                }
                Err(problem) => {
                    file.stamps = stamps;
                    file.problem = Some(problem);
                }
            }
        }
        if before.is_empty() {
            return None;
        }
        if !has_plans {
            return Some(Ok(self.loaded()));
        }
        let loaded = self.relocate(atlas);
        if let Err(error) = &loaded {
            let problem = format!("{error:#}");
            for (index, file) in before {
                let fresh = std::mem::replace(&mut self.files[index], file);
                self.files[index].stamps = fresh.stamps;
                self.files[index].problem = Some(problem.clone());
            }
        }
        Some(loaded)
    }

    /// All zones, those with LUA records compiled anew: addresses are elsewhere now.
    ///
    /// # Errors
    ///
    /// They do not go together, and stay as they were.
    pub fn relocate(&mut self, atlas: &Atlas) -> anyhow::Result<Loaded> {
        let mut compiler = Compiler {
            atlas,
            checks: Checks::default(),
        };
        let mut zones = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            if let Some(text) = &file.text {
                let zone = text.zone(&file.source, &mut compiler);
                let zone = zone.with_context(|| file.source.file.display().to_string())?;
                zones.push((index, zone));
            }
        }
        for (index, zone) in zones {
            self.files[index].zone = Arc::new(zone);
        }
        self.checks = compiler.checks;
        Ok(self.loaded())
    }

    /// What is wrong with the files as they are now, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let problems = self.files.iter().filter_map(|it| it.problem.clone());
        problems.collect()
    }

    /// The path of the zone's file.
    pub fn file_of(&self, origin: &[u8]) -> Option<&Path> {
        let mut files = self.files.iter();
        let file = files.find(|it| it.source.origin.octets() == origin)?;
        Some(&file.source.file)
    }

    fn loaded(&self) -> Loaded {
        let mut zones = Zones::default();
        for file in &self.files {
            zones.insert(Arc::clone(&file.zone));
        }
        Loaded {
            zones,
            checks: self.checks.clone(),
        }
    }
}

impl File {
    fn new(source: ZoneSource, text: Text, zone: Zone, stamps: Stamps) -> Self {
        Self {
            source,
            digest: text.digest(),
            text: zone.has_plans().then_some(text),
            zone: Arc::new(zone),
            stamps,
            problem: None,
        }
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

    /// Another text has another one, but for a chance of one in 2⁶⁴.
    fn digest(&self) -> u64 {
        let mut hasher = foldhash::quality::FixedState::default().build_hasher();
        let included = self.included.iter();
        let parts = included.flat_map(|(name, text)| [name.as_str(), text]);
        for part in parts.chain([self.main.as_str()]) {
            hasher.write_usize(part.len());
            hasher.write(part.as_bytes());
        }
        hasher.finish()
    }
}

/// The text of a zone file, and the zone; the error says where it makes no sense. Notes in `stamps` what
/// was looked at, whatever comes of it.
fn read(
    source: &ZoneSource,
    compiler: &mut Compiler<'_>,
    stamps: &mut Stamps,
) -> Result<(Text, Zone), String> {
    let path = source.file.display();
    stamps.insert(source.file.clone(), stamp(&source.file));
    let main = fs::read_to_string(&source.file)
        .map_err(|it| format!("cannot read zone {:?} from {path}: {it}", source.origin))?;
    let directory = source.file.parent().unwrap_or_else(|| Path::new(""));
    let (stamps, included) = (RefCell::new(stamps), RefCell::default());
    let include = |file: &str| include(directory, file, &stamps, &included);
    let text = Source {
        text: &main,
        include: &include,
    };
    let zone = zone(&source.origin, text, compiler).map_err(|it| format!("{path}:{it}"))?;
    let included = included.into_inner();
    Ok((Text { main, included }, zone))
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
