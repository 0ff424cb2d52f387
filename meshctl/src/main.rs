//! Asks the mesh questions: how it is, and why it does what it does.

mod client;
mod clustermesh;
mod config;
mod context;
mod dns;
mod encrypt;
mod explain;
mod output;
mod questions;
mod rotate;
mod status;
mod table;
mod wait;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;

use crate::config::{Command, Config, Encrypt, Explain};
use crate::context::{Context, ContextError};
use crate::output::Output;

/// The mesh is not well, or a question has no answer.
const NOT_WELL: u8 = 1;
/// The question cannot be asked: as for a bad flag.
const USAGE: u8 = 2;

fn main() -> ExitCode {
    match answer(Config::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_WELL),
        Err(error) => {
            output::complain(&error);
            let is_usage = error.is::<ContextError>() || error.is::<clustermesh::Unusable>();
            ExitCode::from(if is_usage { USAGE } else { NOT_WELL })
        }
    }
}

/// Answers the question on stdout, and says whether all is well.
fn answer(config: Config) -> anyhow::Result<bool> {
    let output = Output::new(config.output);
    // Files, and nobody to ask.
    if let Command::Clustermesh(command) = &config.command
        && let Some(done) = clustermesh::arrange(command, &output)
    {
        return done;
    }

    let context = Context::find(config.context.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let answer = runtime.block_on(async {
        match config.command {
            Command::Clustermesh(command) => clustermesh::ask(command, &context, &output).await,
            Command::Dns(question) => dns::ask(question, &context, &output).await,
            Command::Encrypt(Encrypt::Status) => encrypt::status(&context, &output).await,
            Command::Status(options) => status(&options, &context, &output).await,
            Command::Encrypt(Encrypt::Rotate(options)) => {
                rotate::rotate(&options, &context, &output).await
            }
            Command::Explain(question) => {
                explain(&question, &context, &output).await?;
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
        true => {
            wait::until_well(options.wait_duration, async || {
                questions::status(context).await
            })
            .await
        }
        false => questions::status(context).await,
    };
    let now = daemon::Clock.unix_milliseconds();
    output.print(&status, |colours| status.text(now, colours))?;
    Ok(status.well)
}

pub(crate) async fn explain(
    question: &Explain,
    context: &Context,
    output: &Output,
) -> anyhow::Result<()> {
    match question {
        Explain::Service { service, node, all } => {
            let answer = questions::service(context, service, node.as_deref()).await?;
            output.print(&answer, |colours| explain::service(&answer, *all, colours))
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
