//! The workloads that no round repeats: sizes, changes and health checks.

use std::fmt::Write as _;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::ground::Server;
use super::listen::Regularity;
use super::peers::{Kind, Peer};
use super::watch::clock_seconds;
use super::{Bench, NAMES, questions, zone};
use crate::command;
use crate::report::Row;
use crate::rounds::{Rounds, Sample, Units};

const MANY_NAMES: u32 = 1_000_000;
/// What is asked while a zone changes, in a second.
const CHANGE_RATE: f64 = 10_000.0;
/// How long is watched what happens after a change, or a death.
const WATCH: Duration = Duration::from_secs(8);
const CHECKS: u32 = 100_000;
/// In seconds.
const CHECK_INTERVAL: u32 = 20;

impl Bench<'_> {
    pub(super) fn million(&self, name: &str) -> Result<Row> {
        let input = self.input(MANY_NAMES);
        let mut row = Row::new(name, format!("{} names", input.names));
        for peer in self
            .peers
            .iter()
            .filter(|it| it.can(Kind::Static) && **it != Peer::Echo)
        {
            let server = Server::start(&self.ground, *peer, &input)?;
            // Whatever goes on after the first answer ends.
            thread::sleep(Duration::from_secs(2));
            let megabytes = server.resident_bytes() as f64 / 1e6;
            row = row.figure(format!("{}, memory", peer.name()), megabytes, "MB");
            row = row.figure(
                format!("{}, first answer", peer.name()),
                server.load_seconds,
                "s",
            );
        }
        Ok(row)
    }

    /// Ours alone: rewrites the zone with one other address.
    pub(super) fn change(&self, name: &str) -> Result<Row> {
        let input = self.input(MANY_NAMES);
        let _server = Server::start(&self.ground, Peer::Ours, &input)?;
        let file = Peer::Ours.zone_file(&input);
        let changed =
            fs::read_to_string(&file)?.replacen("host-1 A 10.0.0.1", "host-1 A 192.0.2.9", 1);
        let fresh = file.with_extension("new");
        fs::write(&fresh, changed)?;
        let questions = questions(Kind::Static, input.names);
        let quiet = self
            .ground
            .ask(Peer::Ours, &questions, 4.0, Some(CHANGE_RATE))?;

        let begun = clock_seconds();
        fs::rename(&fresh, &file).context("cannot replace the zone")?;
        let watched = thread::scope(|scope| {
            let until = scope.spawn(|| self.last_seen(Peer::Ours, "host-1.bench.test", "10.0.0.1"));
            let busy = self.ground.ask(
                Peer::Ours,
                &questions,
                WATCH.as_secs_f64(),
                Some(CHANGE_RATE),
            );
            (until.join(), busy)
        });
        let last = watched
            .0
            .map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
        let busy = watched.1?;
        Ok(Row::new(
            name,
            format!("{} names, {CHANGE_RATE} questions/s", input.names),
        )
        .figure("until the new answer", last - begun, "s")
        .figure("p99 before", quiet.p99_microseconds, "us")
        .figure("p99 meanwhile", busy.p99_microseconds, "us")
        .figure("longest before", quiet.longest_microseconds, "us")
        .figure("longest meanwhile", busy.longest_microseconds, "us")
        .figure(
            "lost meanwhile",
            (busy.sent - busy.answered) as f64,
            "answers",
        ))
    }

    pub(super) fn death(&self, name: &str) -> Result<Row> {
        let input = self.input(NAMES);
        let questions = questions(Kind::Checked, input.names);
        let mut rounds = Rounds::default();
        for _ in 0..self.options.rounds {
            for peer in self.peers.iter().filter(|it| it.can(Kind::Checked)) {
                let mut targets = self.targets()?;
                let _server = Server::start(&self.ground, *peer, &input)?;
                self.ground.ask(*peer, &questions, 4.0, Some(200.0))?;
                let died = clock_seconds();
                drop(targets.remove(0));
                let last = self.last_seen(*peer, "checked.bench.test", zone::TARGETS[0])?;
                let sample = Sample {
                    value: (last - died).max(0.0),
                    cost: None,
                };
                rounds.add(peer.name(), sample);
            }
        }
        let what = format!(
            "{} rounds, checks every {} s, of a closed port",
            self.options.rounds,
            zone::INTERVAL_SECONDS
        );
        let units = Units {
            value: "s",
            cost: "",
        };
        Ok(rounds.show(Row::new(name, what), units))
    }

    /// When an address was last answered, within the time that is watched.
    fn last_seen(&self, peer: Peer, name: &str, address: &str) -> Result<f64> {
        let server = peer.address().to_string();
        let seconds = WATCH.as_secs_f64().to_string();
        let arguments = [
            "watch",
            "--server",
            &server,
            "--name",
            name,
            "--address",
            address,
        ];
        let arguments = [&arguments[..], &["--seconds", &seconds]].concat();
        let text = command::finish(&mut self.ground.tool(&arguments), "the watcher")?;
        text.trim()
            .parse()
            .with_context(|| format!("the watcher said {text:?}"))
    }

    /// Ours alone: so many targets on this machine.
    pub(super) fn checks(&self, name: &str) -> Result<Row> {
        let input = self.input(1_000);
        let count = CHECKS / self.options.divide_by;
        let port = zone::TARGET_PORT;
        let mut text = String::new();
        for number in 0..count {
            let [_, b, c, d] = (number + 256).to_be_bytes();
            // A string takes all that is written to it.
            let _ = writeln!(
                text,
                "check-{number} IN LUA A \"ifportup({port}, {{'127.{}.{c}.{d}'}}, {{interval={CHECK_INTERVAL}}})\"",
                b + 1
            );
        }
        let listener = self.ground.listen("0.0.0.0", port)?;
        let server = Server::start_with(&self.ground, Peer::Ours, &input, &text)?;
        // All have been asked once, and none comes late for the others' sake.
        thread::sleep(Duration::from_secs(u64::from(CHECK_INTERVAL)));
        let before = (server.cpu_seconds(), clock_seconds());
        thread::sleep(Duration::from_secs(2 * u64::from(CHECK_INTERVAL)));
        let used = server.cpu_seconds() - before.0;
        let share = 100.0 * used / (clock_seconds() - before.1);
        let Regularity {
            connections,
            p1_seconds,
            p50_seconds,
            p99_seconds,
        } = serde_json::from_str(listener.finish()?.trim())?;
        Ok(Row::new(
            name,
            format!("{count} targets, each every {CHECK_INTERVAL} s"),
        )
        .figure("CPU", share, "% of a core")
        .figure("memory", server.resident_bytes() as f64 / 1e6, "MB")
        .figure("connections", connections as f64, "")
        .figure("1 % come within", p1_seconds, "s")
        .figure("half come within", p50_seconds, "s")
        .figure("99 % come within", p99_seconds, "s"))
    }
}
