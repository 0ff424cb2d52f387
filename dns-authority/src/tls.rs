//! The certificate that clients of encrypted transports see. It may be exchanged while they are served: new
//! handshakes use the new one, connections that are up stay up.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;
use zeroize::Zeroizing;

/// A certificate with its key, as files have them.
#[derive(PartialEq, Eq)]
pub struct Pem {
    /// The certificate, and those that it is signed by.
    pub chain: Vec<u8>,
    pub key: Zeroizing<Vec<u8>>,
}

/// What was read is no certificate with its key.
#[derive(Debug, Error)]
#[error("certificate and key must be in PEM, and belong together")]
pub struct CertificateError(#[source] Box<dyn std::error::Error + Send + Sync>);

/// The certificate in use, with its key.
pub struct Certificate(ArcSwap<CertifiedKey>);

impl Certificate {
    /// # Errors
    ///
    /// `pem` holds something else.
    pub fn new(pem: &Pem) -> Result<Self, CertificateError> {
        Ok(Self(ArcSwap::from_pointee(pem.certified()?)))
    }

    /// Uses another from the next handshake on.
    ///
    /// # Errors
    ///
    /// `pem` holds something else; the former stays in use.
    pub fn exchange(&self, pem: &Pem) -> Result<(), CertificateError> {
        self.0.store(Arc::new(pem.certified()?));
        Ok(())
    }

    /// How a server shakes hands that speaks `protocols`, which clients choose from (ALPN).
    pub fn server(self: &Arc<Self>, protocols: &[&str]) -> ServerConfig {
        let versions = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has ciphers for all versions");
        let resolver: Arc<dyn ResolvesServerCert> = Arc::<Self>::clone(self);
        let mut config = versions.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        config
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Certificate")
    }
}

impl Pem {
    fn certified(&self) -> Result<CertifiedKey, CertificateError> {
        self.parse().map_err(CertificateError)
    }

    fn parse(&self) -> Result<CertifiedKey, Box<dyn std::error::Error + Send + Sync>> {
        let chain: Vec<CertificateDer<'static>> =
            CertificateDer::pem_slice_iter(&self.chain).collect::<Result<_, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)?;
        Ok(CertifiedKey::from_der(chain, key, &provider())?)
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_only_what_belongs_together() {
        let (one, other) = (pem("one.test"), pem("other.test"));
        let certificate = Certificate::new(&one).unwrap();
        let mixed = Pem {
            chain: one.chain,
            key: other.key.clone(),
        };
        let nothing = Pem {
            chain: Vec::new(),
            key: Vec::new().into(),
        };
        let shown = |it: &Certificate| it.0.load().cert[0].to_vec();
        let before = shown(&certificate);

        for bad in [&mixed, &nothing] {
            certificate.exchange(bad).unwrap_err();
            assert_eq!(shown(&certificate), before);
        }
        certificate.exchange(&other).unwrap();
        assert_ne!(shown(&certificate), before);
    }

    fn pem(name: &str) -> Pem {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        Pem {
            chain: made.cert.pem().into_bytes(),
            key: made.signing_key.serialize_pem().into_bytes().into(),
        }
    }
}
