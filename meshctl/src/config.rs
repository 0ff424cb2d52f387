//! The command line.

use std::io::{self, IsTerminal as _};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod clustermesh;
mod dns;
mod encrypt;

pub(crate) use clustermesh::{Clustermesh, Connect, Disconnect, Of, Place};
pub(crate) use dns::{Dns, DnsDrain, DnsHealth};
pub(crate) use encrypt::{Encrypt, Rotate};

/// Asks the mesh questions: how it is, and why it does what it does
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Example:
  meshctl --context eu.yaml status

A context file names the admin addresses of the daemons to ask:
  cluster: eu
  apiservers: [\"http://192.0.2.10:9962\"]
  agents: [\"http://192.0.2.11:9962\", \"http://192.0.2.12:9962\"]
  dns: [\"http://192.0.2.10:9963\"]

Exit code: 0 all is well, 1 something is not or has no answer, 2 the question cannot be asked."
)]
pub(crate) struct Config {
    /// Context file [default: ~/.config/causeway/context.yaml, else /etc/causeway/context.yaml]
    #[arg(long, env = "CAUSEWAY_CONTEXT", value_name = "FILE", global = true)]
    pub(crate) context: Option<PathBuf>,

    /// How to write the answer
    #[arg(
        short,
        long,
        env = "CAUSEWAY_OUTPUT",
        value_name = "FORMAT",
        default_value = "table",
        global = true
    )]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For programs
    Json,
    /// For people
    Table,
    /// For both
    Yaml,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Ask every daemon how it is; exit code 0 only if all is well
    #[command(after_help = "\
Examples:
  meshctl status
  meshctl status --wait --wait-duration 90s
  meshctl status -o json | jq .problems")]
    Status(Status),

    /// Ask why the mesh does what it does
    #[command(
        subcommand,
        after_help = "\
Examples:
  meshctl explain service shop/shop
  meshctl explain dns shop.global.example --from 10.1.1.2
  meshctl explain peer us/us-node-1"
    )]
    Explain(Explain),

    /// See, check, make and undo the connections between clusters
    #[command(
        subcommand,
        after_help = "\
Examples:
  meshctl clustermesh status --wait
  meshctl clustermesh troubleshoot us
  meshctl clustermesh connect eu us --help"
    )]
    Clustermesh(Clustermesh),

    /// See what DNS authorities know of their targets and zones, and drain regions
    #[command(
        subcommand,
        after_help = "\
Examples:
  meshctl dns health --watch
  meshctl dns drain frankfurt --over 10m
  meshctl dns keys example.com
  meshctl dns delegation example.com --parent 192.0.2.53:53"
    )]
    Dns(Dns),

    /// See and tend the tunnels that encrypt what leaves a cluster
    #[command(
        subcommand,
        after_help = "\
Examples:
  meshctl encrypt status
  meshctl encrypt rotate --node eu-node-1"
    )]
    Encrypt(Encrypt),
}

#[derive(Args, Debug)]
pub(crate) struct Status {
    /// Ask again until all is well, with progress on stderr
    #[arg(long, env = "CAUSEWAY_WAIT")]
    pub(crate) wait: bool,

    /// How long --wait waits before it gives up
    #[arg(
        long,
        env = "CAUSEWAY_WAIT_DURATION",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration
    )]
    pub(crate) wait_duration: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Explain {
    /// Which backends a node would choose for a service, and why
    #[command(after_help = "\
Examples:
  meshctl explain service shop/shop
  meshctl explain service shop/shop --node eu-node-1
  meshctl explain service shop/shop --all")]
    Service {
        /// The service
        #[arg(value_name = "NAMESPACE/NAME", value_parser = pair)]
        service: (String, String),

        /// The node to ask; otherwise the first agent that answers, or the API server if the
        /// context file lists no agents
        #[arg(long, env = "CAUSEWAY_NODE", value_name = "NODE")]
        node: Option<String>,

        /// Show every backend, however many; -o json always does
        #[arg(long, env = "CAUSEWAY_ALL")]
        all: bool,
    },

    /// What a client would be answered for a name, and why
    #[command(after_help = "\
Example:
  meshctl explain dns shop.global.example A --from 10.1.1.2")]
    Dns {
        /// The name that the client asks for
        #[arg(value_name = "NAME")]
        name: String,

        /// The type of record that the client asks for
        #[arg(value_name = "TYPE", default_value = "A")]
        kind: String,

        /// The client's address
        #[arg(long, env = "CAUSEWAY_FROM", value_name = "ADDRESS")]
        from: IpAddr,
    },

    /// How each node reaches a remote cluster or node, and why
    #[command(after_help = "\
Examples:
  meshctl explain peer us
  meshctl explain peer us/us-node-1")]
    Peer {
        /// The cluster, or one node of it
        #[arg(value_name = "CLUSTER[/NODE]", value_parser = peer)]
        peer: (String, Option<String>),
    },
}

/// Whether to colour what goes to stdout: only for people, and not for those who set `NO_COLOR`.
pub(crate) fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty())
}

/// A whole number with its unit: `500ms`, `90s`, `5m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|it: char| !it.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit = match unit {
        "ms" => Duration::from_millis(1),
        "s" => Duration::from_secs(1),
        "m" => Duration::from_secs(60),
        "h" => Duration::from_secs(60 * 60),
        _ => return Err("write a number with its unit, such as 90s or 5m".to_owned()),
    };
    let number: u32 = number
        .parse()
        .map_err(|_| "write a number with its unit, such as 90s or 5m".to_owned())?;
    unit.checked_mul(number)
        .ok_or_else(|| "that is longer than anybody waits".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if is_name(namespace) && is_name(name) => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err("write a namespace and a name, such as shop/shop".to_owned()),
    }
}

fn peer(text: &str) -> Result<(String, Option<String>), String> {
    let (cluster, node) = match text.split_once('/') {
        Some((cluster, node)) => (cluster, Some(node)),
        None => (text, None),
    };
    match is_name(cluster) && node.is_none_or(is_name) {
        true => Ok((cluster.to_owned(), node.map(ToOwned::to_owned))),
        false => Err("write a cluster, or a cluster and a node, such as us/us-node-1".to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('/')
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn is_a_consistent_command_line() {
        Config::command().debug_assert();
    }

    #[test]
    fn reads_durations_with_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3_600)));
        for text in ["", "5", "m", "5 m", "-5m", "99999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_what_is_asked_about() {
        assert_eq!(pair("shop/web"), Ok(("shop".to_owned(), "web".to_owned())));
        assert!(pair("shop").is_err() && pair("/web").is_err() && pair("a/b/c").is_err());
        assert_eq!(peer("us"), Ok(("us".to_owned(), None)));
        assert_eq!(peer("us/n"), Ok(("us".to_owned(), Some("n".to_owned()))));
        assert!(peer("us/").is_err() && peer("").is_err());
    }

    #[test]
    fn teaches_with_an_example_in_every_help() {
        check(&Config::command());

        fn check(command: &clap::Command) {
            let help = command.clone().render_help().to_string();
            assert!(help.contains("Example"), "{help}");
            for command in command
                .get_subcommands()
                .filter(|it| it.get_name() != "help")
            {
                check(command);
            }
        }
    }
}
