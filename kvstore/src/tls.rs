//! Decides which cryptography TLS uses: aws-lc-rs, everywhere.

/// Makes aws-lc-rs the process's TLS provider. Every binary calls it first; calling it again is harmless.
pub fn install_provider() {
    // The only error is that a provider is installed already, and this workspace has just one.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
