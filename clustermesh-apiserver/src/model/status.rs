//! How the API server shows what it believes.

use std::collections::BTreeMap;

use topology::report::{ApiserverStatus, ClusterReport, ClusterState, Problem};

use super::mirroring::overlap_text;
use super::{Model, readers};
use crate::remote::Remote;

impl Model {
    /// What `/v1/status` answers, but for the remote clusters in full and the certificate.
    /// `store_problem` is what keeps our own store from being written.
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
            objects: self.object_count(),
            records: self.publishing.publisher.table().len()
                + self.publishing.announced.len()
                + mirrored,
            clusters,
            peers: Vec::new(),
            certificate: None,
            problems: self.problems(store_problem),
        }
    }

    pub fn remotes(&self) -> impl Iterator<Item = &Remote> {
        self.mirroring.peerings.values().map(|it| &it.remote)
    }

    /// Records of node agents that are not acceptable, by reason.
    pub fn dropped_of_agents(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.agents.rejections.counts.iter();
        counts.map(|(reason, count)| (*reason, *count))
    }

    pub fn object_count(&self) -> usize {
        self.publishing.publisher.object_count()
    }

    /// Services that this cluster shares with the mesh.
    pub fn shared_service_count(&self) -> usize {
        self.publishing.publisher.counts().services
    }

    fn own_report(&self) -> ClusterReport {
        let counts = self.publishing.publisher.counts();
        ClusterReport {
            name: self.cluster.name.clone(),
            id: Some(self.cluster.id),
            state: ClusterState::Own,
            since: None,
            reason: String::new(),
            synced: self.publishing.published.is_some(),
            nodes: counts.nodes,
            services: counts.services,
            identities: counts.identities,
            endpoints: counts.endpoints,
        }
    }

    fn problems(&self, store_problem: Option<String>) -> Vec<Problem> {
        let publishing = &self.publishing;
        let manifests = &publishing.manifest_problems;
        let left_out = publishing.publisher.problems();
        let left_out: Vec<String> = left_out.take(PROBLEMS_PER_GROUP_MAX).collect();
        let unread = self.readers.problems(&publishing.publisher);
        let groups: [(&[String], &str); 5] = [
            (
                &manifests.errors,
                "correct the file; what it said before stays in force",
            ),
            (&manifests.duplicates, "keep each object in one file only"),
            (&left_out, "correct the object; the others are published"),
            (&unread, readers::REMEDY),
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
        let objects = manifests.directory.as_ref().map(|it| Problem {
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
        let overlaps = self.mirroring.overlaps().iter();
        problems.extend(overlaps.take(PROBLEMS_PER_GROUP_MAX).map(|it| Problem {
            what: overlap_text(it),
            remedy: "give every cluster pod prefixes of its own".to_owned(),
        }));
        problems.extend(
            self.mirroring
                .peerings
                .values()
                .flat_map(|it| it.remote.problems()),
        );
        problems.extend(self.agents.problem());
        problems
    }

    /// For metrics: how many problems of each kind there are.
    pub fn problem_counts(&self) -> BTreeMap<&'static str, usize> {
        let publishing = &self.publishing;
        let manifests = &publishing.manifest_problems;
        BTreeMap::from([
            ("configuration", self.mirroring.configuration_problems.len()),
            ("directory", manifests.directory.iter().count()),
            ("duplicate", manifests.duplicates.len()),
            ("export", self.readers.problems(&publishing.publisher).len()),
            ("manifest", manifests.errors.len()),
            ("object", publishing.publisher.problem_count()),
        ])
    }
}

/// A thousand broken files are one mistake: nobody reads a list of them.
const PROBLEMS_PER_GROUP_MAX: usize = 20;
