//! From nothing to a complete publication.

use anyhow::{Result, ensure};
use lab::now;

use crate::apiserver::Apiserver;
use crate::config::Options;
use crate::deadline::{since, until};
use crate::objects::{Spelling, write_endpoints};
use crate::records::Cluster;
use crate::report::Row;
use crate::world::{World, count};

pub(super) async fn cold(options: &Options, spelling: Spelling) -> Result<Row> {
    let endpoints = 100_000 / options.divide_by;
    let world = World::new()?;
    let mut apiserver = Apiserver::new(&world, options, Cluster::numbered(1)).await?;
    write_endpoints(&apiserver.objects(), endpoints, spelling)?;

    let start = now();
    apiserver.start()?;
    let mut client = apiserver.client().await?;
    until("a complete publication", async || {
        Ok(count(&mut client, "cilium/synced/").await? == 6)
    })
    .await?;
    let seconds = since(start);

    let shown = count(&mut client, "cilium/state/ip/").await?;
    let expected = i64::from(endpoints);
    ensure!(
        shown == expected,
        "complete with {shown} of {expected} records"
    );
    let (name, kind) = match spelling {
        Spelling::Json => ("cold-publish-json", "JSON lists"),
        Spelling::Yaml => ("cold-publish", "YAML"),
    };
    let what = format!("{endpoints} CiliumEndpoints in {kind}, 1,000 in a file");
    Ok(Row::new(name, what)
        .figure("until complete", seconds, "s")
        .processes(apiserver.processes())
        .goal("6 s, 200 MB"))
}
