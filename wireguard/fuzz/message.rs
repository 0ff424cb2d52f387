//! Any datagram: it is read as what its first bytes and its length make it, or not at all.

use crate::message::{self, Message};

/// Behind a handshake message, the two MACs are no part of what is read.
const MACS_BYTES: usize = 32;

pub(crate) fn parse(datagram: &[u8]) {
    let Some(message) = Message::parse(datagram) else {
        return assert!(!is_message(datagram), "not read: {datagram:02x?}");
    };
    assert!(is_message(datagram), "{message:?}");
    let (written, checked) = match message {
        Message::Initiation(it) => {
            let written = message::initiation(it.sender, it.handshake);
            (written.to_vec(), written.len() - MACS_BYTES)
        }
        Message::Response(it) => {
            let written = message::response(it.sender, it.receiver, it.handshake);
            (written.to_vec(), written.len() - MACS_BYTES)
        }
        Message::CookieReply(it) => {
            let written = message::cookie_reply(it.receiver, it.nonce, it.cookie);
            (written.to_vec(), written.len())
        }
        Message::Data { receiver, counter } => {
            let written = message::data_header(receiver, counter);
            (written.to_vec(), written.len())
        }
    };
    assert_eq!(written[..checked], datagram[..checked]);
}

/// What the paper says, in numbers.
fn is_message(datagram: &[u8]) -> bool {
    match (datagram, datagram.len()) {
        ([1, 0, 0, 0, ..], 148) | ([2, 0, 0, 0, ..], 92) | ([3, 0, 0, 0, ..], 64) => true,
        ([4, 0, 0, 0, ..], length) => 32 <= length,
        _ => false,
    }
}
