//! Decides how several packets cross the interface as one frame, and become packets again.
//!
//! With `IFF_VNET_HDR` the kernel puts a [`VnetHeader`] before each packet. Towards the network one
//! frame may stand for many packets, which [`Segments`] cuts as a network card would have done.
//! Towards the interface [`Coalescer`] joins packets of one flow into such frames. Neither allocates
//! for a packet, and neither touches the interface.

pub use coalesce::{Coalescer, Frame, Offloads, Span};
pub use header::{Gso, GsoKind, PendingChecksum, VnetHeader};
pub use segment::Segments;

pub(crate) use ip::Layout;

mod checksum;
mod coalesce;
mod flow;
mod header;
mod ip;
mod segment;

/// A frame that contradicts itself. There is nothing to do but to count and drop it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed frame: {0}")]
pub struct Malformed(&'static str);
