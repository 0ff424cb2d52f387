//! The mesh as data: what is believed about its clusters, what follows from it, and why.
//!
//! Pure: no runtime, no clock, no sockets. Daemons feed events in and carry derived tables out.

pub mod id;

pub mod geo;
pub mod health;
pub mod service;

pub mod record;

pub mod mesh;

pub mod diff;
pub mod maglev;
pub mod select;

pub mod report;
