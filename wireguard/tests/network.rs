//! The trials that userspace devices are put to: every address family, every width of path, moves,
//! translation, several addresses, faults of the path and of people. Each is run between two of ours
//! and with Debian's wireguard-go at the other end; packets lost are counted and printed.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "tests print what they measured, and their helpers fail by panicking"
)]

#[path = "network/age.rs"]
mod age;
#[path = "network/clock.rs"]
mod clock;
#[path = "network/default_route.rs"]
mod default_route;
#[path = "network/faults.rs"]
mod faults;
#[path = "network/flow.rs"]
mod flow;
#[path = "network/forwarding.rs"]
mod forwarding;
#[path = "network/late.rs"]
mod late;
#[path = "network/many.rs"]
mod many;
#[path = "device/namespace.rs"]
mod namespace;
#[path = "network/nat.rs"]
mod nat;
#[path = "network/other.rs"]
mod other;
#[path = "device/pair.rs"]
#[expect(dead_code, reason = "not every trial needs all that a pair can do")]
mod pair;
#[path = "network/path.rs"]
mod path;
#[path = "network/renewal.rs"]
mod renewal;
#[path = "network/roaming.rs"]
mod roaming;
#[path = "network/routing.rs"]
mod routing;
#[path = "network/source.rs"]
mod source;
#[path = "device/transfer.rs"]
mod transfer;
#[path = "network/width.rs"]
mod width;
