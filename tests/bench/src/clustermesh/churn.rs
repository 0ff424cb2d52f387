//! As many changes as the source can make, through a mirror.

use std::collections::VecDeque;

use anyhow::Result;
use etcd_client::{Client, Txn, TxnOp};
use lab::now;
use tokio::task::JoinHandle;

use crate::apiserver::Apiserver;
use crate::config::Options;
use crate::deadline::{since, until};
use crate::records::{Cluster, Size};
use crate::report::Row;
use crate::source::Source;
use crate::visible::{Visible, holds};
use crate::world::{TXN_OPERATIONS, World, count};

/// How often each record is changed.
const ROUNDS: u32 = 4;

/// Transactions under way at a time, so that the source is never idle.
const UNDER_WAY: usize = 16;

pub(super) async fn churn(options: &Options) -> Result<Row> {
    let size = Size {
        nodes: 100,
        identities: 1_000,
        endpoints: 100_000 / options.divide_by,
        services: 0,
    };
    let world = World::new()?;
    let cluster = Cluster::numbered(1);
    let source = Source::start(&world, options.source, 1).await?;
    let address = source.addresses[0];
    world.fill(address, &cluster, size).await?;
    let mut apiserver = Apiserver::new(&world, options, Cluster::numbered(2)).await?;
    apiserver.mirror(&cluster, address)?;
    apiserver.start()?;
    let mut client = apiserver.client().await?;
    until("a complete mirror", async || {
        Ok(count(&mut client, "cilium/synced/").await? == 12)
    })
    .await?;
    let mut visible = Visible::under(&client, "cilium/cache/ip/").await?;
    let cpu_before = apiserver.cpu_seconds();

    let start = now();
    let writer = tokio::spawn(write(world.client(address).await?, cluster, size));
    let last = format!("-{ROUNDS}\"");
    let (mut shown, mut complete) = (0_u32, 0);
    visible
        .until(|value| {
            shown += 1;
            complete += u32::from(holds(value, &last));
            complete == size.endpoints
        })
        .await?;
    let seconds = since(start);
    let written_after = writer.await??;

    let changes = f64::from(ROUNDS * size.endpoints);
    let cpu = apiserver.cpu_seconds() - cpu_before;
    Ok(Row::new(
        "churn",
        format!("{changes} changes of {} endpoints", size.endpoints),
    )
    .figure("changes per second", changes / seconds, "/s")
    .figure("source alone", changes / written_after, "/s")
    .figure("events in the mirror", f64::from(shown), "")
    .figure("CPU per change", cpu * 1e6 / changes, "µs")
    .processes(apiserver.processes())
    .processes([source.process(false)])
    .goal("30,000 /s"))
}

/// Changes every endpoint `ROUNDS` times, and returns the seconds that it took.
async fn write(client: Client, cluster: Cluster, size: Size) -> Result<f64> {
    let start = now();
    let mut under_way: VecDeque<JoinHandle<Result<()>>> = VecDeque::new();
    for round in 1..=ROUNDS {
        for first in (0..size.endpoints).step_by(TXN_OPERATIONS) {
            let last = size.endpoints.min(first + u32::try_from(TXN_OPERATIONS)?);
            let puts = (first..last).map(|it| cluster.endpoint(it, size, round));
            let puts: Vec<TxnOp> = puts
                .map(|(key, value)| TxnOp::put(key, value, None))
                .collect();
            let mut client = client.clone();
            under_way.push_back(tokio::spawn(async move {
                client.txn(Txn::new().and_then(puts)).await?;
                Ok(())
            }));
            // In order within a round's records; a record's next change is a whole round later.
            if UNDER_WAY <= under_way.len()
                && let Some(oldest) = under_way.pop_front()
            {
                oldest.await??;
            }
        }
    }
    for rest in under_way {
        rest.await??;
    }
    Ok(since(start))
}
