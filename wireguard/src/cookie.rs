//! The MACs of handshake messages, and the cookies that prove where a sender is.
//!
//! The first MAC shows that a sender knows whom it talks to. Under load the second one is due too,
//! made with a cookie that we sent to the sender's address and port (WireGuard paper, section 5.3).

use std::net::{IpAddr, SocketAddr};

use blake2::digest::consts::U16;
use blake2::digest::{FixedOutput as _, KeyInit as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::{AeadInPlace as _, XChaCha20Poly1305};
use subtle::ConstantTimeEq as _;

use crate::PublicKey;
use crate::message::{
    COOKIE_REPLY_BYTES, CookieReply, MAC_BYTES, NONCE_BYTES, SEALED_COOKIE_BYTES, cookie_reply,
};

/// How long a cookie is good for, in milliseconds; its recipient uses it no longer either.
pub(crate) const COOKIE_MILLISECONDS: u64 = 120_000;

/// What proves an address.
pub(crate) type Cookie = [u8; MAC_BYTES];

/// Two secrets that follow from a public key, which everybody who talks to its owner knows.
#[derive(Clone)]
pub(crate) struct MacKeys {
    first: [u8; 32],
    cookie: [u8; 32],
}

/// Makes cookies for whoever asks, and knows them again.
pub(crate) struct Baker {
    secret: [u8; 32],
    former: [u8; 32],
    /// When the secret was new.
    born_milliseconds: u64,
}

impl MacKeys {
    pub(crate) fn of(key: &PublicKey) -> Self {
        let hash = |label: &[u8]| {
            let hash = Blake2s256::new();
            hash.chain_update(label)
                .chain_update(key.as_bytes())
                .finalize()
                .into()
        };
        Self {
            first: hash(b"mac1----"),
            cookie: hash(b"cookie--"),
        }
    }

    /// Writes both MACs to the end of a message for the keys' owner, and returns the first.
    pub(crate) fn sign(&self, message: &mut [u8], cookie: Option<&Cookie>) -> [u8; MAC_BYTES] {
        let (signed, macs) = message.split_at_mut(message.len() - 2 * MAC_BYTES);
        let first = mac(&self.first, signed);
        macs[..MAC_BYTES].copy_from_slice(&first);
        if let Some(cookie) = cookie {
            let (signed, second) = message.split_at_mut(message.len() - MAC_BYTES);
            second.copy_from_slice(&mac(cookie, signed));
        }
        first
    }

    /// Whether the sender of a message with two MACs knows our public key.
    pub(crate) fn knows_us(&self, message: &[u8]) -> bool {
        let (signed, macs) = message.split_at(message.len() - 2 * MAC_BYTES);
        mac(&self.first, signed).ct_eq(&macs[..MAC_BYTES]).into()
    }

    /// Seals a cookie for the sender of `message`.
    pub(crate) fn reply(
        &self,
        message: &[u8],
        sender: u32,
        cookie: Cookie,
        nonce: &[u8; NONCE_BYTES],
    ) -> [u8; COOKIE_REPLY_BYTES] {
        let first = &message[message.len() - 2 * MAC_BYTES..][..MAC_BYTES];
        let mut sealed = [0; SEALED_COOKIE_BYTES];
        sealed[..MAC_BYTES].copy_from_slice(&cookie);
        let (text, tag) = sealed.split_at_mut(MAC_BYTES);
        let made = self
            .cipher()
            .encrypt_in_place_detached(nonce.into(), first, text)
            .expect("16 bytes are not too long");
        tag.copy_from_slice(&made);
        cookie_reply(sender, nonce, &sealed)
    }

    /// Opens a cookie that answers our message with the MAC `first`; the keys are its sender's.
    pub(crate) fn open(&self, reply: CookieReply<'_>, first: &[u8; MAC_BYTES]) -> Option<Cookie> {
        let (text, tag) = reply.cookie.split_first_chunk::<MAC_BYTES>()?;
        let mut cookie = *text;
        self.cipher()
            .decrypt_in_place_detached(reply.nonce.into(), first, &mut cookie, tag.into())
            .ok()?;
        Some(cookie)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.cookie.into())
    }
}

impl Baker {
    pub(crate) fn new(now_milliseconds: u64) -> Self {
        Self {
            secret: rand::random(),
            former: rand::random(),
            born_milliseconds: now_milliseconds,
        }
    }

    /// The cookie of an address at present.
    pub(crate) fn bake(&mut self, source: SocketAddr, now_milliseconds: u64) -> Cookie {
        self.renew(now_milliseconds);
        cookie(&self.secret, source)
    }

    /// Whether the second MAC of `message` was made with a cookie that `source` got lately.
    pub(crate) fn proves(
        &mut self,
        message: &[u8],
        source: SocketAddr,
        now_milliseconds: u64,
    ) -> bool {
        self.renew(now_milliseconds);
        let (signed, second) = message.split_at(message.len() - MAC_BYTES);
        [&self.secret, &self.former].into_iter().any(|secret| {
            let expected = mac(&cookie(secret, source), signed);
            expected.ct_eq(second).into()
        })
    }

    fn renew(&mut self, now_milliseconds: u64) {
        let age = now_milliseconds.saturating_sub(self.born_milliseconds);
        if COOKIE_MILLISECONDS <= age {
            // After a long rest, both were last used too long ago.
            self.former = if age < 2 * COOKIE_MILLISECONDS {
                self.secret
            } else {
                rand::random()
            };
            self.secret = rand::random();
            self.born_milliseconds = now_milliseconds;
        }
    }
}

fn cookie(secret: &[u8; 32], source: SocketAddr) -> Cookie {
    let mut address = Vec::with_capacity(18);
    match source.ip() {
        IpAddr::V4(ip) => address.extend(ip.octets()),
        IpAddr::V6(ip) => address.extend(ip.octets()),
    }
    address.extend(source.port().to_be_bytes());
    mac(secret, &address)
}

/// Keyed BLAKE2s with 16 bytes of output.
fn mac(key: &[u8], message: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = <Blake2sMac<U16> as blake2::digest::KeyInit>::new_from_slice(key)
        .expect("16 and 32 bytes are keys");
    mac.update(message);
    mac.finalize_fixed().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;
    use crate::message::{Message, RESPONSE_BYTES};

    #[test]
    fn a_message_is_for_one_recipient() {
        let (ours, theirs) = (keys(), keys());
        let mut message = [7; RESPONSE_BYTES];
        ours.sign(&mut message, None);

        assert!(ours.knows_us(&message));
        assert!(!theirs.knows_us(&message));
        message[20] ^= 1;
        assert!(!ours.knows_us(&message));
    }

    #[test]
    fn a_cookie_proves_one_address_and_port_for_a_while() {
        let keys = keys();
        let mut baker = Baker::new(0);
        let mut message = [7; RESPONSE_BYTES];
        let first = keys.sign(&mut message, None);
        assert!(!baker.proves(&message, address(1), 0));

        let reply = keys.reply(&message, 3, baker.bake(address(1), 0), &[9; NONCE_BYTES]);
        let Some(Message::CookieReply(reply)) = Message::parse(&reply) else {
            panic!("not a cookie reply");
        };
        assert_eq!(keys.open(reply, &[0; MAC_BYTES]), None, "another's");
        let cookie = keys.open(reply, &first).expect("ours");
        keys.sign(&mut message, Some(&cookie));

        assert!(baker.proves(&message, address(1), COOKIE_MILLISECONDS));
        assert!(!baker.proves(&message, address(2), COOKIE_MILLISECONDS));
        assert!(!baker.proves(&message, address(1), 3 * COOKIE_MILLISECONDS));
    }

    fn address(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn keys() -> MacKeys {
        MacKeys::of(&PrivateKey::generate().public_key())
    }
}
