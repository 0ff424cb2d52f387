//! Decides who a request comes from, and so what it may do.

use std::sync::Arc;

use tonic::Request;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::access::{Permission, Rules};

/// Stands before every service.
#[derive(Clone, Debug)]
pub(super) enum Gate {
    /// For this process itself, and for plaintext, where nobody has a name.
    Open,
    /// For clients with a certificate, whose common name is the user.
    Guarded(Arc<Rules>),
}

impl Gate {
    pub(super) fn permission<T>(&self, request: &Request<T>) -> Permission {
        match self {
            Self::Open => Permission::everything(),
            Self::Guarded(rules) => {
                // The client's own comes first; TLS has checked that the CA signed it.
                let certificates = request.peer_certs();
                let own = certificates.as_ref().and_then(|it| it.first());
                rules.permission(own.and_then(|it| common_name(it)).as_deref())
            }
        }
    }
}

/// The common name of a certificate in DER. One with several says nothing.
fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    names.next().is_none().then(|| name.to_owned())
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

    #[test]
    fn lets_nobody_pass_who_shows_no_certificate() {
        let gate = Gate::Guarded(Arc::default());
        assert_eq!(gate.permission(&Request::new(())), Permission::nothing());
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
