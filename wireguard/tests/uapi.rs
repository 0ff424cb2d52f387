//! The configuration socket, as clients of every kind use it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use pair::End;

#[path = "uapi/backend.rs"]
mod backend;
#[path = "uapi/clients.rs"]
mod clients;
#[path = "uapi/differential.rs"]
mod differential;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/pair.rs"]
mod pair;
#[path = "uapi/process.rs"]
mod process;
#[path = "uapi/rotation.rs"]
mod rotation;
#[path = "uapi/tools.rs"]
mod tools;

/// Writes a request to a device's socket as it stands, and returns the answer.
fn ask(end: &End, request: &str) -> String {
    let mut stream = UnixStream::connect(end.socket()).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
