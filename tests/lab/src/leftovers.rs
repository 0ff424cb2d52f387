//! Finds what a lab has left on the machine, and removes it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::mount::{UnmountFlags, unmount};

use crate::{cgroup, ground, namespace};

/// What a lab has left on the machine: nothing, when none is running.
///
/// Only things that a lab has made count, each as a short description.
pub fn leftovers() -> Vec<String> {
    let groups = cgroup::directory().ok().filter(|it| it.exists());
    let processes = groups.iter().flat_map(|it| cgroup::processes(it));
    let mut found: Vec<String> = processes.map(|it| format!("process {it}")).collect();
    found.extend(
        groups
            .iter()
            .map(|it| format!("control group {}", it.display())),
    );
    found.extend(mounts().iter().map(|it| format!("mount {it}")));
    found.extend(
        namespace::existing()
            .iter()
            .map(|it| format!("namespace {it}")),
    );
    let directory = Some(ground::DIRECTORY).filter(|it| Path::new(it).exists());
    found.extend(directory.map(|it| format!("directory {it}")));
    found
}

/// How many there are of each kind, in words: `2 processes, 1 directory`.
pub(crate) fn summary(found: &[String]) -> String {
    // With the plural of each kind that `leftovers` names.
    const KINDS: [(&str, &str); 5] = [
        ("process", "processes"),
        ("control group", "control groups"),
        ("mount", "mounts"),
        ("namespace", "namespaces"),
        ("directory", "directories"),
    ];
    let counts = KINDS.iter().filter_map(|(one, many)| {
        let count = found.iter().filter(|it| it.starts_with(one)).count();
        match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            _ => Some(format!("{count} {many}")),
        }
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// Removes everything that [`leftovers`] finds; a failure does not stop it from trying the rest.
///
/// # Errors
///
/// The first failure.
pub(crate) fn remove() -> Result<()> {
    let groups = cgroup::directory()?;
    let killed = if groups.exists() {
        cgroup::kill(&groups)
    } else {
        Ok(())
    };
    let unmounted = mounts().iter().rev().try_for_each(|point| {
        unmount(point, UnmountFlags::DETACH).with_context(|| format!("cannot unmount {point}"))
    });
    let deleted: Vec<Result<()>> = namespace::existing()
        .iter()
        .map(|it| namespace::delete(it))
        .collect();
    let deleted: Result<()> = deleted.into_iter().collect();
    let ungrouped = if groups.exists() {
        cgroup::remove(&groups)
    } else {
        Ok(())
    };

    killed.and(unmounted).and(deleted).and(ungrouped)?;
    // Last, because its notes say what else there is to remove.
    remove_directory()
}

/// The mount points below the lab's directory, outer ones first.
fn mounts() -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1));
    let below = format!("{}/", ground::DIRECTORY);
    points
        .filter(|it| it.starts_with(&below))
        .map(str::to_owned)
        .collect()
}

/// Whether something is mounted exactly there.
pub(crate) fn is_mounted(point: &str) -> bool {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    table.lines().any(|it| it.split(' ').nth(1) == Some(point))
}

fn remove_directory() -> Result<()> {
    if !Path::new(ground::DIRECTORY).exists() {
        return Ok(());
    }
    if ground::path("made-wireguard-sockets").exists() {
        // It stays if somebody else has come to use it.
        let _used = fs::remove_dir(ground::WIREGUARD_SOCKETS);
    }
    let names = fs::read_dir(ground::NAMESPACES).into_iter().flatten();
    if ground::path("made-namespaces").exists() && names.count() == 0 {
        // `ip` has mounted it on itself for its first namespace, and takes it as it finds it.
        let _used = unmount(ground::NAMESPACES, UnmountFlags::empty());
        let _used = fs::remove_dir(ground::NAMESPACES);
    }
    fs::remove_dir_all(ground::DIRECTORY)
        .with_context(|| format!("cannot remove {}", ground::DIRECTORY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_up_what_is_left() {
        let found = [
            "process 7",
            "process 8",
            "mount /a",
            "namespace cw-eu-router",
        ];
        let found = found.map(str::to_owned);

        assert_eq!(summary(&found), "2 processes, 1 mount, 1 namespace");
        assert_eq!(summary(&[]), "");
    }
}
