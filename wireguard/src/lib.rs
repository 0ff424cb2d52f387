//! A userspace WireGuard device, and the protocol that configures one.

pub mod allowed_ips;
pub mod device;
pub mod offload;
pub mod uapi;

mod admission;
mod cipher;
mod configuration;
mod congestion;
mod cookie;
mod dropped;
mod egress;
mod flow;
mod inbox;
mod ingress;
mod kernel;
mod key;
mod lookout;
mod message;
mod netlink;
mod noise;
mod outbox;
mod packet;
mod padding;
mod replay;
mod session;
mod stamper;
mod tunnel;

#[cfg(test)]
mod world;

pub use key::{KeyError, PresharedKey, PrivateKey, PublicKey};
