//! Hosts, links and pods made of network namespaces, for the example and the tests.
//!
//! [`Lab::start`] builds what a [`Plan`] names: regions behind routers, joined by an [`Internet`]
//! with delay, loss, rate and cut. [`Lab::spawn`] starts processes in it. Whatever ends the lab
//! (drop, error, Ctrl-C, or the next start after a kill) leaves nothing behind.

mod address;
pub mod binaries;
mod capture;
mod certificates;
mod cgroup;
mod clock;
mod command;
pub mod dns_message;
mod enter;
mod follow;
mod ground;
pub mod inspect;
mod internet;
mod interrupt;
mod kubelet;
mod lab;
mod leftovers;
mod lock;
mod manifest_directory;
pub mod manifests;
mod mutate;
mod namespace;
mod path;
pub mod pcap;
mod place;
mod plan;
mod process;
mod readiness;
pub mod record;
mod region;
mod site;
mod wait;

pub use address::free_address;
pub use capture::{Capture, Captured};
pub use certificates::{Authority, CredentialFiles, Credentials};
pub use clock::{now, unix_microseconds};
pub use follow::Follower;
pub use internet::Internet;
pub use interrupt::{end_if_interrupted, interrupted};
pub use kubelet::Kubelet;
pub use lab::Lab;
pub use leftovers::leftovers;
pub use manifest_directory::ManifestDirectory;
pub use mutate::mutate;
pub use path::Conditions;
pub use place::Place;
pub use plan::{Plan, Pod, Region};
pub use process::{Finished, Process, Program, Stopped};
pub use site::Site;
pub use wait::wait_for;
