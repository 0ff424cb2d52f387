//! The lab's control groups: one per host and pod, so that every process of the lab can be found.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::place::Place;
use crate::wait::wait_for;

/// Where the lab's groups are, below the root of cgroup2.
const NAME: &str = "causeway-lab";

/// How long killed processes may take to disappear.
const DEATH: Duration = Duration::from_secs(10);

/// The directory of all of the lab's groups, whether it exists or not.
pub(crate) fn directory() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read the mount table")?;
    let root = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    });
    let root = root.context(
        "cgroup2 is not mounted; mount it: \
         mkdir -p /sys/fs/cgroup/unified && mount -t cgroup2 none /sys/fs/cgroup/unified",
    )?;
    Ok(root.join(NAME))
}

/// The group of a place below `directory`.
pub(crate) fn of(directory: &Path, place: &Place) -> PathBuf {
    directory.join(place.to_string())
}

/// Kills every process in the groups below `directory` and waits until they are gone.
pub(crate) fn kill(directory: &Path) -> Result<()> {
    let path = directory.join("cgroup.kill");
    fs::write(&path, "1").with_context(|| format!("cannot write {}", path.display()))?;
    wait_for("killed processes of the lab to disappear", DEATH, || {
        Ok(processes(directory).is_empty().then_some(()))
    })
}

/// Removes the groups below `directory` and itself; whatever was in them must have been killed.
pub(crate) fn remove(directory: &Path) -> Result<()> {
    for child in children(directory) {
        remove(&child)?;
    }
    let what = format!("the control group {} to be empty", directory.display());
    wait_for(&what, DEATH, || match fs::remove_dir(directory) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(())),
        // The threads of a process go after the process is listed no more.
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", directory.display())),
    })
}

/// The process ids in the groups below `directory`.
pub(crate) fn processes(directory: &Path) -> Vec<u32> {
    let own = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    let own = own.lines().filter_map(|line| line.parse().ok());
    let below = children(directory)
        .into_iter()
        .flat_map(|it| processes(&it));
    own.chain(below).collect()
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|it| it.path())
        .filter(|it| it.is_dir())
        .collect()
}
