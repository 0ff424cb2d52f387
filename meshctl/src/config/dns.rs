//! The command line of `meshctl dns`.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::duration;

#[derive(Debug, Subcommand)]
pub(crate) enum Dns {
    /// What a zone's parent has to say of it, and whether it does; exit code 0 only if nothing is wrong
    #[command(after_help = "\
Prints NS, address and DS records as the parent's zone file needs them.

Examples:
  meshctl dns delegation example.com
  meshctl dns delegation example.com --parent 192.0.2.53:53")]
    Delegation {
        /// The zone
        #[arg(value_name = "ZONE")]
        zone: String,

        /// A server of the parent, or a resolver, that is asked; otherwise the authority's
        /// --dnssec-parent
        #[arg(long, env = "CAUSEWAY_PARENT", value_name = "ADDR:PORT")]
        parent: Option<SocketAddr>,
    },

    /// The keys that a zone is signed with, and how far each is
    #[command(after_help = "\
Example:
  meshctl dns keys example.com")]
    Keys {
        /// The zone
        #[arg(value_name = "ZONE")]
        zone: String,
    },

    /// Ask every DNS authority for the health of its targets; exit code 0 only if all are healthy
    #[command(after_help = "\
PROBES shows the last ones, the newest at the end: + succeeded, - did not. VANTAGES shows how many
authorities find the target up and down: most of those decide that have a verdict.

Examples:
  meshctl dns health
  meshctl dns health --watch --unwell
  meshctl dns health -o json | jq '.[].answer.targets[] | select(.health != \"healthy\")'")]
    Health(DnsHealth),

    /// Take a region or a target out of the answers little by little, or undo that
    #[command(after_help = "\
The share of the clients that are answered with it falls at an even pace; a client that was moved
stays moved. It says when nobody can have the last such answer cached any more, as far as resolvers
keep to TTLs. Records that have nothing else to answer go on answering it.

Where the authorities share a store, it is in force for all of them and outlives their restarts; otherwise
for those in the context file, which keep it in their --state-dir.

Examples:
  meshctl dns drain frankfurt --over 10m
  meshctl dns drain 192.0.2.11
  meshctl dns drain 192.0.2.0/24 --undo --over 5m

Exit code: 0 it has begun, 1 an authority could not be asked or knows of no such thing, 2 the question
cannot be asked.")]
    Drain(DnsDrain),
}

#[derive(Args, Debug)]
pub(crate) struct DnsHealth {
    /// Ask again every second, until it is interrupted
    #[arg(long, env = "CAUSEWAY_WATCH")]
    pub(crate) watch: bool,

    /// Leave out targets that are healthy to everybody
    #[arg(long, env = "CAUSEWAY_UNWELL")]
    pub(crate) unwell: bool,
}

#[derive(Args, Debug)]
pub(crate) struct DnsDrain {
    /// A region's name, an address, a prefix, or a value as records have it
    #[arg(value_name = "REGION|TARGET")]
    pub(crate) subject: String,

    /// How long it takes
    #[arg(
        long,
        env = "CAUSEWAY_OVER",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration
    )]
    pub(crate) over: Duration,

    /// Let it return to the answers
    #[arg(long, env = "CAUSEWAY_UNDO")]
    pub(crate) undo: bool,
}
