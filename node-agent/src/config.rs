//! The command line.

use std::path::PathBuf;

use clap::{ArgAction, Parser};
use topology::id::{ClusterId, ClusterName, NodeName};
use wireguard::uapi::Backend;

use crate::desired::Identity;
use crate::probe;

mod encryption;

pub use encryption::Encryption;

/// Programs one node: eBPF tables, tunnels and routes that follow the mesh
#[derive(Clone, Debug, Parser)]
#[command(name = "node-agent", version)]
pub struct Config {
    /// Name of this node, as Kubernetes knows it
    #[arg(
        long,
        env = "CAUSEWAY_NODE_NAME",
        value_name = "NAME",
        required_unless_present = "cleanup"
    )]
    node_name: Option<NodeName>,

    /// Name of this node's cluster
    #[arg(
        long,
        env = "CAUSEWAY_CLUSTER_NAME",
        value_name = "NAME",
        required_unless_present = "cleanup"
    )]
    cluster_name: Option<ClusterName>,

    /// Number of this node's cluster in the mesh, 1 to 511
    #[arg(
        long,
        env = "CAUSEWAY_CLUSTER_ID",
        value_name = "N",
        required_unless_present = "cleanup"
    )]
    cluster_id: Option<ClusterId>,

    /// How to reach the cluster's etcd: a client configuration in YAML
    #[arg(
        long,
        env = "CAUSEWAY_ETCD_CONFIG",
        value_name = "FILE",
        required_unless_present = "cleanup"
    )]
    etcd_config: Option<PathBuf>,

    /// Underlay interface, on which no address of another cluster may appear in plaintext
    /// (repeatable)
    #[arg(
        long,
        env = "CAUSEWAY_INTERFACE",
        value_name = "IF",
        value_delimiter = ','
    )]
    pub interface: Vec<String>,

    /// The WireGuard interface, whose device runs already or will
    #[arg(
        long,
        env = "CAUSEWAY_WIREGUARD",
        value_name = "IF",
        default_value = "cilium_wg0"
    )]
    pub wireguard: String,

    /// Who serves it: a userspace device, the kernel, or the first of them that answers
    #[arg(
        long,
        env = "CAUSEWAY_BACKEND",
        value_name = "auto|kernel|userspace",
        default_value = "auto"
    )]
    pub backend: Backend,

    /// Cgroup whose processes reach services [default: the root of cgroup2]
    #[arg(long, env = "CAUSEWAY_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// BPF file system that keeps the datapath while no agent runs
    #[arg(
        long,
        env = "CAUSEWAY_BPFFS",
        value_name = "DIR",
        default_value = "/sys/fs/bpf"
    )]
    pub bpffs: PathBuf,

    /// Remove everything that an agent attached, pinned or routed on this node, and end
    #[arg(long, action = ArgAction::SetTrue)]
    pub cleanup: bool,

    #[command(flatten)]
    pub encryption: Encryption,

    #[command(flatten)]
    pub probes: probe::options::Options,

    #[command(flatten)]
    pub daemon: daemon::Options,
}

/// What only a running agent needs.
#[derive(Clone, Debug)]
pub struct Membership {
    pub identity: Identity,
    pub etcd_config: PathBuf,
}

impl Config {
    /// Which node of which cluster this is; `None` with `--cleanup`, which needs to know neither.
    pub fn membership(&self) -> Option<Membership> {
        Some(Membership {
            identity: Identity {
                node: self.node_name.clone()?,
                cluster: self.cluster_name.clone()?,
                cluster_id: self.cluster_id?,
            },
            etcd_config: self.etcd_config.clone()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn reads_a_whole_command_line() {
        let config = parse(&format!(
            "{REQUIRED} --interface eth0 --interface eth1 --cgroup /c"
        ))
        .unwrap();

        assert_eq!(config.interface, ["eth0", "eth1"]);
        assert_eq!(config.wireguard, "cilium_wg0");
        assert_eq!(config.backend, Backend::Auto);
        assert_eq!(config.bpffs, PathBuf::from("/sys/fs/bpf"));
        assert_eq!(config.daemon.admin.to_string(), "127.0.0.1:9962");
        let membership = config.membership().unwrap();
        assert_eq!(membership.identity.cluster_id.get(), 1);
        assert_eq!(membership.identity.node.as_str(), "node-1");
    }

    #[test]
    fn needs_no_membership_to_clean_up() {
        let config = parse("--cleanup").unwrap();

        assert!(config.cleanup);
        assert!(config.membership().is_none());
    }

    #[test]
    fn refuses_what_makes_no_sense_as_a_usage_error() {
        for bad in ["", "--cluster-id 0", "--node-name A", "--no-such-flag"] {
            let error = parse(bad).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{bad}");
        }
        assert_eq!(
            parse(&format!("{REQUIRED} --cluster-id 512"))
                .unwrap_err()
                .exit_code(),
            2
        );
    }

    #[test]
    fn shows_every_default_and_variable_in_its_help() {
        let help = Config::command().render_help().to_string();

        for expected in [
            "[default: cilium_wg0]",
            "[default: /sys/fs/bpf]",
            "[default: 127.0.0.1:9962]",
            "[default: the root of cgroup2]",
            "[default: /var/lib/causeway/wireguard.key]",
            "[env: CAUSEWAY_NODE_NAME=",
            "[env: CAUSEWAY_INTERFACE=",
        ] {
            assert!(help.contains(expected), "{expected} in {help}");
        }
    }

    const REQUIRED: &str =
        "--node-name node-1 --cluster-name eu --cluster-id 1 --etcd-config /etcd.yaml";

    fn parse(arguments: &str) -> Result<Config, clap::Error> {
        Config::try_parse_from(std::iter::once("node-agent").chain(arguments.split_whitespace()))
    }
}
