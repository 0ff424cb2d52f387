//! A lab: built from its plan, and gone without a trace when it is dropped.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::mount::{MountFlags, mount};

use crate::internet::Internet;
use crate::interrupt::{self, CleanUpOnInterrupt};
use crate::leftovers::{self, leftovers};
use crate::lock::{AnotherRun, Lock};
use crate::place::Place;
use crate::plan::Plan;
use crate::process::{Finished, Process, Program};
use crate::wait::wait_for;
use crate::{cgroup, enter, ground, region};

/// A running lab. Its processes must be dropped before it, or are killed by its end.
#[derive(Debug)]
pub struct Lab {
    plan: Plan,
    logs: PathBuf,
    swept: usize,
    // Dropped in this order: the internet, then everything else on the machine.
    internet: Internet,
    ground: Ground,
}

impl Lab {
    /// Builds the lab, after removing what a killed one has left. The files that collect what its
    /// processes say go to `logs`, or with everything else if that is `None`.
    ///
    /// From now on, an interrupt of the calling process removes the lab.
    ///
    /// # Errors
    ///
    /// If another lab is running, or the machine does not allow to build one. Nothing is left then.
    pub fn start(plan: Plan, logs: Option<&Path>) -> Result<Self> {
        ensure!(
            rustix::process::geteuid().is_root(),
            "run as root: it makes network namespaces"
        );
        let cgroups = cgroup::directory()?;
        interrupt::install();
        let ground = Ground {
            lock: Some(Lock::acquire()?),
            _clean_up: CleanUpOnInterrupt::new(),
            cgroups,
        };
        let swept = sweep()?;
        let logs = logs.map_or_else(|| ground::path("logs"), Path::to_owned);
        ground.prepare(&plan, &logs)?;

        plan.regions.iter().try_for_each(region::build)?;
        let internet = Internet::start(&plan)?;
        plan.regions
            .iter()
            .try_for_each(|it| region::join(it, &plan))?;
        Ok(Self {
            plan,
            logs,
            swept,
            internet,
            ground,
        })
    }

    /// As [`start`](Self::start), but waits for another lab to end: for tests, which run at once.
    ///
    /// # Errors
    ///
    /// As with `start`; another lab is one only after `patience`.
    pub fn start_when_free(plan: Plan, patience: Duration) -> Result<Self> {
        wait_for("another lab to end", patience, || {
            match Self::start(plan.clone(), None) {
                Err(error) if error.is::<AnotherRun>() => Ok(None),
                started => started.map(Some),
            }
        })
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The links between the regions.
    pub fn internet(&self) -> &Internet {
        &self.internet
    }

    /// How many leftovers of a killed run were removed at the start.
    pub fn swept(&self) -> usize {
        self.swept
    }

    /// The lab's own directory; a good place for keys and manifests, since it goes with the lab.
    pub fn directory(&self) -> &Path {
        Path::new(ground::DIRECTORY)
    }

    /// The directory of the files that collect what processes say.
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The script that runs a command in a place of the lab.
    pub fn enter_script(&self) -> PathBuf {
        enter::path()
    }

    /// The control group of a place; that of a node contains those of its pods.
    pub fn cgroup(&self, place: &Place) -> PathBuf {
        cgroup::of(&self.ground.cgroups, place)
    }

    /// A host's own directory in a BPF file system.
    pub fn bpffs(&self, place: &Place) -> PathBuf {
        ground::path("bpf").join(place.host_name())
    }

    /// Starts a process in a place.
    ///
    /// # Errors
    ///
    /// If it cannot be started; a program that does not exist is a process that ends at once.
    pub fn spawn(&self, place: &Place, program: Program) -> Result<Process> {
        Process::spawn(place, program, &self.logs)
    }

    /// Runs a program in a place to its end.
    ///
    /// # Errors
    ///
    /// If it does not end within `timeout`. A bad exit code is not an error.
    pub fn run(&self, place: &Place, program: Program, timeout: Duration) -> Result<Finished> {
        let outputs = ground::path("outputs");
        let unique = tempfile::tempdir_in(outputs)?;
        Process::spawn(place, program, unique.path())?.finish(timeout)
    }

    /// Ends the lab and looks at the machine before anybody else can have one.
    pub fn end(self, look: impl FnOnce()) {
        let Self {
            internet,
            mut ground,
            ..
        } = self;
        drop(internet);
        let lock = ground.lock.take();
        drop(ground);
        look();
        drop(lock);
    }
}

/// What holds the lab's place on the machine; dropping it leaves nothing.
#[derive(Debug)]
struct Ground {
    cgroups: PathBuf,
    _clean_up: CleanUpOnInterrupt,
    lock: Option<Lock>,
}

impl Ground {
    /// Makes the directories, control groups and mounts of every place.
    fn prepare(&self, plan: &Plan, logs: &Path) -> Result<()> {
        let _permission = ground::permission();
        for name in ["namespaces", "bpf", "wireguard", "outputs"] {
            create(&ground::path(name))?;
        }
        create(logs)?;
        if !Path::new(ground::WIREGUARD_SOCKETS).exists() {
            create(Path::new(ground::WIREGUARD_SOCKETS))?;
            fs::write(ground::path("made-wireguard-sockets"), "")?;
        }
        if !leftovers::is_mounted(ground::NAMESPACES) {
            fs::write(ground::path("made-namespaces"), "")?;
        }
        let data_only = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", ground::path("bpf"), "bpf", data_only, None)
            .context("cannot mount a BPF file system")?;
        for place in plan.regions.iter().flat_map(region::places) {
            create(&cgroup::of(&self.cgroups, &place))?;
            create(&ground::path("bpf").join(place.host_name()))?;
            create(&ground::path("wireguard").join(place.host_name()))?;
        }
        fs::write(enter::path(), enter::script(&self.cgroups))?;
        fs::set_permissions(enter::path(), Permissions::from_mode(0o755))?;
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _permission = ground::permission();
        if let Err(error) = leftovers::remove() {
            tracing::error!("cannot clean up: {error:#}; the next run will try again");
        }
    }
}

/// Removes what a killed run has left, and says how much that was.
fn sweep() -> Result<usize> {
    let _permission = ground::permission();
    let left = leftovers();
    if !left.is_empty() {
        tracing::info!(
            "removing what an interrupted run has left: {}",
            leftovers::summary(&left)
        );
        leftovers::remove().context("cannot remove what an interrupted run has left")?;
    }
    Ok(left.len())
}

fn create(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot create {}", path.display()))
}
