//! Reads the files that say where addresses are, and reads anew those that change: aside, since a
//! large database takes seconds.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};

use super::{Stamp, stamp};
use crate::config::Config;
use crate::geo::{Atlas, Database, Overrides};

/// Everything that says where addresses are, each file with the last content that made sense.
#[derive(Debug)]
pub struct Places {
    overrides: Option<File<Overrides>>,
    /// Prefixes of the mesh, which no file has.
    mesh: Overrides,
    databases: Vec<File<Arc<Database>>>,
}

#[derive(Debug)]
struct File<T> {
    path: PathBuf,
    /// The file that was read last; `None` if it was gone.
    stamp: Option<Stamp>,
    content: T,
    /// What is wrong with the file as it is now.
    problem: Option<String>,
}

impl Places {
    /// Reads all files; any that is missing or broken is an error.
    pub fn open(config: &Config) -> anyhow::Result<(Self, Atlas)> {
        let overrides = config.geo_overrides.as_deref();
        let overrides = overrides.map(|path| File::open(path, read_overrides));
        let databases = config.geoip.iter();
        let databases = databases.map(|path| File::open(path, read_database));
        let places = Self {
            overrides: overrides.transpose().context("--geo-overrides")?,
            mesh: Overrides::default(),
            databases: databases.collect::<Result<_, _>>().context("--geoip")?,
        };
        let atlas = places.atlas();
        Ok((places, atlas))
    }

    /// Whether any file is another than the one that was read.
    pub fn is_changed(&self) -> bool {
        let overrides = self.overrides.iter().map(File::is_changed);
        let databases = self.databases.iter().map(File::is_changed);
        overrides.chain(databases).any(|it| it)
    }

    /// Reads the files that changed, and says where addresses are if that is another answer now. A
    /// file that makes no sense counts as it was.
    pub fn refresh(&mut self) -> Option<Atlas> {
        let overrides = self.overrides.iter_mut();
        let overrides = overrides.map(|it| it.refresh(read_overrides));
        let databases = self.databases.iter_mut();
        let databases = databases.map(|it| it.refresh(read_database));
        let changed = overrides.chain(databases).filter(|it| *it).count();
        (changed != 0).then(|| self.atlas())
    }

    /// Where addresses are, with other prefixes of the mesh.
    pub fn with_mesh(&mut self, mesh: Overrides) -> Atlas {
        self.mesh = mesh;
        self.atlas()
    }

    /// What is wrong with the files as they are now, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let overrides = self.overrides.iter().filter_map(|it| it.problem.clone());
        let databases = self.databases.iter().filter_map(|it| it.problem.clone());
        overrides.chain(databases).collect()
    }

    fn atlas(&self) -> Atlas {
        let overrides = self.overrides.iter().map(|it| it.content.clone());
        let layers = overrides.chain([self.mesh.clone()]).collect();
        let databases = self.databases.iter().map(|it| Arc::clone(&it.content));
        Atlas::of_layers(layers, databases.collect())
    }
}

type Read<T> = fn(&Path) -> anyhow::Result<T>;

impl<T> File<T> {
    fn open(path: &Path, read: Read<T>) -> anyhow::Result<Self> {
        // Before it is read: what changes meanwhile is read again.
        let stamp = stamp(path);
        Ok(Self {
            path: path.to_owned(),
            stamp,
            content: read(path)?,
            problem: None,
        })
    }

    fn is_changed(&self) -> bool {
        stamp(&self.path) != self.stamp
    }

    /// Returns whether there is other content now.
    fn refresh(&mut self, read: Read<T>) -> bool {
        let now = stamp(&self.path);
        if now == self.stamp {
            return false;
        }
        self.stamp = now;
        match read(&self.path) {
            Ok(content) => {
                (self.content, self.problem) = (content, None);
                true
            }
            Err(error) => {
                self.problem = Some(format!("{error:#}"));
                false
            }
        }
    }
}

fn read_overrides(path: &Path) -> anyhow::Result<Overrides> {
    let shown = path.display();
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    text.parse().map_err(|it| anyhow!("{shown}:{it}"))
}

fn read_database(path: &Path) -> anyhow::Result<Arc<Database>> {
    let shown = path.display();
    let content = fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let name = path.file_name().unwrap_or(path.as_os_str());
    let name = name.to_string_lossy().into_owned();
    let database = Database::new(name, content).with_context(|| shown.to_string())?;
    Ok(Arc::new(database))
}
