//! A userspace WireGuard device, and the protocol that configures one.

pub mod allowed_ips;
pub mod device;
pub mod uapi;

mod configuration;
mod key;
mod outgoing;
mod tunnel;

pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
