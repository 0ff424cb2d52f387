//! gRPC servers, well and otherwise.

use std::convert::Infallible;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::check::GrpcProbe;

#[tokio::test]
async fn a_server_is_up_if_it_says_that_it_serves() {
    check("", "0", &[0, 0, 0, 0, 2, 8, 1], Ok(())).await;
    check("shop", "0", &[0, 0, 0, 0, 2, 8, 1], Ok(())).await;
    let not_serving = Err("the server says NOT_SERVING");
    check("", "0", &[0, 0, 0, 0, 2, 8, 2], not_serving).await;
    let unknown = Err("the server does not know the service");
    check("gone", "5", &[], unknown).await;
    let another = Err("the server does not speak grpc.health.v1");
    check("", "12", &[], another).await;
    let long = Err("the answer is too long for one about health");
    check("", "0", &[0; 4096], long).await;
}

#[tokio::test]
async fn a_server_behind_tls_is_asked_by_its_name() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let mut config = server_config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = acceptor.accept(stream).await.unwrap();
        let name = stream.get_ref().1.server_name().map(str::to_owned);
        serve(stream, "0", &[0, 0, 0, 0, 2, 8, 1]).await;
        name
    });

    let grpc = GrpcProbe {
        tls: Some(TlsProbe::new("shop.test")),
        authority: "shop.test".to_owned(),
        service: String::new(),
    };
    let outcome = probe(&check_of(target, Method::Grpc(grpc))).await;

    assert_eq!(outcome, Ok(()));
    assert_eq!(server.await.unwrap().as_deref(), Some("shop.test"));
}

#[tokio::test]
async fn a_server_of_another_protocol_is_down() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });

    assert!(probe(&check_of(target, plain("shop"))).await.is_err());
    server.join().unwrap();
}

/// Probes `service` at a server that answers so.
async fn check(
    service: &str,
    status: &'static str,
    message: &'static [u8],
    expected: Result<(), &str>,
) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        serve(stream, status, message).await;
    });

    let outcome = probe(&check_of(target, plain(service))).await;

    assert_eq!(outcome, expected.map_err(str::to_owned));
    server.await.unwrap();
}

fn plain(service: &str) -> Method {
    Method::Grpc(GrpcProbe {
        tls: None,
        authority: "shop.test:8080".to_owned(),
        service: service.to_owned(),
    })
}

/// Answers one connection's calls as a gRPC server would, until the other end leaves.
async fn serve<S>(stream: S, status: &'static str, message: &'static [u8])
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let answer = service_fn(move |request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        let asked = request.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(usize::from(asked[4]), asked.len() - 5);
        let head = Response::builder().header("content-type", "application/grpc");
        Ok::<_, Infallible>(if message.is_empty() {
            head.header("grpc-status", status)
                .body(Full::default().boxed())
                .unwrap()
        } else {
            let trailers = [("grpc-status", status)]
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            let trailers = async move { Some(Ok(trailers.into_iter().collect())) };
            let body = Full::<Bytes>::from(message).with_trailers(trailers);
            head.body(body.boxed()).unwrap()
        })
    });
    let connection = http2::Builder::new(TokioExecutor::new());
    // A probe leaves when it has its answer, politely or not.
    let _ = connection
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}
