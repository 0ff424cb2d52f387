//! A door: attaches the programs, or swaps them into the links that an earlier agent pinned.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;
use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::tc::{
    self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
};
use aya::programs::{
    CgroupAttachMode, CgroupSockAddr, LinkOrder, ProgramFd, SchedClassifier, TcAttachType,
};
use aya::util::KernelVersion;
use tracing::info;

use super::{Place, bpf};

/// Programs of the cgroup's sockets, each with the hook it serves.
pub const CGROUP_PROGRAMS: [(&str, &str); 7] = [
    ("causeway_connect4", "connect4"),
    ("causeway_sendmsg4", "sendmsg4"),
    ("causeway_recvmsg4", "recvmsg4"),
    ("causeway_getpeername4", "getpeername4"),
    ("causeway_connect6", "connect6"),
    ("causeway_recvmsg6", "recvmsg6"),
    ("causeway_getpeername6", "getpeername6"),
];

/// Programs of each underlay interface, each with the direction it guards.
pub const UNDERLAY_PROGRAMS: [(&str, TcAttachType); 2] = [
    ("causeway_egress", TcAttachType::Egress),
    ("causeway_ingress", TcAttachType::Ingress),
];

/// Where our filters sit when the kernel has no tcx links: ahead of whatever has no priority.
const CLSACT_PRIORITY: u16 = 1;
const CLSACT_HANDLE: TcHandle = TcHandle::new(0, 1);

/// Loads every program that is not loaded yet, attaches each wherever it is not attached, and
/// forgets links to anything that is no longer asked for.
pub(super) fn attach_all(ebpf: &mut Ebpf, place: &Place, links: &Path) -> anyhow::Result<()> {
    // A name that is wrong is better found before anything is attached.
    for interface in &place.interfaces {
        index_of(interface)?;
    }
    let mut pins = attach_cgroup(ebpf, &place.cgroup, links)?;
    pins.extend(attach_underlay(ebpf, &place.interfaces, links)?);

    for entry in fs::read_dir(links).with_context(|| format!("cannot read {}", links.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", links.display()))?;
        if !pins.contains(&*entry.file_name().to_string_lossy()) {
            info!(link = %entry.path().display(), "detaching from what is no longer asked for");
            detach(&entry.path())?;
        }
    }
    Ok(())
}

/// Ends all links that are pinned in the directory `links`, if it is there.
pub(super) fn detach_all(links: &Path) -> anyhow::Result<()> {
    let context = || format!("cannot read {}", links.display());
    let entries = match fs::read_dir(links) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.with_context(context)?,
    };
    for entry in entries {
        detach(&entry.with_context(context)?.path())?;
    }
    Ok(())
}

/// Ends a pinned link and forgets it. Without its pin it would end as well, but some time later.
fn detach(path: &Path) -> anyhow::Result<()> {
    match bpf::open(path).and_then(|it| bpf::detach_link(it.as_fd())) {
        Ok(()) => (),
        // What it was attached to is gone.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => (),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot detach {}", path.display()));
        }
    }
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Removes the filters of kernels without tcx links. Returns whether there were any.
pub(super) fn detach_clsact(interfaces: &[String]) -> anyhow::Result<bool> {
    let mut found = false;
    for interface in interfaces {
        for (program, direction) in UNDERLAY_PROGRAMS {
            match tc::qdisc_detach_program(interface, direction, program) {
                Ok(()) => found = true,
                // No such filter, no qdisc to hold one, or no interface: nothing to remove.
                Err(TcError::IoError(_) | TcError::NetlinkError(_)) => (),
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot detach {program} from {interface}"));
                }
            }
        }
    }
    Ok(found)
}

/// Attaches to `cgroup` and returns the names of the pins.
fn attach_cgroup(ebpf: &mut Ebpf, cgroup: &Path, links: &Path) -> anyhow::Result<BTreeSet<String>> {
    let directory = File::open(cgroup).with_context(|| {
        format!(
            "--cgroup {} cannot be opened: create it, or leave the flag out",
            cgroup.display()
        )
    })?;
    let inode = directory
        .metadata()
        .context("cannot read the cgroup")?
        .ino();

    let mut pins = BTreeSet::new();
    for (name, hook) in CGROUP_PROGRAMS {
        let program: &mut CgroupSockAddr = program(ebpf, name)?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| refused(name))?;
        }

        let pin = format!("cgroup-{inode}-{hook}");
        if !reuse(&links.join(&pin), program.fd()?)? {
            let id = program
                .attach(&directory, CgroupAttachMode::Single)
                .with_context(|| {
                    format!(
                        "cannot attach {name} to {}: is it a directory of cgroup2?",
                        cgroup.display()
                    )
                })?;
            let link: FdLink = program.take_link(id)?.try_into()?;
            self::pin(link, &links.join(&pin))?;
        }
        pins.insert(pin);
    }
    Ok(pins)
}

/// Attaches to `interfaces` and returns the names of the pins.
fn attach_underlay(
    ebpf: &mut Ebpf,
    interfaces: &[String],
    links: &Path,
) -> anyhow::Result<BTreeSet<String>> {
    let has_tcx = KernelVersion::current().is_ok_and(|it| KernelVersion::new(6, 6, 0) <= it);
    let mut pins = BTreeSet::new();
    for (name, direction) in UNDERLAY_PROGRAMS {
        let program: &mut SchedClassifier = program(ebpf, name)?.try_into()?;
        if program.fd().is_err() {
            program.load().with_context(|| refused(name))?;
        }

        for interface in interfaces {
            if !has_tcx {
                attach_clsact(program, interface, direction)
                    .with_context(|| format!("cannot attach {name} to {interface}"))?;
                continue;
            }
            let pin = format!("tc-{}-{name}", index_of(interface)?);
            if !reuse(&links.join(&pin), program.fd()?)? {
                attach_tcx(program, interface, direction, &links.join(&pin))
                    .with_context(|| format!("cannot attach {name} to {interface}"))?;
            }
            pins.insert(pin);
        }
    }
    Ok(pins)
}

/// Ahead of every other program, so that none can wave through what must not pass.
fn attach_tcx(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
    path: &Path,
) -> anyhow::Result<()> {
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let id = program.attach_with_options(interface, direction, options)?;
    let link: FdLink = program.take_link(id)?.try_into()?;
    pin(link, path)
}

/// Kernels before 6.6: a filter with a fixed place, which a restart replaces in one step.
pub(super) fn attach_clsact(
    program: &mut SchedClassifier,
    interface: &str,
    direction: TcAttachType,
) -> anyhow::Result<()> {
    // Fails when the qdisc is there already, which is as good; else attaching fails and says why.
    let _already_there = qdisc_add_clsact(interface);
    let options = TcAttachOptions::Netlink(NlOptions {
        priority: CLSACT_PRIORITY,
        handle: CLSACT_HANDLE,
        classid: None,
    });
    let id = match program.attach_with_options(interface, direction, options) {
        Ok(id) => id,
        Err(_occupied_by_an_earlier_agent) => {
            program.attach_to_link(SchedClassifierLink::attached(
                interface,
                direction,
                CLSACT_PRIORITY,
                CLSACT_HANDLE,
                None,
            )?)?
        }
    };
    // Dropping the link would detach; the filter is to stay when the agent goes.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> anyhow::Result<&'a mut aya::programs::Program> {
    ebpf.program_mut(name)
        .with_context(|| format!("the embedded object lacks {name}"))
}

fn refused(program: &str) -> String {
    format!("the kernel refuses {program}: Linux 6.1 or later and root are needed")
}

/// Swaps `program` into the link pinned at `path`, if there is one that is still attached.
fn reuse(path: &Path, program: &ProgramFd) -> anyhow::Result<bool> {
    let updated = bpf::open(path).and_then(|it| bpf::update_link(it.as_fd(), program.as_fd()));
    match updated {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))?;
            Ok(false)
        }
        Err(error) => {
            Err(error).with_context(|| format!("cannot update the link {}", path.display()))
        }
    }
}

fn pin(link: FdLink, path: &Path) -> anyhow::Result<()> {
    link.pin(path)
        .map(|_| ())
        .with_context(|| format!("cannot pin {}", path.display()))
}

fn index_of(interface: &str) -> anyhow::Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )
    .context("cannot open a socket")?;
    rustix::net::netdevice::name_to_index(&socket, interface)
        .with_context(|| format!("--interface {interface} does not exist"))
}
