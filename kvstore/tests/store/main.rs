//! The store from outside: real sockets, and Debian's real etcd and etcdctl as the measure.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic where it stands"
)]
#![expect(
    clippy::print_stdout,
    reason = "tests print their seeds and what they measured"
)]

mod access;
mod advisories;
mod alike;
mod auth;
mod differential;
mod etcdctl;
mod follower;
mod likeness;
mod limits;
mod measures;
mod members;
mod parts;
mod queues;
mod rotation;
mod server;
mod session;
mod support;
mod tls;
mod tokens;
mod watch;
mod writer;
