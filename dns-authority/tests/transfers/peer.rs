//! Other people's servers and tools, on loopback ports, ended with the test.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running secondary of `example.test`.
pub(crate) struct Peer {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Peer {
    /// NSD that takes its zone from `primary`, with the key `copies`.
    pub(crate) fn nsd(port: u16, primary: u16, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let configuration = format!(
            "server:
  ip-address: 127.0.0.1@{port}
  server-count: 1
  username: \"\"
  chroot: \"\"
  zonesdir: \"{root}\"
  database: \"\"
  pidfile: \"{root}/pid\"
  xfrdfile: \"{root}/xfrd\"
  xfrdir: \"{root}\"
  zonelistfile: \"{root}/list\"
  logfile: \"{root}/log\"
remote-control:
  control-enable: no
key:
  name: copies
  algorithm: hmac-sha256
  secret: \"{secret}\"
zone:
  name: example.test
  zonefile: example.test.zone
  allow-notify: 127.0.0.1 copies
  request-xfr: 127.0.0.1@{primary} copies
"
        );
        Self::start(directory, port, "nsd", &configuration, &["-d", "-c"])
    }

    /// Knot that takes its zone from `primary`, with the key `copies`.
    pub(crate) fn knot(port: u16, primary: u16, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let configuration = format!(
            "remote:
  - id: primary
    address: 127.0.0.1@{primary}
    key: copies
acl:
  - id: notify
    address: 127.0.0.1
    action: notify
    key: copies
zone:
  - domain: example.test
    storage: {root}
    master: primary
    acl: notify
"
        );
        Self::start_knot(directory, port, secret, &configuration)
    }

    /// Knot that serves whatever the catalog `catalog.test` of `primary` lists, with the key `copies`.
    pub(crate) fn knot_of_catalog(port: u16, primary: u16, secret: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        let configuration = format!(
            "remote:
  - id: primary
    address: 127.0.0.1@{primary}
    key: copies
acl:
  - id: notify
    address: 127.0.0.1
    action: notify
    key: copies
template:
  - id: member
    storage: {root}
    master: primary
    acl: notify
zone:
  - domain: catalog.test
    storage: {root}
    master: primary
    acl: notify
    catalog-role: interpret
    catalog-template: member
"
        );
        Self::start_knot(directory, port, secret, &configuration)
    }

    /// Knot that has `copied.test`, tells `secondary` of changes and takes updates, with the key `copies`.
    pub(crate) fn knot_primary(port: u16, secondary: u16, secret: &str, zone: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        fs::write(directory.path().join("copied.test.zone"), zone).unwrap();
        let configuration = format!(
            "remote:
  - id: secondary
    address: 127.0.0.1@{secondary}
    key: copies
acl:
  - id: all
    address: 127.0.0.1
    action: [transfer, update]
    key: copies
zone:
  - domain: copied.test
    storage: {root}
    notify: secondary
    acl: all
"
        );
        Self::start_knot(directory, port, secret, &configuration)
    }

    /// Knot with the key `copies`, and what `rest` of its configuration says.
    fn start_knot(directory: TempDir, port: u16, secret: &str, rest: &str) -> Self {
        let root = directory.path().display();
        let configuration = format!(
            "server:
    rundir: {root}
    listen: 127.0.0.1@{port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: {root}
log:
  - target: {root}/log
    any: info
key:
  - id: copies
    algorithm: hmac-sha256
    secret: {secret}
{rest}"
        );
        Self::start(directory, port, "knotd", &configuration, &["-c"])
    }

    /// PowerDNS that has `copied.test` and gives it to whoever asks.
    pub(crate) fn powerdns(port: u16, zone: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().display();
        fs::write(directory.path().join("copied.test.zone"), zone).unwrap();
        let zones =
            format!("zone \"copied.test\" {{ type master; file \"{root}/copied.test.zone\"; }};\n");
        fs::write(directory.path().join("named.conf"), zones).unwrap();
        let configuration = format!(
            "launch=bind
bind-config={root}/named.conf
local-address=127.0.0.1
local-port={port}
socket-dir={root}
primary=yes
allow-axfr-ips=127.0.0.1
daemon=no
guardian=no
security-poll-suffix=
setuid=
setgid=
"
        );
        fs::write(directory.path().join("pdns.conf"), configuration).unwrap();
        let place = format!("--config-dir={root}");
        Self::run(directory, port, "pdns_server", &[&place])
    }

    fn start(
        directory: TempDir,
        port: u16,
        program: &str,
        configuration: &str,
        flags: &[&str],
    ) -> Self {
        let file = directory.path().join("configuration");
        fs::write(&file, configuration).unwrap();
        let file = file.to_str().unwrap().to_owned();
        Self::run(directory, port, program, &[flags, &[&file]].concat())
    }

    fn run(directory: TempDir, port: u16, program: &str, flags: &[&str]) -> Self {
        // Debian keeps servers away from the PATH of ordinary users.
        let child = Command::new(format!("/usr/sbin/{program}"))
            .args(flags)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|it| panic!("cannot start {program}: {it}; run: ./setup"));
        Self {
            child,
            port,
            _directory: directory,
        }
    }

    pub(crate) fn dig(&self, arguments: &[&str]) -> String {
        let output = Command::new("dig")
            .args(["@127.0.0.1", "-p", &self.port.to_string()])
            .args(["+time=1", "+tries=1"])
            .args(arguments)
            .output()
            .unwrap();
        // What it says of servers that do not answer yet begins like this.
        let output = String::from_utf8(output.stdout).unwrap();
        output
            .lines()
            .filter(|it| !it.starts_with(';'))
            .fold(String::new(), |all, it| all + it + "\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends its own children when it is asked to, and has nothing to lose otherwise.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let _ = self.child.wait();
    }
}

/// Sends an update of a zone; returns what nsupdate has to complain.
pub(crate) fn nsupdate(port: u16, zone: &str, key: Option<&str>, lines: &str) -> String {
    let mut command = Command::new("nsupdate");
    command.args(["-t", "10"]);
    command.args(key.map(|it| ["-y", it]).iter().flatten());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("server 127.0.0.1 {port}\nzone {zone}\n{lines}\nsend\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap()
}
