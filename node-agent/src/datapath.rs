//! A door: loads the eBPF programs, keeps them attached through every restart, and owns their maps.
//!
//! Everything is pinned under `<bpffs>/causeway/v<ABI>/`: maps by name, links under `links/`. A
//! start reuses pinned maps and swaps programs inside pinned links, so no packet and no connection
//! notices it; what a crash left half done is finished by the next start.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use rustix::fs::{FlockOperation, flock, statfs};
use rustix::mount::{MountFlags, mount};
use tracing::info;

use datapath_abi::ABI_VERSION;

mod attach;
mod bpf;
mod layout;
mod maps;

pub use attach::{CGROUP_PROGRAMS, UNDERLAY_PROGRAMS};
pub use maps::{Counters, Maps};

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/causeway.bpf.o"));

/// `BPF_FS_MAGIC` of the kernel's magic.h.
const BPF_FS_MAGIC: i64 = 0xcafe_4a11;

/// Where the datapath lives and what it is attached to.
#[derive(Clone, Debug)]
pub struct Place {
    /// A directory of a BPF file system.
    pub bpffs: PathBuf,
    /// Sockets of processes in this cgroup and below reach services.
    pub cgroup: PathBuf,
    /// Interfaces that nothing of a peered cluster may cross in plaintext.
    pub interfaces: Vec<String>,
}

/// The attached datapath. Dropping it detaches nothing.
pub struct Datapath {
    pub maps: Maps,
    ebpf: Ebpf,
    place: Place,
    /// Held so that a second agent at the same place is refused; the kernel drops it with us.
    _lock: File,
}

impl Datapath {
    /// Loads, pins and attaches everything, taking over what an earlier agent left.
    ///
    /// Fails when the place is used by another agent, when pinned maps have another layout, or
    /// when the kernel refuses a program.
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        ensure_bpffs(&place.bpffs)?;
        let base = base(&place.bpffs);
        let pins = pins(&place.bpffs);
        layout::check_version(&base)?;
        for directory in [&pins, &links(&pins)] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let lock = lock(&pins)?;
        layout::check_maps(&pins)?;

        let mut ebpf = load(&pins)?;
        attach::attach_all(&mut ebpf, place, &links(&pins))?;
        Ok(Self {
            maps: Maps::take(&mut ebpf, &pins)?,
            ebpf,
            place: place.clone(),
            _lock: lock,
        })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Attaches again wherever something was taken away: an interface that was made anew, a link
    /// that somebody removed. What is attached stays so throughout.
    pub fn reattach(&mut self) -> anyhow::Result<()> {
        let links = links(&pins(&self.place.bpffs));
        attach::attach_all(&mut self.ebpf, &self.place, &links)
    }

    /// Detaches and unpins everything that an agent of any version left in `bpffs` and at
    /// `interfaces`; nothing to do is success. Returns whether there was something.
    pub fn remove(bpffs: &Path, interfaces: &[String]) -> anyhow::Result<bool> {
        let base = base(bpffs);
        let detached = attach::detach_clsact(interfaces)?;
        if !base.exists() {
            return Ok(detached);
        }
        let pins = pins(bpffs);
        let _lock = pins.exists().then(|| lock(&pins)).transpose()?;
        let context = || format!("cannot read {}", base.display());
        for version in fs::read_dir(&base).with_context(context)? {
            attach::detach_all(&links(&version.with_context(context)?.path()))?;
        }
        fs::remove_dir_all(&base).with_context(|| format!("cannot remove {}", base.display()))?;
        Ok(true)
    }
}

fn base(bpffs: &Path) -> PathBuf {
    bpffs.join("causeway")
}

fn pins(bpffs: &Path) -> PathBuf {
    base(bpffs).join(format!("v{ABI_VERSION}"))
}

fn links(pins: &Path) -> PathBuf {
    pins.join("links")
}

/// Mounts a BPF file system over a plain directory; a missing directory is the operator's to make.
fn ensure_bpffs(directory: &Path) -> anyhow::Result<()> {
    let file_system = statfs(directory).with_context(|| {
        format!(
            "--bpffs {} cannot be used: create the directory, or mount a BPF file system there",
            directory.display()
        )
    })?;
    if file_system.f_type == BPF_FS_MAGIC {
        return Ok(());
    }

    info!(directory = %directory.display(), "mounting a BPF file system");
    mount("bpf", directory, "bpf", MountFlags::empty(), None).with_context(|| {
        format!(
            "cannot mount a BPF file system at --bpffs {}",
            directory.display()
        )
    })
}

fn lock(pins: &Path) -> anyhow::Result<File> {
    let directory = File::open(pins).with_context(|| format!("cannot open {}", pins.display()))?;
    match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(directory),
        Err(rustix::io::Errno::WOULDBLOCK) => bail!(
            "another node-agent uses {}: stop it, or give each agent a --bpffs of its own",
            pins.display()
        ),
        Err(error) => {
            Err(io::Error::from(error)).with_context(|| format!("cannot lock {}", pins.display()))
        }
    }
}

fn load(pins: &Path) -> anyhow::Result<Ebpf> {
    EbpfLoader::new()
        .default_map_pin_directory(pins)
        .load(OBJECT)
        .context("the kernel refuses the datapath: Linux 6.1 with BTF and root are needed")
}

#[cfg(test)]
mod tests;
