//! Keeps an eye on certificates, so that their ends are known before they come: the one that the
//! embedded etcd shows, and those in the files that we show to others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kvstore::server::Vitals;
use tokio::sync::watch;
use topology::report::CertificateReport;
use tracing::{error, warn};

use crate::certificate::{self, Expiries, Urgency, days_until};

/// Certificates last for days; a minute is soon enough to see that one was replaced.
const INTERVAL: Duration = Duration::from_secs(60);

/// What the files say, by their paths.
pub type Certificates = BTreeMap<PathBuf, CertificateReport>;

/// All certificates that matter to this process. Who holds it decides when it looks.
#[derive(Debug)]
pub struct Watchman {
    server: Option<ServerCertificate>,
    /// The files to read.
    wanted: watch::Sender<BTreeSet<PathBuf>>,
    found: watch::Receiver<Certificates>,
    expiries: Expiries,
}

/// The certificate of the embedded etcd, which reads it itself.
#[derive(Debug)]
struct ServerCertificate {
    file: PathBuf,
    vitals: Arc<Vitals>,
}

impl Watchman {
    /// `server` is the embedded etcd and the file that it has its certificate from.
    pub fn new(server: Option<(PathBuf, Arc<Vitals>)>) -> Self {
        let (wanted, files) = watch::channel(BTreeSet::new());
        Self {
            server: server.map(|(file, vitals)| ServerCertificate { file, vitals }),
            wanted,
            found: watch_files(files),
            expiries: Expiries::default(),
        }
    }

    /// Reads these files from now on, and no others.
    pub fn watch(&self, files: BTreeSet<PathBuf>) {
        self.wanted.send_if_modified(|it| {
            let is_new = *it != files;
            *it = files;
            is_new
        });
    }

    /// Warns of certificates that end soon. `now` in milliseconds since 1970.
    pub fn warn(&mut self, now: u64) {
        let server = self.server();
        let files = self.found.borrow();
        let all = files.values().chain(&server);
        for (certificate, urgency) in self.expiries.due(all, now) {
            warn_of_end(certificate, urgency, now);
        }
    }

    /// The one that new clients of the embedded etcd are shown.
    pub fn server(&self) -> Option<CertificateReport> {
        let ServerCertificate { file, vitals } = self.server.as_ref()?;
        Some(server_report(file, vitals))
    }

    /// What the watched files say, as far as they were read.
    pub fn files(&self) -> watch::Ref<'_, Certificates> {
        self.found.borrow()
    }
}

fn server_report(file: &Path, vitals: &Vitals) -> CertificateReport {
    let report = certificate::report_der(file, vitals.certificate().as_deref());
    CertificateReport {
        problem: vitals.certificate_problem().unwrap_or(report.problem),
        ..report
    }
}

/// Reads `files` at once, then every minute and whenever the set changes, for as long as somebody
/// receives.
fn watch_files(mut files: watch::Receiver<BTreeSet<PathBuf>>) -> watch::Receiver<Certificates> {
    let (sender, receiver) = watch::channel(Certificates::new());
    tokio::spawn(async move {
        loop {
            let wanted = files.borrow_and_update().clone();
            // A disk that hangs must not keep the process from what it does beside this.
            let Ok(found) = tokio::task::spawn_blocking(move || read(wanted)).await else {
                return;
            };
            if sender.send(found).is_err() {
                return;
            }
            tokio::select! {
                changed = files.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(INTERVAL) => (),
            }
        }
    });
    receiver
}

fn read(files: BTreeSet<PathBuf>) -> Certificates {
    files
        .into_iter()
        .map(|file| {
            let report = certificate::report(&file, std::fs::read(&file));
            (file, report)
        })
        .collect()
}

fn warn_of_end(certificate: &CertificateReport, urgency: Urgency, now: u64) {
    let file = &certificate.file;
    let days = days_until(certificate.not_after, now);
    match urgency {
        Urgency::Month => warn!(file, days, "a certificate ends within a month; renew it"),
        Urgency::Week => warn!(file, days, "a certificate ends within a week; renew it"),
        Urgency::Day => warn!(file, days, "a certificate ends within a day; renew it now"),
        Urgency::Expired => error!(file, "a certificate has expired; renew it"),
    }
}
