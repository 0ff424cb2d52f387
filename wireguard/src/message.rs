//! The four kinds of WireGuard datagram, and where things lie in them.
//!
//! All numbers are little endian. Layouts are those of the WireGuard paper, section 5.4.

use crate::noise;

/// Kind and sender's index, the handshake, two MACs.
pub(crate) const INITIATION_BYTES: usize = 8 + noise::INITIATION_BYTES + 2 * MAC_BYTES;

/// Kind, sender's and receiver's index, the handshake, two MACs.
pub(crate) const RESPONSE_BYTES: usize = 12 + noise::RESPONSE_BYTES + 2 * MAC_BYTES;

/// Kind, receiver's index, nonce, the encrypted cookie.
pub(crate) const COOKIE_REPLY_BYTES: usize = 8 + NONCE_BYTES + SEALED_COOKIE_BYTES;

/// Kind, receiver's index and counter: what stands before a packet.
pub(crate) const DATA_HEADER_BYTES: usize = 16;

/// What WireGuard puts around a packet.
pub(crate) const DATA_OVERHEAD_BYTES: usize = DATA_HEADER_BYTES + crate::cipher::TAG_BYTES;

pub(crate) const MAC_BYTES: usize = 16;
pub(crate) const NONCE_BYTES: usize = 24;
pub(crate) const SEALED_COOKIE_BYTES: usize = 16 + 16;

/// A datagram of the right length for its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Message<'a> {
    CookieReply(CookieReply<'a>),
    Data { receiver: u32, counter: u64 },
    Initiation(Initiation<'a>),
    Response(Response<'a>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Initiation<'a> {
    pub(crate) sender: u32,
    pub(crate) handshake: &'a [u8; noise::INITIATION_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response<'a> {
    pub(crate) sender: u32,
    pub(crate) receiver: u32,
    pub(crate) handshake: &'a [u8; noise::RESPONSE_BYTES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CookieReply<'a> {
    pub(crate) receiver: u32,
    pub(crate) nonce: &'a [u8; NONCE_BYTES],
    pub(crate) cookie: &'a [u8; SEALED_COOKIE_BYTES],
}

impl<'a> Message<'a> {
    /// `None` for what no WireGuard sends: another kind, another length, reserved bytes not zero.
    pub(crate) fn parse(datagram: &'a [u8]) -> Option<Self> {
        let (kind, rest) = datagram.split_first_chunk::<4>()?;
        match (u32::from_le_bytes(*kind), datagram.len()) {
            (1, INITIATION_BYTES) => {
                let (sender, rest) = number(rest)?;
                let handshake = rest.first_chunk()?;
                Some(Self::Initiation(Initiation { sender, handshake }))
            }
            (2, RESPONSE_BYTES) => {
                let (sender, rest) = number(rest)?;
                let (receiver, rest) = number(rest)?;
                Some(Self::Response(Response {
                    sender,
                    receiver,
                    handshake: rest.first_chunk()?,
                }))
            }
            (3, COOKIE_REPLY_BYTES) => {
                let (receiver, rest) = number(rest)?;
                let (nonce, rest) = rest.split_first_chunk()?;
                Some(Self::CookieReply(CookieReply {
                    receiver,
                    nonce,
                    cookie: rest.first_chunk()?,
                }))
            }
            (4, DATA_OVERHEAD_BYTES..) => {
                let (receiver, rest) = number(rest)?;
                let counter = u64::from_le_bytes(*rest.first_chunk()?);
                Some(Self::Data { receiver, counter })
            }
            _ => None,
        }
    }
}

/// An initiation without its MACs, which are zero.
pub(crate) fn initiation(
    sender: u32,
    handshake: &[u8; noise::INITIATION_BYTES],
) -> [u8; INITIATION_BYTES] {
    let mut message = [0; INITIATION_BYTES];
    message[0] = 1;
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    message[8..8 + noise::INITIATION_BYTES].copy_from_slice(handshake);
    message
}

/// A response without its MACs, which are zero.
pub(crate) fn response(
    sender: u32,
    receiver: u32,
    handshake: &[u8; noise::RESPONSE_BYTES],
) -> [u8; RESPONSE_BYTES] {
    let mut message = [0; RESPONSE_BYTES];
    message[0] = 2;
    message[4..8].copy_from_slice(&sender.to_le_bytes());
    message[8..12].copy_from_slice(&receiver.to_le_bytes());
    message[12..12 + noise::RESPONSE_BYTES].copy_from_slice(handshake);
    message
}

pub(crate) fn cookie_reply(
    receiver: u32,
    nonce: &[u8; NONCE_BYTES],
    cookie: &[u8; SEALED_COOKIE_BYTES],
) -> [u8; COOKIE_REPLY_BYTES] {
    let mut message = [0; COOKIE_REPLY_BYTES];
    message[0] = 3;
    message[4..8].copy_from_slice(&receiver.to_le_bytes());
    message[8..8 + NONCE_BYTES].copy_from_slice(nonce);
    message[8 + NONCE_BYTES..].copy_from_slice(cookie);
    message
}

/// What stands before a packet.
pub(crate) fn data_header(receiver: u32, counter: u64) -> [u8; DATA_HEADER_BYTES] {
    let mut header = [0; DATA_HEADER_BYTES];
    header[0] = 4;
    header[4..8].copy_from_slice(&receiver.to_le_bytes());
    header[8..].copy_from_slice(&counter.to_le_bytes());
    header
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn has_the_lengths_that_every_implementation_expects() {
        assert_eq!(
            (INITIATION_BYTES, RESPONSE_BYTES, COOKIE_REPLY_BYTES),
            (148, 92, 64)
        );
    }

    #[test]
    fn reads_back_what_it_writes() {
        let handshake = [7; noise::INITIATION_BYTES];
        assert_eq!(
            Message::parse(&initiation(5, &handshake)),
            Some(Message::Initiation(Initiation {
                sender: 5,
                handshake: &handshake
            }))
        );
        let handshake = [8; noise::RESPONSE_BYTES];
        assert_eq!(
            Message::parse(&response(5, 6, &handshake)),
            Some(Message::Response(Response {
                sender: 5,
                receiver: 6,
                handshake: &handshake
            }))
        );
        let (nonce, cookie) = ([1; NONCE_BYTES], [2; SEALED_COOKIE_BYTES]);
        assert_eq!(
            Message::parse(&cookie_reply(9, &nonce, &cookie)),
            Some(Message::CookieReply(CookieReply {
                receiver: 9,
                nonce: &nonce,
                cookie: &cookie
            }))
        );
        let mut data = data_header(3, 1 << 40).to_vec();
        assert_eq!(Message::parse(&data), None, "no room for a tag");
        data.extend([0; 16]);
        let counter = 1 << 40;
        assert_eq!(
            Message::parse(&data),
            Some(Message::Data {
                receiver: 3,
                counter
            })
        );
    }

    proptest! {
        #[test]
        fn takes_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..6_u8) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_mut() {
                *first = kind;
            }
            let _ = Message::parse(&bytes);
        }
    }
}
