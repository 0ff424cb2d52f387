//! Makes two clusters mirror each other, or stop it: writes or removes the files of both.

mod files;
mod pki;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use hyper::Uri;
use serde::Serialize;
use topology::id::ClusterName;

use crate::clustermesh::Unusable;
use crate::config::{Connect, Disconnect, Of, Place};
use crate::output::Output;
use files::{Action, Content, FileName, Peer};
use pki::{Authority, Pair};

/// Where Cilium looks for its configuration, and so where people expect it.
const USUAL_DIRECTORY: &str = "/var/lib/cilium/clustermesh";

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    dry_run: bool,
    /// Whether the files are where they belong, and nothing is left to be copied or removed.
    applied: bool,
    clusters: Vec<DoneIn>,
}

/// What was done for one of the clusters.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DoneIn {
    cluster: ClusterName,
    /// Where the files belong.
    directory: PathBuf,
    /// Where they are read and written now.
    target: PathBuf,
    files: Vec<DoneTo>,
}

#[derive(Debug, Serialize)]
struct DoneTo {
    file: String,
    action: Action,
}

/// Writes what `options` ask for. Always well, or an error.
pub(crate) fn connect(options: &Connect, output: &Output) -> anyhow::Result<bool> {
    let names = [&options.one, &options.other];
    check_place(names, &options.place)?;
    check_mentions(options)?;
    let now = daemon::Clock.unix_milliseconds();

    // Everything is read and checked before anything is written.
    let mut plans = Vec::new();
    for (own, peer) in [(names[0], names[1]), (names[1], names[0])] {
        let directory = directory(own, &options.place);
        let target = match options.place.apply {
            true => directory.clone(),
            false => options.out.join(own.as_str()),
        };
        let contents = contents(options, own, peer, &directory, &target, now)?;
        plans.push((own, directory, target, contents));
    }
    let mut clusters = Vec::new();
    for (own, directory, target, contents) in plans {
        let mut files = Vec::new();
        for (name, content) in contents {
            let path = target.join(&name.text);
            let action = files::action(&path, &content)?;
            if !options.place.dry_run {
                files::write(&path, action, &content, name.is_secret)?;
            }
            let file = name.text;
            files.push(DoneTo { file, action });
        }
        clusters.push(DoneIn {
            cluster: own.clone(),
            directory,
            target,
            files,
        });
    }
    let done = Done {
        dry_run: options.place.dry_run,
        applied: options.place.apply,
        clusters,
    };
    output.print(&done, |_| text::connected(&done))?;
    Ok(true)
}

/// Removes what [`connect`] wrote. Always well, or an error.
pub(crate) fn disconnect(options: &Disconnect, output: &Output) -> anyhow::Result<bool> {
    let names = [&options.one, &options.other];
    check_place(names, &options.place)?;
    check_directories(names, &options.place)?;
    let mut clusters = Vec::new();
    for (own, peer) in [(names[0], names[1]), (names[1], names[0])] {
        let directory = directory(own, &options.place);
        let mut files = Vec::new();
        // The configuration goes first: without it nobody reads the others.
        for name in files::names(peer).into_iter().rev() {
            let path = directory.join(&name.text);
            let is_there = !options.place.apply || path.symlink_metadata().is_ok();
            let action = match is_there {
                true => Action::Remove,
                false => Action::Absent,
            };
            if options.place.apply && is_there && !options.place.dry_run {
                let removed = fs::remove_file(&path);
                removed.with_context(|| format!("cannot remove {}", path.display()))?;
            }
            let file = name.text;
            files.push(DoneTo { file, action });
        }
        clusters.push(DoneIn {
            cluster: own.clone(),
            target: directory.clone(),
            directory,
            files,
        });
    }
    let done = Done {
        dry_run: options.place.dry_run,
        applied: options.place.apply,
        clusters,
    };
    output.print(&done, |_| text::disconnected(&done))?;
    Ok(true)
}

/// The files with which `own` mirrors `peer`, in the order in which they are written.
fn contents(
    options: &Connect,
    own: &ClusterName,
    peer: &ClusterName,
    directory: &Path,
    target: &Path,
    now: u64,
) -> anyhow::Result<Vec<(FileName, Content)>> {
    let authority = authority(options, peer)?;
    let [ca, cert, key, contract, config] = files::names(peer);
    let present = (
        fs::read_to_string(target.join(&cert.text)),
        fs::read_to_string(target.join(&key.text)),
    );
    let user = format!("remote-{own}");
    let pair = match present {
        (Ok(cert), Ok(key)) if !options.renew && authority.is_good(&cert, &key, &user, now) => {
            Pair { cert, key }
        }
        _ => authority.sign(&user, options.days, now)?,
    };

    let peer = Peer {
        name: peer,
        endpoints: of(&options.endpoint, peer).cloned().collect(),
        aliases: of(&options.host_alias, peer).copied().collect(),
        id: of(&options.id, peer).next().copied(),
        pod_cidrs: of(&options.pod_cidr, peer).copied().collect(),
        node_cidrs: of(&options.node_cidr, peer).copied().collect(),
        namespaces: of(&options.namespace, peer).cloned().collect(),
    };
    let config_text = peer.configuration(directory)?;
    Ok(vec![
        (ca, Content::Exactly(authority.certificate().to_owned())),
        (cert, Content::Exactly(pair.cert)),
        (key, Content::Exactly(pair.key)),
        // Somebody may have written more into it since.
        (contract, Content::UnlessThere(peer.contract())),
        // Last, because its appearance makes the API server read the others.
        (config, Content::Exactly(config_text)),
    ])
}

fn authority(options: &Connect, cluster: &ClusterName) -> anyhow::Result<Authority> {
    let cert = only(&options.ca_cert, cluster, "--ca-cert")?;
    let key = only(&options.ca_key, cluster, "--ca-key")?;
    let read = |file: &Path| {
        let text = fs::read_to_string(file);
        text.with_context(|| format!("cannot read {}", file.display()))
    };
    let authority = Authority::parse(read(cert)?, &read(key)?);
    authority.with_context(|| format!("{} and {}", cert.display(), key.display()))
}

fn check_place(names: [&ClusterName; 2], place: &Place) -> Result<(), Unusable> {
    if names[0] == names[1] {
        return Err(Unusable(
            "a cluster does not mirror itself; name two".to_owned(),
        ));
    }
    for name in names {
        let directories = of(&place.directory, name).count();
        if place.apply && directories != 1 {
            return Err(Unusable(format!(
                "--apply changes the directories of both clusters on this machine; name that of \
                 {name} with --directory {name}=DIR"
            )));
        }
        if directories > 1 {
            let problem = format!("--directory names two directories for {name}; keep one");
            return Err(Unusable(problem));
        }
    }
    check_known(names, &place.directory, "--directory")
}

/// A directory that is not there holds none of the files, which would look as if all were done.
fn check_directories(names: [&ClusterName; 2], place: &Place) -> Result<(), Unusable> {
    for name in names.into_iter().filter(|_| place.apply) {
        let directory = directory(name, place);
        if !directory.is_dir() {
            return Err(Unusable(format!(
                "--directory {name}={} is no directory; nothing was removed",
                directory.display()
            )));
        }
    }
    Ok(())
}

/// Every option is about one of the two, and what each needs is there once.
fn check_mentions(options: &Connect) -> Result<(), Unusable> {
    let names = [&options.one, &options.other];
    check_known(names, &options.ca_cert, "--ca-cert")?;
    check_known(names, &options.ca_key, "--ca-key")?;
    check_known(names, &options.endpoint, "--endpoint")?;
    check_known(names, &options.host_alias, "--host-alias")?;
    check_known(names, &options.id, "--id")?;
    check_known(names, &options.pod_cidr, "--pod-cidr")?;
    check_known(names, &options.node_cidr, "--node-cidr")?;
    check_known(names, &options.namespace, "--namespace")?;
    for name in names {
        only(&options.ca_cert, name, "--ca-cert")?;
        only(&options.ca_key, name, "--ca-key")?;
        if of(&options.endpoint, name).next().is_none() {
            let problem = format!("--endpoint is missing for {name}: --endpoint {name}=https://…");
            return Err(Unusable(problem));
        }
        if of(&options.id, name).count() > 1 {
            return Err(Unusable(format!(
                "--id is given twice for {name}; keep one"
            )));
        }
    }
    let ids: Vec<_> = options.id.iter().map(|it| it.value).collect();
    if ids.len() == 2 && ids[0] == ids[1] {
        return Err(Unusable(
            "both clusters have the same --id; each needs its own".to_owned(),
        ));
    }
    options
        .endpoint
        .iter()
        .try_for_each(|it| check_endpoint(&it.value))
}

fn check_endpoint(url: &str) -> Result<(), Unusable> {
    let uri: Option<Uri> = url.parse().ok();
    let is_good = uri.is_some_and(|it| {
        it.scheme_str() == Some("https") && it.path() == "/" && it.query().is_none()
    });
    match is_good && !url.contains('@') {
        true => Ok(()),
        false => Err(Unusable(format!(
            "--endpoint {url:?} is not a URL such as https://us.mesh.example:2379"
        ))),
    }
}

fn check_known<T>(names: [&ClusterName; 2], of: &[Of<T>], flag: &str) -> Result<(), Unusable> {
    match of.iter().find(|it| !names.contains(&&it.cluster)) {
        None => Ok(()),
        Some(it) => Err(Unusable(format!(
            "{flag} is about {}, which is neither {} nor {}",
            it.cluster, names[0], names[1]
        ))),
    }
}

fn only<'a, T>(all: &'a [Of<T>], cluster: &ClusterName, flag: &str) -> Result<&'a T, Unusable> {
    let mut values = of(all, cluster);
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (None, _) => Err(Unusable(format!(
            "{flag} is missing for {cluster}: {flag} {cluster}=…"
        ))),
        (Some(_), Some(_)) => Err(Unusable(format!(
            "{flag} is given twice for {cluster}; keep one"
        ))),
    }
}

fn of<'a, T>(all: &'a [Of<T>], cluster: &ClusterName) -> impl Iterator<Item = &'a T> {
    let about = all.iter().filter(move |it| it.cluster == *cluster);
    about.map(|it| &it.value)
}

fn directory(cluster: &ClusterName, place: &Place) -> PathBuf {
    let named = of(&place.directory, cluster).next();
    named.cloned().unwrap_or_else(|| USUAL_DIRECTORY.into())
}
