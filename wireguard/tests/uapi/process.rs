//! The process around the device: what it may do, what it takes over, what it keeps, what it hides.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process};
use wireguard::{PresharedKey, PrivateKey};

use super::namespace::{PATIENCE, eventually};
use super::pair::{End, Family, PORT, Pair};

/// `CAP_NET_BIND_SERVICE` and `CAP_NET_ADMIN`, as `/proc` writes sets of capabilities.
const KEPT: &str = "0000000000001400";

/// A process that ends with the test.
struct Process(Child);

#[test]
fn keeps_no_privileges_but_those_for_marks_and_ports() {
    let Pair { east, west } = Pair::without_devices(Family::V4);
    let device = Process::start(&east, &["-f"]);
    eventually("the device serves", || {
        UnixStream::connect(east.socket()).is_ok()
    });

    let private_key = "01".repeat(32);
    let request = format!("set=1\nprivate_key={private_key}\nfwmark=7\nlisten_port=53\n\n");
    assert_eq!(east.ask(&request), "errno=0\n\n");
    let threads = device.threads();
    assert!(8 < threads.len());
    for thread in threads {
        for (name, expected) in [
            ("CapEff", KEPT),
            ("CapPrm", KEPT),
            ("CapInh", "0000000000000000"),
            ("NoNewPrivs", "1"),
        ] {
            assert_eq!(field(&thread, name), expected, "{name} in {thread}");
        }
    }
    let limits = fs::read_to_string(device.path("limits")).unwrap();
    let core = limits
        .lines()
        .find(|it| it.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    let other = Process::start(&west, &["-f", "--keep-privileges"]);
    eventually("the device serves", || {
        UnixStream::connect(west.socket()).is_ok()
    });
    for thread in other.threads() {
        assert_ne!(field(&thread, "CapEff"), KEPT, "{thread}");
    }
}

#[test]
fn becomes_a_user_that_may_do_nothing_else() {
    let Pair { east, .. } = Pair::without_devices(Family::V4);
    let user = "64999";
    let start = || {
        let device = Process::start(&east, &["-f", "--user", user]);
        eventually("the device serves", || {
            UnixStream::connect(east.socket()).is_ok()
        });
        device
    };
    let mut device = start();
    let private_key = "01".repeat(32);
    let peer = format!(
        "public_key={}\nendpoint=192.0.2.2:9\npersistent_keepalive_interval=1",
        "02".repeat(32)
    );
    let request = format!("set=1\nprivate_key={private_key}\nfwmark=7\nlisten_port=53\n{peer}\n\n");
    assert_eq!(east.ask(&request), "errno=0\n\n");
    for thread in device.threads() {
        for name in ["Uid", "Gid"] {
            let users: Vec<&str> = field(&thread, name).split('\t').collect();
            assert_eq!(users, [user; 4], "{name} in {thread}");
        }
        assert_eq!(field(&thread, "CapEff"), KEPT, "{thread}");
        assert_eq!(field(&thread, "Groups").trim(), "");
    }

    // It goes on with what the privileged process began: the last mark is its own.
    kill_process(Pid::from_child(&device.0), Signal::TERM).unwrap();
    assert!(device.0.wait().unwrap().success());
    let directory = east.state_directory().join(&east.interface);
    let owner = fs::metadata(directory.join("timestamp")).unwrap().uid();
    assert_eq!(owner.to_string(), user);
    let _again = start();
}

#[test]
fn serves_the_socket_that_is_handed_over_and_says_so() {
    for by_number in [true, false] {
        let Pair { east, .. } = Pair::without_devices(Family::V4);
        let directory = east.state_directory();
        fs::create_dir_all(&directory).unwrap();
        let (path, told) = (directory.join("uapi.sock"), directory.join("told"));
        let listener = UnixListener::bind(&path).unwrap();
        rustix::io::fcntl_setfd(&listener, FdFlags::empty()).unwrap();
        let notified = UnixDatagram::bind(&told).unwrap();
        notified.set_read_timeout(Some(PATIENCE)).unwrap();

        let number = listener.as_raw_fd();
        let how = if by_number {
            format!("WG_UAPI_FD={number}")
        } else {
            "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=uapi".to_owned()
        };
        let script = format!("exec 3<&{number}; {how} exec \"$@\"");
        let child = east
            .command("bash")
            .args([
                "-c",
                &script,
                "start",
                env!("CARGO_BIN_EXE_wireguard-device"),
            ])
            .args(["--log", "error", &east.interface])
            .env("NOTIFY_SOCKET", &told)
            .spawn();
        let _device = Process(child.unwrap());
        let mut word = [0; 64];
        let length = notified.recv(&mut word).unwrap();
        assert_eq!(&word[..length], b"READY=1\n");
        assert!(east.has_interface() && !east.socket().exists());

        let mut client = UnixStream::connect(&path).unwrap();
        std::io::Write::write_all(&mut client, b"get=1\n\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "listen_port=0\nerrno=0\n\n");
    }
}

#[test]
fn explains_a_handover_that_it_cannot_use() {
    let Pair { east, .. } = Pair::without_devices(Family::V4);
    for (variable, value, expected) in [
        (
            "WG_UAPI_FD",
            "0",
            "descriptor 0 is no listening Unix socket",
        ),
        ("WG_UAPI_FD", "999", "cannot take over descriptor 999"),
        (
            "WG_TUN_FD",
            "0",
            "the descriptor handed over is no interface",
        ),
        ("WG_TUN_FD", "999", "cannot take over descriptor 999"),
        (
            "LISTEN_FDS",
            "2",
            "none of the 2 sockets handed over is called \"uapi\"",
        ),
    ] {
        let mut command = east.command(env!("CARGO_BIN_EXE_wireguard-device"));
        let command = command.args(["-f", &east.interface]).env(variable, value);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

/// A peer remembers the latest timestamp. Here it has seen one of tomorrow when the device is killed
/// and starts again: as if the clock had gone back by a day.
#[test]
fn is_answered_after_a_restart_with_a_clock_that_went_back() {
    let Pair { mut east, mut west } = Pair::without_devices(Family::V4);
    let day = Duration::from_secs(24 * 60 * 60);
    let tomorrow = SystemTime::UNIX_EPOCH.elapsed().unwrap() + day;
    let directory = east.state_directory().join(&east.interface);
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("timestamp");
    fs::write(&file, format!("{}\n", tomorrow.as_secs())).unwrap();
    west.start();
    west.configure(&east);
    east.start();
    east.configure(&west);
    let peer = west.private_key.public_key().to_string();
    let is_connected = |east: &End| {
        east.wg(&["peer", &peer, "persistent-keepalive", "1"]);
        eventually("initiations are sent", || east.peer_dump()[6] != "0");
        // An answer takes milliseconds; three initiations without one are enough.
        let initiations = |bytes: &str| bytes.parse::<u64>().unwrap() / 148;
        eventually("an answer, or none", || {
            let dump = east.peer_dump();
            dump[4] != "0" || 3 <= initiations(&dump[6])
        });
        east.peer_dump()[4] != "0"
    };
    assert!(is_connected(&east), "the first life");

    east.kill();
    let mark: u64 = fs::read_to_string(&file)
        .unwrap()
        .trim_end()
        .parse()
        .unwrap();
    assert!(tomorrow.as_secs() < mark, "written ahead");
    east.start();
    east.configure(&west);
    assert!(is_connected(&east), "the second life");

    // Without the file the same peer does not answer, so that it is the file that did it.
    east.kill();
    fs::write(&file, "nonsense").unwrap();
    east.start();
    east.configure(&west);
    assert!(!is_connected(&east), "without a memory");
}

#[test]
fn keeps_secrets_to_itself() {
    let Pair { east, .. } = Pair::without_devices(Family::V4);
    fs::create_dir_all(east.state_directory()).unwrap();
    let log = east.state_directory().join("log");
    let mut command = east.command(env!("CARGO_BIN_EXE_wireguard-device"));
    command.args(["-f", "--log", "trace", &east.interface]);
    let child = command.stderr(File::create(&log).unwrap()).spawn();
    let device = Process(child.unwrap());
    eventually("the device serves", || {
        UnixStream::connect(east.socket()).is_ok()
    });

    let private_key = PrivateKey::generate();
    let preshared_key = PresharedKey::generate();
    let secrets = [
        private_key.to_hex(),
        private_key.to_base64(),
        preshared_key.to_hex(),
        preshared_key.to_base64(),
    ];
    let peer = PrivateKey::generate().public_key().to_hex();
    let request = format!(
        "set=1\nprivate_key={}\nlisten_port={PORT}\npublic_key={peer}\npreshared_key={}\n\
         endpoint=192.0.2.2:9\npersistent_keepalive_interval=1\n\n",
        secrets[0], secrets[2],
    );
    assert_eq!(east.ask(&request), "errno=0\n\n");
    // A mistake in a line with a secret.
    let mistake = format!("set=1\nprivate_key={}x\n\n", secrets[0]);
    assert_eq!(east.ask(&mistake), "errno=-22\n\n");
    eventually("a handshake is begun", || east.peer_dump()[6] != "0");

    for name in ["cmdline", "environ", "comm", "status"] {
        let text = fs::read(device.path(name)).unwrap();
        assert!(!has_any(&text, &secrets), "{name}");
    }
    let text = fs::read(&log).unwrap();
    assert!(
        has_any(&text, std::slice::from_ref(&east.interface)),
        "the log is there"
    );
    assert!(!has_any(&text, &secrets), "the log");

    // Nobody but root reads its memory, which this test may.
    let output = Command::new("setpriv")
        .args([
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "head",
            "-c1",
        ])
        .arg(device.path("mem"))
        .output();
    assert!(
        !output.unwrap().status.success(),
        "memory that anybody reads"
    );
    let [raw, raw_preshared] = [&secrets[0], &secrets[2]].map(|it| bytes_of(it));
    assert!(device.remembers(&raw), "the search finds what is there");

    let forget = format!(
        "set=1\nprivate_key={}\nreplace_peers=true\n\n",
        "0".repeat(64)
    );
    assert_eq!(east.ask(&forget), "errno=0\n\n");
    for (name, secret) in [
        ("the key", raw),
        ("the key's text", secrets[0].clone().into_bytes()),
        ("the preshared key", raw_preshared),
        ("the preshared key's text", secrets[2].clone().into_bytes()),
    ] {
        eventually(&format!("{name} is overwritten"), || {
            !device.remembers(&secret)
        });
    }
}

impl Process {
    /// Not through the end itself, as that waits for more.
    fn start(end: &End, options: &[&str]) -> Self {
        let mut command = end.command(env!("CARGO_BIN_EXE_wireguard-device"));
        command.args(["--log", "error"]).args(options);
        Self(command.arg(&end.interface).spawn().unwrap())
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.0.id())
    }

    /// The status of every thread.
    fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(self.path("task")).unwrap();
        let status = tasks.map(|it| it.unwrap().path().join("status"));
        status
            .filter_map(|it| fs::read_to_string(it).ok())
            .collect()
    }

    /// Whether its memory holds these bytes anywhere.
    fn remembers(&self, bytes: &[u8]) -> bool {
        let mut memory = File::open(self.path("mem")).unwrap();
        let maps = fs::read_to_string(self.path("maps")).unwrap();
        maps.lines().filter(|it| it.contains(" rw")).any(|line| {
            let (range, _) = line.split_once(' ').unwrap();
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|it| u64::from_str_radix(it, 16).unwrap());
            let mut content = vec![0; usize::try_from(end - start).unwrap()];
            // What is gone by now remembers nothing.
            memory.seek(SeekFrom::Start(start)).is_ok()
                && memory.read_exact(&mut content).is_ok()
                && has(&content, bytes)
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status
        .lines()
        .find_map(|it| it.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap()
}

fn has_any(text: &[u8], secrets: &[String]) -> bool {
    secrets.iter().any(|it| has(text, it.as_bytes()))
}

fn has(text: &[u8], part: &[u8]) -> bool {
    let first = part[0];
    let starts = text.iter().enumerate().filter(|(_, it)| **it == first);
    starts
        .map(|(start, _)| &text[start..])
        .any(|it| it.starts_with(part))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap())
        .collect()
}
