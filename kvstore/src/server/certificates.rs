//! The server's certificate, key and client CA, as they are in their files.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::{ServerTls, StartError, error_chain};

/// gRPC needs HTTP/2; health checks and scrapers may speak HTTP/1.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

pub(super) struct Certificates {
    current: Arc<ServerConfig>,
}

impl Certificates {
    pub(super) fn load(tls: &ServerTls) -> Result<Arc<Self>, StartError> {
        let pem = Pem::read(tls)?;
        let config = pem.config().map_err(|error| StartError::Tls {
            file: tls.cert.clone(),
            problem: format!(
                "{}; certificate, key {} and CA {} must be PEM files that belong together",
                error_chain(&*error),
                tls.key.display(),
                tls.client_ca.display()
            ),
        })?;
        Ok(Arc::new(Self { current: config }))
    }

    /// For the next handshake.
    pub(super) fn current(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current)
    }
}

/// The files' contents.
struct Pem {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Vec<u8>,
}

impl Pem {
    fn read(tls: &ServerTls) -> Result<Self, StartError> {
        Ok(Self {
            cert: read(&tls.cert)?,
            key: read(&tls.key)?,
            client_ca: read(&tls.client_ca)?,
        })
    }

    fn config(&self) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
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
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn read(file: &Path) -> Result<Vec<u8>, StartError> {
    std::fs::read(file).map_err(|error| StartError::Tls {
        file: file.to_owned(),
        problem: format!("{error}; the file must exist and be readable"),
    })
}
