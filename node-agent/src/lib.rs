//! Programs one node: eBPF tables, tunnels and routes that follow the mesh.
//!
//! Observe, apply, derive, effect: the store's changes go into one `Mesh`, [`desired`] says what
//! follows, [`tables`], [`tunnels`] and [`network`] list the writes, and the doors make them.

pub mod admin;
pub mod agent;
pub mod announce;
pub mod candidates;
pub mod config;
pub mod cut_off;
pub mod datapath;
pub mod desired;
pub mod device;
pub mod gate;
pub mod inner_sockets;
pub mod key_file;
pub mod keys;
pub mod memory;
pub mod metrics;
pub mod netlink;
pub mod network;
pub mod place;
pub mod preshared;
pub mod probe;
pub mod quantum;
pub mod reach;
pub mod search;
pub mod secret_files;
pub mod tables;
pub mod tunnels;
pub mod view;
