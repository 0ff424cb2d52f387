//! The configuration socket, as clients of every kind use it.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

#[path = "uapi/backend.rs"]
mod backend;
#[path = "uapi/clients.rs"]
mod clients;
#[path = "uapi/differential.rs"]
mod differential;
#[path = "uapi/handover.rs"]
mod handover;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/namespace.rs"]
mod namespace;
#[expect(dead_code, reason = "other tests use the rest of it")]
#[path = "device/pair.rs"]
mod pair;
#[path = "uapi/process.rs"]
mod process;
#[path = "uapi/rotation.rs"]
mod rotation;
#[path = "uapi/shared.rs"]
mod shared;
#[path = "uapi/tools.rs"]
mod tools;
