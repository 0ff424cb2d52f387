//! Decides which cryptography TLS uses: aws-lc-rs, everywhere; and whom a certificate names.

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::server::common_name;

/// Makes aws-lc-rs the process's TLS provider. Every binary calls it first; calling it again is harmless.
pub fn install_provider() {
    // The only error is that a provider is installed already, and this workspace has just one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

/// The user that a client is who shows the first certificate in this PEM text.
pub fn user_of_certificate(pem: &[u8]) -> Option<String> {
    let certificate = CertificateDer::from_pem_slice(pem).ok()?;
    Some(common_name(&certificate)?.to_string())
}
