//! Opens TLS to targets, and judges certificates as far as a check asks for it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::describe;
use crate::check::TlsProbe;

/// What all probes over TLS share.
#[derive(Clone)]
pub(super) struct Tls {
    http1: TlsConnector,
    http2: TlsConnector,
    judge: Arc<Judge>,
}

/// What is spoken over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
}

/// By whom certificates have to be signed, and how.
struct Judge {
    roots: Option<RootCertStore>,
    provider: Arc<CryptoProvider>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads certificates of authorities from a PEM file.
pub(super) fn roots(file: &Path) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file)? {
        roots.add(certificate?)?;
    }
    ensure!(!roots.is_empty(), "it holds no certificate");
    Ok(roots)
}

impl Tls {
    pub(super) fn new(roots: Option<RootCertStore>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let config = |protocols: &[&[u8]]| {
            let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyCertificate(Arc::clone(&provider))))
                .with_no_client_auth();
            config.alpn_protocols = protocols.iter().map(|it| it.to_vec()).collect();
            // Each probe is to see the certificate that clients get now.
            config.resumption = Resumption::disabled();
            Ok::<_, rustls::Error>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            http1: config(&[])?,
            http2: config(&[b"h2"])?,
            judge: Arc::new(Judge { roots, provider }),
        })
    }

    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        wanted: &TlsProbe,
        speaks: Speaks,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = server_name(&wanted.name)?;
        let connector = match speaks {
            Speaks::Http1 => &self.http1,
            Speaks::Http2 => &self.http2,
        };
        let stream = connector.connect(name, stream).await;
        let stream = stream.map_err(|it| describe(&it))?;
        let (_, connection) = stream.get_ref();
        let chain = connection.peer_certificates().unwrap_or_default();
        self.judge.judge(chain, wanted, UnixTime::now())?;
        Ok(stream)
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned()).map_err(|_| format!("`{name}` is no TLS name"))
}

impl Judge {
    fn judge(
        &self,
        chain: &[CertificateDer<'_>],
        wanted: &TlsProbe,
        now: UnixTime,
    ) -> Result<(), String> {
        let names = [
            wanted.verify.then_some(&wanted.name),
            wanted.expected_name.as_ref(),
        ];
        let names: Vec<&String> = names.into_iter().flatten().collect();
        if names.is_empty() && wanted.days_left_min.is_none() {
            return Ok(());
        }
        let (end, intermediates) = chain.split_first().ok_or("there is no certificate")?;
        let unreadable = |_| "the certificate makes no sense".to_owned();
        let certificate = ParsedCertificate::try_from(end).map_err(unreadable)?;
        if wanted.verify {
            self.verify(&certificate, intermediates, now)?;
        }
        for name in names {
            verify_server_name(&certificate, &server_name(name)?)
                .map_err(|_| format!("the certificate does not hold the name {name}"))?;
        }
        match wanted.days_left_min {
            None => Ok(()),
            Some(days) => lasts(end, days, now),
        }
    }

    fn verify(
        &self,
        certificate: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), String> {
        let roots = self.roots.as_ref();
        let roots =
            roots.ok_or("there is nothing to verify the certificate by: give --probe-roots")?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            certificate,
            roots,
            intermediates,
            now,
            algorithms,
        )
        .map_err(|it| format!("the certificate is not trusted: {it}"))
    }
}

/// Whether the certificate is in force for `days_min` more days.
fn lasts(certificate: &CertificateDer<'_>, days_min: u32, now: UnixTime) -> Result<(), String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|_| "the certificate makes no sense".to_owned())?;
    let end = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or(0);
    let days = end.saturating_sub(now.as_secs()) / DAY.as_secs();
    match days < u64::from(days_min) {
        false => Ok(()),
        true if end <= now.as_secs() => Err("the certificate is out of date".to_owned()),
        true => Err(format!("the certificate ends in {days} days")),
    }
}

/// Accepts any certificate, as PowerDNS does: a probe asks whether the target serves, and sends it
/// nothing secret. Where a check asks for more, [`Judge`] looks afterwards.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn takes_any_certificate_unless_more_is_asked() {
        let own = Authority::new();
        let certificate = own.certificate("shop.test");
        let asks = |change: fn(&mut TlsProbe)| {
            let mut wanted = TlsProbe::new("shop.test");
            change(&mut wanted);
            wanted
        };
        let check = |judge: &Judge, wanted: &TlsProbe, expected: Result<(), &str>| {
            let chain = std::slice::from_ref(&certificate);
            assert_eq!(
                judge.judge(chain, wanted, NOW),
                expected.map_err(str::to_owned),
                "{wanted:?}"
            );
        };
        let (ours, theirs) = (own.judge(), Authority::new().judge());
        let nobody = Judge {
            roots: None,
            ..Authority::new().judge()
        };

        check(&nobody, &asks(|_| ()), Ok(()));
        check(&ours, &asks(|it| it.verify = true), Ok(()));
        check(
            &theirs,
            &asks(|it| it.verify = true),
            Err("the certificate is not trusted: invalid peer certificate: BadSignature"),
        );
        check(
            &nobody,
            &asks(|it| it.verify = true),
            Err("there is nothing to verify the certificate by: give --probe-roots"),
        );
        let renamed = asks(|it| {
            it.verify = true;
            it.name = "other.test".to_owned();
        });
        let no_such_name = Err("the certificate does not hold the name other.test");
        check(&ours, &renamed, no_such_name);
        let expects = asks(|it| it.expected_name = Some("other.test".to_owned()));
        check(&nobody, &expects, no_such_name);
        check(&nobody, &asks(|it| it.days_left_min = Some(30)), Ok(()));
        check(
            &nobody,
            &asks(|it| it.days_left_min = Some(32)),
            Err("the certificate ends in 31 days"),
        );
    }

    #[test]
    fn a_certificate_that_is_out_of_date_is_told() {
        let own = Authority::new();
        let chain = [own.certificate("shop.test")];
        let later = UnixTime::since_unix_epoch(Duration::from_secs(NOW.as_secs()) + 32 * DAY);
        let wanted = TlsProbe {
            days_left_min: Some(1),
            ..TlsProbe::new("shop.test")
        };

        let outcome = own.judge().judge(&chain, &wanted, later);
        assert_eq!(outcome, Err("the certificate is out of date".to_owned()));
        let verified = TlsProbe {
            verify: true,
            ..TlsProbe::new("shop.test")
        };
        let error = own.judge().judge(&chain, &verified, later).unwrap_err();
        assert!(error.contains("not trusted"), "{error}");
    }

    /// 2026-01-01
    const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_secs(1_767_225_600));

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        root: CertificateDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let root = params.self_signed(&key).unwrap().der().clone();
            let issuer = Issuer::new(params, key);
            Self { issuer, root }
        }

        /// In force for January 2026.
        fn certificate(&self, name: &str) -> CertificateDer<'static> {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.not_before = date_time_ymd(2025, 12, 1);
            params.not_after = date_time_ymd(2026, 2, 1);
            params.signed_by(&key, &self.issuer).unwrap().der().clone()
        }

        fn judge(&self) -> Judge {
            let mut roots = RootCertStore::empty();
            roots.add(self.root.clone()).unwrap();
            Judge {
                roots: Some(roots),
                provider: Arc::new(crypto::aws_lc_rs::default_provider()),
            }
        }
    }
}
