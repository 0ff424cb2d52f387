//! Cleans up when the user or the system asks the lab's process to end.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;
use std::{fs, process, thread};

use anyhow::Result;
use rustix::process::WaitOptions;
use tokio::signal::unix::{SignalKind, signal};

use crate::{ground, leftovers};

/// Whether there is a lab of this process to clean up; another process may have one.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// Set before anything is taken away, so that nobody takes the ruins for a failure.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The exit code of a command that Ctrl-C has ended, by the convention of shells.
const EXIT_CODE: i32 = 130;

/// How often a cleaning is tried, and what is between two looks: longer than anybody writes files
/// without starting a process.
const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(100);

/// Whether the process was asked to end: it cleans up, and ends by itself in a moment.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Returns only if the process was not asked to end. What fails after that has failed because the
/// lab is being taken away, and is not worth a word.
pub fn end_if_interrupted() {
    while interrupted() {
        thread::park();
    }
}

/// Answers interrupts from now on, whether there is a lab or not.
pub(crate) fn install() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let (ready, installed) = sync_channel(1);
        thread::spawn(move || match wait(&ready) {
            Ok(()) => clean_up_and_exit(),
            Err(error) => tracing::warn!("cannot wait for signals: {error:#}"),
        });
        // If that thread fails, there is nothing to wait for.
        let _failed = installed.recv();
    });
}

/// While it exists, an interrupt removes the lab before it ends the process.
#[derive(Debug)]
pub(crate) struct CleanUpOnInterrupt {}

impl CleanUpOnInterrupt {
    pub(crate) fn new() -> Self {
        install();
        ACTIVE.store(true, Ordering::SeqCst);
        Self {}
    }
}

impl Drop for CleanUpOnInterrupt {
    fn drop(&mut self) {
        ACTIVE.store(false, Ordering::SeqCst);
    }
}

fn wait(ready: &SyncSender<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let _nobody_waits = ready.send(());
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
        Ok(())
    })
}

fn clean_up_and_exit() -> ! {
    INTERRUPTED.store(true, Ordering::SeqCst);
    let _permission = ground::permission();
    if ACTIVE.load(Ordering::SeqCst) {
        tracing::info!("interrupted; cleaning up");
        if let Err(error) = remove_until_nothing_comes_back() {
            tracing::error!("cannot clean up: {error:#}; the next run will try again");
        }
        let _gone = fs::remove_file(ground::LOCK);
    }
    reap();
    process::exit(EXIT_CODE);
}

/// Without permission nobody starts processes or makes namespaces any more, but may still be
/// writing files, for the moment until it needs permission or sees that the lab is gone.
fn remove_until_nothing_comes_back() -> Result<()> {
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        outcome = leftovers::remove();
        thread::sleep(PAUSE);
        if outcome.is_ok() && leftovers().is_empty() {
            break;
        }
    }
    outcome
}

/// Takes note of the killed children's ends, which an init of a container may not do for us.
fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}
