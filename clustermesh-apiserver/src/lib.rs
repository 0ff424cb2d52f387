//! Publishes this cluster to the mesh, mirrors the others, serves both over the etcd v3 API.
//!
//! Observe (`directory`, the followers in `hands`), apply (`model`), derive (`publish`, `remote`),
//! effect (the writers in `hands`).

pub mod annotation;
pub mod config;
pub mod directory;
pub mod hands;
pub mod identity;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod objects;
pub mod publish;
pub mod remote;
pub mod remote_file;
pub mod serve;
pub mod timestamp;
pub mod users;
