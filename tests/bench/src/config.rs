//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::clustermesh::Workload;
use crate::{dns, wireguard};

/// Measures the mesh from outside: the same work for any implementation, and what it costs
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Config {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The API server: publishing, mirroring, and what a change costs
    Clustermesh(Options),
    /// Name servers: ours and others, asked over the loopback of a namespace
    Dns(DnsOptions),
    /// What the measurement of name servers runs beside them
    #[command(hide = true, subcommand)]
    DnsTool(dns::Tool),
    /// Tunnels: our device and others, between two namespaces of this machine
    Wireguard(WireguardOptions),
    /// Serves stores to be mirrored, until stdin ends
    #[command(hide = true)]
    Source(SourceOptions),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows to measure, all if absent
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    pub(crate) only: Vec<Workload>,

    /// How to write the figures
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    /// The program under test, which takes the flags of clustermesh-apiserver; its descendants count
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// The store that the mirror reads
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) source: Engine,

    /// The store that the program under test writes to; an etcd beside it counts
    #[arg(long, value_enum, default_value = "embedded")]
    pub(crate) store: Engine,

    /// Divides the number of objects, for a quick look
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) divide_by: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DnsOptions {
    /// Rows to measure, all if absent
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    pub(crate) only: Vec<dns::Workload>,

    /// How to write the figures
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    /// The server under test, which takes the flags of dns-authority
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// How often every server has its turn
    #[arg(long, default_value = "5", value_name = "N")]
    pub(crate) rounds: usize,

    /// How long questions are asked each time, in seconds
    #[arg(long, default_value = "3", value_name = "N")]
    pub(crate) seconds: u32,

    /// Divides the number of names, checks and networks, for a quick look
    #[arg(long, default_value = "1", value_name = "N")]
    pub(crate) divide_by: u32,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WireguardOptions {
    /// Rows to measure, all if absent
    #[arg(long, value_enum, value_delimiter = ',', value_name = "ROW")]
    pub(crate) only: Vec<wireguard::Workload>,

    /// How to write the figures
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: Format,

    /// The device under test, which takes the flags of wireguard-device
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<PathBuf>,

    /// The program that measures the cipher alone
    #[arg(long, value_name = "FILE")]
    pub(crate) cipher: Option<PathBuf>,

    /// How often every engine has its turn
    #[arg(long, default_value = "5", value_name = "N")]
    pub(crate) rounds: usize,

    /// How long traffic flows each time, in seconds
    #[arg(long, default_value = "3", value_name = "N")]
    pub(crate) seconds: u32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Table,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Engine {
    /// The store of this project
    Embedded,
    /// etcd, as it is installed
    Etcd,
}

#[derive(Debug, clap::Args)]
pub(crate) struct SourceOptions {
    /// How many stores, each at an address of its own; the addresses are written to stdout
    #[arg(long)]
    pub(crate) stores: u32,

    /// Directory with `server.crt`, `server.key` and `ca.crt`
    #[arg(long)]
    pub(crate) tls: PathBuf,
}
