//! The mesh's memory: an embedded etcd v3 server, and clients that follow a store and write to one.
//!
//! Moves keys and values and does not interpret them.

pub mod access;
pub mod administrator;
pub mod auth;
mod backoff;
pub mod chance;
pub mod config;
pub mod follower;
pub mod measures;
pub mod mvcc;
pub mod server;
mod storage;
pub mod store;
pub mod tls;
pub mod writer;
