//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use kvstore::server::ServerTls;
use topology::id::{ClusterId, ClusterName, MeshSize};

use crate::identity::known;
use crate::model::Policy;
use crate::publish;
use crate::storage::Storage;

/// Publishes this cluster to the mesh, mirrors the other clusters, and serves both over the etcd v3
/// API
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Name of this cluster in the mesh: at most 32 lowercase letters, digits and dashes
    #[arg(long, env = "CAUSEWAY_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: ClusterName,

    /// Number of this cluster in the mesh, 1 to --max-connected-clusters
    #[arg(long, env = "CAUSEWAY_CLUSTER_ID", value_name = "N")]
    pub cluster_id: ClusterId,

    /// How many clusters the mesh may have, 255 or 511; the same in every cluster of it, because it
    /// decides how identities are numbered
    #[arg(
        long,
        env = "CAUSEWAY_MAX_CONNECTED_CLUSTERS",
        value_name = "N",
        default_value_t
    )]
    pub max_connected_clusters: MeshSize,

    /// Directory of Kubernetes manifests (.yaml, .yml, .json) to publish, watched for changes
    #[arg(
        long,
        env = "CAUSEWAY_OBJECTS",
        value_name = "DIR",
        required_unless_present = "kubernetes",
        conflicts_with = "kubernetes"
    )]
    pub objects: Option<PathBuf>,

    /// Publish the objects of the Kubernetes cluster that this runs in
    #[arg(long, env = "CAUSEWAY_KUBERNETES")]
    pub kubernetes: bool,

    /// Whether the mesh sees namespaces without the annotation clustermesh.cilium.io/global
    #[arg(
        long,
        env = "CAUSEWAY_DEFAULT_GLOBAL_NAMESPACE",
        alias = "clustermesh-default-global-namespace",
        value_name = "BOOL",
        action = clap::ArgAction::Set,
        default_value_t = true
    )]
    pub default_global_namespace: bool,

    /// Publish ServiceExports (multicluster.x-k8s.io)
    #[arg(long, env = "CAUSEWAY_MCS_API", alias = "clustermesh-enable-mcs-api")]
    pub mcs_api: bool,

    /// How long an identity that was allocated here keeps its number after its last pod is gone
    #[arg(
        long,
        env = "CAUSEWAY_IDENTITY_GRACE_SECONDS",
        value_name = "SECONDS",
        default_value_t = 900
    )]
    pub identity_grace_seconds: u32,

    #[command(flatten)]
    pub known_identities: known::Options,

    /// Address of the embedded etcd
    #[arg(
        long,
        env = "CAUSEWAY_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:2379"
    )]
    pub listen: SocketAddr,

    /// PEM file with the embedded etcd's certificate
    #[arg(
        long,
        env = "CAUSEWAY_TLS_CERT",
        value_name = "FILE",
        required_unless_present_any = ["insecure_loopback", "etcd_config"],
        requires_all = ["tls_key", "client_ca"]
    )]
    pub tls_cert: Option<PathBuf>,

    /// PEM file with the key of --tls-cert
    #[arg(
        long,
        env = "CAUSEWAY_TLS_KEY",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_key: Option<PathBuf>,

    /// PEM file with the CA whose clients may connect; the common name of a client's certificate is its
    /// user in the store: `admin-NAME` and `root` may do everything, `local-NAME` read all of the mesh,
    /// `remote` and `remote-PEER` read what this cluster publishes, the latter for each peer that is
    /// configured or in --users-file, where NAME is --cluster-name
    #[arg(
        long,
        env = "CAUSEWAY_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub client_ca: Option<PathBuf>,

    /// Serve plaintext, on a loopback address only
    #[arg(long, env = "CAUSEWAY_INSECURE_LOOPBACK", conflicts_with = "tls_cert")]
    pub insecure_loopback: bool,

    #[command(flatten)]
    pub storage: Storage,

    /// etcd client configuration of an etcd to use instead of the embedded one
    #[arg(long, env = "CAUSEWAY_ETCD_CONFIG", value_name = "FILE")]
    pub etcd_config: Option<PathBuf>,

    /// ClusterMesh configuration directory: one file for each remote cluster, watched for changes
    #[arg(long, env = "CAUSEWAY_CLUSTERMESH_CONFIG", value_name = "DIR")]
    pub clustermesh_config: Option<PathBuf>,

    /// YAML file with users of the store beside those that every cluster has, watched for changes:
    /// `users: [{name: remote-beta, role: remote}]`
    #[arg(long, env = "CAUSEWAY_USERS_FILE", value_name = "FILE")]
    pub users_file: Option<PathBuf>,

    /// How long what was mirrored of a cluster stays once its file is removed, such as 90s or 3m
    #[arg(
        long,
        env = "CAUSEWAY_REMOVAL_GRACE",
        value_name = "DURATION",
        default_value = "3m",
        value_parser = duration
    )]
    pub removal_grace: Duration,

    /// When to drop the services of a cluster that stays lost, such as 90s or 10m; 0s for never. Its
    /// nodes, identities and addresses always stay
    #[arg(
        long,
        env = "CAUSEWAY_CACHE_TTL",
        value_name = "DURATION",
        default_value = "0s",
        value_parser = duration
    )]
    pub cache_ttl: Duration,

    /// Drop a lost cluster's services at once where another cluster offers them too, and restore them
    /// with it: for agents of Cilium, which do not read that it is lost, as ours do
    #[arg(long, env = "CAUSEWAY_WITHDRAW_LOST_SERVICES")]
    pub withdraw_lost_services: bool,

    /// How long what this process wrote stays in the store once it is gone, at least 10s
    #[arg(
        long,
        env = "CAUSEWAY_LEASE_TTL",
        alias = "kvstore-lease-ttl",
        value_name = "DURATION",
        default_value = "15m",
        value_parser = duration
    )]
    pub lease_ttl: Duration,

    #[command(flatten)]
    pub daemon: daemon::Options,
}

impl Config {
    /// Reads the command line and the environment. A usage error ends the process with 2.
    pub fn from_command_line() -> Self {
        let config = Self::parse();
        if let Err(problem) = config.check() {
            Self::command()
                .error(ErrorKind::ValueValidation, problem)
                .exit();
        }
        config
    }

    pub fn publish_options(&self) -> publish::Options {
        publish::Options {
            default_global_namespace: self.default_global_namespace,
            mcs_api: self.mcs_api,
            identity_grace: u64::from(self.identity_grace_seconds) * 1000,
            known_identities: self.known_identities.clone(),
        }
    }

    /// The embedded etcd's TLS files; `None` for plaintext.
    pub fn tls(&self) -> Option<ServerTls> {
        Some(ServerTls {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.client_ca.clone()?,
        })
    }

    /// What is done with remote clusters that leave or are lost.
    pub fn policy(&self) -> Policy {
        let milliseconds = |it: Duration| u64::try_from(it.as_millis()).unwrap_or(u64::MAX);
        Policy {
            removal_grace: milliseconds(self.removal_grace),
            cache_ttl: Some(milliseconds(self.cache_ttl)).filter(|it| 0 < *it),
            withdraws_lost_services: self.withdraw_lost_services,
        }
    }

    fn check(&self) -> Result<(), String> {
        self.storage.options()?;
        if self.insecure_loopback && !self.listen.ip().is_loopback() {
            return Err(format!(
                "--insecure-loopback serves plaintext, which --listen {} would show to other \
                 machines; choose a loopback address, such as --listen 127.0.0.1:{}",
                self.listen,
                self.listen.port()
            ));
        }
        if self.lease_ttl < LEASE_TTL_MIN {
            return Err(format!(
                "--lease-ttl {:?} may be shorter than a restart; choose at least 10s, and 15m if \
                 nothing speaks against it",
                self.lease_ttl
            ));
        }
        let (id, mesh) = (self.cluster_id, self.max_connected_clusters);
        if mesh.clusters() < id.get() {
            return Err(format!(
                "--cluster-id {id} is too high for a mesh of {mesh} clusters; choose a lower one, or \
                 --max-connected-clusters 511 in every cluster of the mesh"
            ));
        }
        Ok(())
    }
}

/// What is shorter would take from readers what a process that restarts is about to write again.
const LEASE_TTL_MIN: Duration = Duration::from_secs(10);

/// Reads a duration as Go's tools write it: a number with `ms`, `s`, `m` or `h`.
fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("{text:?} is not a duration such as 500ms, 90s, 3m or 1h");
    let split = text.find(|it: char| it.is_ascii_alphabetic());
    let (number, unit) = text.split_at(split.ok_or_else(expected)?);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    let number: u64 = number.parse().map_err(|_| expected())?;
    let milliseconds = number.checked_mul(milliseconds);
    milliseconds.map(Duration::from_millis).ok_or_else(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_plaintext_beyond_this_machine() {
        let insecure =
            |listen| parse(&["--objects", "x", "--insecure-loopback", "--listen", listen]);

        assert!(insecure("127.0.0.1:0").unwrap().check().is_ok());
        assert!(insecure("[::1]:0").unwrap().check().is_ok());
        let problem = insecure("10.0.0.1:2379").unwrap().check().unwrap_err();
        assert!(problem.ends_with("--listen 127.0.0.1:2379"), "{problem}");
        assert!(
            parse(&["--objects", "x", "--insecure-loopback"])
                .unwrap()
                .check()
                .is_err()
        );
    }

    #[test]
    fn knows_which_flags_need_or_exclude_each_other() {
        for good in [
            &[
                "--objects",
                "x",
                "--tls-cert",
                "c",
                "--tls-key",
                "k",
                "--client-ca",
                "a",
            ][..],
            &["--objects", "x", "--etcd-config", "e"],
            &["--kubernetes", "--insecure-loopback", "--data-dir", "d"],
        ] {
            assert!(parse(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["--objects", "x"][..],
            &["--insecure-loopback"],
            &["--objects", "x", "--kubernetes", "--insecure-loopback"],
            &["--objects", "x", "--tls-cert", "c", "--tls-key", "k"],
            &["--objects", "x", "--etcd-config", "e", "--data-dir", "d"],
        ] {
            assert_eq!(parse(bad).unwrap_err().exit_code(), 2, "{bad:?}");
        }
    }

    #[test]
    fn shows_every_default_and_variable_in_the_help() {
        let help = Config::command().render_long_help().to_string();

        assert!(help.contains("[default: 0.0.0.0:2379]"), "{help}");
        assert!(help.contains("[default: 127.0.0.1:9962]"), "{help}");
        let options = Config::command();
        for argument in options
            .get_arguments()
            .filter(|it| it.get_id() != "version")
        {
            let variable = argument.get_env().and_then(|it| it.to_str()).unwrap();
            assert!(variable.starts_with("CAUSEWAY_"), "{variable}");
        }
    }

    #[test]
    fn refuses_a_cluster_id_that_the_mesh_has_no_number_for() {
        let check = |id, size| {
            let arguments = ["--cluster-id", id, "--max-connected-clusters", size];
            let common = ["apiserver", "--cluster-name", "eu", "--objects", "x"];
            let plain = ["--insecure-loopback", "--listen", "127.0.0.1:0"];
            let all = common.iter().chain(&plain).chain(&arguments);
            Config::try_parse_from(all).is_ok_and(|it| it.check().is_ok())
        };

        assert!(check("255", "255"));
        assert!(check("511", "511"));
        assert!(!check("256", "255"));
        for (id, size) in [("0", "255"), ("512", "511"), ("x", "255"), ("1", "256")] {
            assert!(!check(id, size), "{id} of {size}");
        }
    }

    #[test]
    fn refuses_leases_that_a_restart_outlives() {
        let check = |ttl| {
            let arguments = ["--objects", "x", "--insecure-loopback", "--lease-ttl", ttl];
            let listen = ["--listen", "127.0.0.1:0"];
            parse(&[&arguments[..], &listen].concat()).unwrap().check()
        };

        assert_eq!(check("10s"), Ok(()));
        assert!(
            check("9s")
                .unwrap_err()
                .starts_with("--lease-ttl 9s may be shorter")
        );
    }

    #[test]
    fn reads_durations_with_their_units() {
        let ttl = |text| {
            let arguments = ["--objects", "x", "--insecure-loopback", "--cache-ttl", text];
            parse(&arguments).ok().map(|it| it.policy().cache_ttl)
        };

        assert_eq!(ttl("0s"), Some(None));
        assert_eq!(ttl("1500ms"), Some(Some(1_500)));
        assert_eq!(ttl("2m"), Some(Some(120_000)));
        assert_eq!(ttl("2"), None);
        assert_eq!(ttl("2d"), None);
    }

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        let cluster = ["apiserver", "--cluster-name", "eu", "--cluster-id", "1"];
        Config::try_parse_from(cluster.iter().chain(arguments))
    }
}
