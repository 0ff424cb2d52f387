//! Into network namespaces, thread by thread.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::fd::AsFd as _;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::HANG;

/// The body of an agent's answer to `METHOD path`, if one answers in the namespace.
pub(crate) fn exchange(namespace: &str, method: &str, path: &str) -> Option<String> {
    inside(namespace, || {
        let mut connection = TcpStream::connect("127.0.0.1:9962").ok()?;
        connection.set_read_timeout(Some(HANG)).ok()?;
        let request = format!("{method} {path} HTTP/1.1\r\nHost: agent\r\n\r\n");
        connection.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer).ok()?;
        Some(answer.split_once("\r\n\r\n")?.1.to_owned())
    })
}

/// Runs `work` on a thread in a namespace.
pub(crate) fn inside<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter(namespace);
            work()
        });
        thread.join().unwrap()
    })
}

/// Moves the calling thread into a network namespace.
pub(crate) fn enter(namespace: &str) {
    let file = File::open(format!("/run/netns/{namespace}")).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}
