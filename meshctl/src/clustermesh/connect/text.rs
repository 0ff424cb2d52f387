//! Tells people what was done to their files, and what is left to do.

use super::files::Action;
use super::{Done, DoneIn};

pub(super) fn connected(done: &Done) -> String {
    let mut text = String::new();
    for (cluster, other) in done.clusters.iter().zip(done.clusters.iter().rev()) {
        let whom = &other.cluster;
        text += &format!("Cluster {} mirrors {whom}\n", cluster.cluster);
        text += &files(cluster, done.dry_run);
    }
    text += "Each etcd must know the other's user, such as remote-eu: ours does as soon as it mirrors the \
             other cluster,\nCilium's is told by its users.yaml.\n";
    if done.applied {
        let first = done.clusters.first().map(|it| it.cluster.as_str());
        text += &format!(
            "The API servers read the files by themselves. Next, with the context of {}:\n  \
             meshctl clustermesh status --wait\n",
            first.unwrap_or_default()
        );
        return text;
    }
    text += "Copy them, the keys readable for the API server alone, and the file with the other \
             cluster's name last,\nbecause its appearance makes the API server read the others:\n";
    for cluster in &done.clusters {
        text += &format!(
            "  {}/* to {} where the API server of {} runs\n",
            cluster.target.display(),
            cluster.directory.display(),
            cluster.cluster
        );
    }
    text
}

pub(super) fn disconnected(done: &Done) -> String {
    let mut text = String::new();
    for (cluster, other) in done.clusters.iter().zip(done.clusters.iter().rev()) {
        text += &format!(
            "Cluster {} mirrors {} no more\n",
            cluster.cluster, other.cluster
        );
        text += &files(cluster, done.dry_run || !done.applied);
    }
    if !done.applied {
        text += "Nothing was touched. Remove these files where the API servers run, in this order, \
                 or run this with --apply where the directories are.\n";
    }
    text
}

fn files(done: &DoneIn, is_plan: bool) -> String {
    let mut text = format!("  {}\n", done.target.display());
    for it in &done.files {
        let word = match (it.action, is_plan) {
            (Action::Absent, _) => "is absent",
            (Action::Keep, false) => "kept",
            (Action::Keep, true) => "to keep",
            (Action::Leave, _) => "left as it is, although the options say otherwise:",
            (Action::Remove, false) => "removed",
            (Action::Remove, true) => "to remove",
            (Action::Replace, false) => "replaced",
            (Action::Replace, true) => "to replace",
            (Action::Write, false) => "written",
            (Action::Write, true) => "to write",
        };
        text += &format!("    {word:<10}  {}\n", it.file);
    }
    text + "\n"
}
