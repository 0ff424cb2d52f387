//! How the API server shows what it believes.

use std::collections::BTreeMap;

use topology::report::{ApiserverStatus, ClusterReport, ClusterState, Problem};

use super::Model;
use crate::remote::Rejections;

impl Model {
    /// What `/v1/status` answers. `store_problem` is what keeps our own store from being written.
    pub fn status(&self, ready: bool, store_problem: Option<String>) -> ApiserverStatus {
        let remotes = self.mirroring.peerings.values().map(|it| &it.remote);
        let shown = self.mirroring.peerings.values().filter(|it| it.is_shown);
        let mirrored: usize = shown.map(|it| it.remote.record_count()).sum();
        let mut clusters = vec![self.own_report()];
        clusters.extend(remotes.map(|it| it.report()));

        ApiserverStatus {
            cluster: self.cluster.name.clone(),
            id: self.cluster.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready,
            objects: self.publishing.objects,
            records: self.publishing.publication.table.len()
                + self.publishing.announced.len()
                + mirrored,
            clusters,
            problems: self.problems(store_problem),
        }
    }

    /// Remote clusters, each with the records that were dropped of it.
    pub fn remotes(&self) -> impl Iterator<Item = (ClusterReport, &Rejections)> {
        let remotes = self.mirroring.peerings.values().map(|it| &it.remote);
        remotes.map(|it| (it.report(), it.rejections()))
    }

    pub fn object_count(&self) -> usize {
        self.publishing.objects
    }

    /// Services that this cluster shares with the mesh.
    pub fn shared_service_count(&self) -> usize {
        self.count("cilium/state/services/")
    }

    fn own_report(&self) -> ClusterReport {
        ClusterReport {
            name: self.cluster.name.clone(),
            id: Some(self.cluster.id),
            state: ClusterState::Own,
            since: None,
            reason: String::new(),
            synced: self.publishing.published.is_some(),
            nodes: self.count("cilium/state/nodes/"),
            services: self.shared_service_count(),
            identities: self.count("cilium/state/identities/"),
            endpoints: self.count("cilium/state/ip/"),
        }
    }

    fn count(&self, prefix: &str) -> usize {
        let from_prefix = self.publishing.publication.table.range(prefix.to_owned()..);
        from_prefix
            .take_while(|(key, _)| key.starts_with(prefix))
            .count()
    }

    fn problems(&self, store_problem: Option<String>) -> Vec<Problem> {
        let groups: [(&[String], &str); 4] = [
            (
                &self.publishing.manifest_errors,
                "correct the file; what it said before stays in force",
            ),
            (
                &self.publishing.duplicates,
                "keep each object in one file only",
            ),
            (
                &self.publishing.publication.problems,
                "correct the object; the others are published",
            ),
            (
                &self.mirroring.configuration_problems,
                "correct the ClusterMesh configuration directory",
            ),
        ];
        let mut problems: Vec<Problem> = Vec::new();
        let store = store_problem.map(|it| Problem {
            what: format!("the store cannot be written: {it}"),
            remedy: "check that the etcd runs, and what --etcd-config says of it".to_owned(),
        });
        problems.extend(store);
        let objects = self.publishing.objects_problem.as_ref().map(|it| Problem {
            what: format!("the manifests cannot be read: {it}"),
            remedy: "restore the directory that --objects names".to_owned(),
        });
        problems.extend(objects);
        for (texts, remedy) in groups {
            problems.extend(
                texts
                    .iter()
                    .take(PROBLEMS_PER_GROUP_MAX)
                    .map(|what| Problem {
                        what: what.clone(),
                        remedy: remedy.to_owned(),
                    }),
            );
        }
        problems.extend(
            self.mirroring
                .peerings
                .values()
                .flat_map(|it| it.remote.problems()),
        );
        problems
    }

    /// For metrics: how many problems of each kind there are.
    pub fn problem_counts(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("configuration", self.mirroring.configuration_problems.len()),
            ("duplicate", self.publishing.duplicates.len()),
            ("manifest", self.publishing.manifest_errors.len()),
            ("object", self.publishing.publication.problems.len()),
        ])
    }
}

/// A thousand broken files are one mistake: nobody reads a list of them.
const PROBLEMS_PER_GROUP_MAX: usize = 20;
