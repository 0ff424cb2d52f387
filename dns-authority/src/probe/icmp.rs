//! Asks a machine for an echo (RFC 792, RFC 4443), unprivileged where the system allows it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdSocket};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::describe;

/// One request, recognised by what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Echo {
    /// The system's own choice where it keeps requests apart by itself.
    identifier: u16,
    nonce: [u8; 16],
}

/// What a socket shows of packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// Messages that answer ours; the identifier is the system's affair.
    Datagram,
    /// All messages of the peer; over IPv4 behind the packet's header.
    Raw,
}

const HEADER_BYTES: usize = 8;
/// An echo is 24 octets; more of a packet than its beginning is not needed.
const PACKET_BYTES_MAX: usize = 128;

pub(super) async fn echo(target: IpAddr, source: Option<IpAddr>) -> Result<(), String> {
    let (socket, view) = open(target, source).map_err(|it| {
        if it.kind() == io::ErrorKind::PermissionDenied {
            return "no permission to send echoes; give the process CAP_NET_RAW, or its group a \
                place in net.ipv4.ping_group_range"
                .to_owned();
        }
        describe(&it)
    })?;
    let echo = Echo {
        identifier: rand::random(),
        nonce: rand::random(),
    };
    let is_v6 = target.is_ipv6();
    let sent = socket.send(&echo.request(is_v6)).await;
    sent.map_err(|it| describe(&it))?;
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        let length = socket.recv(&mut packet).await.map_err(|it| describe(&it))?;
        if echo.is_answered_by(&packet[..length], is_v6, view) {
            return Ok(());
        }
    }
}

fn open(target: IpAddr, source: Option<IpAddr>) -> io::Result<(UdpSocket, View)> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let (socket, view) = match Socket::new(domain, Type::DGRAM, Some(protocol)) {
        Ok(socket) => (socket, View::Datagram),
        Err(_) => (Socket::new(domain, Type::RAW, Some(protocol))?, View::Raw),
    };
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.set_nonblocking(true)?;
    socket.connect(&SocketAddr::new(target, 0).into())?;
    Ok((UdpSocket::from_std(StdSocket::from(socket))?, view))
}

impl Echo {
    fn request(self, is_v6: bool) -> Vec<u8> {
        let kind = if is_v6 { 128 } else { 8 };
        let mut message = vec![kind, 0, 0, 0];
        message.extend_from_slice(&self.identifier.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        message.extend_from_slice(&self.nonce);
        // The one of ICMPv6 covers addresses that only the system knows, which fills it in.
        if !is_v6 {
            let sum = checksum(&message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    fn is_answered_by(self, packet: &[u8], is_v6: bool, view: View) -> bool {
        let header = match (is_v6, view, packet.first()) {
            (false, View::Raw, Some(first)) => usize::from(first & 0x0f) * 4,
            _ => 0,
        };
        let Some(message) = packet.get(header..) else {
            return false;
        };
        let kind = if is_v6 { 129 } else { 0 };
        let is_ours =
            view == View::Datagram || message.get(4..6) == Some(&self.identifier.to_be_bytes());
        message.get(..2) == Some(&[kind, 0])
            && is_ours
            && message.get(HEADER_BYTES..) == Some(&self.nonce)
    }
}

/// RFC 1071, of an even number of octets.
fn checksum(message: &[u8]) -> u16 {
    let words = message
        .chunks_exact(2)
        .map(|it| u16::from_be_bytes([it[0], it[1]]));
    let sum = words.fold(0_u16, |sum, word| {
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    });
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    const ECHO: Echo = Echo {
        identifier: 0x1234,
        nonce: [7; 16],
    };

    #[test]
    fn sums_up_to_nothing() {
        assert_eq!(checksum(&ECHO.request(false)), 0);
    }

    #[test]
    fn takes_its_own_answer_and_no_other() {
        let answer = |echo: Echo, kind: u8| {
            let mut message = echo.request(false);
            message[0] = kind;
            message
        };
        let raw = |message: Vec<u8>| [vec![0x45], vec![0; 19], message].concat();
        let takes = |packet: &[u8], view| ECHO.is_answered_by(packet, false, view);
        let stranger = Echo {
            identifier: 1,
            ..ECHO
        };
        let late = Echo {
            nonce: [8; 16],
            ..ECHO
        };

        assert!(takes(&raw(answer(ECHO, 0)), View::Raw));
        assert!(takes(&answer(stranger, 0), View::Datagram));
        assert!(!takes(&raw(answer(stranger, 0)), View::Raw));
        assert!(!takes(&raw(answer(late, 0)), View::Raw));
        // The request itself, which one that goes to the own machine sees too.
        assert!(!takes(&raw(answer(ECHO, 8)), View::Raw));
        for length in 0..44 {
            assert!(
                !takes(&raw(answer(ECHO, 0))[..length], View::Raw),
                "{length}"
            );
        }
        assert!(!takes(&[0x4f; 128], View::Raw));
    }
}
