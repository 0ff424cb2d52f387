//! Asks DNS authorities for the health of their targets and the keys of their zones, and orders drains.

mod drain;
mod health;
mod signing;

use crate::config::Dns;
use crate::context::Context;
use crate::output::Output;

/// Returns whether all is well, or has begun.
pub(crate) async fn ask(question: Dns, context: &Context, output: &Output) -> anyhow::Result<bool> {
    match question {
        Dns::Delegation { zone, parent } => {
            signing::show_delegation(&zone, parent, context, output).await
        }
        Dns::Drain(options) => drain::drain(&options, context, output).await,
        Dns::Health(options) => health::health(&options, context, output).await,
        Dns::Keys { zone } => signing::show_keys(&zone, context, output).await,
    }
}
