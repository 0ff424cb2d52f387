//! The steps of the story: what is done in each, and what is measured of it.

use std::collections::BTreeSet;
use std::time::Duration;
use std::{fs, thread};

use anyhow::{Context as _, Result, ensure};
use lab::{unix_microseconds, wait_for};

use super::{CALM, Story};
use crate::clients::Clients;
use crate::region::{GLOBAL_NAME, PROBE_INTERVAL, PROBE_TIMEOUT, Running};
use crate::report::Measure;
use crate::telling;
use crate::telling::{at_most, none_failed, seconds};
use crate::wire::{MARKER, Wire};

/// How long clients may go on asking for what is gone, until load balancing has moved them.
const FAILOVER_GOAL: Duration = Duration::from_secs(3);

/// How long answers may name what is gone: the next probe, and a second.
const DNS_GOAL: Duration = PROBE_INTERVAL.saturating_add(Duration::from_secs(1));

/// The same where nobody answers any more, which a probe learns only by waiting.
const DNS_SILENCE_GOAL: Duration = DNS_GOAL.saturating_add(PROBE_TIMEOUT);

/// How long the mesh may take to be whole again once the link is.
const HEAL_GOAL: Duration = Duration::from_secs(5);

/// What the requests of a failover need at least, and tunnels without traffic never: a handshake
/// and keep-alives are some hundred bytes.
const TUNNEL_BYTES: u64 = 10_000;

/// How often the marker stands in a payload: some sixty full packets.
const MARKERS: usize = 4_000;

impl Story<'_> {
    pub(super) fn converge(&mut self) -> Result<Vec<Measure>> {
        for running in &self.running {
            let finished =
                running.meshctl(self.lab, &["status", "--wait", "--wait-duration", "60s"])?;
            ensure!(
                finished.status.success(),
                "{} has not converged:\n{}{}",
                running.name(),
                finished.stdout,
                finished.stderr,
            );
        }
        let took = unix_microseconds().saturating_sub(self.started);
        self.clients = Clients::start(self.lab, &self.running)?;
        Ok(vec![
            telling::fact(
                "from the first process",
                seconds(Duration::from_micros(took)),
            ),
            self.knowledge()?,
        ])
    }

    /// Whether every agent knows all that there is, which is the same for all, and known to us.
    fn knowledge(&self) -> Result<Measure> {
        let known = |clusters, services, identities, tunnels| {
            format!(
                "{clusters} clusters, {services} services, {identities} identities, {tunnels} tunnels"
            )
        };
        let mut values = BTreeSet::new();
        for running in &self.running {
            for node in running.region().node_numbers() {
                let status = running.agent_status(self.lab, node)?;
                let clusters = || status.clusters.iter().filter(|it| it.synced);
                values.insert(known(
                    clusters().count(),
                    clusters().map(|it| it.services).sum(),
                    clusters().map(|it| it.identities).sum(),
                    status.tunnels.iter().filter(|it| it.up).count(),
                ));
            }
        }
        let value: Vec<String> = values.into_iter().collect();
        // In every region a shop and two identities; tunnels to the two nodes of each other one.
        let regions = self.running.len();
        let expected = known(regions, regions, 2 * regions, 2 * (regions - 1));
        Ok(telling::expected(
            "every node knows",
            &value.join("; "),
            &expected,
        ))
    }

    pub(super) fn serve_locally(&mut self) -> Result<Vec<Measure>> {
        let mut measures = Vec::new();
        for running in &self.running {
            let name = running.name();
            let server = format!("@{}", running.region().control_address());
            let answer = running.in_client(self.lab, "dig", &["+short", &server, GLOBAL_NAME])?;
            let expected = running.edge_address().to_string();
            let arguments = ["-sS", "--max-time", "5", &running.shop_url()];
            let served = running.in_client(self.lab, "curl", &arguments)?;
            let served: lab::record::Server = serde_json::from_str(&served)
                .with_context(|| format!("the shop of {name} answered {served:?}"))?;
            measures.push(telling::expected(
                &format!("{name}: dig {GLOBAL_NAME}"),
                answer.trim(),
                &expected,
            ));
            measures.push(telling::expected(
                &format!("{name}: curl the ClusterIP"),
                &served.region,
                name,
            ));
        }
        Ok(measures)
    }

    pub(super) fn fail_over(&mut self) -> Result<Vec<Measure>> {
        let sent_before = self.sent("eu", "us")?;
        let from = unix_microseconds();
        for shop in &mut self.running_mut("eu").shops {
            shop.kill()?;
        }
        let served = self.clients.served("eu", "us", from)?;
        let resolved = self.clients.resolved("eu", "us", from)?;
        let mut measures = vec![
            at_most("eu clients served by us after", served, FAILOVER_GOAL),
            at_most("DNS of eu answers us after", resolved, DNS_GOAL),
            telling::failed("eu requests meanwhile", self.clients.http_since("eu", from)),
            none_failed("eu queries failed", self.clients.dns_since("eu", from)),
            telling::at_least(
                "bytes sent through the tunnels from eu to us",
                self.sent("eu", "us")?.saturating_sub(sent_before),
                TUNNEL_BYTES,
            ),
        ];
        measures.extend(self.untouched(&["us", "ap"], from));
        Ok(measures)
    }

    /// How many bytes the nodes of a region have sent through their tunnels to another's.
    fn sent(&self, from: &str, to: &str) -> Result<u64> {
        let running = self.running(from);
        let mut bytes = 0;
        for node in running.region().node_numbers() {
            let status = running.agent_status(self.lab, node)?;
            let tunnels = status.tunnels.iter().filter(|it| it.cluster.as_str() == to);
            bytes += tunnels.map(|it| it.sent_bytes).sum::<u64>();
        }
        Ok(bytes)
    }

    pub(super) fn encrypt(&mut self) -> Result<Vec<Measure>> {
        let lab = self.lab;
        let capture = |region, interface| Wire::tap(lab, region, interface);
        let regions = lab.plan().regions.iter();
        let wires = regions.flat_map(|it| [capture(it, "wan0"), capture(it, "lan0")]);
        let wires = wires.collect::<Result<Vec<_>>>()?;

        // To where the service is now, and to a pod by its address: between them, over every link.
        let us = lab.plan().region("us");
        let pod = us.pod_address(us.pod_named("shop-1"));
        let eu = self.running("eu");
        self.send_marked(eu, &format!("{}echo", eu.shop_url()))?;
        self.send_marked(self.running("ap"), &format!("http://{pod}:8080/echo"))?;
        thread::sleep(CALM);
        wires.into_iter().map(Wire::measure).collect()
    }

    fn send_marked(&self, from: &Running, url: &str) -> Result<()> {
        let (payload, text) = (self.lab.directory().join("payload"), MARKER.repeat(MARKERS));
        fs::write(&payload, &text)?;
        let data = format!("@{}", payload.display());
        let arguments = ["-sS", "--max-time", "10", "--data-binary", &data, url];
        let echo = from.in_client(self.lab, "curl", &arguments)?;
        ensure!(
            echo == text,
            "the payload did not come back whole from {url}"
        );
        Ok(())
    }

    pub(super) fn restart(&mut self) -> Result<Vec<Measure>> {
        let from = unix_microseconds();
        let mut count = 0;
        for running in &mut self.running {
            count += running.restart_daemons(self.lab)?;
        }
        self.clients.settle()?;
        let mut measures = vec![telling::fact("processes restarted", count.to_string())];
        measures.extend(self.untouched(&["eu", "us", "ap"], from));
        Ok(measures)
    }

    pub(super) fn cut(&mut self) -> Result<Vec<Measure>> {
        let from = unix_microseconds();
        self.lab.internet().cut("us");
        let served = self.clients.served("eu", "ap", from)?;
        let resolved = self.clients.resolved("eu", "ap", from)?;
        let status = self.running("eu").meshctl(self.lab, &["status"])?;
        let said = status
            .stdout
            .lines()
            .any(|it| it.starts_with("us ") && it.contains("lost"));
        let mut measures = vec![
            at_most("eu clients served by ap after", served, FAILOVER_GOAL),
            at_most("DNS of eu answers ap after", resolved, DNS_SILENCE_GOAL),
            telling::failed("eu requests meanwhile", self.clients.http_since("eu", from)),
            none_failed("eu queries failed", self.clients.dns_since("eu", from)),
            telling::expected(
                "meshctl status in eu",
                &format!(
                    "exit code {}, us {}",
                    status.status.code().unwrap_or(-1),
                    if said { "lost" } else { "not mentioned" },
                ),
                "exit code 1, us lost",
            ),
        ];
        measures.extend(self.untouched(&["us", "ap"], from));
        Ok(measures)
    }

    pub(super) fn heal(&mut self) -> Result<Vec<Measure>> {
        let region = self.running("eu").region().clone();
        let from = unix_microseconds();
        self.lab.internet().heal("us");
        for shop in &mut self.running_mut("eu").shops {
            shop.start_again()?;
        }
        // The slowest first: it needs every cluster, tunnel and check in every region.
        for index in 0..self.running.len() {
            self.wait_until_well(index)?;
        }
        let well = Duration::from_micros(unix_microseconds().saturating_sub(from));
        let served = self.clients.served(&region.name, "eu", from)?;
        let resolved = self.clients.resolved(&region.name, "eu", from)?;
        let mut measures = vec![
            at_most("eu clients served by eu after", served, HEAL_GOAL),
            at_most("DNS of eu answers eu after", resolved, HEAL_GOAL),
            at_most("meshctl status is well everywhere after", well, HEAL_GOAL),
        ];
        // Back to the start.
        measures.extend(self.serve_locally()?);
        Ok(measures)
    }

    fn wait_until_well(&self, index: usize) -> Result<()> {
        let what = format!(
            "meshctl status to be well in {}",
            self.running[index].name()
        );
        wait_for(&what, Duration::from_secs(30), || {
            let finished = self.running[index].meshctl(self.lab, &["status"])?;
            Ok(finished.status.success().then_some(()))
        })
    }

    /// Nobody in these regions has noticed anything since `from`.
    fn untouched(&self, regions: &[&str], from: u64) -> Vec<Measure> {
        let measures = regions.iter().flat_map(|region| {
            [
                none_failed(
                    &format!("{region} requests failed"),
                    self.clients.http_since(region, from),
                ),
                none_failed(
                    &format!("{region} queries failed"),
                    self.clients.dns_since(region, from),
                ),
            ]
        });
        measures.collect()
    }
}
