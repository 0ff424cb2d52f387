//! Measures the mesh from outside: the same work for any implementation, and what it costs.

mod apiserver;
mod clustermesh;
mod command;
mod config;
mod deadline;
mod dns;
mod objects;
mod records;
mod relay;
mod report;
mod rounds;
mod source;
mod usage;
mod visible;
mod wireguard;
mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use config::{Command, Config};

#[tokio::main]
async fn main() -> ExitCode {
    kvstore::tls::install_provider();
    let outcome: Result<()> = match Config::parse().command {
        Command::Clustermesh(options) => clustermesh::run(options).await,
        Command::Dns(options) => tokio::task::block_in_place(|| dns::run(&options)),
        Command::DnsTool(tool) => tokio::task::block_in_place(|| tool.run()),
        Command::Source(options) => source::serve(options).await,
        Command::Wireguard(options) => tokio::task::block_in_place(|| wireguard::run(&options)),
    };
    lab::binaries::exit(outcome)
}
