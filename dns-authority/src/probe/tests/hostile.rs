//! Targets that mean no good: each costs a bounded time and a bounded memory.

use std::io;
use std::net::{Shutdown, TcpStream as Stream};
use std::sync::mpsc;

use super::*;

/// What a target may send before the probe has left: what is on the way, in the buffers of two
/// sockets, and nothing that grows with what it would still send.
const SENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What it would still send if nobody stopped it.
const ENDLESS_BYTES: usize = 4 * SENT_BYTES_MAX;

#[tokio::test]
async fn endless_bodies_are_read_only_so_far() {
    let head = "HTTP/1.1 200 OK\r\n\r\n";
    let looks_for = |it: &mut HttpProbe| it.body_contains = Some("needle".to_owned());

    endless(head, "hay", looks_for, "the body does not contain `needle`").await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = "the body does not contain `needle`";
    endless(chunked, "1\r\nx\r\n", looks_for, error).await;
}

#[tokio::test]
async fn endless_headers_are_an_error() {
    let head = "HTTP/1.1 200 OK\r\n";
    let error = "message head is too large";

    endless(head, "X-Header: value\r\n", |_| (), error).await;
    endless("HTTP/1.1 200 OK\r\nX: ", "aaaaaaaaaaaaaaaa", |_| (), error).await;
    endless("", "HTTP/1.1 200 aaaaaaaa", |_| (), error).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;";
    let looks_for = |it: &mut HttpProbe| it.body_contains = Some("needle".to_owned());
    let error = "chunk extensions over limit";
    endless(chunked, "extension", looks_for, error).await;
}

#[tokio::test]
async fn answers_that_never_end_well_take_no_longer_than_the_timeout() {
    // Interim answers are no answer, however many.
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
    times_out(|mut it| while it.write_all(interim).is_ok() {}).await;
    times_out(|mut it| {
        for octet in b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
            .iter()
            .cycle()
        {
            if it.write_all(&[*octet]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    })
    .await;
    // Says nothing, and never leaves.
    times_out(|mut it| drop(it.read_to_end(&mut Vec::new()))).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let location = elsewhere.local_addr().unwrap();
    let (target, _server) = serve(move |mut stream| {
        let head = "HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\n";
        let answer = format!("{head}Location: http://{location}/\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
    });

    let outcome = probe(&http(target, false)).await;

    assert_eq!(outcome, Err("status 301 instead of 200".to_owned()));
    let visitor = elsewhere.accept().map(|_| ());
    assert_eq!(visitor.unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn bad_tls_is_an_error() {
    let (target, _server) = serve(|mut it| drop(it.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let error = probe(&http(target, true)).await.unwrap_err();
    assert!(error.contains("corrupt message"), "{error}");

    let (target, _server) = serve(|it| drop(it.shutdown(Shutdown::Both)));
    let error = probe(&http(target, true)).await.unwrap_err();
    assert!(error.contains("eof") || error.contains("reset"), "{error}");

    // A handshake that goes on for ever: its first message claims to be 16 MB long.
    let (target, server) = serve(|mut it| {
        let record = [
            &[22, 3, 3, 0x40, 0, 11, 255, 255, 255][..],
            &[0; 0x4000 - 4],
        ]
        .concat();
        let mut left = ENDLESS_BYTES;
        while 0 < left && it.write_all(&record).is_ok() {
            left = left.saturating_sub(record.len());
        }
        assert!(ENDLESS_BYTES - left < SENT_BYTES_MAX, "nobody stopped it");
    });
    assert!(probe(&http(target, true)).await.is_err());
    server.join().unwrap();
}

#[tokio::test]
async fn targets_that_leave_at_once_are_down() {
    let (target, _server) = serve(drop);
    let error = probe(&http(target, false)).await.unwrap_err();
    let is_told = ["closed", "reset", "canceled"]
        .iter()
        .any(|it| error.contains(it));
    assert!(is_told, "{error}");
}

/// A body that comes octet by octet is looked through once, not once per octet.
#[tokio::test]
async fn a_body_in_crumbs_is_found_and_costs_little() {
    let (target, _server) = serve(|mut it| {
        let crumbs = "1\r\na\r\n".repeat(60_000);
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let needle = "1\r\nn\r\n1\r\ne\r\n1\r\ne\r\n1\r\nd\r\n0\r\n\r\n";
        drop(it.write_all([head, &crumbs, needle].concat().as_bytes()));
    });
    let mut check = http(target, false);
    change(&mut check, |it| {
        it.body_contains = Some("need".to_owned());
        it.body_bytes_max = 64 * 1024;
    });

    assert_eq!(probe(&check).await, Ok(()));
}

/// Probes a target that sends `head`, and then `again` for ever.
async fn endless(
    head: &'static str,
    again: &'static str,
    with: impl FnOnce(&mut HttpProbe),
    expected: &str,
) {
    let (sent, received) = mpsc::sync_channel(1);
    let (target, server) = serve(move |mut stream| {
        let mut count = head.len();
        let mut outcome = stream.write_all(head.as_bytes());
        let much = again.repeat(1_000);
        while outcome.is_ok() && count < ENDLESS_BYTES {
            outcome = stream.write_all(much.as_bytes());
            count += much.len();
        }
        sent.send(count).unwrap();
    });
    let mut check = http(target, false);
    change(&mut check, with);

    let error = probe(&check).await.unwrap_err();
    assert!(error.contains(expected), "{error} instead of {expected}");
    server.join().unwrap();
    let count = received.recv().unwrap();
    assert!(count < SENT_BYTES_MAX, "took {count} octets");
}

/// Probes a target that behaves so, and has no time for it.
async fn times_out(behaves: impl FnOnce(Stream) + Send + 'static) {
    let (target, server) = serve(behaves);
    let mut check = http(target, false);
    check.timing.timeout = Duration::from_millis(200);

    let outcome = probe(&check).await;

    assert_eq!(outcome, Err("no answer within 0.2 s".to_owned()));
    // The probe has hung up, or it would never end.
    server.join().unwrap();
}

fn change(check: &mut Check, with: impl FnOnce(&mut HttpProbe)) {
    if let Method::Http(probe) = &mut check.method {
        with(probe);
    }
}

/// A target that takes one connection, reads what it is asked, and behaves as `answer` does.
fn serve(answer: impl FnOnce(Stream) + Send + 'static) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        answer(stream);
    });
    (target, server)
}
