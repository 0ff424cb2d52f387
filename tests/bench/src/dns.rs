//! The workloads of the name servers: ours and others, in turn, each on one core and the client on
//! another, over the loopback of a namespace.
//!
//! Every server runs in every round, in an order that rotates, and ratios are taken within a round:
//! what else the machine does meets all of them alike.

mod echo;
mod ground;
mod listen;
mod load;
mod mmdb;
mod peers;
mod query;
mod single;
mod watch;
mod zone;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};

use crate::config::DnsOptions;
use crate::report::{self, Row};
use crate::rounds::{Rounds, Sample, Units};
use ground::{Ground, Server};
use mmdb::{Chance, Size};
use peers::{Input, Kind, Peer};

/// The rows of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Workload {
    /// Addresses of 100,000 names
    Static,
    /// One of three targets that are asked whether they live
    Checked,
    /// One of three addresses by weight
    Weighted,
    /// The nearest of four sites to the client's network
    Closest,
    /// How long answers take at half of what the slowest server can do
    Latency,
    /// Memory with 1,000,000 names, and how long it takes to load them
    Million,
    /// A changed name among 1,000,000, while questions are asked
    Change,
    /// A target dies: how long it is answered
    Death,
    /// 100,000 health checks
    Checks,
}

/// What the measurement runs beside the servers.
#[derive(Debug, Subcommand)]
pub(crate) enum Tool {
    /// Answers every question alike
    Echo { address: SocketAddr },
    /// Accepts connections
    Listen { address: SocketAddr },
    /// Asks
    Load(load::LoadOptions),
    /// Asks until the answer has changed
    Watch(watch::WatchOptions),
}

impl Tool {
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Echo { address } => echo::run(*address),
            Self::Listen { address } => listen::run(*address),
            Self::Load(options) => load::run(options),
            Self::Watch(options) => watch::run(options),
        }
    }
}

/// What all rows need.
struct Bench<'a> {
    options: &'a DnsOptions,
    ground: Ground,
    database: PathBuf,
    ours: PathBuf,
    bench: PathBuf,
    /// Those that are installed, ours first.
    peers: Vec<Peer>,
    /// What to do about the others.
    missing: String,
}

/// The names of rows that are not about many names.
const NAMES: u32 = 100_000;
/// As large as databases that are sold.
const PLACES: Size = Size {
    networks: 3_000_000,
    places: 40_000,
};
/// Questions that are asked over and over.
const QUESTIONS: u32 = 20_000;
/// For how long servers are warmed up: their health checks have come to verdicts then.
const WARM_UP: Duration = Duration::from_secs(4);

/// Measures the rows that were asked for, one after the other.
///
/// # Errors
///
/// If the figures cannot be written, or something is missing that every row needs.
pub(crate) fn run(options: &DnsOptions) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    let bench = Bench::new(options)?;
    let chosen = |it: &&Workload| options.only.is_empty() || options.only.contains(it);
    let mut rows = Vec::new();
    for workload in Workload::value_variants().iter().filter(chosen) {
        let name = workload.to_possible_value();
        let name = name.map_or_else(String::new, |it| it.get_name().to_owned());
        // Nobody need watch.
        let _ = writeln!(std::io::stderr(), "measuring {name} …");
        let mut row = bench.measure(*workload, &name).unwrap_or_else(|problem| {
            let mut row = Row::new(&name, "no figures".to_owned());
            row.problem = Some(format!("{problem:#}"));
            row
        });
        if row.problem.is_none() && !bench.missing.is_empty() {
            row.problem = Some(bench.missing.clone());
        }
        rows.push(row.goal(workload.goal()));
    }
    report::print(&rows, options.output)
}

impl<'a> Bench<'a> {
    fn new(options: &'a DnsOptions) -> Result<Self> {
        let bench = std::env::current_exe()?;
        let ours = match &options.program {
            Some(program) => program.clone(),
            None => bench.with_file_name("dns-authority"),
        };
        if !ours.exists() {
            bail!("{} was not built; use tests/bench/run dns", ours.display());
        }
        let mut peers = Vec::new();
        let mut missing = String::new();
        for peer in Peer::ALL {
            match peer.program() {
                Some((program, package)) if !Path::new(program).exists() => {
                    let separator = if missing.is_empty() { "" } else { "; " };
                    let name = peer.name();
                    // A string takes all that is written to it.
                    let _ = write!(
                        missing,
                        "{separator}{name} is not installed: apt-get install {package}"
                    );
                }
                Some(_) | None => peers.push(peer),
            }
        }
        let ground = Ground::new()?;
        let database = ground.directory.path().join("places.mmdb");
        let size = Size {
            networks: PLACES.networks / options.divide_by,
            ..PLACES
        };
        mmdb::write(&database, size)?;
        Ok(Self {
            options,
            ground,
            database,
            ours,
            bench,
            peers,
            missing,
        })
    }

    fn input(&self, names: u32) -> Input<'_> {
        Input {
            names: names / self.options.divide_by,
            database: &self.database,
            ours: &self.ours,
            bench: &self.bench,
            directory: self.ground.directory.path(),
        }
    }

    fn measure(&self, workload: Workload, name: &str) -> Result<Row> {
        match workload {
            Workload::Static => self.throughput(name, Kind::Static),
            Workload::Checked => self.throughput(name, Kind::Checked),
            Workload::Weighted => self.throughput(name, Kind::Weighted),
            Workload::Closest => self.throughput(name, Kind::Closest),
            Workload::Latency => self.latency(name),
            Workload::Million => self.million(name),
            Workload::Change => self.change(name),
            Workload::Death => self.death(name),
            Workload::Checks => self.checks(name),
        }
    }

    /// Starts all that can answer questions of a kind, and lets their checks come to verdicts.
    fn start(&self, kind: Kind) -> Result<Vec<Server>> {
        let input = self.input(NAMES);
        let peers = self.peers.iter().filter(|it| it.can(kind));
        let servers: Result<Vec<Server>> = peers
            .map(|it| Server::start(&self.ground, *it, &input))
            .collect();
        let servers = servers?;
        // Some begin to check when they are asked.
        for server in &servers {
            self.ground
                .ask(server.peer, &questions(kind, input.names), 0.5, Some(200.0))?;
        }
        if kind == Kind::Checked {
            thread::sleep(WARM_UP);
        }
        Ok(servers)
    }

    /// Answers in a second, and what one costs.
    fn throughput(&self, name: &str, kind: Kind) -> Result<Row> {
        let _targets = self.targets()?;
        let servers = self.start(kind)?;
        let questions = questions(kind, self.input(NAMES).names);
        let seconds = f64::from(self.options.seconds);
        let mut rounds = Rounds::default();
        for round in 0..self.options.rounds {
            for place in 0..servers.len() {
                let server = &servers[(round + place) % servers.len()];
                let before = server.cpu_seconds();
                let tally = self.ground.ask(server.peer, &questions, seconds, None)?;
                if tally.answered == 0 || tally.refused != 0 {
                    bail!("{} answered {tally:?}", server.peer.name());
                }
                let used = server.cpu_seconds() - before;
                let sample = Sample {
                    value: tally.per_second() / 1e3,
                    cost: Some(used * 1e6 / tally.answered as f64),
                };
                rounds.add(server.peer.name(), sample);
            }
        }
        let units = Units {
            value: "k/s",
            cost: "us/answer",
        };
        Ok(rounds.show(Row::new(name, self.what()), units))
    }

    /// The 99th percentile at half of what the slowest can do.
    fn latency(&self, name: &str) -> Result<Row> {
        let servers = self.start(Kind::Static)?;
        let questions = questions(Kind::Static, self.input(NAMES).names);
        let mut slowest = f64::INFINITY;
        for server in servers.iter().filter(|it| it.peer != Peer::Echo) {
            let tally = self.ground.ask(server.peer, &questions, 1.0, None)?;
            slowest = slowest.min(tally.per_second());
        }
        let seconds = f64::from(self.options.seconds);
        let mut rounds = Rounds::default();
        for round in 0..self.options.rounds {
            for place in 0..servers.len() {
                let server = &servers[(round + place) % servers.len()];
                let rate = Some(slowest / 2.0);
                let tally = self.ground.ask(server.peer, &questions, seconds, rate)?;
                let sample = Sample {
                    value: tally.p99_microseconds,
                    cost: None,
                };
                rounds.add(server.peer.name(), sample);
            }
        }
        let units = Units {
            value: "us",
            cost: "",
        };
        let what = format!("{} k/s; {}", (slowest / 2e3).round(), self.what());
        Ok(rounds.show(Row::new(name, what), units))
    }

    fn what(&self) -> String {
        let DnsOptions {
            rounds, seconds, ..
        } = self.options;
        format!("{rounds} rounds of {seconds} s; each other server: ours against it, by round")
    }

    /// Listeners for the targets of health checks.
    fn targets(&self) -> Result<Vec<ground::Listener>> {
        let targets = zone::TARGETS.iter();
        targets
            .map(|it| self.ground.listen(it, zone::TARGET_PORT))
            .collect()
    }
}

/// The lines of a file of questions.
fn questions(kind: Kind, names: u32) -> String {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let mut line = |_| match kind {
        Kind::Static => format!("host-{}.bench.test\n", chance.below(names)),
        Kind::Checked => "checked.bench.test\n".to_owned(),
        Kind::Weighted => "weighted.bench.test\n".to_owned(),
        // Networks that are given out, as far as that goes.
        Kind::Closest => {
            let [a, b, c] = [1 + chance.below(222), chance.below(256), chance.below(256)];
            format!("closest.bench.test {a}.{b}.{c}.0/24\n")
        }
    };
    (0..QUESTIONS).map(&mut line).collect()
}

impl Workload {
    fn goal(self) -> &'static str {
        match self {
            Self::Static => "gdnsd 1.05 times, Knot 1.4 times, the echo 0.93 times",
            Self::Checked => "gdnsd 1.0 times, PowerDNS 100 times, shared 5 times",
            Self::Weighted => "gdnsd 1.05 times, PowerDNS 100 times, shared 5 times",
            Self::Closest => "gdnsd 1.25 times, PowerDNS 100 times, shared 5 times",
            Self::Latency => "not above the best of the others",
            Self::Million => "at most 200 MB and 1.5 s",
            Self::Change => "no answer later than 5 ms for it",
            Self::Death => "an interval (2 s) and 50 ms",
            Self::Checks => "30 % of a core, within 5 % of the interval",
        }
    }
}
