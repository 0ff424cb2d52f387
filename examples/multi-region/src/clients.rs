//! The load clients in every region, and everything that they saw, read as it is written.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lab::{Follower, Lab, Process, Program, binaries, wait_for};

use crate::region::{GLOBAL_NAME, Running, edge_address};
use crate::traffic::{Counts, Traffic};

/// How often they ask: often enough to see a failover to within a frame of film.
const HTTP_INTERVAL_MILLISECONDS: u64 = 20;
const DNS_INTERVAL_MILLISECONDS: u64 = 100;

/// So many requests in a row from one region mean that it has taken over.
const STEADY_REQUESTS: usize = 25;
const STEADY_ANSWERS: usize = 5;

/// The clients wait this long for an answer; after it, nothing sent before is open any more.
const CLIENT_TIMEOUT: Duration = Duration::from_millis(1_000);

/// The two clients of every region, by the region's name; none before they are started.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    http: BTreeMap<String, Client>,
    dns: BTreeMap<String, Client>,
}

#[derive(Debug)]
struct Client {
    process: Process,
    follower: Follower,
    traffic: Traffic,
}

impl Clients {
    /// Starts one client for the shop and one for its name in every region.
    pub(crate) fn start(lab: &Lab, running: &[Running]) -> Result<Self> {
        let edges = lab.plan().regions.iter();
        let places: BTreeMap<_, _> = edges
            .map(|it| (edge_address(it), it.name.clone()))
            .collect();
        let (mut http, mut dns) = (BTreeMap::new(), BTreeMap::new());
        for region in running {
            let client = Client::start(lab, region, http_client(region)?, Traffic::requests())?;
            http.insert(region.name().to_owned(), client);
            let traffic = Traffic::answers(places.clone());
            let client = Client::start(lab, region, dns_client(region)?, traffic)?;
            dns.insert(region.name().to_owned(), client);
        }
        Ok(Self { http, dns })
    }

    pub(crate) fn read(&mut self) -> Result<()> {
        self.http
            .values_mut()
            .chain(self.dns.values_mut())
            .try_for_each(Client::read)
    }

    /// Reads on until nothing that was sent before now is open any more.
    pub(crate) fn settle(&mut self) -> Result<()> {
        std::thread::sleep(CLIENT_TIMEOUT + Duration::from_millis(200));
        self.read()
    }

    /// What the region's client of the shop saw; `None` if none was started.
    pub(crate) fn http(&self, region: &str) -> Option<&Traffic> {
        self.http.get(region).map(|it| &it.traffic)
    }

    /// What the region's client of the DNS saw; `None` if none was started.
    pub(crate) fn dns(&self, region: &str) -> Option<&Traffic> {
        self.dns.get(region).map(|it| &it.traffic)
    }

    /// Waits until requests from `client` are served by `server` for good, and returns how long
    /// that took since `from` (in microseconds since 1970).
    pub(crate) fn served(&mut self, client: &str, server: &str, from: u64) -> Result<Duration> {
        let what = format!("requests from {client} to be served by {server}");
        self.steady(&what, from, |it| {
            it.http[client]
                .traffic
                .first_steady(from, server, STEADY_REQUESTS)
        })
    }

    /// Waits until the DNS of `client`'s region answers with `server` for good.
    pub(crate) fn resolved(&mut self, client: &str, server: &str, from: u64) -> Result<Duration> {
        let what = format!("the DNS of {client} to answer with {server}");
        self.steady(&what, from, |it| {
            it.dns[client]
                .traffic
                .first_steady(from, server, STEADY_ANSWERS)
        })
    }

    fn steady(
        &mut self,
        what: &str,
        from: u64,
        find: impl Fn(&Self) -> Option<u64>,
    ) -> Result<Duration> {
        wait_for(what, PATIENCE, || {
            self.read()?;
            Ok(find(self))
        })?;
        // What was sent meanwhile and is still open may yet fail, and move the moment.
        self.settle()?;
        let at = wait_for(what, PATIENCE, || {
            self.read()?;
            Ok(find(self))
        })?;
        Ok(Duration::from_micros(at.saturating_sub(from)))
    }

    /// Requests of `region`'s clients that were sent since `from`, or still open then.
    pub(crate) fn http_since(&self, region: &str, from: u64) -> Counts {
        self.http[region].traffic.counts_since(from)
    }

    /// Queries of `region`'s clients that were sent since `from`, or still open then.
    pub(crate) fn dns_since(&self, region: &str, from: u64) -> Counts {
        self.dns[region].traffic.counts_since(from)
    }
}

/// A change takes seconds; what takes longer than this does not happen any more.
const PATIENCE: Duration = Duration::from_secs(30);

impl Client {
    fn start(lab: &Lab, region: &Running, program: Program, traffic: Traffic) -> Result<Self> {
        let process = lab.spawn(&region.client_place(), program)?;
        let follower = Follower::new(process.stdout());
        Ok(Self {
            process,
            follower,
            traffic,
        })
    }

    fn read(&mut self) -> Result<()> {
        self.process.check()?;
        self.traffic.extend(self.follower.read()?);
        Ok(())
    }
}

fn http_client(region: &Running) -> Result<Program> {
    let interval = HTTP_INTERVAL_MILLISECONDS.to_string();
    Ok(Program::new("http-client", binaries::find("lab-client")?)
        .arguments(["--interval-ms", &*interval, "http", "--url"])
        .argument(region.shop_url()))
}

fn dns_client(region: &Running) -> Result<Program> {
    let interval = DNS_INTERVAL_MILLISECONDS.to_string();
    let server = format!("{}:53", region.region().control_address());
    Ok(Program::new("dns-client", binaries::find("lab-client")?)
        .arguments(["--interval-ms", &*interval, "dns"])
        .arguments(["--server", &*server, "--name", GLOBAL_NAME]))
}
