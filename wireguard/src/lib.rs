//! A userspace WireGuard device, and the protocol that configures one.
