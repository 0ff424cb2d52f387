//! What a store owes those who rely on it: what it acknowledged stays, in one order for everybody,
//! whatever happens to its process.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic where it stands"
)]
#![expect(
    clippy::print_stdout,
    reason = "tests print their seeds and what they measured"
)]

mod checker;
mod cost;
mod kill;
mod linearizability;
mod process;
mod snapshot;
mod start;
mod watch;
