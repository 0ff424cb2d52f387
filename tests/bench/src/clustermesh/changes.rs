//! Changes of objects in one cluster, until they are visible in the store of another.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use lab::now;
use tokio::time::sleep;

use crate::apiserver::Apiserver;
use crate::config::Options;
use crate::deadline::{since, until};
use crate::objects::{self, Spelling, backend};
use crate::records::Cluster;
use crate::relay::Relay;
use crate::report::Row;
use crate::visible::{Visible, holds};
use crate::world::{World, count};

/// The time from one change to the next: 20 per second.
const PAUSE: Duration = Duration::from_millis(50);

/// Two API servers, the second of which mirrors the first, and a watch of what it mirrors.
struct Pair<'a> {
    publisher: Apiserver<'a>,
    mirror: Apiserver<'a>,
    visible: Visible,
    link: Relay,
}

impl<'a> Pair<'a> {
    /// Starts both, after `prepare` has filled the first one's directory of objects.
    async fn start(
        world: &'a World,
        options: &Options,
        prepare: impl FnOnce(&std::path::Path) -> Result<()>,
    ) -> Result<Self> {
        let source = Cluster::numbered(1);
        let mut publisher = Apiserver::new(world, options, source.clone()).await?;
        let mut mirror = Apiserver::new(world, options, Cluster::numbered(2)).await?;
        prepare(&publisher.objects())?;
        let link = Relay::to(publisher.store).await?;
        mirror.mirror(&source, link.address)?;

        publisher.start()?;
        publisher.client().await?;
        mirror.start()?;
        let mut client = mirror.client().await?;
        until("a complete mirror", async || {
            Ok(count(&mut client, "cilium/synced/").await? == 12)
        })
        .await?;
        let visible = Visible::under(&client, "cilium/cache/services/v1/").await?;
        Ok(Self {
            publisher,
            mirror,
            visible,
            link,
        })
    }

    /// CPU seconds of both until now.
    fn cpu_seconds(&self) -> f64 {
        self.publisher.cpu_seconds() + self.mirror.cpu_seconds()
    }

    /// Makes `changes` changes of service 0 one after the other; the milliseconds that each took
    /// to become visible, in ascending order.
    async fn change(&mut self, changes: u32) -> Result<Vec<f64>> {
        let mut milliseconds = Vec::new();
        for version in 1..=changes {
            let expected = format!("\"{}\"", backend(version));
            let start = now();
            objects::write_service(&self.publisher.objects(), 0, version)?;
            let seen = self.visible.until(|value| holds(value, &expected)).await?;
            let after = seen - start;
            milliseconds.push(after.as_secs_f64() * 1e3);
            sleep(PAUSE.saturating_sub(after)).await;
        }
        milliseconds.sort_by(f64::total_cmp);
        Ok(milliseconds)
    }
}

pub(super) async fn burst(options: &Options) -> Result<Row> {
    let services = 500;
    let world = World::new()?;
    let mut pair = Pair::start(&world, options, |directory| {
        (0..services).try_for_each(|it| objects::write_service(directory, it, 0))
    })
    .await?;
    let version = |service: u32| 1_000 + service;
    let mut missing: BTreeSet<String> = (0..services).map(|it| backend(version(it))).collect();

    let start = now();
    for service in 0..services {
        objects::write_service(&pair.publisher.objects(), service, version(service))?;
    }
    let written = since(start);
    pair.visible
        .until(|value| {
            let address = String::from_utf8_lossy(value);
            let address = address.split('"').find(|it| it.starts_with("11."));
            address.is_some_and(|it| missing.remove(it)) && missing.is_empty()
        })
        .await?;
    let seconds = since(start);

    let what = format!("{services} services, each in a file of its own, changed at once");
    Ok(Row::new("burst", what)
        .figure("until all are visible", seconds, "s")
        .figure("writing the files alone", written, "s")
        .processes(pair.publisher.processes())
        .processes(pair.mirror.processes())
        .goal("0.5 s"))
}

pub(super) async fn latency(options: &Options) -> Result<Row> {
    let world = World::new()?;
    let mut pair = Pair::start(&world, options, |directory| {
        (0..100).try_for_each(|it| objects::write_service(directory, it, 0))
    })
    .await?;

    let milliseconds = pair.change(400).await?;

    let what = "one of 100 services, changed 20 times a second, object to remote cache".to_owned();
    Ok(Row::new("latency", what)
        .figure("p50", percentile(&milliseconds, 50), "ms")
        .figure("p99", percentile(&milliseconds, 99), "ms")
        .processes(pair.publisher.processes())
        .processes(pair.mirror.processes())
        .goal("p50 2 ms, p99 5 ms"))
}

pub(super) async fn scale(options: &Options) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for objects in [1_000, 10_000, 100_000] {
        rows.push(change_beside(options, objects / options.divide_by).await?);
    }
    Ok(rows)
}

async fn change_beside(options: &Options, objects: u32) -> Result<Row> {
    let changes = 60;
    let world = World::new()?;
    let mut pair = Pair::start(&world, options, |directory| {
        objects::write_service(directory, 0, 0)?;
        objects::write_endpoints(directory, objects, Spelling::Json)
    })
    .await?;

    let idle = pair.cpu_seconds();
    sleep(PAUSE * changes).await;
    let before = pair.cpu_seconds();
    let start = now();
    let milliseconds = pair.change(changes).await?;
    // What both do without changes in the same time is not the changes'.
    let idle = (before - idle) * since(start) / (PAUSE * changes).as_secs_f64();
    let cpu = pair.cpu_seconds() - before - idle;

    let what = format!("one service changed {changes} times beside {objects} endpoints");
    Ok(Row::new("scale", what)
        .figure("p50", percentile(&milliseconds, 50), "ms")
        .figure("p99", percentile(&milliseconds, 99), "ms")
        .figure("CPU per change, both", cpu * 1e3 / f64::from(changes), "ms")
        .processes(pair.publisher.processes())
        .processes(pair.mirror.processes())
        .goal("the same for any number of objects"))
}

pub(super) async fn bytes(options: &Options) -> Result<Row> {
    let (slices, per_slice, changes) = (50, 100, 20);
    let world = World::new()?;
    let mut pair = Pair::start(&world, options, |directory| {
        objects::write_large_service(directory, slices, per_slice)
    })
    .await?;
    let quiet = Duration::from_secs(3);
    let before = pair.link.returned_bytes();
    sleep(quiet).await;
    let idle = pair.link.returned_bytes() - before;

    let before = pair.link.returned_bytes();
    let start = now();
    for version in 1..=changes {
        let expected = format!("\"{}\"", backend(version));
        objects::write_slice(&pair.publisher.objects(), 1, per_slice, Some(version))?;
        pair.visible.until(|value| holds(value, &expected)).await?;
        sleep(PAUSE).await;
    }
    let sent = (pair.link.returned_bytes() - before) as f64;
    let idle = idle as f64 * since(start) / quiet.as_secs_f64();

    let what = format!(
        "one endpoint of a service of {} in {slices} slices, changed {changes} times",
        slices * per_slice
    );
    Ok(Row::new("bytes", what)
        .figure(
            "bytes per change",
            (sent - idle) / f64::from(changes),
            "bytes",
        )
        .processes(pair.publisher.processes())
        .processes(pair.mirror.processes())
        .goal("not the 5,000"))
}

/// Of values in ascending order.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let index = sorted.len() * percent / 100;
    let index = index.min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or(f64::NAN)
}
