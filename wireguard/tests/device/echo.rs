//! Numbered packets there and back.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use super::namespace::{PATIENCE, patiently};
use super::pair::End;

/// Sends `count` numbered packets from one end to the other, which sends them back.
///
/// Returns how many came back.
pub(crate) fn exchange(from: &End, to: &End, count: u32) -> usize {
    let echo = to.udp(to.inside, 7);
    let sender = from.udp(from.inside, 0);
    sender.connect((to.inside, 7)).unwrap();
    thread::scope(|scope| {
        let echoing = scope.spawn(|| echo_until_empty(&echo));
        let sending = scope.spawn(|| {
            for number in 0..count {
                sender.send(&number.to_be_bytes()).unwrap();
                thread::sleep(Duration::from_millis(2));
            }
        });
        let answered = count_answers(&sender, count);
        sending.join().unwrap();
        // An empty packet ends the echo; it may be lost, so the echo itself says so.
        while !echoing.is_finished() {
            sender.send(&[]).unwrap();
            thread::sleep(Duration::from_millis(10));
        }
        answered
    })
}

fn echo_until_empty(socket: &UdpSocket) {
    let mut buffer = [0; 64];
    loop {
        let (length, source) = patiently(|| socket.recv_from(&mut buffer)).unwrap();
        if length == 0 {
            return;
        }
        socket.send_to(&buffer[..length], source).unwrap();
    }
}

/// Counts distinct answers, until all have come or none comes for a while.
fn count_answers(socket: &UdpSocket, count: u32) -> usize {
    socket.set_read_timeout(Some(PATIENCE / 4)).unwrap();
    let mut answered = BTreeSet::new();
    let mut buffer = [0; 64];
    while answered.len() < count as usize {
        match patiently(|| socket.recv(&mut buffer)) {
            Ok(length) => answered.insert(buffer[..length].to_vec()),
            Err(_) => break,
        };
    }
    answered.len()
}
