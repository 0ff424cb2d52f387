//! Two devices in two network namespaces, joined by a virtual cable, configured by the real `wg`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::ops::Deref;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use wireguard::PrivateKey;
use wireguard::uapi::{Interface, SOCKET_DIRECTORY};

use super::namespace::{Namespace, eventually, join, names, run};

/// One end: a namespace, the interface in it, and the process that serves it.
pub(crate) struct End {
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) interface: String,
    pub(crate) private_key: PrivateKey,
    /// On the cable.
    pub(crate) outside: IpAddr,
    /// In the tunnel.
    pub(crate) inside: IpAddr,
    process: Option<Child>,
}

pub(crate) struct Pair {
    pub(crate) east: End,
    pub(crate) west: End,
}

#[derive(Clone, Copy)]
pub(crate) enum Family {
    V4,
    V6,
}

pub(crate) const PORT: u16 = 51_820;

impl Pair {
    /// Both ends with their interfaces up and addressed, and nothing configured in WireGuard.
    pub(crate) fn new(family: Family) -> Self {
        let pair = Self::without_devices(family);
        let Self { mut east, mut west } = pair;
        east.start();
        west.start();
        Self { east, west }
    }

    pub(crate) fn without_devices(family: Family) -> Self {
        let [east, west] = names(["e", "w"]);
        let pair = Self {
            east: End::new(east, family, 1),
            west: End::new(west, family, 2),
        };
        let Self { east, west } = &pair;
        join((east, "cable"), (west, "cable"));
        for end in [east, west] {
            end.add_address("cable", end.outside);
        }
        pair
    }

    /// The same, with each end knowing the other, by `wg set`.
    pub(crate) fn configured(family: Family) -> Self {
        let pair = Self::new(family);
        pair.configure();
        pair
    }

    /// One of ours in the east, and Debian's in the west.
    pub(crate) fn with_wireguard_go(family: Family) -> Self {
        let Self { mut east, mut west } = Self::without_devices(family);
        east.start();
        west.start_program("wireguard-go", &["-f"]);
        let pair = Self { east, west };
        pair.configure();
        pair
    }

    pub(crate) fn configure(&self) {
        self.east.configure(&self.west);
        self.west.configure(&self.east);
    }
}

impl End {
    fn new(name: String, family: Family, number: u8) -> Self {
        let (outside, inside) = match family {
            Family::V4 => ([192, 0, 2, number].into(), [10, 77, 0, number].into()),
            Family::V6 => {
                let last = u16::from(number);
                (
                    [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into(),
                    [0xfd77, 0, 0, 0, 0, 0, 0, last].into(),
                )
            }
        };
        Self {
            interface: name.replace("cwwg-", "cw").replace('-', "."),
            namespace: Arc::new(Namespace::new(name)),
            private_key: PrivateKey::generate(),
            outside,
            inside,
            process: None,
        }
    }

    /// Starts the device in the foreground and brings its interface up.
    pub(crate) fn start(&mut self) {
        self.start_program(
            env!("CARGO_BIN_EXE_wireguard-device"),
            &["--log", "error", "-f"],
        );
    }

    /// Starts anybody's userspace device, which must stay in the foreground.
    pub(crate) fn start_program(&mut self, program: &str, options: &[&str]) {
        let child = self
            .command(program)
            .args(options)
            .arg(&self.interface)
            .spawn()
            .unwrap();
        self.process = Some(child);
        self.bring_up();
    }

    pub(crate) fn bring_up(&self) {
        eventually("the device serves its socket", || {
            UnixStream::connect(self.socket()).is_ok()
        });
        self.add_address(&self.interface, self.inside);
        self.run("ip", &["link", "set", &self.interface, "up"]);
    }

    /// Asks the device to stop and returns its exit code.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        let mut child = self.process.take().unwrap();
        let process = Pid::from_child(&child);
        kill_process(process, Signal::TERM).unwrap();
        child.wait().unwrap().code()
    }

    /// Waits for the device to end by itself.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.process.take().unwrap().wait().unwrap().code()
    }

    /// Ends the device without a chance to clean up.
    pub(crate) fn kill(&mut self) {
        let mut child = self.process.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub(crate) fn configure(&self, other: &Self) {
        self.set_private_key();
        let peer = other.private_key.public_key().to_string();
        let endpoint = SocketAddr::new(other.outside, PORT).to_string();
        let inside = other.inside.to_string();
        self.wg(&["listen-port", &PORT.to_string()]);
        self.wg(&["peer", &peer, "endpoint", &endpoint, "allowed-ips", &inside]);
    }

    pub(crate) fn set_private_key(&self) {
        let mut child = Command::new("wg")
            .args(["set", &self.interface, "private-key", "/dev/stdin"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let key = self.private_key.to_base64();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(key.as_bytes()).unwrap();
        drop(stdin);
        assert!(child.wait().unwrap().success());
    }

    /// `wg set INTERFACE …`, which must succeed.
    pub(crate) fn wg(&self, arguments: &[&str]) {
        let mut all = vec!["set", &self.interface];
        all.extend(arguments);
        run("wg", &all);
    }

    /// The first peer's line of `wg show INTERFACE dump`, split at its tabs.
    pub(crate) fn peer_dump(&self) -> Vec<String> {
        let dump = run("wg", &["show", &self.interface, "dump"]);
        let peer = dump.lines().nth(1).expect("a peer");
        peer.split('\t').map(str::to_owned).collect()
    }

    pub(crate) fn uapi(&self) -> Interface {
        Interface::open(&self.interface)
    }

    /// Writes a request to the device's socket as it stands, and returns the answer.
    pub(crate) fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.interface))
    }

    pub(crate) fn has_interface(&self) -> bool {
        let mut show = self.command("ip");
        show.args(["link", "show", &self.interface]);
        show.output().unwrap().status.success()
    }
}

impl Deref for End {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut died = false;
        if let Some(mut child) = self.process.take() {
            died = !matches!(child.try_wait(), Ok(None));
            child.kill().ok();
            child.wait().ok();
            fs::remove_file(self.socket()).ok();
        }
        assert!(
            !died || thread::panicking(),
            "a device died during the test"
        );
    }
}
