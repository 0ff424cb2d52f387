//! Asks again until the mesh is well, and shows on stderr what it still waits for.

use std::io::{self, IsTerminal as _};
use std::time::Duration;

use daemon::Clock;

use crate::status::MeshStatus;

/// Often enough that a person does not notice, seldom enough that daemons do not either.
const INTERVAL: Duration = Duration::from_millis(500);
/// A longer line would wrap on a narrow terminal, and could not be rewritten.
const LINE_CHARACTERS_MAX: usize = 79;

/// What can be waited for.
pub(crate) trait Awaited {
    fn is_well(&self) -> bool;

    /// What is missing, in half a line.
    fn summary(&self) -> String;
}

impl Awaited for MeshStatus {
    fn is_well(&self) -> bool {
        self.well
    }

    fn summary(&self) -> String {
        self.summary()
    }
}

/// The first status that is well, or the last one after `patience`.
pub(crate) async fn until_well<T: Awaited>(patience: Duration, ask: impl AsyncFn() -> T) -> T {
    let start = Clock.now();
    let mut progress = Progress::new();
    loop {
        let status = ask().await;
        let waited = Clock.now() - start;
        if status.is_well() || waited >= patience {
            progress.end();
            return status;
        }
        progress.show(&status.summary(), waited);
        tokio::time::sleep(INTERVAL.min(patience - waited)).await;
    }
}

/// What is waited for: on a terminal one line that is written again, else a line per change.
struct Progress {
    terminal: bool,
    shown: String,
}

#[expect(
    clippy::print_stderr,
    reason = "progress is for the person who waits, and not part of the answer"
)]
impl Progress {
    fn new() -> Self {
        Self {
            terminal: io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    fn show(&mut self, what: &str, waited: Duration) {
        let line = format!("waiting, {} s: {what}", waited.as_secs());
        if self.terminal {
            let line: String = line.chars().take(LINE_CHARACTERS_MAX).collect();
            eprint!("\r\x1b[2K{line}");
        } else if self.shown != what {
            eprintln!("{line}");
        }
        what.clone_into(&mut self.shown);
    }

    /// Takes the line away, so that only the answer remains.
    fn end(&self) {
        if self.terminal && !self.shown.is_empty() {
            eprint!("\r\x1b[2K");
        }
    }
}
