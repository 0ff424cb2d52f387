//! Key pairs for the handshake, which are overwritten when it is done with them; snow's own are not.

use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::{Zeroize as _, Zeroizing};

const BYTES: usize = 32;

/// Gives a handshake its parts.
pub(super) struct Parts;

#[derive(Default)]
struct Pair {
    private: Zeroizing<[u8; BYTES]>,
    public: [u8; BYTES],
}

impl CryptoResolver for Parts {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        DefaultResolver.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<Pair>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

impl Pair {
    fn derive(&mut self) {
        self.public = x25519_dalek::x25519(*self.private, x25519_dalek::X25519_BASEPOINT_BYTES);
    }
}

impl Dh for Pair {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        BYTES
    }

    fn priv_len(&self) -> usize {
        BYTES
    }

    fn set(&mut self, private: &[u8]) {
        self.private.copy_from_slice(private);
        self.derive();
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), snow::Error> {
        random.try_fill_bytes(&mut *self.private)?;
        self.derive();
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.private
    }

    /// A public key that leads to a shared secret of zeros is refused, as by the kernel.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = public.get(..BYTES).and_then(|it| it.try_into().ok());
        let mut shared = x25519_dalek::x25519(*self.private, public.ok_or(snow::Error::Dh)?);
        let is_weak = shared == [0; BYTES];
        out[..BYTES].copy_from_slice(&shared);
        shared.zeroize();
        if is_weak {
            return Err(snow::Error::Dh);
        }
        Ok(())
    }
}
