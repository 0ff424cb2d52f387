//! Records what crosses an interface with tcpdump, an observer that is not ours.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::inspect::{Inspection, Secrets};
use crate::lab::Lab;
use crate::pcap;
use crate::place::Place;
use crate::process::{Process, Program};
use crate::wait::wait_for;

/// How many packets a capture may have: 300 MB of full ones.
const MOST_PACKETS: usize = 200_000;

/// The kernel's buffer for a capture, in KiB: what a burst fills before tcpdump has its turn.
const BUFFER_KIB: usize = 32_768;

/// The largest frame, in bytes: the buffer holds as many of them as fit, however small they are.
const LARGEST_FRAME: usize = 65_535 + 14;

/// How long tcpdump may take to start, or to write down what the kernel has already handed to it: a
/// hang.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running capture of one interface.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    directory: TempDir,
}

/// A finished capture; its file goes with it.
#[derive(Debug)]
pub struct Captured {
    directory: TempDir,
}

impl Capture {
    /// Starts to record everything on `interface` of `place`, and returns once it does.
    ///
    /// # Errors
    ///
    /// If tcpdump does not start.
    pub fn start(lab: &Lab, place: &Place, interface: &str) -> Result<Self> {
        let directory = tempfile::tempdir_in(lab.directory().join("outputs"))?;
        let file = file(directory.path());
        let (buffer, count) = (BUFFER_KIB.to_string(), MOST_PACKETS.to_string());
        let largest = LARGEST_FRAME.to_string();
        let program = Program::new("tcpdump", "tcpdump")
            .arguments([
                "--immediate-mode",
                "-n",
                "-U",
                "-Z",
                "root",
                "-i",
                interface,
            ])
            .arguments(["-s", &*largest, "-B", &*buffer, "-c", &*count, "-w"])
            .argument(file.display().to_string());
        let mut tcpdump = Process::spawn(place, program, directory.path())?;

        wait_for("tcpdump to listen", PATIENCE, || {
            tcpdump.check()?;
            let said = fs::read_to_string(tcpdump.stderr())?;
            Ok(said.contains("listening on").then_some(()))
        })?;
        Ok(Self { tcpdump, directory })
    }

    /// Looks for leaks in everything that crossed before this call.
    ///
    /// # Errors
    ///
    /// If the capture ended early, or its file cannot be read.
    pub fn so_far(&mut self, secrets: &Secrets) -> Result<Inspection> {
        self.catch_up()?;
        inspect(self.directory.path(), secrets)
    }

    /// Ends the recording. Everything that crossed before this call is in it; of what crosses during
    /// the call, the last packets may be missing.
    ///
    /// # Errors
    ///
    /// If it is not complete: because the kernel has dropped packets, or there were too many.
    pub fn stop(mut self) -> Result<Captured> {
        self.catch_up()?;
        self.tcpdump.stop()?;
        let said = fs::read_to_string(self.tcpdump.stderr())?;
        // As in `1 packet captured` or `2 packets captured`.
        let count = |what: &str| {
            let line = said.lines().find(|it| it.ends_with(what))?;
            line.split(' ').next()?.parse::<u64>().ok()
        };
        ensure!(
            count(" dropped by kernel") == Some(0),
            "the capture is not complete: {said}"
        );
        Ok(Captured {
            directory: self.directory,
        })
    }

    /// Waits until what has crossed is in the file.
    fn catch_up(&mut self) -> Result<()> {
        self.tcpdump
            .check()
            .context("the capture ended early, or had too many packets")?;
        wait_for("tcpdump to have nothing to read", PATIENCE, || {
            Ok(self.is_waiting()?.then_some(()))
        })
    }

    /// Whether tcpdump sleeps, as it does once it has read and written everything.
    fn is_waiting(&self) -> Result<bool> {
        let path = format!("/proc/{}/stat", self.tcpdump.pid());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        // The state follows the name, which is in parentheses.
        Ok(stat
            .rsplit(") ")
            .next()
            .is_some_and(|it| it.starts_with('S')))
    }
}

impl Captured {
    /// Looks for leaks in the whole capture.
    ///
    /// # Errors
    ///
    /// If its file cannot be read.
    pub fn inspect(&self, secrets: &Secrets) -> Result<Inspection> {
        inspect(self.directory.path(), secrets)
    }
}

fn inspect(directory: &Path, secrets: &Secrets) -> Result<Inspection> {
    let path = file(directory);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut inspection = Inspection::default();
    for packet in pcap::Reader::new(BufReader::new(file))? {
        inspection.add(&packet?, secrets);
    }
    ensure!(
        inspection.packets < MOST_PACKETS,
        "the capture had too many packets"
    );
    Ok(inspection)
}

fn file(directory: &Path) -> PathBuf {
    directory.join("packets.pcap")
}
