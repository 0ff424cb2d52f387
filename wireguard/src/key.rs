//! The three kinds of 32-byte key, in the two spellings that WireGuard's tools use.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rand::RngCore as _;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;

/// A text that is not a key. The text itself is left out, because it may be a secret with a typo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a key: expected 32 bytes as {expected}")]
pub struct KeyError {
    expected: &'static str,
}

/// A Curve25519 point: what a peer is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// A Curve25519 scalar, clamped as RFC 7748 section 5 asks, and overwritten when dropped.
///
/// Clones share it, so that there is one to overwrite, and none where a key was moved from.
#[derive(Clone)]
pub struct PrivateKey(Arc<StaticSecret>);

/// A secret that both ends of a tunnel mix into their handshake, overwritten when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PresharedKey(Arc<Zeroizing<[u8; KEY_BYTES]>>);

impl PublicKey {
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        bytes_from_hex(text).map(Self)
    }

    pub fn to_base64(self) -> String {
        STANDARD.encode(self.0)
    }

    pub fn to_hex(self) -> String {
        hex::encode(self.0)
    }

    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl From<[u8; KEY_BYTES]> for PublicKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Base64, as `wg show` prints it.
impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_base64())
    }
}

/// Base64, as `wg pubkey` prints it.
impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        bytes_from_base64(text).map(Self)
    }
}

impl PrivateKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self::from(random_bytes())
    }

    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        bytes_from_hex(text).map(Self::from)
    }

    pub fn public_key(&self) -> PublicKey {
        PublicKey(x25519_dalek::PublicKey::from(&*self.0).to_bytes())
    }

    /// The secret itself, for a file that only its owner may read.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0.as_bytes())
    }

    /// The secret itself, for the configuration socket.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    pub(crate) fn to_bytes(&self) -> [u8; KEY_BYTES] {
        self.0.to_bytes()
    }
}

impl From<[u8; KEY_BYTES]> for PrivateKey {
    fn from(mut bytes: [u8; KEY_BYTES]) -> Self {
        bytes[0] &= 0b1111_1000;
        bytes[31] = bytes[31] & 0b0111_1111 | 0b0100_0000;
        Self(Arc::new(StaticSecret::from(bytes)))
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes() == other.0.as_bytes()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(hidden)")
    }
}

/// Base64, as `wg genkey` prints it.
impl FromStr for PrivateKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        bytes_from_base64(text).map(Self::from)
    }
}

impl PresharedKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Self {
        Self::from(random_bytes())
    }

    /// What WireGuard mixes in where there is no preshared key: zeros.
    pub fn none() -> Self {
        Self::from([0; KEY_BYTES])
    }

    pub fn is_none(&self) -> bool {
        **self.0 == [0; KEY_BYTES]
    }

    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        bytes_from_hex(text).map(Self::from)
    }

    /// The secret itself, for a file that only its owner may read.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(**self.0)
    }

    /// The secret itself, for the configuration socket.
    pub fn to_hex(&self) -> String {
        hex::encode(**self.0)
    }

    pub(crate) fn secret(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl From<[u8; KEY_BYTES]> for PresharedKey {
    fn from(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Arc::new(Zeroizing::new(bytes)))
    }
}

impl fmt::Debug for PresharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresharedKey(hidden)")
    }
}

/// Base64, as `wg genpsk` prints it.
impl FromStr for PresharedKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        bytes_from_base64(text).map(Self::from)
    }
}

fn bytes_from_base64(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(KeyError {
            expected: "44 base64 characters",
        })
}

fn bytes_from_hex(text: &str) -> Result<[u8; KEY_BYTES], KeyError> {
    let mut bytes = [0; KEY_BYTES];
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(KeyError {
            expected: "64 hexadecimal digits",
        }),
    }
}

fn random_bytes() -> [u8; KEY_BYTES] {
    let mut bytes = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_the_same_public_key_as_wireguard_tools() {
        let private: PrivateKey = "QE27F7ZKvVPrIUc/PjLaqIoEVGnme5priFs5vEbe7lk="
            .parse()
            .unwrap();

        assert_eq!(
            private.public_key().to_string(),
            "gk7QMl6Rbfc68Yf4R4G8ujcqUIU5opMcRR5BR9i5Hw8="
        );
    }

    #[test]
    fn clamps_private_keys_as_the_kernel_does() {
        let private = PrivateKey::from([0xff; 32]);

        assert_eq!(private.to_hex(), format!("f8{}7f", "ff".repeat(30)));
    }

    #[test]
    fn reads_back_both_spellings() {
        let private = PrivateKey::generate();
        let public = private.public_key();
        let preshared = PresharedKey::generate();

        assert_eq!(private.to_base64().parse(), Ok(private.clone()));
        assert_eq!(PrivateKey::from_hex(&private.to_hex()), Ok(private));
        assert_eq!(public.to_base64().parse(), Ok(public));
        assert_eq!(PublicKey::from_hex(&public.to_hex()), Ok(public));
        assert_eq!(preshared.to_base64().parse(), Ok(preshared.clone()));
        assert_eq!(PresharedKey::from_hex(&preshared.to_hex()), Ok(preshared));
    }

    #[test]
    fn refuses_texts_of_the_wrong_length_or_alphabet() {
        for text in [
            "",
            "AAAA",
            &"A".repeat(44),
            &"!".repeat(44),
            &"A".repeat(88),
        ] {
            assert!(text.parse::<PublicKey>().is_err(), "{text:?}");
        }
        for text in ["", "00", &"0".repeat(63), &"0".repeat(66), &"g".repeat(64)] {
            assert!(PublicKey::from_hex(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn shows_public_keys_and_hides_secrets() {
        let private = PrivateKey::generate();
        let preshared = PresharedKey::generate();
        let public = private.public_key();

        assert_eq!(format!("{public:?}"), public.to_base64());
        for shown in [format!("{private:?}"), format!("{preshared:?}")] {
            assert!(shown.ends_with("Key(hidden)"), "{shown}");
        }
    }
}
