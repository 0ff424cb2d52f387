//! The server's certificate, key and client CA: re-read when their files change.
//!
//! New handshakes use the new files; connections that are up stay up. Files that do not fit together
//! change nothing: the last that did stay in use.

use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{ServerTls, StartError, error_chain};

/// How often the files are read. They are small, and a rotation that takes effect within seconds is
/// early enough.
const READ_INTERVAL: Duration = Duration::from_secs(2);

/// gRPC needs HTTP/2; health checks and scrapers may speak HTTP/1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(super) struct Certificates {
    files: ServerTls,
    state: Mutex<State>,
    /// Changes of the files that could not be used.
    failures: AtomicU64,
}

struct State {
    config: Arc<ServerConfig>,
    /// The server's own.
    certificate: Option<CertificateDer<'static>>,
    /// What the files had when they were last read, and whether anything is left to say about it.
    seen: Result<Pem, Problem>,
    settled: bool,
    /// Why the files as they are cannot be used; those in `config` were before them.
    problem: Option<Problem>,
}

/// Why the files cannot be used, in words for an operator.
type Problem = String;

impl Certificates {
    pub(super) fn load(tls: &ServerTls) -> Result<Arc<Self>, StartError> {
        let start_error = |(file, problem): (&Path, Problem)| StartError::Tls {
            file: file.to_owned(),
            problem,
        };
        let pem = Pem::read(tls).map_err(start_error)?;
        let config = pem.config(tls).map_err(|it| start_error((&tls.cert, it)))?;
        Ok(Arc::new(Self {
            files: tls.clone(),
            state: Mutex::new(State {
                config,
                certificate: pem.certificate(),
                seen: Ok(pem),
                settled: true,
                problem: None,
            }),
            failures: AtomicU64::new(0),
        }))
    }

    /// Reads the files again and again, as long as somebody holds the certificates.
    pub(super) async fn keep_fresh(certificates: Weak<Self>) {
        let mut ticks = tokio::time::interval(READ_INTERVAL);
        loop {
            ticks.tick().await;
            let Some(certificates) = certificates.upgrade() else {
                return;
            };
            // Files may be on a disk that hangs.
            let refreshed = tokio::task::spawn_blocking(move || certificates.refresh());
            if let Err(error) = refreshed.await {
                tracing::error!(%error, "cannot read the certificate files");
            }
        }
    }

    /// For the next handshake.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.state().config)
    }

    /// Unix seconds at which the certificate in use ends.
    pub(super) fn expiry(&self) -> Option<i64> {
        let certificate = self.certificate()?;
        let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
        Some(certificate.validity().not_after.timestamp())
    }

    /// The certificate in use.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        self.state().certificate.clone()
    }

    /// Why the files as they are now cannot be used.
    pub(super) fn problem(&self) -> Option<Problem> {
        self.state().problem.clone()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    fn refresh(&self) {
        let pem = Pem::read(&self.files)
            .map_err(|(file, problem)| format!("{}: {problem}", file.display()));
        let mut state = self.state();
        if state.seen == pem {
            if !state.settled {
                self.settle(&mut state);
            }
        } else {
            // One of several files may be written and the next not yet: what stays so counts.
            state.settled = false;
            state.seen = pem;
        }
    }

    fn settle(&self, state: &mut State) {
        state.settled = true;
        let pem = state.seen.as_ref().map_err(Problem::clone);
        let usable = pem.and_then(|pem| Ok((pem.config(&self.files)?, pem.certificate())));
        match usable {
            Ok((config, certificate)) => {
                state.config = config;
                state.certificate = certificate;
                state.problem = None;
                tracing::info!(
                    certificate = %self.files.cert.display(),
                    "new certificate files are in use"
                );
            }
            Err(problem) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    certificate = %self.files.cert.display(),
                    %problem,
                    "new certificate files cannot be used; the former stay in use"
                );
                state.problem = Some(problem);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates").finish_non_exhaustive()
    }
}

/// The files' contents. Holds a key, and so has no `Debug`.
#[derive(PartialEq)]
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Pem {
    fn read(tls: &ServerTls) -> Result<Self, (&Path, Problem)> {
        Ok(Self {
            cert: read(&tls.cert)?,
            key: read(&tls.key)?,
            client_ca: read(&tls.client_ca)?,
        })
    }

    fn config(&self, tls: &ServerTls) -> Result<Arc<ServerConfig>, Problem> {
        self.parse().map_err(|error| {
            format!(
                "{}; certificate, key {} and CA {} must be PEM files that belong together",
                error_chain(&*error),
                tls.key.display(),
                tls.client_ca.display()
            )
        })
    }

    fn parse(&self) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
        let mut authorities = RootCertStore::empty();
        authorities.add_parsable_certificates(certificates(&self.client_ca)?);
        let verifier = WebPkiClientVerifier::builder(authorities.into()).build()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)?;
        let mut config = ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates(&self.cert)?, key)?;
        config.alpn_protocols = PROTOCOLS.map(Vec::from).into();
        Ok(Arc::new(config))
    }

    fn certificate(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(&self.cert).ok()
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn read(file: &Path) -> Result<Vec<u8>, (&Path, Problem)> {
    std::fs::read(file).map_err(|error| {
        (
            file,
            format!("{error}; the file must exist and be readable"),
        )
    })
}
