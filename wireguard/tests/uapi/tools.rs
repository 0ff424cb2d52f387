//! Debian's `wg` and `wg-quick`, with the device as the implementation that they find.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use wireguard::{PresharedKey, PrivateKey};

use super::namespace::{eventually, run};
use super::pair::{End, Family, PORT, Pair};

/// A directory for the tools' files, which goes with it.
struct Files(PathBuf);

#[test]
fn wg_reads_back_what_it_writes() {
    let Pair { mut east, .. } = Pair::without_devices(Family::V4);
    east.start();
    let files = Files::new(&east);
    let peers: Vec<String> = (0..3).map(|_| public_key()).collect();
    let preshared_key = PresharedKey::generate().to_base64();
    let first = format!(
        "[Interface]\nListenPort = {PORT}\nFwMark = 0x20\nPrivateKey = {}\n\n\
         [Peer]\nPublicKey = {}\nPresharedKey = {preshared_key}\nAllowedIPs = 10.0.0.0/8, fd00::/8\n\
         Endpoint = 192.0.2.7:7\nPersistentKeepalive = 25\n\n\
         [Peer]\nPublicKey = {}\nAllowedIPs = 10.1.0.0/16\nEndpoint = [2001:db8::7]:7\n",
        east.private_key.to_base64(),
        peers[0],
        peers[1],
    );
    let wg = |command, text: &str| {
        let path = files.write("wg.conf", text);
        run("wg", &[command, &east.interface, &path]);
    };

    wg("setconf", &first);
    let shown = run("wg", &["showconf", &east.interface]);
    for line in first.lines() {
        assert!(shown.contains(line), "no {line:?} in {shown}");
    }
    wg("setconf", &shown);
    assert_eq!(run("wg", &["showconf", &east.interface]), shown);

    // Only what is given changes, and what is known stays.
    wg(
        "addconf",
        &format!(
            "[Peer]\nPublicKey = {}\nAllowedIPs = 10.2.0.0/16\n",
            peers[2]
        ),
    );
    let shown = run("wg", &["showconf", &east.interface]);
    assert_eq!(shown.matches("[Peer]").count(), 3, "{shown}");

    // What is not given goes; the rest is left alone.
    let second = first.split("\n\n").take(2).collect::<Vec<_>>().join("\n\n");
    wg(
        "syncconf",
        &second.replace("PersistentKeepalive = 25", "PersistentKeepalive = 26"),
    );
    let dump = run("wg", &["show", "all", "dump"]);
    let mut lines = dump
        .lines()
        .filter(|it| it.starts_with(&format!("{}\t", east.interface)));
    let device: Vec<&str> = lines.next().unwrap().split('\t').collect();
    let public_key = east.private_key.public_key().to_string();
    assert_eq!(
        device[1..],
        [&east.private_key.to_base64(), &public_key, "51820", "0x20"]
    );
    let peer: Vec<&str> = lines.next().unwrap().split('\t').collect();
    assert_eq!(peer[1..4], [&*peers[0], &*preshared_key, "192.0.2.7:7"]);
    assert_eq!(peer[4], "10.0.0.0/8,fd00::/8");
    assert_eq!(peer[8], "26");
    assert_eq!(lines.next(), None);
}

#[test]
fn wg_passes_over_the_key_that_is_ours() {
    let Pair { mut east, .. } = Pair::without_devices(Family::V4);
    east.start();
    let [former, next] = [1, 2].map(|it| PrivateKey::from([it; 32]).public_key());
    let request = format!(
        "set=1\npublic_key={}\nallowed_ip=10.0.0.0/8\npublic_key={}\nsuccessor_of={}\n\n",
        former.to_hex(),
        next.to_hex(),
        former.to_hex(),
    );
    assert_eq!(east.ask(&request), "errno=0\n\n");
    let stranger = "11".repeat(32);
    let request = request.replace(
        &format!("of={}", former.to_hex()),
        &format!("of={stranger}"),
    );
    assert_eq!(east.ask(&request), "errno=-22\n\n");

    assert_eq!(
        east.uapi().get().unwrap().peers[&next].successor_of,
        Some(former)
    );
    let shown = run("wg", &["show", &east.interface, "allowed-ips"]);
    assert!(
        shown.contains(&format!("{former}\t10.0.0.0/8\n")),
        "{shown}"
    );
    assert!(shown.contains(&format!("{next}\t(none)\n")), "{shown}");
}

#[test]
fn wg_passes_over_alternate_secrets() {
    let Pair { mut east, .. } = Pair::without_devices(Family::V4);
    east.start();
    let peer = PrivateKey::from([1; 32]).public_key();
    let [secret, alternate] = [2, 3].map(|it| PresharedKey::from([it; 32]));
    for (text, expected) in [
        (alternate.to_hex(), Some(alternate)),
        ("none".to_owned(), Some(PresharedKey::none())),
        ("0".repeat(64), None),
    ] {
        let request = format!(
            "set=1\npublic_key={}\npreshared_key={}\nalternate_preshared_key={text}\n\n",
            peer.to_hex(),
            secret.to_hex(),
        );
        assert_eq!(east.ask(&request), "errno=0\n\n");

        let state = east.uapi().get().unwrap();
        assert_eq!(state.peers[&peer].alternate_preshared_key, expected);
        let shown = run("wg", &["show", &east.interface, "preshared-keys"]);
        assert_eq!(shown, format!("{peer}\t{}\n", secret.to_base64()));
    }
}

#[test]
fn an_endpoint_on_the_link_may_name_it() {
    let pair = Pair::new(Family::V4);
    let peer = public_key();
    let endpoint = "[fe80::7%cable]:7";
    pair.east.run(
        "wg",
        &[
            "set",
            &pair.east.interface,
            "peer",
            &peer,
            "endpoint",
            endpoint,
        ],
    );

    let link = pair.east.run("ip", &["-o", "link", "show", "cable"]);
    let (index, _) = link.split_once(':').unwrap();
    let state = pair.east.uapi().get().unwrap();
    let endpoint = state.peers.into_values().next().unwrap().endpoint.unwrap();
    assert_eq!(endpoint.to_string(), format!("[fe80::7%{}]:7", index));
}

#[test]
fn wg_quick_brings_interfaces_up_and_down() {
    let Pair { east, west } = Pair::without_devices(Family::V4);
    let files = [&east, &west].map(Files::new);
    let ends = [(&east, &west, &files[0]), (&west, &east, &files[1])];
    for (end, other, files) in ends {
        let text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\nAddress = {}/24\nMTU = 1400\n\n\
             [Peer]\nPublicKey = {}\nAllowedIPs = {}/32, 10.9.0.0/16\nEndpoint = {}:{PORT}\n",
            end.private_key.to_base64(),
            end.inside,
            other.private_key.public_key(),
            other.inside,
            other.outside,
        );
        files.write(&format!("{}.conf", end.interface), &text);
    }

    for _ in 0..2 {
        for (end, _, files) in ends {
            wg_quick(end, files, "up");
            let link = end.run("ip", &["link", "show", &end.interface]);
            assert!(link.contains("mtu 1400") && link.contains(",UP"), "{link}");
            let route = end.run("ip", &["route", "get", "10.9.1.1"]);
            assert!(route.contains(&end.interface), "{route}");
        }
        let destination = west.inside.to_string();
        east.run("ping", &["-c", "1", "-W", "10", &destination]);
        for (end, _, files) in ends {
            wg_quick(end, files, "down");
            eventually("the device is gone", || {
                !end.socket().exists() && !end.has_interface()
            });
        }
    }
}

fn wg_quick(end: &End, files: &Files, verb: &str) {
    let configuration = files.0.join(format!("{}.conf", end.interface));
    let output = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", end.namespace.name))
        .env("CAUSEWAY_STATE_DIR", end.state_directory())
        .args(["wg-quick", verb])
        .arg(configuration)
        .env(
            "WG_QUICK_USERSPACE_IMPLEMENTATION",
            env!("CARGO_BIN_EXE_wireguard-device"),
        )
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "wg-quick {verb}: {errors}");
}

fn public_key() -> String {
    PrivateKey::generate().public_key().to_string()
}

impl Files {
    fn new(end: &End) -> Self {
        let directory = std::env::temp_dir().join(format!("{}-files", end.namespace.name));
        fs::create_dir_all(&directory).unwrap();
        Self(directory)
    }

    /// The path of a file with this text.
    fn write(&self, name: &str, text: &str) -> String {
        let path: &Path = &self.0.join(name);
        fs::write(path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
