//! Tries one endpoint: its name, its address, its certificate, ours, and whether it is an etcd.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use kvstore::config::{Endpoint, EtcdConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use topology::report::{Outcome, Step};

use super::tls::{self, Tls};
use super::version::etcd_version;
use super::{failed, passed, skip, warned};
use crate::certificate::{Certificate, Urgency, days_until};

/// Each step has this long; a way that needs more is not one to mirror over.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);

/// The answer to `GET /version` is a line.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// The steps towards `endpoint` of cluster `name`.
pub(super) async fn steps(
    config: &EtcdConfig,
    endpoint: &Endpoint,
    name: &str,
    now: u64,
) -> Vec<Step> {
    let mut way = Way {
        config,
        endpoint,
        name,
        now,
        steps: Vec::new(),
    };
    way.go().await;
    let missing = STEPS.into_iter().filter(|step| {
        let is_plain = !endpoint.tls && TLS_STEPS.contains(step);
        !is_plain && !way.steps.iter().any(|it| it.step == *step)
    });
    let skipped: Vec<Step> = missing
        .map(|it| skip(it, "a step before it failed"))
        .collect();
    way.steps.extend(skipped);
    for step in &mut way.steps {
        step.endpoint = endpoint.to_string();
    }
    way.steps
}

const STEPS: [&str; 6] = [
    "dns",
    "tcp",
    TLS_STEPS[0],
    TLS_STEPS[1],
    TLS_STEPS[2],
    "etcd",
];
const TLS_STEPS: [&str; 3] = ["tls", "server-certificate", "client-certificate"];

struct Way<'a> {
    config: &'a EtcdConfig,
    endpoint: &'a Endpoint,
    name: &'a str,
    now: u64,
    steps: Vec<Step>,
}

impl Way<'_> {
    async fn go(&mut self) {
        let Some(addresses) = self.resolve().await else {
            return;
        };
        let Some(connection) = self.connect(&addresses).await else {
            return;
        };
        if !self.endpoint.tls {
            let asked = version(connection, &self.endpoint.host).await;
            self.etcd(asked);
            return;
        }
        let ours = self.own_certificate();
        let Some(stream) = self.handshake(connection).await else {
            self.steps.push(ours);
            return;
        };
        let asked = version(stream, &self.endpoint.host).await;
        // Only what comes back shows whether our certificate was accepted.
        let refusal = asked.as_ref().err().and_then(tls::refusal);
        if let Some(refusal) = refusal.filter(|_| ours.outcome != Outcome::Failed) {
            let remedy = format!(
                "have it signed by the CA that {}'s API server was given as --client-ca, and keep it \
                 valid",
                self.name
            );
            self.fail("client-certificate", format!("refused: {refusal}"), remedy);
            return;
        }
        self.steps.push(ours);
        self.etcd(asked);
    }

    async fn resolve(&mut self) -> Option<Vec<SocketAddr>> {
        let Endpoint { host, port, .. } = self.endpoint;
        let aliases = self.config.aliases_of(host);
        if !aliases.is_empty() {
            let found = aliases
                .iter()
                .map(|it| SocketAddr::new(*it, *port))
                .collect();
            return Some(self.resolved(found, " (cilium-host-aliases)"));
        }
        let problem = match timeout(STEP_TIMEOUT, lookup_host((host.as_str(), *port))).await {
            Ok(Ok(found)) => {
                let found: Vec<SocketAddr> = found.collect();
                if !found.is_empty() {
                    return Some(self.resolved(found, ""));
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", STEP_TIMEOUT.as_secs()),
        };
        let remedy = format!(
            "correct the host in the file {}, give it an address in the DNS, or name one under \
             cilium-host-aliases",
            self.name
        );
        self.fail("dns", format!("{host}: {problem}"), remedy);
        None
    }

    fn resolved(&mut self, found: Vec<SocketAddr>, by: &str) -> Vec<SocketAddr> {
        let texts: Vec<String> = found.iter().map(|it| it.ip().to_string()).collect();
        let found_text = format!("{}{by}", texts.join(", "));
        self.steps.push(passed("dns", found_text));
        found
    }

    async fn connect(&mut self, addresses: &[SocketAddr]) -> Option<TcpStream> {
        let mut problems = Vec::new();
        for address in addresses {
            let problem = match timeout(STEP_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(connection)) => {
                    self.steps
                        .push(passed("tcp", format!("connected to {address}")));
                    return Some(connection);
                }
                Ok(Err(error)) => (tcp_problem(&error), error.kind()),
                Err(_) => ("no answer".to_owned(), io::ErrorKind::TimedOut),
            };
            problems.push((format!("{address}: {}", problem.0), problem.1));
        }
        let refused = problems
            .iter()
            .any(|it| it.1 == io::ErrorKind::ConnectionRefused);
        let port = self.endpoint.port;
        let name = self.name;
        let remedy = match refused {
            true => format!(
                "start the clustermesh-apiserver of {name}, or correct the port in the file {name}: \
                 the host is there, but nobody listens on port {port}"
            ),
            false => format!(
                "let TCP port {port} pass between the clusters: check routes, firewalls and the \
                 load balancer of {name}"
            ),
        };
        let texts: Vec<String> = problems.into_iter().map(|it| it.0).collect();
        self.fail("tcp", texts.join("; "), remedy);
        None
    }

    /// What is wrong with our certificate can be seen without anybody's help.
    fn own_certificate(&self) -> Step {
        const STEP: &str = "client-certificate";
        let Some(client) = &self.config.client_certificate else {
            let found = "the configuration names none".to_owned();
            let remedy = format!(
                "name cert-file and key-file in the file {}; `meshctl clustermesh connect` makes \
                 them",
                self.name
            );
            return warned(STEP, found, remedy);
        };
        let file = &client.cert_file;
        let renew = || {
            format!(
                "renew {}: `meshctl clustermesh connect` does",
                file.display()
            )
        };
        let certificate = match Certificate::parse(file, std::fs::read(file)) {
            Ok(certificate) => certificate,
            Err(error) => return failed(STEP, error.to_string(), renew()),
        };
        let found = self.validity(&certificate);
        match Urgency::of(certificate.not_after, self.now) {
            Some(Urgency::Expired) => failed(STEP, found, renew()),
            Some(_) => warned(STEP, found, renew()),
            None => match tls::check_pair(client) {
                Ok(()) => passed(STEP, found),
                Err(problem) => failed(STEP, problem, renew()),
            },
        }
    }

    async fn handshake(
        &mut self,
        connection: TcpStream,
    ) -> Option<tokio_rustls::client::TlsStream<TcpStream>> {
        let tls = match Tls::new(self.config, &self.endpoint.host) {
            Ok(tls) => tls,
            Err(problem) => {
                let remedy = format!("correct the files that the file {} names", self.name);
                self.fail("tls", problem, remedy);
                return None;
            }
        };
        let attempt = timeout(STEP_TIMEOUT, tls.connect(connection)).await;
        let seen = tls.seen();
        match (attempt, seen) {
            (Ok(Ok(stream)), Some(seen)) => {
                let protocol = stream.get_ref().1.protocol_version();
                let protocol = protocol.and_then(|it| it.as_str().map(str::to_owned));
                self.steps.push(passed("tls", protocol.unwrap_or_default()));
                self.server_certificate(&seen, None);
                Some(stream)
            }
            (Ok(Err(error)), Some(seen)) => {
                self.steps
                    .push(passed("tls", "the server shows a certificate".to_owned()));
                let problem = seen.problem.clone();
                self.server_certificate(&seen, Some(problem.unwrap_or_else(|| error.to_string())));
                None
            }
            (Ok(Ok(_)), None) => None,
            (Ok(Err(error)), None) => {
                let remedy = format!(
                    "check that {} serves TLS there: the endpoint may be plaintext or another \
                     service",
                    self.name
                );
                self.fail("tls", error.to_string(), remedy);
                None
            }
            (Err(_), _) => {
                let found = format!("no handshake within {} s", STEP_TIMEOUT.as_secs());
                let remedy = format!("check that {} is not overloaded", self.endpoint);
                self.fail("tls", found, remedy);
                None
            }
        }
    }

    fn server_certificate(&mut self, seen: &tls::Seen, problem: Option<String>) {
        const STEP: &str = "server-certificate";
        let Some(certificate) = &seen.certificate else {
            let remedy = format!(
                "give the API server of {} a certificate in X.509",
                self.name
            );
            self.fail(STEP, "it is none".to_owned(), remedy);
            return;
        };
        let found = self.validity(certificate);
        let (name, host) = (self.name, &self.endpoint.host);
        let Some(problem) = problem else {
            self.steps
                .push(match Urgency::of(certificate.not_after, self.now) {
                    None => passed(STEP, found),
                    Some(_) => warned(
                        STEP,
                        found,
                        format!("renew the certificate of {name}'s etcd"),
                    ),
                });
            return;
        };
        let remedy = match seen.cause {
            tls::Cause::Expired => format!("renew the certificate of {name}'s etcd"),
            tls::Cause::Name => format!(
                "add {host} to the certificate's names, or connect to one that it has, with \
                 cilium-host-aliases for its address"
            ),
            tls::Cause::Issuer => format!(
                "put the CA that signed it into the trusted-ca-file that the file {name} names"
            ),
            tls::Cause::NotYet => "set the clocks: it is valid only later".to_owned(),
            tls::Cause::Other => format!("replace the certificate of {name}'s etcd"),
        };
        self.fail(STEP, format!("{problem}: {found}"), remedy);
    }

    fn etcd(&mut self, asked: io::Result<String>) {
        match asked {
            Ok(version) => self.steps.push(passed("etcd", version)),
            Err(error) => {
                let remedy = format!(
                    "check that the endpoint is an etcd and no other service; read the log of \
                     {}'s clustermesh-apiserver",
                    self.name
                );
                self.fail("etcd", format!("GET /version: {error}"), remedy);
            }
        }
    }

    fn validity(&self, certificate: &Certificate) -> String {
        match certificate.not_after <= self.now {
            true => format!(
                "{certificate}, expired {} days ago",
                days_until(self.now, certificate.not_after)
            ),
            false => format!(
                "{certificate}, valid for {} days",
                days_until(certificate.not_after, self.now)
            ),
        }
    }

    fn fail(&mut self, step: &str, found: String, remedy: String) {
        self.steps.push(failed(step, found, remedy));
    }
}

fn tcp_problem(error: &io::Error) -> String {
    match error.kind() == io::ErrorKind::ConnectionRefused {
        true => "connection refused".to_owned(),
        false => error.to_string(),
    }
}

/// What the etcd says of its version, in one line.
async fn version<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    host: &str,
) -> io::Result<String> {
    let request = format!("GET /version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let exchange = async {
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        let mut limited = (&mut stream).take(ANSWER_BYTES_MAX);
        match limited.read_to_end(&mut answer).await {
            // Whoever closes without a farewell has said what it had to say.
            Err(error) if answer.is_empty() => return Err(error),
            Ok(_) | Err(_) => (),
        }
        Ok(answer)
    };
    let answer = timeout(STEP_TIMEOUT, exchange).await;
    let answer = answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    match etcd_version(&answer) {
        Some(version) => Ok(format!("etcd {version}")),
        None => Err(io::Error::other("that is not how an etcd answers")),
    }
}
