//! Authoritative DNS with health-checked, geo-aware answers, each with its reason.
//!
//! In reading order: a zone file becomes a [`zone::Zone`] whose LUA records are compiled
//! [`plan`]s; [`check`]s are probed and their verdicts published; the [`answer`] to a query is a
//! pure function of all that and of the client; [`message`] reads and writes the wire, and
//! [`explain`] puts the reason into words.

pub mod answer;
pub mod authority;
pub mod check;
pub mod config;
pub mod explain;
mod expression;
pub mod geo;
pub mod load;
pub mod mesh_names;
pub mod message;
pub mod metrics;
pub mod plan;
pub mod probe;
pub mod serve;
pub mod store;
mod text;
pub mod wire;
pub mod zone;
