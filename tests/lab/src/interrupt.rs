//! Cleans up when the user or the system asks the lab's process to end.

use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, process, thread};

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::{ground, leftovers};

/// Whether there is a lab of this process to clean up; another process may have one.
static ACTIVE: AtomicBool = AtomicBool::new(false);

/// The exit code of a command that Ctrl-C has ended, by the convention of shells.
const INTERRUPTED: i32 = 130;

/// While it exists, an interrupt removes the lab before it ends the process.
#[derive(Debug)]
pub(crate) struct CleanUpOnInterrupt {}

impl CleanUpOnInterrupt {
    pub(crate) fn new() -> Self {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            thread::spawn(|| match wait() {
                Ok(()) => clean_up_and_exit(),
                Err(error) => tracing::warn!("cannot wait for signals: {error:#}"),
            });
        });
        ACTIVE.store(true, Ordering::SeqCst);
        Self {}
    }
}

impl Drop for CleanUpOnInterrupt {
    fn drop(&mut self) {
        ACTIVE.store(false, Ordering::SeqCst);
    }
}

fn wait() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
            _ = hangup.recv() => (),
        }
        Ok(())
    })
}

fn clean_up_and_exit() -> ! {
    let _permission = ground::permission();
    if ACTIVE.load(Ordering::SeqCst) {
        tracing::info!("interrupted; cleaning up");
        if let Err(error) = leftovers::remove() {
            tracing::error!("cannot clean up: {error:#}; the next run will try again");
        }
        let _gone = fs::remove_file(ground::LOCK);
    }
    process::exit(INTERRUPTED);
}
