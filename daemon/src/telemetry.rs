//! Starts the log: events of the whole process, on stderr.

use std::io;

use anyhow::{Context as _, anyhow};
use tracing_subscriber::EnvFilter;

use crate::options::{LogFormat, Options};

pub(crate) fn install(options: &Options) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&options.log).context("--log is not a filter")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match options.log_format {
        LogFormat::Json => log.json().flatten_event(true).try_init(),
        LogFormat::Text => log.try_init(),
    }
    .map_err(|source| anyhow!("cannot start the log: {source}"))
}
