//! The files of a ClusterMesh configuration directory: their names, what they say, and how they are
//! replaced.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use hyper::Uri;
use ipnet::IpNet;
use serde::Serialize;
use serde_json::json;
use topology::id::{ClusterId, ClusterName};

/// A file beside the others, by its name alone.
#[derive(Debug)]
pub(super) struct FileName {
    pub(super) text: String,
    /// Only its owner may read it.
    pub(super) is_secret: bool,
}

/// What a file should say.
#[derive(Debug)]
pub(super) enum Content {
    Exactly(String),
    /// What is there already counts.
    UnlessThere(String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    Absent,
    Keep,
    /// It says something else, and that counts.
    Leave,
    Remove,
    Replace,
    Write,
}

/// The cluster to mirror, as its peer's directory describes it.
#[derive(Debug)]
pub(super) struct Peer<'a> {
    pub(super) name: &'a ClusterName,
    pub(super) endpoints: Vec<String>,
    pub(super) aliases: Vec<IpAddr>,
    pub(super) id: Option<ClusterId>,
    pub(super) pod_cidrs: Vec<IpNet>,
    pub(super) node_cidrs: Vec<IpNet>,
    pub(super) namespaces: Vec<String>,
}

/// CA, certificate, key, contract, configuration: the order in which they must appear.
pub(super) fn names(peer: &ClusterName) -> [FileName; 5] {
    let name = |suffix: &str, is_secret| FileName {
        text: format!("{peer}{suffix}"),
        is_secret,
    };
    [
        name(".etcd-client-ca.crt", false),
        name(".etcd-client.crt", false),
        name(".etcd-client.key", true),
        name(".contract.yaml", false),
        name("", false),
    ]
}

impl Peer<'_> {
    /// etcd's client configuration, with the paths that the files have in `directory`.
    pub(super) fn configuration(&self, directory: &Path) -> anyhow::Result<String> {
        let [ca, cert, key, _, _] = names(self.name);
        let path = |name: &FileName| {
            let path = std::path::absolute(directory).map(|it| it.join(&name.text));
            path.context("the directory has no path")
                .map(|it| text(&it.display().to_string()))
        };
        let mut yaml = "endpoints:\n".to_owned();
        for endpoint in &self.endpoints {
            yaml += &format!("- {}\n", text(endpoint));
        }
        yaml += &format!("trusted-ca-file: {}\n", path(&ca)?);
        yaml += &format!("key-file: {}\n", path(&key)?);
        yaml += &format!("cert-file: {}\n", path(&cert)?);
        if !self.aliases.is_empty() {
            yaml += "cilium-host-aliases:\n";
            for host in self.hosts() {
                let addresses: Vec<String> = self.aliases.iter().map(ToString::to_string).collect();
                yaml += &format!("- hostname: {}\n", text(&host));
                yaml += &format!("  ips: {}\n", json!(addresses));
            }
        }
        Ok(yaml)
    }

    /// What the cluster may publish. An absent field allows everything.
    pub(super) fn contract(&self) -> String {
        let mut yaml = format!("cluster:\n  name: {}\n", self.name);
        if let Some(id) = self.id {
            yaml += &format!("  id: {id}\n");
        }
        let prefixes = |all: &[IpNet]| all.iter().map(ToString::to_string).collect();
        let lists: [(&str, Vec<String>); 3] = [
            ("podCIDRs", prefixes(&self.pod_cidrs)),
            ("nodeCIDRs", prefixes(&self.node_cidrs)),
            ("namespaces", self.namespaces.clone()),
        ];
        for (field, list) in lists.iter().filter(|(_, list)| !list.is_empty()) {
            yaml += &format!("{field}: {}\n", json!(list));
        }
        yaml
    }

    fn hosts(&self) -> Vec<String> {
        let uris = self
            .endpoints
            .iter()
            .filter_map(|it| it.parse::<Uri>().ok());
        let mut hosts: Vec<String> = uris
            .filter_map(|it| it.host().map(ToOwned::to_owned))
            .filter(|it| it.trim_matches(['[', ']']).parse::<IpAddr>().is_err())
            .collect();
        hosts.dedup();
        hosts
    }
}

/// A text as YAML, in quotes where it needs them: JSON's are YAML's.
fn text(value: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || "/:.-_".contains(it);
    match value.chars().all(is_plain) && !value.is_empty() {
        true => value.to_owned(),
        false => json!(value).to_string(),
    }
}

/// What is to be done so that the file says what it should.
pub(super) fn action(path: &Path, content: &Content) -> anyhow::Result<Action> {
    let present = match fs::read(path) {
        Ok(present) => present,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Action::Write),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    Ok(match content {
        Content::Exactly(text) if present != text.as_bytes() => Action::Replace,
        Content::UnlessThere(text) if present != text.as_bytes() => Action::Leave,
        Content::Exactly(_) | Content::UnlessThere(_) => Action::Keep,
    })
}

/// Replaces the file at once: a reader sees all of the old content, or all of the new.
pub(super) fn write(
    path: &Path,
    action: Action,
    content: &Content,
    is_secret: bool,
) -> anyhow::Result<()> {
    let (Content::Exactly(text) | Content::UnlessThere(text)) = content;
    if matches!(action, Action::Replace | Action::Write) {
        let written = replace(path, text, is_secret);
        written.with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

fn replace(path: &Path, text: &str, is_secret: bool) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(directory)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Readers of the directory pass over what begins with a dot.
    let temporary = path.with_file_name(format!(".{name}.new"));
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => (),
    }
    let mode = if is_secret { 0o600 } else { 0o644 };
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_etcd_clients_read() {
        let name = "us".parse().unwrap();
        let peer = Peer {
            aliases: vec!["192.0.2.20".parse().unwrap()],
            ..peer(&name)
        };

        assert_eq!(
            peer.configuration(Path::new("/etc/a b")).unwrap(),
            "\
endpoints:
- https://us.mesh.example:2379
- https://192.0.2.20:2379
trusted-ca-file: \"/etc/a b/us.etcd-client-ca.crt\"
key-file: \"/etc/a b/us.etcd-client.key\"
cert-file: \"/etc/a b/us.etcd-client.crt\"
cilium-host-aliases:
- hostname: us.mesh.example
  ips: [\"192.0.2.20\"]
"
        );
    }

    #[test]
    fn pins_what_is_known_of_the_cluster() {
        let name = "us".parse().unwrap();
        assert_eq!(peer(&name).contract(), "cluster:\n  name: us\n");

        let peer = Peer {
            id: Some(2.try_into().unwrap()),
            pod_cidrs: vec!["10.2.0.0/16".parse().unwrap()],
            namespaces: vec!["shop".to_owned()],
            ..peer(&name)
        };
        assert_eq!(
            peer.contract(),
            "cluster:\n  name: us\n  id: 2\npodCIDRs: [\"10.2.0.0/16\"]\nnamespaces: [\"shop\"]\n"
        );
    }

    #[test]
    fn leaves_a_contract_that_somebody_wrote() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("us.contract.yaml");
        let check = |content: Content, expected: Action, text: &str| {
            let action = action(&path, &content).unwrap();
            write(&path, action, &content, true).unwrap();
            assert_eq!(
                (action, &*fs::read_to_string(&path).unwrap()),
                (expected, text)
            );
        };

        check(Content::UnlessThere("a".to_owned()), Action::Write, "a");
        check(Content::UnlessThere("a".to_owned()), Action::Keep, "a");
        check(Content::UnlessThere("b".to_owned()), Action::Leave, "a");
        check(Content::Exactly("b".to_owned()), Action::Replace, "b");
        check(Content::Exactly("b".to_owned()), Action::Keep, "b");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    fn peer(name: &ClusterName) -> Peer<'_> {
        Peer {
            name,
            endpoints: vec![
                "https://us.mesh.example:2379".to_owned(),
                "https://192.0.2.20:2379".to_owned(),
            ],
            aliases: Vec::new(),
            id: None,
            pod_cidrs: Vec::new(),
            node_cidrs: Vec::new(),
            namespaces: Vec::new(),
        }
    }
}
