//! Reads certificate files again and again, so that their ends are known before they come.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use topology::report::CertificateReport;

use crate::certificate;

/// Certificates last for days; a minute is soon enough to see that one was replaced.
const INTERVAL: Duration = Duration::from_secs(60);

/// What the files say, by their paths.
pub type Certificates = BTreeMap<PathBuf, CertificateReport>;

/// Reads `files` at once, then every minute and whenever the set changes, for as long as somebody
/// receives.
pub fn watch(mut files: watch::Receiver<BTreeSet<PathBuf>>) -> watch::Receiver<Certificates> {
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
