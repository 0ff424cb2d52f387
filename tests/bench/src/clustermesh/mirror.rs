//! From nothing to a complete mirror: of one large cluster, and of a full mesh.

use anyhow::{Result, ensure};
use lab::now;

use crate::apiserver::Apiserver;
use crate::config::{Engine, Options};
use crate::deadline::{since, until};
use crate::records::{Cluster, Size};
use crate::report::Row;
use crate::source::Source;
use crate::world::{World, count};

/// The mirror's own id; its peers are counted from 1.
const OWN_ID: u32 = 255;

/// Kinds of records, each with a canary that says when all of it is there.
const CANARIES: u32 = 6;

const CLUSTERS: u32 = 250;

pub(super) async fn cold(options: &Options) -> Result<Row> {
    let size = Size {
        nodes: 100,
        identities: 10_000,
        endpoints: 100_000 / options.divide_by,
        services: 100,
    };
    let row = mirror(options, options.source, 1, size, "cold-mirror").await?;
    Ok(row.goal("3 s, 4 CPU-s, 120 MB"))
}

pub(super) async fn mesh(options: &Options) -> Result<Row> {
    let size = Size {
        nodes: 100,
        identities: 100,
        endpoints: 1_000 / options.divide_by,
        services: 0,
    };
    let row = mirror(options, Engine::Embedded, CLUSTERS, size, "mesh").await?;
    Ok(row.goal("8 s, 350 MB"))
}

async fn mirror(
    options: &Options,
    engine: Engine,
    clusters: u32,
    size: Size,
    name: &str,
) -> Result<Row> {
    let world = World::new()?;
    let source = Source::start(&world, engine, clusters).await?;
    let mut apiserver = Apiserver::new(&world, options, Cluster::numbered(OWN_ID)).await?;
    for (id, address) in (1..).zip(&source.addresses) {
        let cluster = Cluster::numbered(id);
        world.fill(*address, &cluster, size).await?;
        apiserver.mirror(&cluster, *address)?;
    }
    let before = source.process(false).usage.cpu_seconds;

    let start = now();
    apiserver.start()?;
    let mut client = apiserver.client().await?;
    let canaries = i64::from(CANARIES * (clusters + 1)); // Its own too.
    until("complete mirrors", async || {
        Ok(count(&mut client, "cilium/synced/").await? == canaries)
    })
    .await?;
    let seconds = since(start);

    let mut helper = source.process(false);
    helper.usage.cpu_seconds -= before;
    let shown = count(&mut client, "cilium/cache/").await?;
    let expected = i64::from(clusters * size.records());
    ensure!(
        shown == expected,
        "complete with {shown} of {expected} records"
    );
    let what = format!(
        "{clusters} × ({} endpoints, {} identities, {} nodes, {} services)",
        size.endpoints, size.identities, size.nodes, size.services
    );
    Ok(Row::new(name, what)
        .figure("until complete", seconds, "s")
        .processes(apiserver.processes())
        .processes([helper]))
}
