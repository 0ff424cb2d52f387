//! Shakes hands as strictly as the mirror does, and remembers what the other side showed.

use std::io;
use std::sync::{Arc, OnceLock};

use kvstore::config::{ClientCertificate, EtcdConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;

/// One handshake to be.
pub(super) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    witness: Arc<Witness>,
}

/// What the server showed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// `None` if it cannot be read.
    pub(super) certificate: Option<Certificate>,
    /// Why it is not believed.
    pub(super) problem: Option<String>,
    pub(super) cause: Cause,
}

/// Why a server's certificate is not believed; each has a remedy of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cause {
    Expired,
    Issuer,
    Name,
    NotYet,
    Other,
}

impl Tls {
    /// Reads the files that `config` names. `host` is what the certificate must stand for.
    pub(super) fn new(config: &EtcdConfig, host: &str) -> Result<Self, String> {
        let roots = Arc::new(roots(config)?);
        let inner = WebPkiServerVerifier::builder(roots)
            .build()
            .map_err(|error| format!("trusted-ca-file: {error}"))?;
        let witness = Arc::new(Witness {
            inner,
            seen: OnceLock::new(),
        });
        let builder = ClientConfig::builder()
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&witness) as Arc<dyn ServerCertVerifier>);
        let client = match &config.client_certificate {
            None => builder.with_no_client_auth(),
            // Without a pair that fits, the server's side can still be seen.
            Some(client) => match pair(client) {
                Ok((chain, key)) => builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| format!("cert-file and key-file: {error}"))?,
                Err(_) => builder.with_no_client_auth(),
            },
        };
        let name = ServerName::try_from(host.to_owned());
        Ok(Self {
            config: Arc::new(client),
            name: name.map_err(|_| format!("{host} is no name that a certificate can have"))?,
            witness,
        })
    }

    pub(super) async fn connect(&self, connection: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        connector.connect(self.name.clone(), connection).await
    }

    /// What the server showed, if it came to that.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.witness.seen.get().cloned()
    }
}

/// Why the other side refused us, if that is what the error says.
pub(super) fn refusal(error: &io::Error) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let Error::AlertReceived(alert) = error else {
        return None;
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the alerts are not ours, and the others are shown by their names"
    )]
    Some(match alert {
        AlertDescription::CertificateExpired => "it has expired".to_owned(),
        AlertDescription::CertificateRequired => "it wants one and got none".to_owned(),
        AlertDescription::UnknownCA | AlertDescription::DecryptError => {
            "its CA did not sign it".to_owned()
        }
        alert => format!("{alert:?}"),
    })
}

/// Whether certificate and key are readable and belong together.
pub(super) fn check_pair(client: &ClientCertificate) -> Result<(), String> {
    let (chain, key) = pair(client)?;
    let fits = ClientConfig::builder()
        .with_root_certificates(RootCertStore::empty())
        .with_client_auth_cert(chain, key);
    fits.map(drop)
        .map_err(|error| format!("{}: {error}", client.key_file.display()))
}

fn roots(config: &EtcdConfig) -> Result<RootCertStore, String> {
    let Some(file) = &config.trusted_ca_file else {
        return Err("trusted-ca-file is not named".to_owned());
    };
    let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let pem = std::fs::read(file).map_err(|error| problem(&error))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| problem(&error))?;
        roots.add(certificate).map_err(|error| problem(&error))?;
    }
    match roots.is_empty() {
        true => Err(problem(&"no certificate in PEM")),
        false => Ok(roots),
    }
}

type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pair(client: &ClientCertificate) -> Result<Pair, String> {
    let (cert, key) = (&client.cert_file, &client.key_file);
    let problem = |file: &std::path::Path, error: &dyn std::fmt::Display| {
        format!("{}: {error}", file.display())
    };
    let pem = std::fs::read(cert).map_err(|error| problem(cert, &error))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let chain = chain.map_err(|error| problem(cert, &error))?;
    let pem = std::fs::read(key).map_err(|error| problem(key, &error))?;
    let key_der = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| problem(key, &error))?;
    Ok((chain, key_der))
}

/// Judges as webpki does, and remembers the judgement.
#[derive(Debug)]
struct Witness {
    inner: Arc<WebPkiServerVerifier>,
    seen: OnceLock<Seen>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        let problem = verdict.as_ref().err().map(judgement);
        // A handshake shows one certificate; another would change nothing of what was seen.
        let _ = self.seen.set(Seen {
            certificate: Certificate::from_der(end_entity),
            cause: problem.as_ref().map_or(Cause::Other, |it| it.0),
            problem: problem.map(|it| it.1),
        });
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

fn judgement(error: &Error) -> (Cause, String) {
    let Error::InvalidCertificate(error) = error else {
        return (Cause::Other, error.to_string());
    };
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the errors are not ours, and the others describe themselves"
    )]
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (Cause::Expired, "it has expired".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (Cause::NotYet, "it is not valid yet".to_owned())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            (Cause::Name, "it stands for other names".to_owned())
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            (Cause::Issuer, "the trusted CA did not sign it".to_owned())
        }
        error => (Cause::Other, error.to_string()),
    }
}
