//! The devices that are compared, and a tunnel between two of one kind.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use lab::wait_for;
use tempfile::TempDir;

use super::ground::{End, Ground};
use crate::command;
use crate::config::WireguardOptions;
use crate::rounds::OURS;
use crate::usage::Usage;

/// A program that serves an interface in the foreground.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    pub(crate) name: String,
    program: String,
    /// `{}` stands for the interface.
    arguments: Vec<String>,
}

/// The other engines, how they are started, and where they come from.
const OTHERS: [(&str, &str, &str); 3] = [
    (
        "wireguard-go",
        "wireguard-go -f {}",
        "apt-get install wireguard-go",
    ),
    (
        "boringtun",
        "boringtun-cli -f --disable-drop-privileges {}",
        "cargo install boringtun-cli",
    ),
    (
        "gotatun",
        "gotatun -f --disable-drop-privileges {}",
        "cargo install gotatun-cli",
    ),
];

/// How long a device may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The port that both ends listen on.
const PORT: &str = "51820";

/// Our device and the others that are installed, and what is to be done about those that are not.
///
/// # Errors
///
/// If our own device is not there.
pub(crate) fn find(options: &WireguardOptions) -> Result<(Vec<Engine>, String)> {
    let device = match &options.program {
        Some(program) => program.clone(),
        None => beside_us("wireguard-device")?,
    };
    let ours = format!("{} -f {{}}", device.display());
    let mut engines = vec![Engine::new(OURS, &ours)];
    let mut missing = String::new();
    for (name, command, remedy) in OTHERS {
        let engine = Engine::new(name, command);
        if command::silent(Command::new(&engine.program).arg("--version"))
            .status()
            .is_ok()
        {
            engines.push(engine);
        } else {
            let separator = if missing.is_empty() { "" } else { "; " };
            // A string takes all that is written to it.
            let _ = write!(missing, "{separator}{name} is not installed: {remedy}");
        }
    }
    Ok((engines, missing))
}

/// A program that was built together with this one.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let path = own.with_file_name(name);
    if !path.exists() {
        bail!("{} is missing; tests/bench/run builds it", path.display());
    }
    Ok(path)
}

impl Engine {
    fn new(name: &str, command: &str) -> Self {
        let mut words = command.split(' ').map(str::to_owned);
        Self {
            name: name.to_owned(),
            program: words.next().unwrap_or_default(),
            arguments: words.collect(),
        }
    }

    fn start(&self, end: &End, state: &TempDir) -> Result<Child> {
        let arguments: Vec<String> = self
            .arguments
            .iter()
            .map(|it| it.replace("{}", &end.interface))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = end.command(&self.program, &arguments);
        command.env("WG_PROCESS_FOREGROUND", "1");
        command.env("CAUSEWAY_STATE_DIR", state.path());
        let child = command::silent(&mut command).spawn();
        child.with_context(|| format!("cannot start {}", self.program))
    }
}

/// Two devices of one engine, and the tunnel between them. Dropping it ends them.
pub(crate) struct Tunnel<'a> {
    pub(crate) ground: &'a Ground,
    devices: Vec<Child>,
    /// Configurations, and what devices of ours keep. Gone with the tunnel.
    directory: TempDir,
}

impl<'a> Tunnel<'a> {
    /// With so many peers configured at each end, one of which is the other end.
    ///
    /// # Errors
    ///
    /// If no packet passes.
    pub(crate) fn start(ground: &'a Ground, engine: &Engine, peers: u32) -> Result<Self> {
        let mut tunnel = Self {
            ground,
            devices: Vec::new(),
            directory: tempfile::tempdir().context("cannot make a directory")?,
        };
        for end in &ground.ends {
            let device = engine.start(end, &tunnel.directory)?;
            tunnel.devices.push(device);
        }
        let keys = [Keys::new()?, Keys::new()?];
        for (index, end) in ground.ends.iter().enumerate() {
            let socket = socket(end);
            let what = format!("the socket of {}", engine.name);
            wait_for(&what, PATIENCE, || Ok(socket.exists().then_some(())))?;
            let (own, other) = (&keys[index], &keys[1 - index]);
            configure(
                &tunnel.directory,
                end,
                &ground.ends[1 - index],
                (own, other),
                peers,
            )?;
        }
        let [a, b] = &ground.ends;
        let ping = || a.run("ping", &["-c", "1", "-W", "1", &b.inside]).ok();
        let what = format!("a packet through {}", engine.name);
        wait_for(&what, PATIENCE, || Ok(ping()))?;
        Ok(tunnel)
    }

    /// What both devices have used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let devices = self.devices.iter();
        devices.map(|it| Usage::of(it.id()).cpu_seconds).sum()
    }

    /// The memory that the larger of both devices holds now.
    ///
    /// # Errors
    ///
    /// If /proc does not tell.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let sizes = self.devices.iter().map(|it| {
            let status = fs::read_to_string(format!("/proc/{}/status", it.id()))?;
            let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
            let kilobytes =
                line.and_then(|it| it.trim().trim_end_matches("kB").trim().parse().ok());
            kilobytes
                .map(|it: u64| it * 1024)
                .context("no VmRSS in /proc")
        });
        let sizes: Result<Vec<u64>> = sizes.collect();
        Ok(sizes?.into_iter().max().unwrap_or(0))
    }
}

impl Drop for Tunnel<'_> {
    fn drop(&mut self) {
        for device in &mut self.devices {
            // One that has ended already is as good.
            let _ = device.kill();
            let _ = device.wait();
        }
        for end in &self.ground.ends {
            let _ = fs::remove_file(socket(end));
            // The kernel takes an interface away a little after the process that served it.
            while end.run("ip", &["link", "show", &end.interface]).is_ok() {
                thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

/// Base64, as `wg` makes and takes them.
struct Keys {
    private: String,
    public: String,
}

impl Keys {
    fn new() -> Result<Self> {
        let private = command::run("wg", &["genkey"])?.trim().to_owned();
        let public = wireguard_public(&private)?;
        Ok(Self { private, public })
    }
}

fn wireguard_public(private: &str) -> Result<String> {
    let script = "printf %s \"$0\" | wg pubkey";
    Ok(command::run("sh", &["-c", script, private])?
        .trim()
        .to_owned())
}

/// Sets a device up and its interface.
fn configure(
    directory: &TempDir,
    end: &End,
    other_end: &End,
    (own, other): (&Keys, &Keys),
    peers: u32,
) -> Result<()> {
    let mut text = format!(
        "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\n\n[Peer]\nPublicKey = {}\nAllowedIPs = {}/32\nEndpoint = {}:{PORT}\n",
        own.private, other.public, other_end.inside, other_end.outside
    );
    for number in 1..peers {
        let [_, b, c, d] = number.to_be_bytes();
        let key = stranger(number);
        // A string takes all that is written to it.
        let _ = writeln!(
            text,
            "\n[Peer]\nPublicKey = {key}\nAllowedIPs = 10.{}.{c}.{d}/32",
            100 + b
        );
    }
    let path = directory.path().join(format!("{}.conf", end.interface));
    fs::write(&path, text).context("cannot write a configuration")?;
    let path = path.display().to_string();
    end.run("wg", &["setconf", &end.interface, &path])?;
    let inside = format!("{}/24", end.inside);
    end.run("ip", &["address", "add", &inside, "dev", &end.interface])?;
    let up = ["link", "set", &end.interface, "mtu", "1420", "up"];
    end.run("ip", &up).map(drop)
}

/// The key of somebody who never calls: base64 of 32 bytes that begin with a number.
fn stranger(number: u32) -> String {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_be_bytes());
    BASE64.encode(key)
}

fn socket(end: &End) -> PathBuf {
    Path::new("/var/run/wireguard").join(format!("{}.sock", end.interface))
}
