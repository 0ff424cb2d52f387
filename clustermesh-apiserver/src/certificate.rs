//! Decides what a certificate says: whose it is, for which names, and until when.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use topology::report::CertificateReport;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};

mod expiry;

pub use expiry::{Expiries, Urgency, days_until};

/// What matters of one certificate. Times are milliseconds since 1970.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Certificate {
    /// Empty if there is none, or several.
    pub common_name: String,
    pub issuer: String,
    /// The DNS names and addresses that it stands for.
    pub names: Vec<String>,
    pub not_before: u64,
    pub not_after: u64,
}

/// A file that should hold a certificate in PEM does not.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCertificate {
    #[error("{}: {problem}", file.display())]
    Malformed { file: PathBuf, problem: String },
    #[error("{}: {source}", file.display())]
    Unreadable { file: PathBuf, source: io::Error },
}

impl Certificate {
    /// Reads the first certificate of a PEM file with this content; `file` is named in errors.
    pub fn parse(file: &Path, pem: io::Result<Vec<u8>>) -> Result<Self, InvalidCertificate> {
        let pem = pem.map_err(|source| InvalidCertificate::Unreadable {
            file: file.to_owned(),
            source,
        })?;
        let malformed = |problem: String| InvalidCertificate::Malformed {
            file: file.to_owned(),
            problem,
        };
        let first = Pem::iter_from_buffer(&pem)
            .find(|it| it.as_ref().is_ok_and(|it| it.label == "CERTIFICATE"));
        let Some(Ok(first)) = first else {
            return Err(malformed("no certificate in PEM".to_owned()));
        };
        Self::from_der(&first.contents).ok_or_else(|| malformed("not a certificate".to_owned()))
    }

    /// Reads one certificate in DER.
    pub fn from_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let mut names = certificate.subject().iter_common_name();
        let name = names.next().and_then(|it| it.as_str().ok());
        let name = name.filter(|_| names.next().is_none());
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let alternatives = alternatives.map(|it| it.value.general_names.as_slice());
        let milliseconds = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000);
        Some(Self {
            common_name: name.unwrap_or_default().to_owned(),
            issuer: certificate.issuer().to_string(),
            names: alternatives
                .unwrap_or_default()
                .iter()
                .filter_map(name_text)
                .collect(),
            not_before: milliseconds(certificate.validity().not_before.timestamp()),
            not_after: milliseconds(certificate.validity().not_after.timestamp()),
        })
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = match self.names.is_empty() {
            true => "no names".to_owned(),
            false => self.names.join(", "),
        };
        let name = &self.common_name;
        write!(f, "CN={name} for {names}, issued by {}", self.issuer)
    }
}

/// How a file's certificate is shown.
pub fn report(file: &Path, pem: io::Result<Vec<u8>>) -> CertificateReport {
    shown(
        file,
        Certificate::parse(file, pem).map_err(|it| it.to_string()),
    )
}

/// How a certificate in DER is shown that came from `file`.
pub fn report_der(file: &Path, der: Option<&[u8]>) -> CertificateReport {
    let certificate = der.and_then(Certificate::from_der);
    let unreadable = || format!("{}: not a certificate", file.display());
    shown(file, certificate.ok_or_else(unreadable))
}

fn shown(file: &Path, certificate: Result<Certificate, String>) -> CertificateReport {
    let report = CertificateReport {
        file: file.display().to_string(),
        ..CertificateReport::default()
    };
    match certificate {
        Ok(certificate) => CertificateReport {
            common_name: certificate.common_name,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            ..report
        },
        Err(problem) => CertificateReport { problem, ..report },
    }
}

fn name_text(name: &GeneralName<'_>) -> Option<String> {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a certificate's other kinds of names are no addresses of servers"
    )]
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(v4) => Some(std::net::Ipv4Addr::from(v4).to_string()),
            Err(_) => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|v6| std::net::Ipv6Addr::from(v6).to_string()),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn reads_names_and_times() {
        let mut params =
            CertificateParams::new(["*.mesh.cilium.io".to_owned(), "::1".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "remote");
        params.not_before = date_time_ymd(2026, 1, 1);
        params.not_after = date_time_ymd(2027, 1, 1);
        let pem = params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem();

        let certificate = parse(&pem).unwrap();

        assert_eq!(certificate.common_name, "remote");
        assert_eq!(certificate.names, ["*.mesh.cilium.io", "::1"]);
        assert_eq!(certificate.not_before, 1_767_225_600_000);
        assert_eq!(certificate.not_after, 1_798_761_600_000);
    }

    #[test]
    fn names_the_file_that_holds_none() {
        let error = parse("-----BEGIN").unwrap_err();
        assert_eq!(error, "/pki/a.crt: no certificate in PEM");

        let missing = report(Path::new("/pki/a.crt"), Err(io::ErrorKind::NotFound.into()));
        assert_eq!(missing.problem, "/pki/a.crt: entity not found");
        assert_eq!(missing.not_after, 0);
    }

    fn parse(pem: &str) -> Result<Certificate, String> {
        let file = Path::new("/pki/a.crt");
        Certificate::parse(file, Ok(pem.as_bytes().to_vec())).map_err(|it| it.to_string())
    }
}
