//! Makes the secret of two nodes out of ML-KEM-768, and stands in for secrets where they are compared.

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use aws_lc_rs::rand;
use wireguard::{PresharedKey, PublicKey};
use zeroize::Zeroizing;

use super::message::{NUMBER_BYTES, Nonce};

/// An encapsulation key, and what is made with one, as FIPS 203 has them.
pub const OFFER_BYTES: usize = 1184;
pub const CIPHERTEXT_BYTES: usize = 1088;

/// Not secret; keeps these secrets apart from all others.
const SALT: &[u8] = b"causeway wireguard post-quantum secret 1";
const SALT_OF_FINGERPRINTS: &[u8] = b"causeway wireguard fingerprint 1";

/// Stands for something that both ends may know.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fingerprint(pub [u8; NUMBER_BYTES]);

/// Two nodes by their public keys: the one that asks first, which is the lesser.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    leader: PublicKey,
    follower: PublicKey,
}

/// A key that was offered; gone with it is what could open the answer.
pub struct Offer {
    private: DecapsulationKey,
    pub public: Box<[u8; OFFER_BYTES]>,
}

impl Ends {
    pub fn new(ends: [PublicKey; 2]) -> Self {
        let [a, b] = ends;
        Self {
            leader: a.min(b),
            follower: a.max(b),
        }
    }

    pub fn is_led_by(&self, key: PublicKey) -> bool {
        self.leader == key
    }

    /// What only those two agree on.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint_of(&PresharedKey::none())
    }

    /// Of a secret between the two.
    pub fn fingerprint_of(&self, secret: &PresharedKey) -> Fingerprint {
        let hex = Zeroizing::new(secret.to_hex());
        let extracted = Salt::new(HKDF_SHA256, SALT_OF_FINGERPRINTS).extract(hex.as_bytes());
        let bytes = expand(
            &extracted,
            &[self.leader.as_bytes(), self.follower.as_bytes()],
        );
        Fingerprint(*bytes.first_chunk().expect("32 bytes have a first half"))
    }

    fn derive(&self, kem: &[u8], file: &PresharedKey, said: [&[u8]; 2]) -> PresharedKey {
        let file = Zeroizing::new(file.to_hex());
        let both = Zeroizing::new([kem, file.as_bytes()].concat());
        let extracted = Salt::new(HKDF_SHA256, SALT).extract(&both);
        let [offer, answer] = said;
        let ends = [self.leader.as_bytes(), self.follower.as_bytes()];
        let info = [&ends[0][..], &ends[1][..], offer, answer];
        (*expand(&extracted, &info)).into()
    }
}

impl Offer {
    /// `None` if the system has no randomness.
    pub fn new() -> Option<Self> {
        let private = DecapsulationKey::generate(&ML_KEM_768).ok()?;
        let public = private.encapsulation_key().ok()?.key_bytes().ok()?;
        Some(Self {
            public: Box::new(public.as_ref().try_into().ok()?),
            private,
        })
    }

    /// The secret that the answer stands for, for each content of the file that may be mixed in.
    pub fn open(
        &self,
        answer: &[u8; CIPHERTEXT_BYTES],
        ends: &Ends,
        files: &[PresharedKey],
    ) -> Vec<PresharedKey> {
        let Ok(kem) = self.private.decapsulate(Ciphertext::from(&answer[..])) else {
            return Vec::new();
        };
        let said = [&self.public[..], &answer[..]];
        let of = |file| ends.derive(kem.as_ref(), file, said);
        files.iter().map(of).collect()
    }
}

/// Answers an offer; `None` if what was offered is no key.
pub fn answer(
    offer: &[u8; OFFER_BYTES],
    ends: &Ends,
    file: &PresharedKey,
) -> Option<(Box<[u8; CIPHERTEXT_BYTES]>, PresharedKey)> {
    let key = EncapsulationKey::new(&ML_KEM_768, offer).ok()?;
    let (ciphertext, kem) = key.encapsulate().ok()?;
    let secret = ends.derive(kem.as_ref(), file, [offer, ciphertext.as_ref()]);
    Some((Box::new(ciphertext.as_ref().try_into().ok()?), secret))
}

/// Another one each time; zeros if the system has no randomness, which nobody takes for fresh.
pub fn nonce() -> Nonce {
    let mut bytes = [0; NUMBER_BYTES];
    match rand::fill(&mut bytes) {
        Ok(()) => Nonce(bytes),
        Err(_) => Nonce::default(),
    }
}

fn expand(extracted: &Prk, info: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    extracted
        .expand(info, HKDF_SHA256)
        .and_then(|it| it.fill(&mut *bytes))
        .expect("an output as long as the hash is not too long");
    bytes
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use super::*;

    #[test]
    fn both_ends_make_the_same_secret_and_nobody_else_does() {
        let ends = Ends::new([key(1), key(2)]);
        assert_eq!(ends, Ends::new([key(2), key(1)]));
        assert!(ends.is_led_by(key(1)) && !ends.is_led_by(key(2)));
        let [file, other] = [3, 4].map(|it| PresharedKey::from([it; 32]));
        let offer = Offer::new().unwrap();
        let (ciphertext, secret) = answer(&offer.public, &ends, &file).unwrap();

        let opened = offer.open(&ciphertext, &ends, &[other, file.clone()]);
        assert_eq!(opened[1], secret);
        assert_ne!(opened[0], secret, "another file");
        let stranger = Ends::new([key(1), key(3)]);
        assert_ne!(
            offer.open(&ciphertext, &stranger, from_ref(&file))[0],
            secret
        );
        let another = Offer::new().unwrap();
        assert_ne!(another.open(&ciphertext, &ends, from_ref(&file))[0], secret);
        let (_, again) = answer(&offer.public, &ends, &file).unwrap();
        assert_ne!(again, secret);
    }

    #[test]
    fn fingerprints_tell_secrets_and_pairs_apart() {
        let ends = Ends::new([key(1), key(2)]);
        let [one, other] = [3, 4].map(|it| PresharedKey::from([it; 32]));

        assert_eq!(ends.fingerprint_of(&one), ends.fingerprint_of(&one.clone()));
        assert_ne!(ends.fingerprint_of(&one), ends.fingerprint_of(&other));
        let stranger = Ends::new([key(1), key(3)]);
        assert_ne!(ends.fingerprint_of(&one), stranger.fingerprint_of(&one));
        assert_ne!(ends.fingerprint(), stranger.fingerprint());
    }

    #[test]
    fn what_is_no_key_gets_no_answer() {
        let ends = Ends::new([key(1), key(2)]);
        // Numbers beyond the field's: FIPS 203 has them refused.
        let none = [0xff; OFFER_BYTES];
        assert!(answer(&none, &ends, &PresharedKey::none()).is_none());
    }

    fn key(byte: u8) -> PublicKey {
        PublicKey::from([byte; 32])
    }
}
