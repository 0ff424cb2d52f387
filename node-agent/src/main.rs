//! The node agent's process.

use std::process::ExitCode;

use clap::Parser as _;

use node_agent::agent;
use node_agent::config::Config;

fn main() -> ExitCode {
    let config = Config::parse();
    let daemon = config.daemon.clone();
    daemon::run("node-agent", &daemon, async move |process| {
        agent::run(config, process).await
    })
}
