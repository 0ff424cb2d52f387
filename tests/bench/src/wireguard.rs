//! The workloads of the tunnels: our device and others, in turn, over one cable between two namespaces.
//!
//! Every engine runs in every round, in an order that rotates, and ratios are taken within a round:
//! what else the machine does meets all of them alike.

mod engine;
mod ground;
mod limit;
mod load;

use std::collections::BTreeMap;
use std::io::Write as _;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::config::WireguardOptions;
use crate::report::{self, Row};
use crate::rounds::{OURS, Rounds, Sample, Units, median};
use engine::{Engine, Tunnel};
use ground::{Ground, Offloads};

/// The rows of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Workload {
    /// One TCP stream
    Tcp1,
    /// Four TCP streams
    Tcp4,
    /// Datagrams as fast as the sender can: what arrives
    Udp,
    /// Round trips through the idle tunnel
    Ping,
    /// One TCP stream over a cable whose ends cut and join nothing
    Plain,
    /// Memory with one peer and with 10,000
    Memory,
    /// One TCP stream beside 10,000 configured peers, against one peer
    Peers,
}

/// How many peers are many.
const PEERS: u32 = 10_000;

/// Measures the rows that were asked for, one after the other.
///
/// # Errors
///
/// If the figures cannot be written, or something is missing that every row needs.
pub(crate) fn run(options: &WireguardOptions) -> Result<()> {
    ground::require_tools()?;
    let (engines, missing) = engine::find(options)?;
    let chosen = |it: &&Workload| options.only.is_empty() || options.only.contains(it);
    let mut rows = Vec::new();
    for workload in Workload::value_variants().iter().filter(chosen) {
        let name = workload.to_possible_value();
        let name = name.map_or_else(String::new, |it| it.get_name().to_owned());
        // Nobody need watch.
        let _ = writeln!(std::io::stderr(), "measuring {name} …");
        let measured = measure(*workload, &name, options, &engines);
        let mut row = measured.unwrap_or_else(|problem| {
            let mut row = Row::new(&name, "no figures".to_owned());
            row.problem = Some(format!("{problem:#}"));
            row
        });
        if row.problem.is_none() && workload.compares() && !missing.is_empty() {
            row.problem = Some(missing.clone());
        }
        rows.push(row);
    }
    report::print(&rows, options.output)
}

fn measure(
    workload: Workload,
    name: &str,
    options: &WireguardOptions,
    engines: &[Engine],
) -> Result<Row> {
    match workload {
        Workload::Memory => memory(name, engines),
        Workload::Peers => peers(name, options, engines),
        Workload::Ping | Workload::Plain | Workload::Tcp1 | Workload::Tcp4 | Workload::Udp => {
            compare(workload, name, options, engines)
        }
    }
}

/// The engines beside each other.
fn compare(
    workload: Workload,
    name: &str,
    options: &WireguardOptions,
    engines: &[Engine],
) -> Result<Row> {
    let offloads = if workload == Workload::Plain {
        Offloads::None
    } else {
        Offloads::All
    };
    let ground = Ground::new(offloads)?;
    let mut rounds = Rounds::default();
    for round in 0..options.rounds {
        for place in 0..engines.len() {
            let engine = &engines[(round + place) % engines.len()];
            let tunnel = Tunnel::start(&ground, engine, 1)?;
            let sample = workload.sample(&tunnel, options.seconds);
            let sample = sample.with_context(|| format!("{} in round {round}", engine.name))?;
            rounds.add(&engine.name, sample);
        }
    }
    let what = format!(
        "{} rounds of {} s; each other engine: ours against it, by round",
        options.rounds, options.seconds
    );
    let mut row = rounds.show(Row::new(name, what), workload.units());
    if workload == Workload::Tcp1 {
        let limit = limit::gigabits_per_second(options)?;
        let reached = median(rounds.of(OURS).map(|it| it.value));
        row = row.figure("limit of two cores that only seal and open", limit, "Gb/s");
        row = row.figure("share of that limit", 100.0 * reached / limit, "%");
    }
    Ok(match workload.goal() {
        Some(goal) => row.goal(goal),
        None => row,
    })
}

fn memory(name: &str, engines: &[Engine]) -> Result<Row> {
    let ground = Ground::new(Offloads::All)?;
    let ours = ours(engines)?;
    let mut row = Row::new(name, "resident memory of our device".to_owned());
    for (shown, peers) in [("1 peer", 1), ("10,000 peers", PEERS)] {
        let tunnel = Tunnel::start(&ground, ours, peers)?;
        // Having carried something, so that all that it needs for that is there.
        load::tcp(&tunnel, 1, 1)?;
        row = row.figure(shown, tunnel.resident_bytes()? as f64 / 1e6, "MB");
    }
    Ok(row.goal("at most 8 MB with 1 peer, 120 MB with 10,000"))
}

fn peers(name: &str, options: &WireguardOptions, engines: &[Engine]) -> Result<Row> {
    let ground = Ground::new(Offloads::All)?;
    let ours = ours(engines)?;
    let mut samples: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
    for round in 0..options.rounds {
        let order = if round % 2 == 0 {
            [1, PEERS]
        } else {
            [PEERS, 1]
        };
        for peers in order {
            let tunnel = Tunnel::start(&ground, ours, peers)?;
            let sample = load::tcp(&tunnel, 1, options.seconds)?;
            samples.entry(peers).or_default().push(sample);
        }
    }
    let one = samples.remove(&1).unwrap_or_default();
    let many = samples.remove(&PEERS).unwrap_or_default();
    let ratios = many
        .iter()
        .zip(&one)
        .map(|(many, one)| many.value / one.value);
    let what = format!("{} rounds of {} s", options.rounds, options.seconds);
    Ok(Row::new(name, what)
        .figure("1 peer", median(one.iter().map(|it| it.value)), "Gb/s")
        .figure(
            "10,000 peers",
            median(many.iter().map(|it| it.value)),
            "Gb/s",
        )
        .figure("10,000 against 1", median(ratios), "times")
        .goal("at least 0.95 times"))
}

fn ours(engines: &[Engine]) -> Result<&Engine> {
    match engines.iter().find(|it| it.name == OURS) {
        Some(ours) => Ok(ours),
        None => bail!("our own device is not among the engines"),
    }
}

impl Workload {
    fn sample(self, tunnel: &Tunnel<'_>, seconds: u32) -> Result<Sample> {
        match self {
            Self::Tcp4 => load::tcp(tunnel, 4, seconds),
            Self::Udp => load::udp(tunnel, seconds),
            Self::Ping => load::ping(tunnel),
            Self::Memory | Self::Peers | Self::Plain | Self::Tcp1 => load::tcp(tunnel, 1, seconds),
        }
    }

    fn units(self) -> Units {
        let value = match self {
            Self::Ping => "us",
            Self::Memory => "MB",
            Self::Peers | Self::Plain | Self::Tcp1 | Self::Tcp4 | Self::Udp => "Gb/s",
        };
        Units {
            value,
            cost: "s/GB",
        }
    }

    /// Whether other engines have a part in it.
    fn compares(self) -> bool {
        !matches!(self, Self::Memory | Self::Peers)
    }

    fn goal(self) -> Option<&'static str> {
        match self {
            Self::Tcp1 => Some(
                "wireguard-go 12 times, boringtun 12 times, gotatun 7 times with a 7th of its CPU-s/GB, 45 % of the limit",
            ),
            Self::Tcp4 => Some("wireguard-go 12 times"),
            Self::Udp => Some("boringtun 3 times"),
            Self::Ping => Some("not above boringtun"),
            Self::Plain => Some("wireguard-go 8 times"),
            Self::Memory | Self::Peers => None,
        }
    }
}
