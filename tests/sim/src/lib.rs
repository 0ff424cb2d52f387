//! A simulated mesh: the API servers' real decisions and the real store, under time, links and faults
//! that follow from a seed.
//!
//! What is left out is what moves bytes: the gRPC server and client, and the tasks around them. In
//! their place, `follower` reads another cluster's store and `pen` writes the own one, each by the
//! rules of its counterpart in `kvstore`.

mod check;
mod follower;
mod input;
mod pen;
mod site;
mod store;
mod world;

pub use world::{Broken, run};

/// Virtual milliseconds since the start of the simulation.
type Millis = u64;
