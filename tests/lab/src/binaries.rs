//! Finds the workspace's programs: beside the one that is running.

use std::env;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

/// The program `name` from the same build as the running one.
///
/// # Errors
///
/// If it has not been built.
pub fn find(name: &str) -> Result<PathBuf> {
    let own = env::current_exe().context("cannot find the running program")?;
    // Tests run from a directory below the one with the programs.
    let directories = own.ancestors().skip(1).take(2);
    let mut candidates = directories.map(|it| it.join(name));
    candidates
        .find(|it| it.is_file())
        .with_context(|| format!("`{name}` is not built; run: cargo build --workspace"))
}

/// Turns the result of a small program into its exit code, with one sentence on standard error.
pub fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody is left to tell if this fails.
            let _unwritten = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
