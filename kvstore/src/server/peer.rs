//! Says who is at the other end of a connection: read once, when it begins.

use std::net::SocketAddr;
use std::sync::Arc;

use x509_parser::prelude::{FromDer as _, X509Certificate};

/// In the extensions of every request that came over the network; requests of this process have none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Of the client's certificate, which TLS has checked. `None` in plaintext, and if the
    /// certificate names nobody.
    pub(super) common_name: Option<Arc<str>>,
}

/// The common name of a certificate in DER, which is its user. One with several says nothing.
pub fn common_name(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    names.next().is_none().then(|| name.into())
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

    use super::*;

    #[test]
    fn reads_the_common_name_and_nothing_else() {
        check(&[(DnType::CommonName, "remote")], Some("remote"));
        check(
            &[
                (DnType::OrganizationName, "root"),
                (DnType::CommonName, "remote"),
            ],
            Some("remote"),
        );
        check(&[(DnType::OrganizationName, "root")], None);
        check(&[], None);
        assert_eq!(common_name(b"garbage"), None);
    }

    #[track_caller]
    fn check(subject: &[(DnType, &str)], expected: Option<&str>) {
        let mut params = CertificateParams::new(vec!["root".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();

        assert_eq!(common_name(certificate.der()).as_deref(), expected);
    }
}
