//! The script that runs a command in a place of the lab, for the lab and for people alike.
//!
//! It enters the place's control group and network namespace, but keeps the file systems (`ip netns
//! exec` would hide cgroup2 and bpffs), except that each host has its own WireGuard sockets. It
//! ends in the command itself, so that process ids are the real ones.

use std::path::{Path, PathBuf};

use crate::ground;

/// Where the script is while a lab exists.
pub(crate) fn path() -> PathBuf {
    ground::path("enter")
}

/// The script's text, for a lab with its control groups in `cgroups`.
pub(crate) fn script(cgroups: &Path) -> String {
    let cgroups = cgroups.display();
    let (namespaces, directory) = (ground::NAMESPACES, ground::DIRECTORY);
    let sockets = ground::WIREGUARD_SOCKETS;
    format!(
        r#"#!/bin/sh
# Runs a command on a host or in a pod of the lab: enter HOST[/POD] COMMAND [ARGUMENT]...
set -eu
[ $# -ge 2 ] || {{ echo "usage: $0 HOST[/POD] COMMAND [ARGUMENT]..." >&2; exit 2; }}
place=$1
shift
host=${{place%%/*}}
case $place in
    */*) namespace=cw-$host-${{place#*/}} ;;
    *) namespace=cw-$host ;;
esac
[ -e "{namespaces}/$namespace" ] || {{ echo "there is no $place; see ls {namespaces}" >&2; exit 1; }}
PATH=$PATH:/usr/sbin:/sbin
echo $$ > "{cgroups}/$place/cgroup.procs"
exec nsenter --net="{namespaces}/$namespace" -- unshare --mount -- \
    sh -c 'mount --bind "$0" {sockets} && exec "$@"' "{directory}/wireguard/$host" "$@"
"#
    )
}
