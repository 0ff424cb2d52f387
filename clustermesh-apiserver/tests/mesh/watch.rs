//! What `etcdctl watch` shows of a store.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;

/// A running `etcdctl watch`.
pub(crate) struct Watch {
    process: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Watch {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                let _ = sender.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self {
            process,
            lines,
            seen: Vec::new(),
        }
    }

    /// All lines so far: `PUT` or `DELETE`, the key, the value.
    pub(crate) fn seen(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// The keys that were deleted since the watch began.
    pub(crate) fn deletes(&mut self) -> Vec<String> {
        let pairs = self.seen().windows(2);
        let deletes = pairs.filter(|it| it[0] == "DELETE");
        deletes.map(|it| it[1].clone()).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}
