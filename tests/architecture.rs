//! Checks that the workspace has the shape `ARCHITECTURE.md` describes.

#![expect(clippy::unwrap_used, reason = "a check that cannot run should fail")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, process};

/// The floors of the building: a crate may depend only on crates of lower floors.
///
/// Each crate with its folder; the lab stands between the daemons and what drives them.
const FLOORS: &[&[(&str, &str)]] = &[
    &[
        ("topology", "topology"),
        ("datapath-abi", "node-agent/datapath-abi"),
    ],
    &[
        ("kvstore", "kvstore"),
        ("wireguard", "wireguard"),
        ("daemon", "daemon"),
    ],
    &[
        ("clustermesh-apiserver", "clustermesh-apiserver"),
        ("node-agent", "node-agent"),
        ("dns-authority", "dns-authority"),
    ],
    &[("meshctl", "meshctl"), ("lab", "tests/lab")],
    &[
        ("bench", "tests/bench"),
        ("multi-region", "examples/multi-region"),
        ("sim", "tests/sim"),
        ("tests", "tests"),
    ],
];

/// The doors: the only modules that may touch the world outside the process.
const DOORS: &[&str] = &[
    "clustermesh-apiserver/src/admin.rs",
    "clustermesh-apiserver/src/certificates.rs",
    "clustermesh-apiserver/src/directory.rs",
    "clustermesh-apiserver/src/directory/scan.rs",
    "clustermesh-apiserver/src/directory/scan/tests.rs",
    "clustermesh-apiserver/src/fresh.rs",
    "clustermesh-apiserver/src/hands.rs",
    "clustermesh-apiserver/src/hands/forward.rs",
    "clustermesh-apiserver/src/main.rs",
    "clustermesh-apiserver/src/remember.rs",
    "clustermesh-apiserver/src/reports.rs",
    "clustermesh-apiserver/src/serve.rs",
    "clustermesh-apiserver/src/serve/owner.rs",
    "clustermesh-apiserver/src/troubleshoot.rs",
    "clustermesh-apiserver/src/troubleshoot/endpoint.rs",
    "clustermesh-apiserver/src/troubleshoot/tls.rs",
    "clustermesh-apiserver/src/users/settle.rs",
    "dns-authority/src/api.rs",
    "dns-authority/src/authority.rs",
    "dns-authority/src/authority/admin.rs",
    "dns-authority/src/authority/admin/signing.rs",
    "dns-authority/src/authority/ground.rs",
    "dns-authority/src/authority/order.rs",
    "dns-authority/src/authority/peers.rs",
    "dns-authority/src/authority/save.rs",
    "dns-authority/src/authority/share.rs",
    "dns-authority/src/authority/signing.rs",
    "dns-authority/src/dnssec/directory.rs",
    "dns-authority/src/dnssec/parent.rs",
    "dns-authority/src/journal/file.rs",
    "dns-authority/src/journal/tests.rs",
    "dns-authority/src/keeper/tests.rs",
    "dns-authority/src/load.rs",
    "dns-authority/src/load/library.rs",
    "dns-authority/src/load/places.rs",
    "dns-authority/src/main.rs",
    "dns-authority/src/probe.rs",
    "dns-authority/src/probe/grpc.rs",
    "dns-authority/src/probe/http.rs",
    "dns-authority/src/probe/icmp.rs",
    "dns-authority/src/probe/tests.rs",
    "dns-authority/src/probe/tests/grpc.rs",
    "dns-authority/src/probe/tests/hostile.rs",
    "dns-authority/src/probe/tls.rs",
    "dns-authority/src/serve.rs",
    "dns-authority/src/serve/files.rs",
    "dns-authority/src/serve/fresh.rs",
    "dns-authority/src/serve/https.rs",
    "dns-authority/src/serve/https/exchange.rs",
    "dns-authority/src/serve/options.rs",
    "dns-authority/src/serve/quic.rs",
    "dns-authority/src/serve/sockets.rs",
    "dns-authority/src/serve/stream.rs",
    "dns-authority/src/serve/tcp.rs",
    "dns-authority/src/serve/udp.rs",
    "dns-authority/src/serve/udp/batch.rs",
    "dns-authority/src/transfer/desk.rs",
    "dns-authority/src/transfer/fetch.rs",
    "dns-authority/src/transfer/notify.rs",
    "kvstore/src/administrator.rs",
    "kvstore/src/config.rs",
    "kvstore/src/follower.rs",
    "kvstore/src/follower/list.rs",
    "kvstore/src/follower/watch.rs",
    "kvstore/src/server.rs",
    "kvstore/src/server/accept.rs",
    "kvstore/src/server/auth.rs",
    "kvstore/src/server/certificates.rs",
    "kvstore/src/server/cluster.rs",
    "kvstore/src/server/committer.rs",
    "kvstore/src/server/compaction.rs",
    "kvstore/src/server/connection.rs",
    "kvstore/src/server/database.rs",
    "kvstore/src/server/election.rs",
    "kvstore/src/server/gate/authority.rs",
    "kvstore/src/server/intake.rs",
    "kvstore/src/server/kv.rs",
    "kvstore/src/server/lease.rs",
    "kvstore/src/server/local.rs",
    "kvstore/src/server/lock.rs",
    "kvstore/src/server/maintenance.rs",
    "kvstore/src/server/settle.rs",
    "kvstore/src/server/shared.rs",
    "kvstore/src/server/queue.rs",
    "kvstore/src/server/vitals.rs",
    "kvstore/src/server/watch.rs",
    "kvstore/src/storage.rs",
    "kvstore/src/storage/tests.rs",
    "kvstore/src/store.rs",
    "kvstore/src/store/dial.rs",
    "kvstore/src/store/way.rs",
    "kvstore/src/writer.rs",
    "kvstore/src/writer/session.rs",
    "kvstore/src/writer/session/access.rs",
    "node-agent/src/admin.rs",
    "node-agent/src/agent.rs",
    "node-agent/src/agent/cleanup.rs",
    "node-agent/src/agent/effects.rs",
    "node-agent/src/agent/keys.rs",
    "node-agent/src/agent/probes.rs",
    "node-agent/src/agent/quantum.rs",
    "node-agent/src/agent/reaches.rs",
    "node-agent/src/announce.rs",
    "node-agent/src/datapath.rs",
    "node-agent/src/datapath/attach.rs",
    "node-agent/src/datapath/layout.rs",
    "node-agent/src/datapath/tests.rs",
    "node-agent/src/device.rs",
    "node-agent/src/inner_sockets.rs",
    "node-agent/src/key_file.rs",
    "node-agent/src/main.rs",
    "node-agent/src/memory.rs",
    "node-agent/src/netlink.rs",
    "node-agent/src/place.rs",
    "node-agent/src/probe/socket.rs",
    "node-agent/src/quantum/socket.rs",
    "node-agent/src/secret_files.rs",
    "wireguard/src/bin/wireguard-device/detach.rs",
    "wireguard/src/bin/wireguard-device/handover.rs",
    "wireguard/src/bin/wireguard-device/main.rs",
    "wireguard/src/bin/wireguard-device/privileges.rs",
    "wireguard/src/device.rs",
    "wireguard/src/device/clock.rs",
    "wireguard/src/device/control.rs",
    "wireguard/src/device/link.rs",
    "wireguard/src/device/mark.rs",
    "wireguard/src/device/readings.rs",
    "wireguard/src/device/receive.rs",
    "wireguard/src/device/server.rs",
    "wireguard/src/device/sockets.rs",
    "wireguard/src/device/timekeeping.rs",
    "wireguard/src/device/transmit.rs",
    "wireguard/src/device/tun.rs",
    "wireguard/src/device/wait.rs",
    "wireguard/src/kernel/client.rs",
    "wireguard/src/netlink.rs",
    "wireguard/src/uapi/client.rs",
];

/// Crates that are doors as a whole: they exist to touch the world.
const OUTDOORS: &[&str] = &[
    "daemon/",
    "meshctl/",
    "tests/bench/",
    "tests/lab/",
    "tests/sim/",
    "examples/multi-region/",
];

/// What touching the outside world looks like.
const OUTSIDE: &[&str] = &[
    "async fn",
    "fs::",
    "netlink_sys::",
    "rustix::",
    "socket2::",
    "std::env",
    "std::process",
    "thread::",
    "tokio::",
    "TcpStream",
    "UdpSocket",
    "UnixStream",
];

#[test]
fn crates_depend_only_on_lower_floors() {
    let floors: BTreeMap<&str, usize> = FLOORS
        .iter()
        .enumerate()
        .flat_map(|(floor, crates)| crates.iter().map(move |(name, _)| (*name, floor)))
        .collect();

    for (name, dependencies) in workspace_crates() {
        let floor = floors
            .get(&*name)
            .unwrap_or_else(|| panic!("give `{name}` a floor"));
        for dependency in &dependencies {
            let Some(lower) = floors.get(&**dependency) else {
                continue;
            };
            assert!(lower < floor, "`{name}` must not depend on `{dependency}`");
        }
    }
}

#[test]
fn only_doors_touch_the_outside_world() {
    let offenders: Vec<String> = sources()
        .into_iter()
        .filter(|path| !OUTDOORS.iter().any(|it| path.starts_with(it)))
        .filter(|path| !DOORS.contains(&&**path))
        .filter(|path| {
            let text = fs::read_to_string(root().join(path)).unwrap();
            OUTSIDE.iter().any(|it| text.contains(it))
        })
        .collect();

    assert!(
        offenders.is_empty(),
        "pure modules that do IO: {offenders:#?}"
    );
}

#[test]
fn every_door_exists_and_is_one() {
    for door in DOORS {
        let text = fs::read_to_string(root().join(door)).unwrap_or_default();
        assert!(
            OUTSIDE.iter().any(|it| text.contains(it)),
            "{door} is no door any more: take it off the list"
        );
    }
}

#[test]
fn every_source_file_is_part_of_a_crate() {
    for path in sources() {
        let path = Path::new(&path);
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let directory = path.parent().unwrap();
        if ["lib", "main"].contains(&stem) || directory.ends_with("src/bin") {
            continue;
        }

        let parents = [
            directory.join("lib.rs"),
            directory.join("main.rs"),
            directory.with_extension("rs"),
        ];
        let declared = parents
            .iter()
            .filter_map(|parent| fs::read_to_string(root().join(parent)).ok())
            .any(|text| text.contains(&format!("mod {stem};")));
        assert!(declared, "{} is never declared as a module", path.display());
    }
}

/// Every workspace crate's name with the names of its direct dependencies, those for tests aside.
fn workspace_crates() -> Vec<(String, Vec<String>)> {
    let output = process::Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();

    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let dependencies = package["dependencies"].as_array().unwrap().iter();
            let shipped =
                dependencies.filter(|it| it["kind"] != "dev" || package["name"] == "tests");
            (
                text(&package["name"]),
                shipped.map(|it| text(&it["name"])).collect(),
            )
        })
        .collect()
}

/// Every `src/**/*.rs` of the workspace, relative to its root.
fn sources() -> Vec<String> {
    let mut sources = Vec::new();
    for (_, folder) in FLOORS.iter().copied().flatten() {
        collect(&root().join(folder).join("src"), &mut sources);
    }
    return sources;

    fn collect(directory: &Path, sources: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, sources);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let relative = path.strip_prefix(root()).unwrap();
                sources.push(relative.to_str().unwrap().to_owned());
            }
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}
