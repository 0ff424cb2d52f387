//! Processes of the lab: started in their place, watched, stopped and started again.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::place::Place;
use crate::wait::wait_for;
use crate::{clock, enter, ground};

/// How long a process may take to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a killed process may take to disappear.
const DEATH: Duration = Duration::from_secs(10);

/// How much of a process's log is shown when it has died.
const LAST_LINES: usize = 12;

/// What to run: a program with its arguments, under a name that its log files carry.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    pub fn new(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            path: path.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    #[must_use]
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    #[must_use]
    pub fn arguments<T: Into<String>>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn environment(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }
}

/// A running process; dropping it kills it.
#[derive(Debug)]
pub struct Process {
    place: Place,
    program: Program,
    logs: PathBuf,
    child: Child,
}

/// How a process ended after it was asked to.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    pub status: ExitStatus,
    /// From the request to the end.
    pub after: Duration,
}

/// What a short-lived program has left.
#[derive(Clone, Debug)]
pub struct Finished {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// What it printed.
    ///
    /// # Errors
    ///
    /// If it ended with a bad exit code; the message calls it `what`.
    pub fn succeeded(self, what: &str) -> Result<String> {
        ensure!(
            self.status.success(),
            "{what} ended with {}: {}{}",
            self.status,
            self.stdout,
            self.stderr,
        );
        Ok(self.stdout)
    }
}

impl Process {
    /// Starts `program` in `place`, with its output in files below `logs`.
    pub(crate) fn spawn(place: &Place, program: Program, logs: &Path) -> Result<Self> {
        let child = launch(place, &program, logs)?;
        Ok(Self {
            place: place.clone(),
            program,
            logs: logs.to_owned(),
            child,
        })
    }

    pub fn place(&self) -> &Place {
        &self.place
    }

    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The process id, which is the same in the lab as outside.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that collects the standard output of this and earlier runs.
    pub fn stdout(&self) -> PathBuf {
        log_path(&self.place, &self.program, &self.logs, "out")
    }

    /// The file that collects the standard error of this and earlier runs.
    pub fn stderr(&self) -> PathBuf {
        log_path(&self.place, &self.program, &self.logs, "log")
    }

    /// Checks that the process is alive.
    ///
    /// # Errors
    ///
    /// If it is not; the message ends with the last lines of its log.
    pub fn check(&mut self) -> Result<()> {
        let Some(status) = self.child.try_wait()? else {
            return Ok(());
        };
        let lines = last_lines(&self.stderr());
        bail!(
            "{} on {} ended with {status}:\n{lines}",
            self.program.name,
            self.place
        )
    }

    /// Asks the process to end with SIGTERM and waits until it has.
    ///
    /// # Errors
    ///
    /// If it does not end by itself within 15 s; it is killed then.
    pub fn stop(&mut self) -> Result<Stopped> {
        let start = clock::now();
        self.signal(Signal::TERM)?;
        let what = format!("{} on {} to end", self.program.name, self.place);
        let status = match wait_for(&what, PATIENCE, || Ok(self.child.try_wait()?)) {
            Ok(status) => status,
            Err(error) => {
                self.kill()?;
                return Err(error);
            }
        };
        Ok(Stopped {
            status,
            after: clock::now() - start,
        })
    }

    /// Ends the process at once, as a crash would.
    ///
    /// # Errors
    ///
    /// If it does not disappear.
    pub fn kill(&mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        let what = format!("{} on {} to be killed", self.program.name, self.place);
        wait_for(&what, DEATH, || Ok(self.child.try_wait()?)).map(drop)
    }

    /// Starts the program again, after the process has ended.
    ///
    /// # Errors
    ///
    /// If it is still running, or cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            bail!("{} on {} is still running", self.program.name, self.place);
        }
        self.child = launch(&self.place, &self.program, &self.logs)?;
        Ok(())
    }

    /// Stops the process and starts it again.
    ///
    /// # Errors
    ///
    /// As with [`stop`](Self::stop) and [`start_again`](Self::start_again).
    pub fn restart(&mut self) -> Result<Stopped> {
        let stopped = self.stop()?;
        self.start_again()?;
        Ok(stopped)
    }

    /// Waits for the end of a program that ends by itself.
    ///
    /// # Errors
    ///
    /// If it takes longer than `timeout`; it is killed then.
    pub(crate) fn finish(mut self, timeout: Duration) -> Result<Finished> {
        let what = format!("{} on {} to finish", self.program.name, self.place);
        let status = wait_for(&what, timeout, || Ok(self.child.try_wait()?))?;
        let read = |path: PathBuf| {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()));
            bytes.map(|it| String::from_utf8_lossy(&it).into_owned())
        };
        Ok(Finished {
            status,
            stdout: read(self.stdout())?,
            stderr: read(self.stderr())?,
        })
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.context("a process id that is none")?;
        // Not yet waited for, so that the id is still the process's own.
        kill_process(pid, signal).context("cannot send a signal")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _dead = self.child.kill();
        let _waited = self.child.wait();
    }
}

fn launch(place: &Place, program: &Program, logs: &Path) -> Result<Child> {
    let open = |kind| {
        let path = log_path(place, program, logs, kind);
        let file = File::options().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot open {}", path.display()))
    };
    let (stdout, stderr) = (open("out")?, open("log")?);
    let _permission = ground::permission();
    Command::new(enter::path())
        .arg(place.to_string())
        .arg(&program.path)
        .args(&program.arguments)
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        // Ctrl-C is for us: we end the others in order.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot start {} on {place}", program.name))
}

fn log_path(place: &Place, program: &Program, logs: &Path, kind: &str) -> PathBuf {
    logs.join(format!("{}.{}.{kind}", place.file_stem(), program.name))
}

/// The end of a log file, for a message.
fn last_lines(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_else(|error: io::Error| error.to_string().into_bytes());
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}
