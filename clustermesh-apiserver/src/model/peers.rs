//! How the API server shows the remote clusters in full.

use std::path::PathBuf;

use kvstore::config::EtcdConfig;
use topology::id::ClusterName;
use topology::report::{CertificateReport, PeerReport, PulseReport};

use super::Model;
use super::mirroring::Peering;
use crate::certificates::Certificates;
use crate::journal::Journal;
use crate::moment::Moment;
use crate::remote::{Remote, TakenIds};

/// What was seen beside the model, and belongs to what is shown of remote clusters.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    pub journal: &'a Journal,
    pub certificates: &'a Certificates,
}

/// What it takes to look at a remote cluster's store anew, beside the follower.
#[derive(Debug)]
pub struct View {
    /// Knows nothing yet.
    pub remote: Remote,
    pub config: EtcdConfig,
    pub taken: TakenIds,
}

impl Model {
    /// The remote clusters that are configured.
    pub fn peers(&self, surroundings: Surroundings<'_>) -> Vec<PeerReport> {
        let peerings = self.mirroring.peerings.values();
        let staying = peerings.filter(|it| !it.is_leaving());
        staying.map(|it| it.report(surroundings)).collect()
    }

    /// What `/v1/peers/CLUSTER` answers; `None` for a cluster that is not configured.
    pub fn peer(&self, name: &ClusterName, surroundings: Surroundings<'_>) -> Option<PeerReport> {
        let peering = self.mirroring.peerings.get(name)?;
        Some(peering.report(surroundings))
    }

    /// A fresh look at a remote cluster; `None` for one that is not configured.
    pub fn view(&self, name: &ClusterName, now: Moment) -> Option<View> {
        self.mirroring.view(name, now)
    }

    /// The files that hold our certificates towards the remote clusters.
    pub fn client_certificates(&self) -> impl Iterator<Item = &PathBuf> {
        let peerings = self.mirroring.peerings.values();
        peerings.filter_map(Peering::certificate)
    }

    pub fn remote_names(&self) -> impl Iterator<Item = &ClusterName> + Clone {
        self.mirroring.peerings.keys()
    }
}

impl Peering {
    fn report(&self, surroundings: Surroundings<'_>) -> PeerReport {
        let name = self.remote.name();
        let endpoints = self.config.endpoints.iter();
        let awaited = self.remote.has_pulse().then(PulseReport::default);
        PeerReport {
            cluster: self.remote.report(),
            liveness: self.remote.liveness(),
            endpoints: endpoints.map(ToString::to_string).collect(),
            link: surroundings.journal.link(name),
            kinds: self.remote.kinds(),
            config: self.remote.config().cloned(),
            refusal: self.remote.refusal().unwrap_or_default().to_owned(),
            violations: self.remote.rejections().report(),
            certificate: self.certificate_report(surroundings.certificates),
            pulse: surroundings.journal.pulse(name).or(awaited),
            throttle: surroundings.journal.throttle(name).now,
        }
    }

    fn certificate_report(&self, certificates: &Certificates) -> Option<CertificateReport> {
        let file = self.certificate()?;
        let unread = || CertificateReport {
            file: file.display().to_string(),
            problem: "not read yet".to_owned(),
            ..CertificateReport::default()
        };
        Some(certificates.get(file).cloned().unwrap_or_else(unread))
    }

    fn certificate(&self) -> Option<&PathBuf> {
        let certificate = self.config.client_certificate.as_ref();
        certificate.map(|it| &it.cert_file)
    }
}
