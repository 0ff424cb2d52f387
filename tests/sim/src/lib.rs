//! A simulated mesh: the API servers' model, followers and writers, and their stores, under time,
//! links and faults that follow from a seed.
//!
//! Everything that decides or reads and writes a store is the real thing, down to the encoded
//! messages of gRPC. What is left out is HTTP/2 and sockets, in whose place `wire` carries the
//! messages, and the loop that brings inputs to the model, which `site` stands in for.

mod check;
mod input;
mod process;
mod server;
mod shown;
mod signal;
mod site;
mod wire;
mod world;

pub use wire::Defect;
pub use world::{Broken, Report, part, run};

/// Virtual milliseconds since the start of the simulation.
type Millis = u64;
