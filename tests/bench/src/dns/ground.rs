//! A namespace with nothing but a loopback, and the servers that run in it. Both go with the
//! measurement.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tempfile::TempDir;

use super::load::Tally;
use super::peers::{Input, Peer};
use crate::command;
use crate::deadline::PATIENCE;
use crate::usage::Usage;

/// Where servers run, and where whoever asks them does: on a core of its own each.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: &str = "1";

/// How often a server that starts is asked whether it serves.
const PAUSE: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Ground {
    namespace: String,
    /// Everything that servers and the client read.
    pub(crate) directory: TempDir,
    bench: PathBuf,
}

impl Ground {
    pub(crate) fn new() -> Result<Self> {
        let ground = Self {
            namespace: format!("cwbench-{}-dns", std::process::id()),
            directory: tempfile::tempdir().context("cannot make a directory")?,
            bench: std::env::current_exe()?,
        };
        // Servers that give up root have to get in.
        command::run(
            "chmod",
            &["755", &ground.directory.path().display().to_string()],
        )?;
        command::run("ip", &["netns", "add", &ground.namespace])?;
        command::finish(
            &mut ground.command("ip", &["link", "set", "lo", "up"]),
            "ip",
        )?;
        Ok(ground)
    }

    /// A command that runs in the namespace.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command.args(arguments);
        command
    }

    /// Something of this program that runs beside the servers, on the client's core.
    pub(crate) fn tool(&self, arguments: &[&str]) -> Command {
        let bench = self.bench.display().to_string();
        let all = ["-c", CLIENT_CORE, &bench, "dns-tool"];
        self.command("taskset", &[&all, arguments].concat())
    }

    /// Asks a server all that stands in a file of questions, as fast as it answers or at a pace.
    ///
    /// # Errors
    ///
    /// If the client fails.
    pub(crate) fn ask(
        &self,
        peer: Peer,
        questions: &str,
        seconds: f64,
        rate: Option<f64>,
    ) -> Result<Tally> {
        let file = self.write("questions", questions)?;
        let server = peer.address().to_string();
        let (file, seconds) = (file.display().to_string(), seconds.to_string());
        let rate = rate.map(|it| it.to_string());
        let mut arguments = vec!["load", "--server", &server, "--questions", &file];
        arguments.extend(["--seconds", &seconds]);
        arguments.extend(rate.iter().flat_map(|it| ["--rate", it]));
        let text = command::finish(&mut self.tool(&arguments), "the client")?;
        serde_json::from_str(&text).with_context(|| format!("the client said {text:?}"))
    }

    /// Starts something that listens at so many addresses on one port, until it is dropped.
    pub(crate) fn listen(&self, addresses: &str, port: u16) -> Result<Listener> {
        let address = format!("{addresses}:{port}");
        let mut command = self.tool(&["listen", &address]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start a listener")?;
        let stdin = child.stdin.take();
        let mut listener = Listener { child, stdin };
        // It says a line when it listens.
        let stdout = listener.child.stdout.as_mut().context("has an output")?;
        let mut line = [0; 1];
        stdout.read_exact(&mut line).context("the listener ended")?;
        Ok(listener)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Whatever is left says so in the list of namespaces.
        let _ = command::run("ip", &["netns", "delete", &self.namespace]);
    }
}

/// Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Listener {
    /// Ends it; returns what it has to tell.
    pub(crate) fn finish(mut self) -> Result<String> {
        drop(self.stdin.take());
        let mut text = String::new();
        let stdout = self.child.stdout.as_mut().context("has an output")?;
        stdout.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that serves. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) peer: Peer,
    child: Child,
    /// From its start until it answered.
    pub(crate) load_seconds: f64,
}

impl Server {
    /// # Errors
    ///
    /// If it does not come to answer.
    pub(crate) fn start(ground: &Ground, peer: Peer, input: &Input<'_>) -> Result<Self> {
        Self::start_with(ground, peer, input, "")
    }

    /// The same with more in the zone.
    ///
    /// # Errors
    ///
    /// If it does not come to answer.
    pub(crate) fn start_with(
        ground: &Ground,
        peer: Peer,
        input: &Input<'_>,
        more: &str,
    ) -> Result<Self> {
        let words = peer.prepare(input, more)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = ground.command("taskset", &[&["-c", SERVER_CORE], &words[..]].concat());
        let log = peer.directory(input).join("log");
        let output = fs::File::create(&log).context("cannot make a log")?;
        command.stdin(Stdio::null());
        command.stdout(output.try_clone()?).stderr(output);
        let start = lab::now();
        let child = command.spawn().context("cannot start a server")?;
        let mut server = Self {
            peer,
            child,
            load_seconds: 0.0,
        };
        while !ground.answers(peer)? {
            let is_over = PATIENCE < lab::now() - start;
            if is_over || server.child.try_wait()?.is_some() {
                let said = fs::read_to_string(&log).unwrap_or_default();
                let end = said.len().saturating_sub(500);
                bail!(
                    "{} does not serve: {}",
                    peer.name(),
                    said.get(end..).unwrap_or("").trim()
                );
            }
            thread::sleep(PAUSE);
        }
        server.load_seconds = (lab::now() - start).as_secs_f64();
        Ok(server)
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        Usage::of(self.child.id()).cpu_seconds
    }

    /// Memory that it holds now with all its processes; what they share counts once.
    pub(crate) fn resident_bytes(&self) -> u64 {
        resident(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Processes of its own end with it when they are asked to.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        for _ in 0..250 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            thread::sleep(PAUSE);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resident(pid: u32) -> u64 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|it| it.parse().ok());
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let own = rollup.lines().find_map(|it| it.strip_prefix("Pss:"));
    let own = own.and_then(|it| it.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    own.unwrap_or(0) * 1024 + children.map(resident).sum::<u64>()
}

impl Ground {
    fn answers(&self, peer: Peer) -> Result<bool> {
        let file = self.write("first", "host-1.bench.test\n")?;
        let server = peer.address().to_string();
        let file = file.display().to_string();
        let arguments = ["load", "--server", &server, "--questions", &file];
        let arguments = [&arguments[..], &["--seconds", "0.05", "--rate", "100"]].concat();
        let text = command::finish(&mut self.tool(&arguments), "the client")?;
        let tally: Tally = serde_json::from_str(&text)?;
        Ok(0 < tally.answered && tally.refused == 0 && 0 < tally.records)
    }
}
