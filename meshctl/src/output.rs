//! Writes answers to stdout in the format that was asked for, and complaints to stderr.

use std::io::{self, Write as _};

use anyhow::Context as _;
use serde::Serialize;

use crate::config::{self, Format};

pub(crate) struct Output {
    format: Format,
    colours: bool,
}

impl Output {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            colours: config::colours(),
        }
    }

    /// Writes `value`, or for people `text`, which is told whether to use colours.
    pub(crate) fn print<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(bool) -> String,
    ) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Json => serde_json::to_string_pretty(value)? + "\n",
            Format::Table => text(self.colours),
            Format::Yaml => serde_saphyr::to_string(value)?,
        };
        let mut stdout = io::stdout().lock();
        match stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.flush())
        {
            // Whoever reads has seen enough, as `head` has.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            outcome => outcome.context("cannot write the answer"),
        }
    }
}

/// One line on stderr.
#[expect(
    clippy::print_stderr,
    reason = "the person who asked is told why there is no answer"
)]
pub(crate) fn complain(error: &anyhow::Error) {
    eprintln!("error: {}", format!("{error:#}").replace('\n', " "));
}
