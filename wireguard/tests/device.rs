//! The device between real namespaces, configured and read by the real `wg`.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of integration tests fail by panicking"
)]

#[path = "device/echo.rs"]
mod echo;
#[path = "device/life.rs"]
mod life;
#[path = "device/namespace.rs"]
mod namespace;
#[path = "device/packets.rs"]
mod packets;
#[path = "device/pair.rs"]
mod pair;
#[path = "device/settings.rs"]
mod settings;
#[path = "device/stream.rs"]
mod stream;
#[path = "device/transfer.rs"]
mod transfer;
