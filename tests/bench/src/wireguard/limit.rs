//! How much two cores could carry if they did nothing but seal and open.

use anyhow::{Context as _, Result};

use super::engine::beside_us;
use crate::command;
use crate::config::WireguardOptions;

/// By the cipher in use, on full packets. One core seals what another opens.
///
/// # Errors
///
/// If the example that measures the cipher was not built.
pub(crate) fn gigabits_per_second(options: &WireguardOptions) -> Result<f64> {
    let example = match &options.cipher {
        Some(example) => example.clone(),
        None => beside_us("examples/cipher")?,
    };
    let text = command::run(&example.display().to_string(), &["--limit"])?;
    let rate = text.trim().parse();
    rate.with_context(|| format!("{} said {text:?}", example.display()))
}
