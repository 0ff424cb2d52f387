//! The command line of `meshctl clustermesh`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use topology::id::{ClusterId, ClusterName};

use super::{Explain, Status};

#[derive(Debug, Subcommand)]
pub(crate) enum Clustermesh {
    /// Show each remote cluster: whether it is connected, synced and alive, and what it holds
    #[command(after_help = "\
A cluster is well when the API server is connected to its etcd, has read all kinds of records, and
still hears its pulse; and when every agent of the context file says the same and has its tunnels to
it up. --wait waits for exactly that. Warnings do not count.

Examples:
  meshctl clustermesh status
  meshctl clustermesh status --wait --wait-duration 90s
  meshctl clustermesh status -o json | jq '.clusters[].peers[] | select(.well | not)'

Exit code: 0 every remote cluster is well, 1 one is not, or there is none, 2 the question cannot be
asked.")]
    Status(Status),

    /// Go the way to a remote cluster step by step, from the API server's place
    #[command(after_help = "\
Steps: dns, tcp, tls, server-certificate, client-certificate and etcd for each endpoint; then auth,
cluster-config, canaries, contract and pulse. A step that fails says what to do; those behind it that
need it are skipped.

Examples:
  meshctl clustermesh troubleshoot
  meshctl clustermesh troubleshoot us
  meshctl clustermesh troubleshoot us -o json | jq '.[].answer.steps[] | select(.outcome == \"failed\")'

Exit code: 0 no step failed, 1 one did, or there is no answer, 2 the question cannot be asked.")]
    Troubleshoot {
        /// The remote cluster; otherwise all
        #[arg(value_name = "PEER")]
        peer: Option<ClusterName>,
    },

    /// Compare what a remote cluster publishes with what is held of it
    #[command(after_help = "\
Both stores are read whole, now. What differs is looked at again after a second, so that a change on
its way does not count.

Example:
  meshctl clustermesh diff us

Exit code: 0 both are the same, 1 they differ, or there is no answer, 2 the question cannot be asked.")]
    Diff {
        /// The remote cluster
        #[arg(value_name = "PEER")]
        peer: ClusterName,
    },

    /// Ask why the mesh does what it does, as `meshctl explain`
    #[command(
        subcommand,
        after_help = "\
Example:
  meshctl clustermesh explain service shop/shop"
    )]
    Explain(Explain),

    /// Make the certificates and configuration files with which two clusters mirror each other
    #[command(after_help = CONNECT_HELP)]
    Connect(Box<Connect>),

    /// Remove what `connect` made
    #[command(after_help = "\
Without --apply it only says what to remove.

Examples:
  meshctl clustermesh disconnect eu us
  meshctl clustermesh disconnect eu us --apply --directory eu=/srv/eu/clustermesh --directory us=/srv/us/clustermesh

Exit code: 0 done, 1 a file cannot be removed, 2 the options do not fit together.")]
    Disconnect(Disconnect),
}

const CONNECT_HELP: &str = "\
Each cluster gets, in its ClusterMesh configuration directory, one file with the other's name, a
client certificate that the other's CA signed (its common name is remote-CLUSTER), and a contract
that pins who the other is. Without --apply they are written below --out, to be copied. What fits
already is kept; --dry-run only says what would be done.

Options that concern one cluster are written as CLUSTER=VALUE.

Example:
  meshctl clustermesh connect eu us \\
    --ca-cert eu=eu/ca.crt --ca-key eu=eu/ca.key --endpoint eu=https://192.0.2.10:2379 --id eu=1 \\
    --ca-cert us=us/ca.crt --ca-key us=us/ca.key --endpoint us=https://us.mesh.example:2379 --id us=2

Exit code: 0 done, 1 a file cannot be read or written, 2 the options do not fit together.";

#[derive(Args, Debug)]
pub(crate) struct Connect {
    /// One of the two clusters
    #[arg(value_name = "CLUSTER")]
    pub(crate) one: ClusterName,

    /// The other
    #[arg(value_name = "OTHER")]
    pub(crate) other: ClusterName,

    /// PEM file of the CA that signs clients of the cluster's etcd, and its server's certificate
    #[arg(long, value_name = "CLUSTER=FILE", required = true)]
    pub(crate) ca_cert: Vec<Of<PathBuf>>,

    /// PEM file of that CA's key
    #[arg(long, value_name = "CLUSTER=FILE", required = true)]
    pub(crate) ca_key: Vec<Of<PathBuf>>,

    /// URL of the cluster's etcd as the other reaches it; may be repeated
    #[arg(long, value_name = "CLUSTER=URL", required = true)]
    pub(crate) endpoint: Vec<Of<String>>,

    /// Address that stands in for the DNS name in the cluster's endpoints; may be repeated
    #[arg(long, value_name = "CLUSTER=ADDRESS")]
    pub(crate) host_alias: Vec<Of<IpAddr>>,

    /// The cluster's --cluster-id, pinned in the other's contract
    #[arg(long, value_name = "CLUSTER=N")]
    pub(crate) id: Vec<Of<ClusterId>>,

    /// Prefix that the cluster's pods may have, in the other's contract; may be repeated
    #[arg(long, value_name = "CLUSTER=PREFIX")]
    pub(crate) pod_cidr: Vec<Of<ipnet::IpNet>>,

    /// Prefix that the cluster's nodes may have, in the other's contract; may be repeated
    #[arg(long, value_name = "CLUSTER=PREFIX")]
    pub(crate) node_cidr: Vec<Of<ipnet::IpNet>>,

    /// Namespace that the cluster may share, in the other's contract; may be repeated
    #[arg(long, value_name = "CLUSTER=NAMESPACE")]
    pub(crate) namespace: Vec<Of<String>>,

    /// How long the client certificates are valid, in days
    #[arg(long, env = "CAUSEWAY_DAYS", value_name = "N", default_value_t = 365,
        value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,

    /// Make new client certificates also where the present ones are good
    #[arg(long)]
    pub(crate) renew: bool,

    /// Where to write what is to be copied
    #[arg(
        long,
        env = "CAUSEWAY_OUT",
        value_name = "DIR",
        default_value = "clustermesh-connect"
    )]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct Disconnect {
    /// One of the two clusters
    #[arg(value_name = "CLUSTER")]
    pub(crate) one: ClusterName,

    /// The other
    #[arg(value_name = "OTHER")]
    pub(crate) other: ClusterName,

    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where the files belong, and whether to touch them.
#[derive(Args, Debug)]
pub(crate) struct Place {
    /// The cluster's ClusterMesh configuration directory [default: /var/lib/cilium/clustermesh]
    #[arg(long, value_name = "CLUSTER=DIR")]
    pub(crate) directory: Vec<Of<PathBuf>>,

    /// Change both directories, which must be on this machine and named with --directory
    #[arg(long)]
    pub(crate) apply: bool,

    /// Only say what would be done
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What an option says of one cluster: `CLUSTER=VALUE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Of<T> {
    pub(crate) cluster: ClusterName,
    pub(crate) value: T,
}

impl<T: FromStr> FromStr for Of<T>
where
    T::Err: std::fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (cluster, value) = text
            .split_once('=')
            .ok_or("write the cluster's name before the value, such as eu=VALUE")?;
        if value.is_empty() {
            return Err("the value is missing".to_owned());
        }
        Ok(Self {
            cluster: cluster.parse().map_err(|error| format!("{error}"))?,
            value: value.parse().map_err(|error| format!("{error}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_concerns_one_cluster() {
        let endpoint: Of<String> = "eu=https://x?a=b".parse().unwrap();
        assert_eq!(endpoint.cluster.as_str(), "eu");
        assert_eq!(endpoint.value, "https://x?a=b");

        for bad in ["https://x", "=x", "eu=", "Eu=x"] {
            assert!(bad.parse::<Of<String>>().is_err(), "{bad}");
        }
        assert!("eu=0".parse::<Of<ClusterId>>().is_err());
    }
}
