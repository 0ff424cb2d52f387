//! Runs one short administrative command, with what it said in the error.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Runs `program` to its end with `input` on its standard input, and returns its output.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let shown = || format!("{program} {}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run `{program}`; ./setup installs it"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that has failed does not read: its own error below says more.
        let _unread = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(shown)?;

    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {} {input}", shown(), said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
