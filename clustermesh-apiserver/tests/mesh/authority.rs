//! The certificates of a mesh under test.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

/// A certificate authority, with the server's certificate and those of its users.
pub(crate) struct Authority {
    /// PEM, by file name.
    files: Vec<(String, String)>,
}

/// The server on loopback, an administrator, agents, any peer, and two peers by name: certificates by
/// their common names.
const NAMES: [&str; 6] = [
    "server",
    "root",
    "local-us",
    "remote",
    "remote-ap",
    "remote-us",
];

impl Authority {
    pub(crate) fn new() -> Self {
        let ca_key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = params.self_signed(&ca_key).unwrap();
        let issuer = Issuer::new(params, ca_key);

        let mut files = vec![("ca.crt".to_owned(), ca.pem())];
        for name in NAMES {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ClientAuth,
                ExtendedKeyUsagePurpose::ServerAuth,
            ];
            let certificate = params.signed_by(&key, &issuer).unwrap();
            files.push((format!("{name}.crt"), certificate.pem()));
            files.push((format!("{name}.key"), key.serialize_pem()));
        }
        Self { files }
    }
    pub(crate) fn files(&self) -> &[(String, String)] {
        &self.files
    }
}
