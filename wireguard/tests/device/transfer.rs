//! Bytes by the million through a tunnel, both ways, each of which is checked.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::thread;

use super::namespace::{Namespace, PATIENCE, patiently};

pub(crate) const PORT: u16 = 5_000;

/// Sends `bytes` both ways at once, and checks every one.
pub(crate) fn exchange(east: &Namespace, (west, address): (&Namespace, IpAddr), bytes: usize) {
    let address = (address, PORT);
    let listener = west.within(move || TcpListener::bind(address).unwrap());
    let ours = east.within(move || TcpStream::connect(address).unwrap());
    let theirs = listener.accept().unwrap().0;
    thread::scope(|scope| {
        let mut receivers = Vec::new();
        for stream in [ours, theirs] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let sender = stream.try_clone().unwrap();
            scope.spawn(move || send(sender, bytes));
            receivers.push(scope.spawn(move || receive(stream)));
        }
        for receiver in receivers {
            assert_eq!(receiver.join().unwrap(), bytes);
        }
    });
}

pub(crate) fn send(mut stream: TcpStream, bytes: usize) {
    let mut sent = 0;
    while sent < bytes {
        let chunk: Vec<u8> = (sent..bytes.min(sent + (1 << 16))).map(byte).collect();
        stream.write_all(&chunk).unwrap();
        sent += chunk.len();
    }
    stream.shutdown(Shutdown::Write).unwrap();
}

/// How many bytes came, each of which is the right one.
pub(crate) fn receive(mut stream: TcpStream) -> usize {
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    loop {
        let length = patiently(|| stream.read(&mut buffer)).unwrap();
        if length == 0 {
            return received;
        }
        let expected = (received..received + length).map(byte);
        assert!(
            buffer[..length].iter().copied().eq(expected),
            "other bytes after {received}"
        );
        received += length;
    }
}

/// The byte at a place of every stream; no two stretches of it are alike for long.
fn byte(place: usize) -> u8 {
    let mixed = (place as u64 / 8).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed.to_le_bytes()[place % 8]
}
