//! Shows on standard error that something takes time, once it takes longer than two seconds.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Shows progress until it is dropped, and leaves a clean line.
///
/// Drop it before writing to the same terminal.
#[derive(Debug)]
#[must_use = "progress is shown only as long as this lives"]
pub(crate) struct Progress {
    /// Nothing is sent: the end of the channel is the sign to stop.
    stop: Option<SyncSender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Style {
    /// For a file or a pipe: a new line now and then.
    Lines,
    /// For a terminal: one line, written again and again.
    Rewritten,
}

/// What is over sooner needs no line.
const PATIENCE: Duration = Duration::from_secs(2);

impl Progress {
    /// `what` is being done from now on, in a few words: `starting three regions`.
    pub(crate) fn start(what: &str) -> Self {
        let style = if io::stderr().is_terminal() {
            Style::Rewritten
        } else {
            Style::Lines
        };
        let what = what.to_owned();
        let (stop, stopped) = sync_channel(0);
        let thread = thread::Builder::new()
            .name("progress".to_owned())
            .spawn(move || show(&what, style, &stopped));
        // Without a thread there is no line, which is no reason to fail.
        Self {
            stop: Some(stop),
            thread: thread.ok(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It ends only after it has cleared the line; a panic in it changes nothing here.
            let _ended = thread.join();
        }
    }
}

fn show(what: &str, style: Style, stopped: &Receiver<Infallible>) {
    let start = lab::now();
    for count in 0.. {
        let wait = style.due(count).saturating_sub(lab::now() - start);
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            if 0 < count {
                write(style.end());
            }
            return;
        }
        if lab::interrupted() {
            return write(style.end());
        }
        write(&style.line(what, lab::now() - start, count));
    }
}

/// If standard error is gone, there is nobody left to tell.
fn write(text: &str) {
    let mut stderr = io::stderr().lock();
    let _written = stderr
        .write_all(text.as_bytes())
        .and_then(|()| stderr.flush());
}

impl Style {
    /// When the line with this number, counted from 0, is to be written, since the start.
    fn due(self, count: u32) -> Duration {
        let interval = match self {
            Self::Lines => Duration::from_secs(10),
            Self::Rewritten => Duration::from_millis(100),
        };
        PATIENCE + interval * count
    }

    /// On a terminal the line is cut at its edge (`?7l`), so that it stays one line to rewrite.
    fn line(self, what: &str, elapsed: Duration, count: u32) -> String {
        const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

        match self {
            Self::Lines => format!("{what} … {} s\n", elapsed.as_secs()),
            Self::Rewritten => {
                let face = usize::try_from(count).unwrap_or(0) % SPINNER.len();
                let (face, seconds) = (SPINNER[face], elapsed.as_secs_f64());
                format!("\r\x1b[?7l{face} {what} … {seconds:.1} s\x1b[K\x1b[?7h")
            }
        }
    }

    /// Clears what [`line`](Self::line) wrote.
    fn end(self) -> &'static str {
        match self {
            Self::Lines => "",
            Self::Rewritten => "\r\x1b[K",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_a_line_after_two_seconds_and_then_every_ten() {
        let due: Vec<u64> = (0..3).map(|it| Style::Lines.due(it).as_secs()).collect();
        assert_eq!(due, [2, 12, 22]);

        let line = Style::Lines.line("building", Duration::from_millis(12_004), 1);
        assert_eq!(line, "building … 12 s\n");
    }

    #[test]
    fn a_terminal_gets_one_line_that_is_rewritten_and_cleared() {
        let line = |count| Style::Rewritten.line("building", Duration::from_millis(2_100), count);

        assert_eq!(line(1), "\r\x1b[?7l⠙ building … 2.1 s\x1b[K\x1b[?7h");
        assert_eq!(line(11), line(1));
        assert!(!line(3).contains('\n'));
        assert_eq!(Style::Rewritten.end(), "\r\x1b[K");
    }

    #[test]
    fn ends_as_soon_as_it_is_dropped() {
        let (done, ended) = sync_channel(1);
        thread::spawn(move || {
            drop(Progress::start("waiting for nothing"));
            done.send(()).unwrap();
        });

        assert_eq!(ended.recv_timeout(Duration::from_secs(60)), Ok(()));
    }
}
