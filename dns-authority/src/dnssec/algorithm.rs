//! The algorithms that zones are signed with, and their keys.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsBigEndian as _, Curve25519SeedBin, EcPrivateKeyBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use zeroize::Zeroizing;

/// Those that every validator knows and whose signatures are short (RFC 8624 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA with the curve P-256 and SHA-256 (RFC 6605).
    EcdsaP256,
    /// RFC 8080.
    Ed25519,
}

/// Of both algorithms.
pub const SIGNATURE_BYTES: usize = 64;

/// The first octet of a point that has both coordinates (SEC 1 section 2.3.3), which DNS leaves out.
const UNCOMPRESSED: u8 = 4;

impl Algorithm {
    /// As IANA numbers it.
    pub fn number(self) -> u8 {
        match self {
            Self::EcdsaP256 => 13,
            Self::Ed25519 => 15,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::EcdsaP256 => "ecdsap256",
            Self::Ed25519 => "ed25519",
        })
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "ecdsap256" | "ecdsap256sha256" => Ok(Self::EcdsaP256),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(format!(
                "`{text}` is no algorithm to sign with: use ecdsap256 or ed25519"
            )),
        }
    }
}

/// A key that signs.
pub struct PrivateKey(Pair);

enum Pair {
    EcdsaP256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// The library did not do what it was asked for: memory or randomness is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library failed")]
pub struct Failed;

/// Octets that are no pair of a private and a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the private and the public part of a key do not belong together")]
pub struct NotAKey;

impl PrivateKey {
    /// # Errors
    ///
    /// There is no randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, Failed> {
        let pair = match algorithm {
            Algorithm::EcdsaP256 => {
                EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::EcdsaP256)
            }
            Algorithm::Ed25519 => Ed25519KeyPair::generate().map(Pair::Ed25519),
        };
        pair.map(Self).map_err(|_| Failed)
    }

    /// Of what [`secret`](Self::secret) and [`public`](Self::public) give out.
    ///
    /// # Errors
    ///
    /// They do not belong together.
    pub fn new(algorithm: Algorithm, secret: &[u8], public: &[u8]) -> Result<Self, NotAKey> {
        let pair = match algorithm {
            Algorithm::EcdsaP256 => {
                let point = [&[UNCOMPRESSED], public].concat();
                let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                EcdsaKeyPair::from_private_key_and_public_key(signing, secret, &point)
                    .map(Pair::EcdsaP256)
            }
            Algorithm::Ed25519 => {
                Ed25519KeyPair::from_seed_and_public_key(secret, public).map(Pair::Ed25519)
            }
        };
        pair.map(Self).map_err(|_| NotAKey)
    }

    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Pair::EcdsaP256(_) => Algorithm::EcdsaP256,
            Pair::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// What must stay secret, in 32 octets.
    ///
    /// # Errors
    ///
    /// There is no memory.
    pub fn secret(&self) -> Result<Zeroizing<Vec<u8>>, Failed> {
        let octets = match &self.0 {
            Pair::EcdsaP256(pair) => {
                let secret: EcPrivateKeyBin<'_> =
                    pair.private_key().as_be_bytes().map_err(|_| Failed)?;
                secret.as_ref().to_vec()
            }
            Pair::Ed25519(pair) => {
                let seed = pair.seed().map_err(|_| Failed)?;
                let seed: Curve25519SeedBin<'_> = seed.as_be_bytes().map_err(|_| Failed)?;
                seed.as_ref().to_vec()
            }
        };
        Ok(Zeroizing::new(octets))
    }

    /// What everybody may know, as DNSKEY records have it.
    pub fn public(&self) -> &[u8] {
        match &self.0 {
            Pair::EcdsaP256(pair) => &pair.public_key().as_ref()[1..],
            Pair::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }

    /// # Errors
    ///
    /// There is no memory, or no randomness.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], Failed> {
        let signature = match &self.0 {
            Pair::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), message),
            Pair::Ed25519(pair) => pair.try_sign(message),
        };
        let signature = signature.map_err(|_| Failed)?;
        signature.as_ref().try_into().map_err(|_| Failed)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PrivateKey({})", self.algorithm())
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

    use super::*;

    #[test]
    fn gives_its_parts_out_and_takes_them_back() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let secret = key.secret().unwrap();
            assert_eq!(secret.len(), 32);

            let same = PrivateKey::new(algorithm, &secret, key.public()).unwrap();
            assert_eq!(same.public(), key.public());
            let signature = same.sign(b"message").unwrap();
            let verified = match algorithm {
                Algorithm::EcdsaP256 => {
                    let point = [&[UNCOMPRESSED], key.public()].concat();
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                        .verify(b"message", &signature)
                }
                Algorithm::Ed25519 => {
                    UnparsedPublicKey::new(&ED25519, key.public()).verify(b"message", &signature)
                }
            };
            assert!(verified.is_ok());

            let other = PrivateKey::generate(algorithm).unwrap();
            let mixed = PrivateKey::new(algorithm, &secret, other.public());
            assert_eq!(mixed.map(|_| ()), Err(NotAKey));
            assert_eq!(format!("{key:?}"), format!("PrivateKey({algorithm})"));
        }
    }

    #[test]
    fn is_named_as_it_is_read() {
        for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        }
        assert!("rsasha1".parse::<Algorithm>().is_err());
    }
}
