//! Authoritative DNS with health-checked, geo-aware answers, each with its reason.
//!
//! In reading order: a zone file becomes a [`zone::Zone`] whose LUA records are compiled
//! [`plan`]s; [`check`]s are probed and their verdicts published; the [`answer`] to a query is a
//! pure function of all that and of the client; [`message`] reads and writes the wire, and
//! [`explain`] puts the reason into words.

pub mod answer;
pub mod api;
pub mod authority;
pub mod catalog;
pub mod check;
pub mod config;
pub mod cookie;
pub mod dnssec;
pub mod drain;
pub mod explain;
mod expression;
pub mod geo;
pub mod guard;
pub mod journal;
pub mod keeper;
pub mod lifetime;
pub mod limit;
pub mod load;
pub mod mesh_names;
pub mod message;
pub mod metrics;
pub mod plan;
pub mod probe;
mod script;
pub mod serial;
pub mod serve;
pub mod shared_health;
pub mod store;
mod text;
pub mod tls;
pub mod transfer;
pub mod tsig;
pub mod update;
pub mod wire;
pub mod zone;
