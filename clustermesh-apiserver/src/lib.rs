//! Publishes this cluster to the mesh, mirrors the others, serves both over the etcd v3 API.
//!
//! Observe (`directory`, the followers in `hands`), apply (`model`), derive (`publish`, `remote`),
//! effect (the writers in `hands`).

pub mod admin;
pub mod annotation;
pub mod certificate;
pub mod certificates;
pub mod comparison;
pub mod config;
pub mod directory;
pub mod fresh;
pub mod hands;
pub mod identity;
pub mod journal;
pub mod manifest;
pub mod metrics;
pub mod model;
pub mod moment;
pub mod objects;
pub mod publish;
pub mod remember;
pub mod remote;
pub mod remote_file;
pub mod reports;
pub mod serve;
pub mod storage;
pub mod timestamp;
pub mod troubleshoot;
pub mod upstream;
pub mod users;
