//! What a running server knows of itself, for metrics and for whoever runs it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;
use rustls::pki_types::CertificateDer;

use super::certificates::Certificates;
use super::database::Database;
use super::intake::Intake;
use super::limits::Places;
use super::maintenance::ETCD_VERSION;
use super::metrics::{self, Facts};
use super::usage::Usage;
use crate::mvcc::Alarms;

/// How often what was refused is logged: an operator needs to know that, and not each time.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Numbers of a server, up to date whenever they are asked for.
#[derive(Debug)]
pub struct Vitals {
    pub(super) certificates: Option<Arc<Certificates>>,
    pub(super) database: Arc<Database>,
    pub(super) intake: Arc<Intake>,
    pub(super) places: Arc<Places>,
    pub(super) usage: Usage,
}

/// Reads a server's numbers whenever somebody scrapes them, and does not keep the server alive.
#[derive(Debug)]
struct Scraped(Weak<Vitals>);

impl Vitals {
    /// Shows all numbers in `registry`, under the names of the server's own `/metrics`, as long as the
    /// server lives. Requests by method stay on that page.
    pub fn register(self: &Arc<Self>, registry: &mut Registry) {
        registry.register_collector(Box::new(Scraped(Arc::downgrade(self))));
    }

    /// When the server's certificate ends, in Unix seconds; `None` in plaintext.
    pub fn certificate_expiry_seconds(&self) -> Option<i64> {
        self.certificates.as_ref()?.expiry()
    }

    /// The server's certificate, in DER, as the next client is shown it; `None` in plaintext.
    pub fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.certificates.as_ref()?.certificate()
    }

    /// Why the certificate files as they are now cannot be used, while the former are.
    pub fn certificate_problem(&self) -> Option<String> {
        self.certificates.as_ref()?.problem()
    }

    /// How often changed certificate files could not be used.
    pub fn certificate_reload_failures(&self) -> u64 {
        self.certificates.as_ref().map_or(0, |it| it.failures())
    }

    /// Connections of clients, those in their greeting included.
    pub fn connections(&self) -> usize {
        self.places.taken()
    }

    /// Connections that were above a limit.
    pub fn connections_refused(&self) -> u64 {
        self.places.refused()
    }

    /// Requests that were above their user's rate.
    pub fn requests_refused(&self) -> u64 {
        self.intake.refused()
    }

    /// Watches of clients on the network.
    pub fn watches(&self) -> usize {
        self.usage.watches.taken()
    }

    /// Warns of limits that were reached, as long as somebody holds the vitals.
    pub(super) async fn report(vitals: Weak<Self>) {
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        let mut told = (0, 0);
        loop {
            ticks.tick().await;
            let Some(vitals) = vitals.upgrade() else {
                return;
            };
            let refused = (vitals.connections_refused(), vitals.requests_refused());
            if refused != told {
                tracing::warn!(
                    connections = refused.0 - told.0,
                    requests = refused.1 - told.1,
                    "clients wanted more of the store than one may"
                );
                told = refused;
            }
        }
    }

    /// Whether no alarm is raised.
    pub fn is_well(&self) -> bool {
        self.database.with(|store| store.alarms()) == Alarms::default()
    }

    /// The page that `/metrics` serves.
    pub(super) fn page(&self) -> String {
        metrics::page(&self.facts(), &self.intake.requests)
    }

    fn facts(&self) -> Facts {
        let facts = self.database.with(|store| Facts {
            compact_revision: store.compacted_revision(),
            held_bytes: store.held_bytes(),
            keys: store.key_count(),
            leases: store.lease_count(),
            revision: store.revision(),
            ..Facts::default()
        });
        Facts {
            certificate_expiry_seconds: self.certificate_expiry_seconds(),
            certificate_failures: self.certificate_reload_failures(),
            connections: self.connections(),
            connections_refused: self.connections_refused(),
            events_pending: self.usage.events_pending(),
            requests_refused: self.requests_refused(),
            version: ETCD_VERSION,
            watch_streams: self.usage.watch_streams.taken(),
            watches: self.watches(),
            ..facts
        }
    }
}

impl Collector for Scraped {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let Some(vitals) = self.0.upgrade() else {
            return Ok(());
        };
        metrics::encode(&vitals.facts(), encoder)
    }
}
