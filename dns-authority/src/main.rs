//! Starts the authority from its command line.

use std::process::ExitCode;

use clap::Parser as _;
use dns_authority::authority;
use dns_authority::config::Config;

fn main() -> ExitCode {
    let config = Config::parse();
    let options = config.daemon.clone();
    daemon::run("dns-authority", &options, async |process| {
        authority::run(config, process).await
    })
}
