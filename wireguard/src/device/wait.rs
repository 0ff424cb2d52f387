//! A door: waits for descriptors, awake where an answer is about to come.

use std::io;
use std::time::Instant;

use rustix::event::{PollFd, Timespec, poll};
use rustix::thread::sched_yield;

use crate::lookout::{LOOKOUT, Lookout};

/// Waits until one of `descriptors` has what it is asked for. By `is_expectant` whoever waits says
/// that what came last may be answered.
///
/// # Errors
///
/// A signal, or a descriptor that is none.
pub(super) fn wait(
    descriptors: &mut [PollFd<'_>],
    lookout: &mut Lookout,
    is_expectant: bool,
) -> io::Result<()> {
    if lookout.is_worth(is_expectant) && stay_awake(descriptors)? {
        lookout.paid();
        return Ok(());
    }
    let begun = now();
    poll(descriptors, None)?;
    lookout.slept(begun.elapsed());
    Ok(())
}

/// Whether something came.
fn stay_awake(descriptors: &mut [PollFd<'_>]) -> io::Result<bool> {
    let begun = now();
    while begun.elapsed() < LOOKOUT {
        if 0 < poll(descriptors, Some(&Timespec::default()))? {
            return Ok(true);
        }
        sched_yield();
    }
    Ok(false)
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long a thread slept is nobody else's business"
)]
fn now() -> Instant {
    Instant::now()
}
