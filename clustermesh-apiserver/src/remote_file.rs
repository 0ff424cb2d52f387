//! Decides what a file of the ClusterMesh configuration directory means.

use std::path::PathBuf;

use kvstore::config::EtcdConfig;
use topology::id::ClusterName;
use tracing::error;

use crate::remote::{CONTRACT_SUFFIX, Contract};

/// One file: how to reach the remote cluster whose name is the file's, or what it may announce.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteFile {
    /// The contract of the cluster whose name the file's begins with.
    Contract(Box<Contract>),
    /// Its last good content, if there was any, stays in force.
    BrokenContract {
        problem: String,
        before: Option<Box<Contract>>,
    },
    /// Its last good content, if there was any, stays in force.
    Broken {
        problem: String,
        before: Option<Box<EtcdConfig>>,
    },
    Configured(Box<EtcdConfig>),
    /// A certificate, a key, or anything else that names no endpoints.
    Ignored,
}

impl RemoteFile {
    /// Reads the file again, or for the first time. `path` is only shown in problems.
    pub fn read(path: PathBuf, text: Result<&str, String>, before: Option<&Self>) -> Self {
        let name = path.file_name().and_then(|it| it.to_str());
        if let Some(cluster) = name.and_then(|it| it.strip_suffix(CONTRACT_SUFFIX)) {
            return Self::read_contract(&path, cluster, text, before);
        }
        let parsed = match text {
            Ok(text) if !text.contains("endpoints:") => return Self::Ignored,
            Ok(text) => Self::parse(&path, text),
            // Keys may be unreadable, and certificates no text: they are none of our files.
            Err(_) if before.and_then(Self::config).is_none() => return Self::Ignored,
            Err(problem) => Err(format!("{}: {problem}", path.display())),
        };
        match parsed {
            Ok(config) => Self::Configured(Box::new(config)),
            Err(problem) => {
                error!("{problem}");
                Self::Broken {
                    problem,
                    before: before.and_then(Self::config).cloned().map(Box::new),
                }
            }
        }
    }

    fn read_contract(
        path: &std::path::Path,
        cluster: &str,
        text: Result<&str, String>,
        before: Option<&Self>,
    ) -> Self {
        let parsed = text.map_err(|problem| format!("{}: {problem}", path.display()));
        match parsed.and_then(|it| Contract::parse(path, cluster, it)) {
            Ok(contract) => Self::Contract(Box::new(contract)),
            Err(problem) => {
                error!("{problem}");
                Self::BrokenContract {
                    problem,
                    before: before.and_then(Self::contract).cloned().map(Box::new),
                }
            }
        }
    }

    fn parse(path: &std::path::Path, text: &str) -> Result<EtcdConfig, String> {
        let name = path
            .file_name()
            .and_then(|it| it.to_str())
            .unwrap_or_default();
        if let Err(error) = name.parse::<ClusterName>() {
            let path = path.display();
            return Err(format!(
                "{path}: the file's name is the cluster's, but {error}"
            ));
        }
        EtcdConfig::parse(text, path).map_err(|error| error.to_string())
    }

    pub fn config(&self) -> Option<&EtcdConfig> {
        match self {
            Self::Broken { before, .. } => before.as_deref(),
            Self::Configured(config) => Some(config),
            Self::BrokenContract { .. } | Self::Contract(_) | Self::Ignored => None,
        }
    }

    /// Whether it names a peer, even if it does not say how to reach it.
    pub fn is_of_a_peer(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::Configured(_) => true,
            Self::BrokenContract { .. } | Self::Contract(_) | Self::Ignored => false,
        }
    }

    pub fn contract(&self) -> Option<&Contract> {
        match self {
            Self::BrokenContract { before, .. } => before.as_deref(),
            Self::Contract(contract) => Some(contract),
            Self::Broken { .. } | Self::Configured(_) | Self::Ignored => None,
        }
    }

    pub fn problem(&self) -> Option<&str> {
        match self {
            Self::Broken { problem, .. } | Self::BrokenContract { problem, .. } => Some(problem),
            Self::Configured(_) | Self::Contract(_) | Self::Ignored => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_configurations_from_the_certificates_beside_them() {
        assert!(read("beta", Ok(GOOD), None).config().is_some());
        assert_eq!(read("ca.crt", Ok("-----BEGIN"), None), RemoteFile::Ignored);
        assert_eq!(
            read("ca.der", Err("not text".to_owned()), None),
            RemoteFile::Ignored
        );
    }

    #[test]
    fn keeps_the_last_good_configuration() {
        let good = read("beta", Ok(GOOD), None);

        let bad = read("beta", Ok("endpoints: 7"), Some(&good));
        assert_eq!(bad.config(), good.config());
        assert!(bad.problem().unwrap().starts_with("/mesh/beta:1:12: "));

        let unreadable = read("beta", Err("permission denied".to_owned()), Some(&bad));
        assert_eq!(unreadable.config(), good.config());
        assert_eq!(unreadable.problem(), Some("/mesh/beta: permission denied"));
    }

    #[test]
    fn refuses_a_file_name_that_is_no_cluster() {
        let file = read("Beta.yaml", Ok(GOOD), None);

        assert_eq!(file.config(), None);
        assert!(
            file.problem()
                .unwrap()
                .starts_with("/mesh/Beta.yaml: the file's name is")
        );
    }

    #[test]
    fn reads_the_contract_beside_a_configuration() {
        let good = read("beta.contract.yaml", Ok("cluster: {id: 2}"), None);
        assert_eq!(good.config(), None);
        assert!(good.contract().unwrap().cluster.id.is_some());

        let bad = read("beta.contract.yaml", Ok("clusters: {}"), Some(&good));
        assert_eq!(bad.contract(), good.contract());
        assert!(
            bad.problem()
                .unwrap()
                .starts_with("/mesh/beta.contract.yaml:1:1: ")
        );
    }

    const GOOD: &str = "endpoints: ['http://127.0.0.1:2379']";

    fn read(name: &str, text: Result<&str, String>, before: Option<&RemoteFile>) -> RemoteFile {
        RemoteFile::read(PathBuf::from("/mesh").join(name), text, before)
    }
}
