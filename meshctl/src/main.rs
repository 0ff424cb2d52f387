//! Asks the mesh questions: how it is, and why it does what it does.

mod client;
mod config;
mod context;
mod explain;
mod output;
mod questions;
mod status;
mod table;
mod wait;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::config::{Command, Config, Explain, Format};
use crate::context::Context;
use crate::output::Output;

/// The mesh is not well, or a question has no answer.
const NOT_WELL: u8 = 1;
/// The question cannot be asked: as for a bad flag.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    let config = Config::parse();
    let context = match Context::find(config.context.as_deref()) {
        Ok(context) => context,
        Err(error) => {
            output::complain(&error.into());
            return ExitCode::from(USAGE);
        }
    };
    match answer(config.command, &context, config.output) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WELL),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(NOT_WELL)
        }
    }
}

/// Answers the question on stdout, and says whether all is well.
fn answer(command: Command, context: &Context, format: Format) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let output = Output::new(format);
    let answer = runtime.block_on(async {
        match command {
            Command::Status(options) => status(&options, context, &output).await,
            Command::Explain(question) => {
                explain(&question, context, &output).await?;
                Ok(true)
            }
        }
    });
    // A name that is still being looked up has had its time.
    runtime.shutdown_background();
    answer
}

async fn status(
    options: &config::Status,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    let status = match options.wait {
        true => wait::until_well(context, options.wait_duration).await,
        false => questions::status(context).await,
    };
    let now = daemon::Clock.unix_milliseconds();
    output.print(&status, |colours| status.text(now, colours))?;
    Ok(status.well)
}

async fn explain(question: &Explain, context: &Context, output: &Output) -> anyhow::Result<()> {
    match question {
        Explain::Service { service, node } => {
            let answer = questions::service(context, service, node.as_deref()).await?;
            output.print(&answer, |colours| explain::service(&answer, colours))
        }
        Explain::Dns { name, kind, from } => {
            let answer = questions::dns(context, name, kind, *from).await?;
            output.print(&answer, |colours| explain::dns(&answer, colours))
        }
        Explain::Peer {
            peer: (cluster, node),
        } => {
            let answers = questions::peers(context, cluster, node.as_deref()).await?;
            let now = daemon::Clock.unix_milliseconds() / 1_000;
            output.print(&answers, |colours| explain::peers(&answers, now, colours))
        }
    }
}
