//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser};
use kvstore::server::ServerTls;
use topology::id::{ClusterId, ClusterName};

use crate::users;

/// Publishes this cluster to the mesh, mirrors the other clusters, and serves both over the etcd v3
/// API
#[derive(Clone, Debug, Parser)]
#[command(version)]
pub struct Config {
    /// Name of this cluster in the mesh: at most 32 lowercase letters, digits and dashes
    #[arg(long, env = "CAUSEWAY_CLUSTER_NAME", value_name = "NAME")]
    pub cluster_name: ClusterName,

    /// Number of this cluster in the mesh, 1 to 255
    #[arg(long, env = "CAUSEWAY_CLUSTER_ID", value_name = "N", value_parser = cluster_id)]
    pub cluster_id: ClusterId,

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

    /// PEM file with the CA whose clients may connect; the common name of a client's certificate says
    /// what it may do: `admin-NAME` and `root` everything, `local-NAME` read all of the mesh, `remote`
    /// and `remote-…` read what this cluster publishes, where NAME is --cluster-name
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

    /// Directory in which the embedded etcd keeps its data; without it, data live in memory
    #[arg(
        long,
        env = "CAUSEWAY_DATA_DIR",
        value_name = "DIR",
        conflicts_with = "etcd_config"
    )]
    pub data_dir: Option<PathBuf>,

    /// etcd client configuration of an etcd to use instead of the embedded one
    #[arg(long, env = "CAUSEWAY_ETCD_CONFIG", value_name = "FILE")]
    pub etcd_config: Option<PathBuf>,

    /// ClusterMesh configuration directory: one file for each remote cluster, watched for changes
    #[arg(long, env = "CAUSEWAY_CLUSTERMESH_CONFIG", value_name = "DIR")]
    pub clustermesh_config: Option<PathBuf>,

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

    /// The embedded etcd's TLS files; `None` for plaintext.
    pub fn tls(&self) -> Option<ServerTls> {
        Some(ServerTls {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
            client_ca: self.client_ca.clone()?,
            rules: users::rules(&self.cluster_name),
        })
    }

    fn check(&self) -> Result<(), String> {
        if self.insecure_loopback && !self.listen.ip().is_loopback() {
            return Err(format!(
                "--insecure-loopback serves plaintext, which --listen {} would show to other \
                 machines; choose a loopback address, such as --listen 127.0.0.1:{}",
                self.listen,
                self.listen.port()
            ));
        }
        Ok(())
    }
}

/// Upstream's default mesh of 255 clusters: a 256th would number its identities differently.
fn cluster_id(text: &str) -> Result<ClusterId, String> {
    let id: ClusterId = text.parse().map_err(|error| format!("{error}"))?;
    match id.get() {
        1..=crate::publish::MAX_CONNECTED_CLUSTERS => Ok(id),
        _ => Err("a mesh has at most 255 clusters".to_owned()),
    }
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
    fn accepts_the_cluster_ids_of_a_mesh_of_255() {
        assert!(cluster_id("255").is_ok());
        for bad in ["0", "256", "511", "x"] {
            assert!(cluster_id(bad).is_err(), "{bad}");
        }
    }

    fn parse(arguments: &[&str]) -> Result<Config, clap::Error> {
        let cluster = ["apiserver", "--cluster-name", "eu", "--cluster-id", "1"];
        Config::try_parse_from(cluster.iter().chain(arguments))
    }
}
