//! NSD and Knot, which serve the zones `z0.test`, `z1.test`, … of a directory.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::conformance::{query, socket};
use super::process::{HANG, eventually};

/// Another's server; ends when it is dropped.
pub(crate) struct Peer {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Peer {
    pub(crate) fn nsd(directory: &Path, zones: usize) -> Self {
        let address = lab::free_address();
        let shown = directory.display();
        let mut text = format!(
            "server:\n ip-address: 127.0.0.1@{}\n server-count: 1\n username: \"\"\n chroot: \"\"\n \
             database: \"\"\n zonesdir: \"{shown}\"\n pidfile: \"{shown}/nsd.pid\"\n \
             xfrdfile: \"{shown}/xfrd\"\n zonelistfile: \"{shown}/zonelist\"\n xfrdir: \"{shown}\"\n rrl-ratelimit: 0\n\
             remote-control:\n control-enable: no\n",
            address.port()
        );
        for index in 0..zones {
            writeln!(
                text,
                "zone:\n name: z{index}.test\n zonefile: z{index}.test"
            )
            .unwrap();
        }
        let file = directory.join("nsd.conf");
        fs::write(&file, text).unwrap();
        Self::start(
            "/usr/sbin/nsd",
            &["-d", "-c", &file.display().to_string()],
            address,
            zones,
        )
    }

    pub(crate) fn knot(directory: &Path, zones: usize) -> Self {
        let address = lab::free_address();
        let shown = directory.display();
        let mut text = format!(
            "server:\n    listen: 127.0.0.1@{}\n    rundir: {shown}\n    udp-workers: 1\n    \
             tcp-workers: 1\n    background-workers: 1\ndatabase:\n    storage: {shown}/knot\nzone:\n",
            address.port()
        );
        for index in 0..zones {
            let zone = format!("z{index}.test");
            writeln!(
                text,
                "  - domain: {zone}\n    file: {shown}/{zone}\n    zonefile-sync: -1\n    \
                 journal-content: none\n    semantic-checks: off"
            )
            .unwrap();
        }
        let file = directory.join("knot.conf");
        fs::write(&file, text).unwrap();
        Self::start(
            "/usr/sbin/knotd",
            &["-c", &file.display().to_string()],
            address,
            zones,
        )
    }

    fn start(program: &str, arguments: &[&str], address: SocketAddr, zones: usize) -> Self {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn();
        let child = child.unwrap_or_else(|it| panic!("{program}: {it}; run ./setup"));
        let peer = Self { child, address };
        let last = format!("z{}.test.", zones - 1);
        let socket = socket(address);
        socket.set_read_timeout(Some(HANG / 100)).unwrap();
        eventually("the peer serves", || {
            let mut answer = [0; 512];
            let sent = socket.send(&query(1, &last, 6));
            let length = sent.and_then(|_| socket.recv(&mut answer));
            length.is_ok_and(|it| 12 < it && answer[3] & 15 == 0 && answer[7] == 1)
        });
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // With the processes that it has made.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").arg(&pid).status();
        for _ in 0..100 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
