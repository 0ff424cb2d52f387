//! What every process of the mesh does alike: start, readiness, drain, telemetry, admin endpoint,
//! clock. It knows nothing of meshes.
//!
//! A binary parses its command line with [`Options`] flattened into it, and hands its work to
//! [`run`]:
//!
//! ```no_run
//! use clap::Parser as _;
//!
//! #[derive(clap::Parser)]
//! struct Config {
//!     #[command(flatten)]
//!     daemon: daemon::Options,
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     let config = Config::parse();
//!     daemon::run("beacon", &config.daemon, async |mut process: daemon::Process| {
//!         let synced = process.readiness.guard("the mesh is synced");
//!         process.serve_admin([]);
//!         drop(synced);
//!         process.drain.started().await;
//!         Ok(())
//!     })
//! }
//! ```

mod admin;
pub mod bind;
mod clock;
mod drain;
mod hold;
mod metrics;
mod options;
mod process;
mod readiness;
mod telemetry;

pub use clock::Clock;
pub use drain::{Drain, DrainTrigger, Unfinished};
pub use options::{LogFormat, Options};
pub use process::{Process, run};
pub use readiness::{Readiness, ReadinessGuard};
