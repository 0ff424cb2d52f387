//! Answers over encrypted transports, and certificates that change.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Authority, eventually};
use super::zone;

#[test]
fn kdig_and_curl_get_answers_over_every_transport() {
    let certificate = Certificate::new("one.test");
    let authority = certificate.authority(&zone(""));
    let [tls, https, quic] = ports(&authority);

    for (option, port) in [
        ("+tls", tls),
        ("+https", https),
        ("+https-get", https),
        ("+quic", quic),
    ] {
        let ask = |name: &str, kind: &str| authority.kdig_at(port, &[option, name, kind, "+short"]);
        assert_eq!(ask("www.example.test", "A"), "192.0.2.1\n", "{option}");
        let unknown = authority.kdig_at(port, &[option, "gone.example.test", "A"]);
        assert!(unknown.contains("NXDOMAIN"), "{option}: {unknown}");
    }
    let several = [
        "+keepopen",
        "www.example.test",
        "A",
        "mail.example.test",
        "MX",
        "+short",
    ];
    let several = [&["+tls"], &several[..]].concat();
    let answers = authority.kdig_at(tls, &several);
    assert!(
        answers.contains("192.0.2.1") && answers.contains("10 www"),
        "{answers}"
    );
    assert_eq!(authority.stop(), 0);
}

#[test]
fn requests_over_https_have_the_statuses_of_http() {
    let certificate = Certificate::new("one.test");
    let authority = certificate.authority(&zone(""));
    let [_, port, _] = ports(&authority);
    let url = |path: &str| format!("https://127.0.0.1:{port}{path}");
    // example.test SOA and gone.example.test A, without an id.
    let soa = "/dns-query?dns=AAABAAABAAAAAAAAB2V4YW1wbGUEdGVzdAAABgAB";
    let gone = "/dns-query?dns=AAABAAABAAAAAAAABGdvbmUHZXhhbXBsZQR0ZXN0AAABAAE";
    let json = ["-H", "content-type: application/json", "-d", "{}"];
    let dns = [
        "-H",
        "content-type: application/dns-message",
        "--data-binary",
    ];
    let long = "x".repeat(5000);

    for version in ["--http1.1", "--http2"] {
        let check = |arguments: &[&str], path: &str, expected: &str| {
            let got = curl(&[&[version], arguments].concat(), &url(path));
            assert!(
                got.starts_with(expected),
                "{version} {arguments:?} {path}: {got}"
            );
        };
        check(&[], soa, "200 application/dns-message max-age=60");
        check(&[], gone, "200 application/dns-message max-age=60");
        check(&[], "/", "404");
        check(&[], "/dns-query", "400");
        check(&[], "/dns-query?dns=AAAA=", "400");
        check(&["-X", "PUT"], "/dns-query", "405");
        check(&json, "/dns-query", "415");
        check(&[&dns[..], &[&long]].concat(), "/dns-query", "413");
        check(&[&dns[..], &["short"]].concat(), "/dns-query", "400");
    }
}

#[test]
fn a_new_certificate_is_used_without_a_restart() {
    let certificate = Certificate::new("one.test");
    let authority = certificate.authority(&zone(""));
    let [tls, _, quic] = ports(&authority);
    let ask = || authority.kdig_at(tls, &["+tls", "www.example.test", "A", "+short"]);
    assert_eq!(ask(), "192.0.2.1\n");

    write("two.test", certificate.directory.path());
    eventually("the new certificate is shown", || {
        authority.log_has("a new certificate is in use")
    });
    let [host, ca] = [
        "+tls-hostname=two.test",
        &format!("+tls-ca={}", certificate.file("cert.pem")),
    ];
    let verified = ["+tls", host, ca, "www.example.test", "A", "+short"];
    assert_eq!(authority.kdig_at(tls, &verified), "192.0.2.1\n");
    let over_quic = ["+quic", "www.example.test", "A", "+short"];
    assert_eq!(authority.kdig_at(quic, &over_quic), "192.0.2.1\n");

    fs::write(certificate.file("key.pem"), "no key").unwrap();
    eventually("the mistake is told", || {
        authority.log_has("the new certificate cannot be used")
    });
    assert_eq!(ask(), "192.0.2.1\n");
}

/// A certificate of its own making, in files.
struct Certificate {
    directory: TempDir,
}

impl Certificate {
    fn new(name: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        write(name, directory.path());
        Self { directory }
    }

    fn authority(&self, zone: &str) -> Authority {
        let any = "127.0.0.1:0";
        let (chain, key) = (self.file("cert.pem"), self.file("key.pem"));
        let flags = [
            ("--listen-tls", any),
            ("--listen-https", any),
            ("--listen-quic", any),
            ("--tls-cert", &chain),
            ("--tls-key", &key),
        ];
        Authority::start(zone, &flags)
    }

    fn file(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }
}

fn write(name: &str, directory: &Path) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    fs::write(directory.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(directory.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
}

/// Of TLS, HTTPS and QUIC.
fn ports(authority: &Authority) -> [u16; 3] {
    authority.ports()[1..].try_into().unwrap()
}

/// The status of a response, its type and how long it may be kept.
fn curl(arguments: &[&str], url: &str) -> String {
    let shown = "%{http_code} %{content_type} %header{cache-control}";
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20"])
        .args(["--output", "/dev/null", "--write-out", shown])
        .args(arguments)
        .arg(url)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
