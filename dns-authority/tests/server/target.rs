//! A small real HTTP server, which can die.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

/// Answers `/healthz` with 200 if it is asked for by its name, everything else with 404, until it
/// is dropped.
pub(crate) struct Target {
    address: SocketAddr,
    is_dying: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Two targets on one port: 127.0.0.11 and 127.0.0.12.
    pub(crate) fn pair(host: &str) -> (Self, Self) {
        for _ in 0..20 {
            let first = TcpListener::bind("127.0.0.11:0").unwrap();
            let port = first.local_addr().unwrap().port();
            if let Ok(second) = TcpListener::bind(("127.0.0.12", port)) {
                return (Self::serve(first, host), Self::serve(second, host));
            }
        }
        panic!("no port is free on both addresses");
    }

    pub(crate) fn at(address: &str, port: u16, host: &str) -> Self {
        Self::serve(TcpListener::bind((address, port)).unwrap(), host)
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    fn serve(listener: TcpListener, host: &str) -> Self {
        let address = listener.local_addr().unwrap();
        let is_dying = Arc::new(AtomicBool::new(false));
        let dying = Arc::clone(&is_dying);
        let host = format!("host: {host}:{}", address.port());
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if dying.load(Ordering::SeqCst) {
                    return;
                }
                // A client that leaves early is its own business.
                let _ = stream.and_then(|it| answer(&it, &host));
            }
        });
        Self {
            address,
            is_dying,
            thread: Some(thread),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.is_dying.store(true, Ordering::SeqCst);
        // Wakes the listener up to see it.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn answer(mut stream: &TcpStream, host: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let headers: Vec<String> = lines
        .map_while(Result::ok)
        .take_while(|it| !it.is_empty())
        .collect();

    let is_ours = headers.iter().any(|it| it.eq_ignore_ascii_case(host));
    let status = match request.as_str() {
        "GET /healthz HTTP/1.1" if is_ours => "200 OK",
        _ => "404 Not Found",
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nup\n"
    )
}
