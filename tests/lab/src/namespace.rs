//! Network namespaces: made, wired and entered.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::{io, panic, thread};

use anyhow::{Context as _, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::place::Place;
use crate::{command, ground};

/// Settings of every namespace, relative to `/proc/sys/net`. The lab routes asymmetrically, on
/// purpose, and needs no IPv6 chatter on its links.
const SETTINGS: &[(&str, &str)] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/default/accept_redirects", "0"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// Creates the namespace of `place`, with its loopback device up.
pub(crate) fn create(place: &Place) -> Result<()> {
    let name = place.namespace();
    {
        let _permission = ground::permission();
        if Path::new(ground::NAMESPACES).join(&name).exists() {
            anyhow::bail!("namespace {name} exists already; remove it: ip netns delete {name}");
        }
        // Noted first: a namespace without a note would stay for ever.
        fs::write(note(&name), "").context("cannot note a namespace")?;
        command::run("ip", &["netns", "add", &name], "")?;
    }
    within(place, || {
        SETTINGS.iter().try_for_each(|(name, value)| {
            let path = Path::new("/proc/sys/net").join(name);
            match fs::write(&path, value) {
                // A kernel without IPv6 has no IPv6 to disable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                written => written.with_context(|| format!("cannot write {}", path.display())),
            }
        })
    })??;
    ip(place, "link set lo up")
}

/// Runs lines of `ip` commands inside the namespace of `place`.
pub(crate) fn ip(place: &Place, lines: &str) -> Result<()> {
    let _permission = ground::permission();
    let name = place.namespace();
    command::run("ip", &["-n", &name, "-batch", "-"], lines).map(drop)
}

/// Does `work` on a thread inside the namespace of `place`.
pub(crate) fn within<T: Send>(place: &Place, work: impl FnOnce() -> T + Send) -> Result<T> {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            enter(&open(place)?)?;
            Ok(work())
        });
        worker
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

/// A handle of the namespace of `place`, to [`enter`] it.
pub(crate) fn open(place: &Place) -> Result<File> {
    let path = Path::new(ground::NAMESPACES).join(place.namespace());
    File::open(&path).with_context(|| format!("cannot open {}", path.display()))
}

/// Moves the calling thread into a namespace. Its sockets and devices stay there if it moves on.
pub(crate) fn enter(namespace: &File) -> Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
        .context("cannot enter a network namespace; run as root")
}

/// The namespaces that a lab of this machine has created and that still exist.
pub(crate) fn existing() -> Vec<String> {
    let notes = fs::read_dir(ground::path("namespaces"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<String> = notes
        .filter_map(|it| it.file_name().into_string().ok())
        .filter(|it| Path::new(ground::NAMESPACES).join(it).exists())
        .collect();
    names.sort();
    names
}

/// Deletes a namespace, and with it all its links.
pub(crate) fn delete(name: &str) -> Result<()> {
    command::run("ip", &["netns", "delete", name], "").map(drop)
}

fn note(name: &str) -> PathBuf {
    ground::path("namespaces").join(name)
}
