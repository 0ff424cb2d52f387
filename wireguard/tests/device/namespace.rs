//! Hosts made of network namespaces, and the cables between them.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

/// A network namespace, which goes with this value.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

/// Long enough for a loaded machine; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Names that nobody else has: all begin with the same, and end with one of `ends`.
pub(crate) fn names<const COUNT: usize>(ends: [&str; COUNT]) -> [String; COUNT] {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test makes network namespaces: run it as root"
    );
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    ends.map(|it| format!("cwwg-{}-{number}-{it}", std::process::id()))
}

/// Joins two hosts, each of which gets an interface of the name given.
pub(crate) fn join(one: (&Namespace, &str), other: (&Namespace, &str)) {
    run(
        "ip",
        &[
            "link",
            "add",
            one.1,
            "netns",
            &one.0.name,
            "type",
            "veth",
            "peer",
            "name",
            other.1,
            "netns",
            &other.0.name,
        ],
    );
    for (host, interface) in [one, other] {
        host.run("ip", &["link", "set", interface, "up"]);
    }
}

impl Namespace {
    /// A host that knows only itself.
    pub(crate) fn new(name: String) -> Self {
        run("ip", &["netns", "add", &name]);
        let namespace = Self { name };
        namespace.run("ip", &["link", "set", "lo", "up"]);
        namespace
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
            .arg(format!("--net=/run/netns/{}", self.name))
            .env("CAUSEWAY_STATE_DIR", self.state_directory())
            .arg(program);
        command
    }

    /// Where a device keeps what outlives it; gone with the namespace.
    pub(crate) fn state_directory(&self) -> PathBuf {
        std::env::temp_dir().join(format!("{}-state", self.name))
    }

    /// A UDP socket in the namespace, which gives up waiting after [`PATIENCE`].
    pub(crate) fn udp(&self, address: IpAddr, port: u16) -> UdpSocket {
        let socket = self.within(move || bind_patiently(SocketAddr::new(address, port)));
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    /// What `open` opens in the namespace.
    pub(crate) fn within<T: Send + 'static>(&self, open: impl FnOnce() -> T + Send + 'static) -> T {
        let namespace = File::open(format!("/run/netns/{}", self.name)).unwrap();
        let opening = thread::spawn(move || {
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), kind).unwrap();
            open()
        });
        opening.join().unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        fs::remove_dir_all(self.state_directory()).ok();
        Command::new("ip")
            .args(["netns", "del", &self.name])
            .output()
            .ok();
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
