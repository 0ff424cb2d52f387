//! The workloads of the API server.

mod changes;
mod churn;
mod mirror;
mod publish;

use std::io::Write as _;

use anyhow::Result;
use clap::ValueEnum;

use crate::config::Options;
use crate::objects::Spelling;
use crate::report::{self, Row};

/// The rows of the table.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, ValueEnum)]
pub(crate) enum Workload {
    /// 100,000 endpoints and what belongs to them, until the local store shows all of them
    ColdMirror,
    /// 100,000 endpoints in YAML manifests, until the store shows all of them
    ColdPublish,
    /// The same out of JSON lists
    ColdPublishJson,
    /// 250 clusters with 1,000 endpoints each, until the local store shows all of them
    Mesh,
    /// 500 services changed at once, until a peer's store shows all of them
    Burst,
    /// One service changed 20 times a second, until a peer's store shows it
    Latency,
    /// As many changes as the source can make, until the local store shows all of them
    Churn,
    /// What one change costs beside 1,000, 10,000 and 100,000 objects
    Scale,
    /// Bytes that a peer reads for one changed endpoint of a service of 5,000
    Bytes,
}

/// Measures the rows that were asked for, one after the other.
///
/// # Errors
///
/// If the figures cannot be written; a row that fails says so in its place.
pub(crate) async fn run(options: Options) -> Result<()> {
    let chosen = |it: &&Workload| options.only.is_empty() || options.only.contains(it);
    let mut rows = Vec::new();
    for workload in Workload::value_variants().iter().filter(chosen) {
        let name = workload.name();
        // Nobody need watch.
        let _ = writeln!(std::io::stderr(), "measuring {name} …");
        match measure(*workload, &options).await {
            Ok(measured) => rows.extend(measured),
            Err(problem) => {
                let mut row = Row::new(&name, "no figures".to_owned());
                row.problem = Some(format!("{problem:#}"));
                rows.push(row);
            }
        }
    }
    report::print(&rows, options.output)
}

async fn measure(workload: Workload, options: &Options) -> Result<Vec<Row>> {
    let row = match workload {
        Workload::ColdMirror => mirror::cold(options).await?,
        Workload::ColdPublish => publish::cold(options, Spelling::Yaml).await?,
        Workload::ColdPublishJson => publish::cold(options, Spelling::Json).await?,
        Workload::Mesh => mirror::mesh(options).await?,
        Workload::Burst => changes::burst(options).await?,
        Workload::Latency => changes::latency(options).await?,
        Workload::Churn => churn::churn(options).await?,
        Workload::Scale => return changes::scale(options).await,
        Workload::Bytes => changes::bytes(options).await?,
    };
    Ok(vec![row])
}

impl Workload {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |it| it.get_name().to_owned())
    }
}
