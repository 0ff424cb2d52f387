//! A door: finds out where on this machine the datapath is attached.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

use crate::config::Config;
use crate::datapath::Place;

/// The place that the command line names, or the machine's own cgroup2.
pub fn find(config: &Config) -> anyhow::Result<Place> {
    let cgroup = match &config.cgroup {
        Some(cgroup) => cgroup.clone(),
        None => {
            let mounts = fs::read_to_string("/proc/self/mounts").context("cannot list mounts")?;
            cgroup2_root(&mounts).context(
                "no cgroup2 is mounted: mount it (mount -t cgroup2 none DIR), or name a directory of one with --cgroup",
            )?
        }
    };
    Ok(Place {
        bpffs: config.bpffs.clone(),
        cgroup,
        interfaces: config.interface.clone(),
    })
}

/// The first mount of cgroup2 among `mounts`, which has the format of fstab(5).
fn cgroup2_root(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ');
        let directory = fields.nth(1)?;
        (fields.next() == Some("cgroup2")).then(|| directory.into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_cgroup2_wherever_it_is_mounted() {
        let hybrid = "cgroup /sys/fs/cgroup/pids cgroup rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";

        assert_eq!(cgroup2_root(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(cgroup2_root("cgroup2 /proc proc rw 0 0\n"), None);
    }
}
