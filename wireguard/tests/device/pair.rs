//! Two devices in two network namespaces, joined by a virtual cable, configured by the real `wg`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use wireguard::PrivateKey;
use wireguard::uapi::{Interface, SOCKET_DIRECTORY};

/// One end: a namespace, the interface in it, and the process that serves it.
pub(crate) struct End {
    pub(crate) namespace: String,
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

/// Long enough for a loaded machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

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
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes network namespaces: run it as root"
        );
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = |end| format!("cwwg-{}-{number}-{end}", std::process::id());
        let pair = Self {
            east: End::new(name("e"), family, 1),
            west: End::new(name("w"), family, 2),
        };

        for end in [&pair.east, &pair.west] {
            run("ip", &["netns", "add", &end.namespace]);
            end.run("ip", &["link", "set", "lo", "up"]);
        }
        let (east, west) = (&pair.east.namespace, &pair.west.namespace);
        run(
            "ip",
            &[
                "link", "add", "cable", "netns", east, "type", "veth", "peer", "name", "cable",
                "netns", west,
            ],
        );
        for end in [&pair.east, &pair.west] {
            end.add_address("cable", end.outside);
            end.run("ip", &["link", "set", "cable", "up"]);
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
    fn new(namespace: String, family: Family, number: u8) -> Self {
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
            interface: namespace.replace("cwwg-", "cw").replace('-', "."),
            namespace,
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

    pub(crate) fn socket(&self) -> PathBuf {
        Path::new(SOCKET_DIRECTORY).join(format!("{}.sock", self.interface))
    }

    pub(crate) fn has_interface(&self) -> bool {
        let mut show = self.command("ip");
        show.args(["link", "show", &self.interface]);
        show.output().unwrap().status.success()
    }

    pub(crate) fn add_address(&self, device: &str, address: IpAddr) {
        let (length, options): (u8, &[&str]) = match address {
            IpAddr::V4(_) => (24, &[]),
            // Without duplicate detection the address is usable at once.
            IpAddr::V6(_) => (64, &["nodad"]),
        };
        let prefix = format!("{address}/{length}");
        let mut arguments = vec!["addr", "add", &prefix, "dev", device];
        arguments.extend(options);
        self.run("ip", &arguments);
    }

    /// Runs a command in the namespace, which must succeed.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> String {
        text(self.command(program).args(arguments).output().unwrap())
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg(program);
        command
    }

    /// A UDP socket in the namespace, which gives up waiting after [`PATIENCE`].
    pub(crate) fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self.within(move || bind_patiently(SocketAddr::new(address, port)));
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// What `open` opens in the namespace.
    pub(crate) fn within<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).unwrap();
        let opening = thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            open()
        });
        opening.join().unwrap()
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
        Command::new("ip")
            .args(["netns", "del", &self.namespace])
            .output()
            .ok();
        assert!(
            !died || thread::panicking(),
            "a device died during the test"
        );
    }
}

/// Binds once the address is free: a socket closed before may live on for a moment in a process that
/// another thread is about to start.
fn bind_patiently(address: SocketAddr) -> UdpSocket {
    let bound = Cell::new(None);
    eventually("the address is free", || match UdpSocket::bind(address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => false,
        outcome => {
            bound.set(Some(outcome.unwrap()));
            true
        }
    });
    bound.take().expect("eventually returns once it is bound")
}

/// Repeats a call that waits until no signal cuts it short. One may at any time: while one thread
/// starts a process, news of another's child goes to whichever thread listens, and a wait with a
/// timeout is not resumed.
pub(crate) fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => (),
            outcome => return outcome,
        }
    }
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    text(Command::new(program).args(arguments).output().unwrap())
}

#[track_caller]
fn text(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let pause = Duration::from_millis(10);
    let mut waited = Duration::ZERO;
    while !condition() {
        assert!(waited < PATIENCE, "never happened: {what}");
        thread::sleep(pause);
        waited += pause;
    }
}
