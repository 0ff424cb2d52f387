//! Decides what an etcd client configuration file means.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Where an etcd is and how to prove who we are: the YAML that etcd's own clients read, with
/// Cilium's `cilium-host-aliases`. Fields that it does not know are ignored.
#[derive(Clone, Debug, PartialEq)]
pub struct EtcdConfig {
    /// At least one; tried in this order.
    pub endpoints: Vec<Endpoint>,
    /// PEM. Required as soon as an endpoint is `https`.
    pub trusted_ca_file: Option<PathBuf>,
    pub client_certificate: Option<ClientCertificate>,
    pub user: Option<User>,
    /// How long one attempt to connect may take; the caller's default applies if absent.
    pub dial_timeout: Option<Duration>,
    /// Addresses that stand in for the DNS.
    pub host_aliases: Vec<HostAlias>,
}

/// One `http` or `https` URL without a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    pub tls: bool,
    /// A DNS name or an address; IPv6 addresses without brackets.
    pub host: String,
    pub port: u16,
}

/// PEM files, read again for every connection so that they can be rotated.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCertificate {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
}

#[derive(Clone, PartialEq)]
pub struct User {
    pub name: String,
    pub password: String,
}

#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct HostAlias {
    pub hostname: String,
    pub ips: Vec<IpAddr>,
}

/// The message names the file, and the line and column if there are any.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct ConfigError {
    place: String,
    problem: String,
}

impl EtcdConfig {
    /// Reads and parses `file`.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError {
            place: file.display().to_string(),
            problem: format!("{error}; the file must exist and be readable"),
        })?;
        Self::parse(&text, file)
    }

    /// Parses `text`; `file` only names the place in errors.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let error = |problem: String| ConfigError {
            place: file.display().to_string(),
            problem,
        };
        let yaml: Yaml = serde_saphyr::from_str(text).map_err(|problem| ConfigError {
            place: place(file, &problem),
            problem: summary(&problem),
        })?;

        if yaml.insecure_skip_tls_verify {
            return Err(error(
                "insecure-skip-tls-verify is refused: name the server's CA in trusted-ca-file"
                    .into(),
            ));
        }
        if yaml.endpoints.is_empty() {
            return Err(error("endpoints: at least one URL is needed".into()));
        }
        let endpoints = yaml
            .endpoints
            .iter()
            .map(|url| {
                Endpoint::parse(url)
                    .map_err(|problem| error(format!("endpoints: {url:?}: {problem}")))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if endpoints.iter().any(|it| it.tls) && yaml.trusted_ca_file.is_none() {
            return Err(error(
                "trusted-ca-file is needed for https endpoints: name the PEM file of the server's CA".into(),
            ));
        }

        let client_certificate = match (yaml.cert_file, yaml.key_file) {
            (Some(cert_file), Some(key_file)) => Some(ClientCertificate {
                cert_file,
                key_file,
            }),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(error("cert-file and key-file are needed together".into()));
            }
        };
        let user = yaml.username.map(|name| User {
            name,
            password: yaml.password.unwrap_or_default(),
        });

        Ok(Self {
            endpoints,
            trusted_ca_file: yaml.trusted_ca_file,
            client_certificate,
            user,
            dial_timeout: yaml.dial_timeout.map(duration).transpose().map_err(error)?,
            host_aliases: yaml.cilium_host_aliases,
        })
    }

    /// The addresses that an alias gives `host`, or none if the DNS decides.
    pub fn aliases_of(&self, host: &str) -> &[IpAddr] {
        self.host_aliases
            .iter()
            .find(|it| it.hostname.eq_ignore_ascii_case(host))
            .map_or(&[], |it| &it.ips)
    }
}

impl Endpoint {
    fn parse(url: &str) -> Result<Self, String> {
        let (tls, rest) = match url.split_once("://") {
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "{scheme}:// is not supported, only https:// and http://"
                ));
            }
            None => return Err("a URL starts with https:// or http://".into()),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let uri: axum::http::Uri = format!("http://{authority}/")
            .parse()
            .map_err(|error| format!("not a URL: {error}"))?;
        if uri.path() != "/" || authority.contains(['/', '?', '#', '@']) {
            return Err("only host and port are expected".into());
        }

        let host = uri.host().unwrap_or_default();
        if host.is_empty() {
            return Err("the host is missing".into());
        }
        Ok(Self {
            tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port: uri.port_u16().unwrap_or(DEFAULT_PORT),
        })
    }
}

/// etcd's client port.
const DEFAULT_PORT: u16 = 2379;

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Yaml {
    #[serde(default)]
    endpoints: Vec<String>,
    trusted_ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    username: Option<String>,
    password: Option<String>,
    dial_timeout: Option<DialTimeout>,
    #[serde(default)]
    cilium_host_aliases: Vec<HostAlias>,
}

/// Go's YAML accepts nanoseconds or a text like `5s`.
#[derive(Deserialize)]
#[serde(untagged)]
enum DialTimeout {
    Nanoseconds(u64),
    Text(String),
}

fn duration(timeout: DialTimeout) -> Result<Duration, String> {
    match timeout {
        DialTimeout::Nanoseconds(nanoseconds) => Ok(Duration::from_nanos(nanoseconds)),
        DialTimeout::Text(text) => {
            let split = text
                .find(|it: char| it.is_ascii_alphabetic())
                .unwrap_or(text.len());
            let (number, unit) = text.split_at(split);
            let seconds_per_unit = match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                _ => {
                    return Err(format!(
                        "dial-timeout: {text:?} is not a duration such as 5s or 500ms"
                    ));
                }
            };
            number
                .parse::<f64>()
                .ok()
                .and_then(|it| Duration::try_from_secs_f64(it * seconds_per_unit).ok())
                .ok_or_else(|| {
                    format!("dial-timeout: {text:?} is not a duration such as 5s or 500ms")
                })
        }
    }
}

fn place(file: &Path, error: &serde_saphyr::Error) -> String {
    match error.location() {
        Some(location) => format!(
            "{}:{}:{}",
            file.display(),
            location.line(),
            location.column()
        ),
        None => file.display().to_string(),
    }
}

/// The first line: the rest repeats the place and quotes the file, which may hold a password.
fn summary(error: &serde_saphyr::Error) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cilium_writes() {
        let config = parse(
            "endpoints:\n- https://beta.mesh.cilium.io:2379\ntrusted-ca-file: /ca.crt\nkey-file: /c.key\ncert-file: /c.crt\n\
             dial-timeout: 5s\nsome-new-field: 1\ncilium-host-aliases:\n- hostname: beta.mesh.cilium.io\n  ips: [172.18.255.201]\n",
        )
        .unwrap();

        assert_eq!(
            config.endpoints[0].to_string(),
            "https://beta.mesh.cilium.io:2379"
        );
        assert_eq!(config.trusted_ca_file, Some("/ca.crt".into()));
        assert_eq!(
            config.client_certificate.as_ref().unwrap().key_file,
            PathBuf::from("/c.key")
        );
        assert_eq!(config.dial_timeout, Some(Duration::from_secs(5)));
        assert_eq!(
            config.aliases_of("Beta.mesh.cilium.io"),
            ["172.18.255.201".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(config.aliases_of("gamma.mesh.cilium.io"), [] as [IpAddr; 0]);
    }

    #[test]
    fn reads_addresses_and_default_ports() {
        let config =
            parse("endpoints: ['http://127.0.0.1:1', 'http://[::1]:2', 'http://etcd']").unwrap();

        let hosts: Vec<_> = config
            .endpoints
            .iter()
            .map(|it| (it.host.as_str(), it.port))
            .collect();
        assert_eq!(hosts, [("127.0.0.1", 1), ("::1", 2), ("etcd", 2379)]);
        assert_eq!(config.endpoints[1].to_string(), "http://[::1]:2");
    }

    #[test]
    fn says_where_a_file_is_wrong() {
        check_error("endpoints: 7", "etcd.yaml:1:12: ");
        check_error("endpoints:\n- http://a\nusername: [x", "etcd.yaml:3:");
        check_error("{}", "etcd.yaml: endpoints: at least one URL is needed");
        check_error(
            "endpoints: [ftp://a]",
            "etcd.yaml: endpoints: \"ftp://a\": ftp:// is not supported",
        );
        check_error(
            "endpoints: ['http://a/b']",
            "etcd.yaml: endpoints: \"http://a/b\": only host and port",
        );
        check_error(
            "endpoints: ['https://a']",
            "etcd.yaml: trusted-ca-file is needed",
        );
        check_error(
            "endpoints: ['http://a']\ncert-file: x",
            "etcd.yaml: cert-file and key-file",
        );
        check_error(
            "endpoints: ['http://a']\ndial-timeout: soon",
            "etcd.yaml: dial-timeout: \"soon\"",
        );
        check_error(
            "endpoints: ['http://a']\ninsecure-skip-tls-verify: true",
            "etcd.yaml: insecure-skip-tls-verify is refused",
        );
    }

    #[test]
    fn never_shows_a_password() {
        let config = parse("endpoints: ['http://a']\nusername: root\npassword: secret").unwrap();

        let shown = format!("{config:?}");
        assert!(
            shown.contains("root") && !shown.contains("secret"),
            "{shown}"
        );
    }

    fn parse(text: &str) -> Result<EtcdConfig, ConfigError> {
        EtcdConfig::parse(text, Path::new("etcd.yaml"))
    }

    #[track_caller]
    fn check_error(text: &str, expected: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}
