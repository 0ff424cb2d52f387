//! Sends probes: real TCP connections and HTTP requests to the targets of checks.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;

use crate::check::{Check, HttpProbe, Method};

/// What all probes share.
#[derive(Clone)]
pub struct Prober {
    tls: TlsConnector,
}

impl Prober {
    pub fn new() -> anyhow::Result<Self> {
        let provider = Arc::new(crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth();
        Ok(Self {
            tls: Arc::new(tls).into(),
        })
    }

    /// Probes once; the error says in a few words why the target does not count as healthy.
    pub async fn probe(&self, check: &Check) -> Result<(), String> {
        let limit = check.timing.timeout;
        match tokio::time::timeout(limit, self.attempt(check)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {}", seconds(limit))),
        }
    }

    async fn attempt(&self, check: &Check) -> Result<(), String> {
        let stream = connect(check).await.map_err(|it| describe(&it))?;
        match &check.method {
            Method::Tcp => Ok(()),
            Method::Http(probe) if probe.tls => {
                let name = ServerName::try_from(probe.host.clone());
                let name = name.map_err(|_| format!("`{}` is no TLS name", probe.host))?;
                let stream = self
                    .tls
                    .connect(name, stream)
                    .await
                    .map_err(|it| describe(&it))?;
                exchange(stream, probe).await
            }
            Method::Http(probe) => exchange(stream, probe).await,
        }
    }
}

async fn connect(check: &Check) -> io::Result<TcpStream> {
    let socket = match check.target {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if let Some(source) = check.source {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    socket.connect(check.target).await
}

/// Sends the request, and judges the response.
async fn exchange<S>(stream: S, probe: &HttpProbe) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|it| describe(&it))?;
    let request = Request::get(&probe.path)
        .header(header::HOST, &probe.authority)
        .header(header::USER_AGENT, &probe.user_agent)
        .header(header::ACCEPT, "*/*")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|it| it.to_string())?;

    let mut connection = std::pin::pin!(connection);
    let judged = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|it| describe(&it))?;
        judge(response, probe).await
    };
    let mut judged = std::pin::pin!(judged);
    tokio::select! {
        outcome = &mut judged => outcome,
        // The target may close as soon as it has answered, which leaves the answer to be judged.
        _ = &mut connection => judged.await,
    }
}

async fn judge(response: Response<Incoming>, probe: &HttpProbe) -> Result<(), String> {
    let status = response.status().as_u16();
    if status != probe.expected_status {
        return Err(format!(
            "status {status} instead of {}",
            probe.expected_status
        ));
    }
    let Some(wanted) = probe.body_contains.as_deref().filter(|it| !it.is_empty()) else {
        return Ok(());
    };

    let mut body = response.into_body();
    let mut seen = Vec::new();
    while seen.len() < probe.body_bytes_max
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|it| describe(&it))?;
        if let Ok(data) = frame.into_data() {
            let room = probe.body_bytes_max - seen.len();
            seen.extend_from_slice(&data[..data.len().min(room)]);
        }
        if seen.windows(wanted.len()).any(|it| it == wanted.as_bytes()) {
            return Ok(());
        }
    }
    Err(format!("the body does not contain `{wanted}`"))
}

/// The innermost reason of an error, which says the most.
fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

/// Accepts any certificate, as PowerDNS does: a probe asks whether the target serves, sends it nothing
/// secret, and believes no more of its answer than a plain one. Clients judge the certificate
/// themselves. `--help` says so to operators.
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
mod tests;
