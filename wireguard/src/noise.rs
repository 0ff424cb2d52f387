//! The Noise handshake (IKpsk2) that gives two peers a session.
//!
//! What is exchanged lies between the indices and the MACs of WireGuard's first two messages; see
//! [`message`](crate::message) for those. The handshake itself is snow's.

use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use crate::{PresharedKey, PrivateKey, PublicKey};
use pair::Parts;

mod pair;

/// The ephemeral key, the static key and the timestamp, the latter two encrypted.
pub(crate) const INITIATION_BYTES: usize = 32 + (32 + 16) + (Timestamp::BYTES + 16);

/// The ephemeral key, and nothing, encrypted.
pub(crate) const RESPONSE_BYTES: usize = 32 + 16;

const PATTERN: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// Where the preshared key is mixed in.
const PSK_LOCATION: u8 = 2;

/// Without a preshared key, WireGuard mixes in zeros.
const NO_SECRET: [u8; 32] = [0; 32];

/// A TAI64N label: a later one is greater. A responder takes each once, and none that is smaller
/// than one before, so that nobody can replay an initiation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) [u8; Self::BYTES]);

impl Timestamp {
    pub(crate) const BYTES: usize = 12;
}

/// The secrets of a session, as seen from this end.
pub(crate) struct Keys {
    pub(crate) sending: Zeroizing<[u8; 32]>,
    pub(crate) receiving: Zeroizing<[u8; 32]>,
}

/// A handshake that awaits its response.
pub(crate) struct Initiated(HandshakeState);

/// An initiation from somebody who proved to have the private key to `public_key`.
pub(crate) struct Claim {
    pub(crate) public_key: PublicKey,
    pub(crate) timestamp: Timestamp,
    state: HandshakeState,
}

/// Begins a handshake. `None` if the system has no randomness or a key is no point.
pub(crate) fn initiate(
    own: &PrivateKey,
    peer: &PublicKey,
    timestamp: Timestamp,
) -> Option<(Initiated, [u8; INITIATION_BYTES])> {
    let own = Zeroizing::new(own.to_bytes());
    let mut state = builder()?
        .local_private_key(&*own)
        .and_then(|it| it.remote_public_key(peer.as_bytes()))
        .and_then(|it| it.psk(PSK_LOCATION, &NO_SECRET))
        .and_then(Builder::build_initiator)
        .ok()?;
    let mut message = [0; INITIATION_BYTES];
    state.write_message(&timestamp.0, &mut message).ok()?;
    Some((Initiated(state), message))
}

impl Initiated {
    /// Ends the handshake. A forged response changes nothing; another may follow.
    pub(crate) fn finish(
        &mut self,
        response: &[u8; RESPONSE_BYTES],
        preshared_key: Option<&PresharedKey>,
    ) -> Option<Keys> {
        with_secret(&mut self.0, preshared_key, |it| {
            it.read_message(response, &mut [])
        })?;
        let (initiator, responder) = self.0.dangerously_get_raw_split();
        Some(Keys {
            sending: Zeroizing::new(initiator),
            receiving: Zeroizing::new(responder),
        })
    }
}

impl Claim {
    /// Finds out who sent an initiation; `None` if it was not made for `own`.
    pub(crate) fn read(own: &PrivateKey, initiation: &[u8; INITIATION_BYTES]) -> Option<Self> {
        let own = Zeroizing::new(own.to_bytes());
        let mut state = builder()?
            .local_private_key(&*own)
            .and_then(Builder::build_responder)
            .ok()?;
        let mut timestamp = Timestamp::default();
        let length = state.read_message(initiation, &mut timestamp.0).ok()?;
        let public_key: [u8; 32] = state.get_remote_static()?.try_into().ok()?;
        (length == Timestamp::BYTES).then(|| Self {
            public_key: public_key.into(),
            timestamp,
            state,
        })
    }

    /// Answers, and ends the handshake on this side.
    pub(crate) fn respond(
        mut self,
        preshared_key: Option<&PresharedKey>,
    ) -> Option<([u8; RESPONSE_BYTES], Keys)> {
        let mut message = [0; RESPONSE_BYTES];
        with_secret(&mut self.state, preshared_key, |it| {
            it.write_message(&[], &mut message)
        })?;
        let (initiator, responder) = self.state.dangerously_get_raw_split();
        let keys = Keys {
            sending: Zeroizing::new(responder),
            receiving: Zeroizing::new(initiator),
        };
        Some((message, keys))
    }
}

fn builder<'a>() -> Option<Builder<'a>> {
    let pattern = PATTERN.parse().ok()?;
    Builder::with_resolver(pattern, Box::new(Parts))
        .prologue(PROLOGUE)
        .ok()
}

/// Takes a step that mixes the preshared key in; the handshake does not keep it.
fn with_secret(
    state: &mut HandshakeState,
    preshared_key: Option<&PresharedKey>,
    step: impl FnOnce(&mut HandshakeState) -> Result<usize, snow::Error>,
) -> Option<usize> {
    let location = PSK_LOCATION.into();
    let secret = preshared_key.map_or(&NO_SECRET, PresharedKey::secret);
    state.set_psk(location, secret).ok()?;
    let outcome = step(state);
    state.set_psk(location, &NO_SECRET).ok()?;
    outcome.ok()
}
