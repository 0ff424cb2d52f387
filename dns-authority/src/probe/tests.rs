mod grpc;
mod hostile;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned, crypto};

use super::*;
use crate::check::{HttpProbe, Timing, TlsProbe};

#[tokio::test]
async fn a_port_is_up_if_it_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let tcp = check_of(target, Method::Tcp);

    assert_eq!(probe(&tcp).await, Ok(()));
    drop(listener);
    assert_eq!(
        probe(&tcp).await,
        Err("Connection refused (os error 111)".to_owned())
    );
}

#[tokio::test]
async fn a_url_is_judged_by_status_and_body() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well";
    check(ok, |_| (), Ok(())).await;
    check(
        ok,
        |it| it.body_contains = Some("is well".to_owned()),
        Ok(()),
    )
    .await;
    check(
        ok,
        |it| it.body_contains = Some("bad".to_owned()),
        Err("the body does not contain `bad`"),
    )
    .await;
    let first_half = |it: &mut HttpProbe| {
        it.body_contains = Some("well".to_owned());
        it.body_bytes_max = 6;
    };
    check(ok, first_half, Err("the body does not contain `well`")).await;

    let moved =
        "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\n\r\n";
    check(moved, |_| (), Err("status 302 instead of 200")).await;
    check(moved, |it| it.expected_status = 302.into(), Ok(())).await;
    check(
        "garbage\r\n\r\n",
        |_| (),
        Err("invalid HTTP version parsed"),
    )
    .await;
    check(
        "",
        |_| (),
        Err("connection closed before message completed"),
    )
    .await;
}

#[tokio::test]
async fn a_target_that_says_nothing_fails_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let timing = Timing {
        timeout: Duration::from_millis(100),
        ..TIMING
    };
    let check = Check {
        timing,
        ..http(silent.local_addr().unwrap(), false)
    };

    assert_eq!(
        probe(&check).await,
        Err("no answer within 0.1 s".to_owned())
    );
}

#[tokio::test]
async fn a_request_carries_the_headers_that_the_check_names() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut check = http(listener.local_addr().unwrap(), false);
    if let Method::Http(probe) = &mut check.method {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header("X-Token", "secret"), header("Host", "other.test")];
        probe.headers = headers.into();
    }
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(response).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });

    assert_eq!(probe(&check).await, Ok(()));
    let request = server.join().unwrap().to_lowercase();
    assert!(request.contains("\r\nx-token: secret\r\n"), "{request}");
    assert!(request.contains("\r\nhost: other.test\r\n"), "{request}");
    assert!(!request.contains("shop.test"), "{request}");
}

#[tokio::test]
async fn a_named_target_is_looked_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let named = |host: &str| Check {
        target: Endpoint::Named {
            host: host.to_owned(),
            port,
        },
        ..check_of(([127, 0, 0, 1], port).into(), Method::Tcp)
    };

    assert_eq!(probe(&named("127.0.0.1")).await, Ok(()));
    let error = probe(&named("no such host")).await.unwrap_err();
    assert!(
        error.starts_with("cannot look no such host up: "),
        "{error}"
    );
}

/// Needs the right to send echoes, which whoever makes network namespaces has.
#[tokio::test]
async fn a_machine_is_up_if_it_sends_echoes_back() {
    let echo = |address: &str| {
        let address: IpAddr = address.parse().unwrap();
        check_of(SocketAddr::new(address, 0), Method::Icmp)
    };
    assert_eq!(probe(&echo("127.0.0.1")).await, Ok(()));
    assert_eq!(probe(&echo("::1")).await, Ok(()));
    let from_elsewhere = Check {
        source: Some("127.0.0.9".parse().unwrap()),
        ..echo("127.0.0.8")
    };
    assert_eq!(probe(&from_elsewhere).await, Ok(()));

    // Set aside for discarding (RFC 6666): nobody answers.
    let timing = Timing {
        timeout: Duration::from_millis(100),
        ..TIMING
    };
    let nobody = Check {
        timing,
        ..echo("100::1")
    };
    assert!(probe(&nobody).await.is_err());
}

#[tokio::test]
async fn https_names_the_host_and_takes_any_certificate() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let connection = ServerConnection::new(Arc::new(server_config())).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        stream.conn.server_name().map(str::to_owned)
    });

    assert_eq!(probe(&http(target, true)).await, Ok(()));
    assert_eq!(server.join().unwrap().as_deref(), Some("shop.test"));
}

const TIMING: Timing = Timing {
    interval: Duration::from_secs(1),
    timeout: Duration::from_secs(20),
    fall: 1,
    rise: 1,
};

/// Probes a target that answers with `response`, and closes.
async fn check(
    response: &'static str,
    change: impl FnOnce(&mut HttpProbe),
    expected: Result<(), &str>,
) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut check = http(listener.local_addr().unwrap(), false);
    if let Method::Http(probe) = &mut check.method {
        change(probe);
    }
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        stream.write_all(response.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });

    assert_eq!(
        probe(&check).await,
        expected.map_err(str::to_owned),
        "{response}"
    );
    let request = server.join().unwrap().to_lowercase();
    assert!(
        request.starts_with("get /up?x=1 http/1.1\r\nhost: shop.test:8080\r\n"),
        "{request}"
    );
}

async fn probe(check: &Check) -> Result<(), String> {
    Prober::new(None).unwrap().probe(check).await
}

fn http(target: SocketAddr, tls: bool) -> Check {
    let probe = HttpProbe {
        tls: tls.then(|| TlsProbe::new("shop.test")),
        user_agent: "test".to_owned(),
        body_bytes_max: 1024,
        ..HttpProbe::plain("shop.test:8080", "/up?x=1")
    };
    check_of(target, Method::Http(probe))
}

fn check_of(target: SocketAddr, method: Method) -> Check {
    Check {
        target: target.into(),
        method,
        timing: TIMING,
        source: None,
    }
}

fn server_config() -> ServerConfig {
    let certified = rcgen::generate_simple_self_signed(["other.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certified.cert.der().clone()], key)
        .unwrap()
}
