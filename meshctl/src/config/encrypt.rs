//! The command line of `meshctl encrypt`.

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum Encrypt {
    /// Ask every agent for its tunnels; exit code 0 only if all of them are connected
    #[command(after_help = "\
Examples:
  meshctl encrypt status
  meshctl encrypt status -o json | jq '.agents[].answer.tunnels[].probes'")]
    Status,
    /// Let another WireGuard key take the place of each node's
    #[command(after_help = "\
Nothing is lost on the way: the next key is announced first, used once every cluster could know of it,
and the old one stays until every tunnel has a session of the new one. Nodes that are connected take
turns. Keys are made on the nodes and never leave them.

Examples:
  meshctl encrypt rotate
  meshctl encrypt rotate --node eu-node-1

Exit code: 0 every agent has begun or is at it already, 1 one could not be asked or has no key, 2 the
question cannot be asked.")]
    Rotate(Rotate),
}

#[derive(Args, Debug)]
pub(crate) struct Rotate {
    /// The node; otherwise all whose agents are in the context file
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
}
