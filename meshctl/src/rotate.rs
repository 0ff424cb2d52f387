//! Asks agents for another WireGuard key, and shows what they say.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

use crate::config::Rotate;
use crate::context::Context;
use crate::output::Output;
use crate::questions;
use crate::table::{Cell, Table, Tone};

/// What an agent answers.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Begun {
    begun: bool,
    /// What happens now, in a sentence.
    steps: String,
}

/// One agent's answer, or why there is none.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Row {
    agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Begun>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Returns whether every agent that was asked is at it.
pub(crate) async fn rotate(
    options: &Rotate,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    let agents = match &options.node {
        Some(node) => vec![questions::agent_of(context, node).await?],
        None => context.agents.clone(),
    };
    ensure!(!agents.is_empty(), "the context file lists no agents");
    let mut rows = Vec::new();
    for agent in agents {
        let answer = agent.post::<Begun>("/v1/encrypt/rotate").await;
        let error = answer.as_ref().err().map(ToString::to_string);
        rows.push(Row {
            agent: agent.to_string(),
            answer: answer.ok(),
            error,
        });
    }
    output.print(&rows, |colours| text(&rows, colours))?;
    Ok(rows.iter().all(|it| it.error.is_none()))
}

fn text(rows: &[Row], colours: bool) -> String {
    let mut table = Table::new(["AGENT", "KEY"]);
    for row in rows {
        let (what, tone) = match (&row.answer, &row.error) {
            (Some(it), _) if it.begun => ("begun".to_owned(), Tone::Good),
            (Some(_), _) => ("under way already".to_owned(), Tone::Plain),
            (None, error) => (error.clone().unwrap_or_default(), Tone::Bad),
        };
        table.row([Cell::new(&row.agent, Tone::Plain), Cell::new(what, tone)]);
    }
    let mut text = table.render(colours);
    if let Some(steps) = rows.iter().find_map(|it| Some(&it.answer.as_ref()?.steps)) {
        text.push_str(&format!("\n{steps}\n"));
    }
    text
}
