//! Orders a drain, and says when it is done.

use anyhow::ensure;
use serde::Serialize;
use topology::report::DrainReport;

use crate::client::escape;
use crate::config::DnsDrain;
use crate::context::Context;
use crate::output::Output;
use crate::table::{Cell, Table, Tone};

/// One authority's answer, or why there is none.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
struct Row {
    authority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<DrainReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Returns whether the order is in force wherever it has to be.
pub(super) async fn drain(
    options: &DnsDrain,
    context: &Context,
    output: &Output,
) -> anyhow::Result<bool> {
    ensure!(!context.dns.is_empty(), "the context file lists no dns");
    let path = format!(
        "/v1/dns/drain?subject={}&overMilliseconds={}&undo={}",
        escape(&options.subject),
        options.over.as_millis(),
        options.undo,
    );
    let mut rows = Vec::new();
    let mut is_everywhere = false;
    for authority in &context.dns {
        let answer = authority.post::<DrainReport>(&path).await;
        let error = answer.as_ref().err().map(ToString::to_string);
        let answer = answer.ok();
        is_everywhere = answer.as_ref().is_some_and(|it| it.everywhere);
        rows.push(Row {
            authority: authority.to_string(),
            answer,
            error,
        });
        // The store tells the others.
        if is_everywhere {
            break;
        }
    }
    let now = daemon::Clock.unix_milliseconds();
    output.print(&rows, |colours| text(&rows, now, colours))?;
    Ok(is_everywhere || rows.iter().all(|it| it.error.is_none()))
}

fn text(rows: &[Row], now: u64, colours: bool) -> String {
    let mut table = Table::new([
        "AUTHORITY",
        "RECORDS",
        "NOW",
        "DONE",
        "NOBODY HAS IT CACHED",
    ]);
    for row in rows {
        let authority = Cell::from(row.authority.clone());
        let Some(answer) = &row.answer else {
            let error = row.error.clone().unwrap_or_default();
            table.row([authority, Cell::new(error, Tone::Bad)]);
            continue;
        };
        let expires = answer
            .expires
            .map_or_else(|| "-".to_owned(), |it| time(it, now));
        table.row([
            authority,
            answer.records.to_string().into(),
            format!("{} %", f64::from(answer.per_mille) / 10.0).into(),
            time(answer.end, now).into(),
            expires.into(),
        ]);
    }
    let mut text = table.render(colours);
    if rows
        .iter()
        .filter_map(|it| it.answer.as_ref())
        .any(|it| it.everywhere)
    {
        text.push_str("\nIt holds for every authority that shares the store.\n");
    }
    text
}

/// `14:07 UTC, in 12 min`
fn time(at: u64, now: u64) -> String {
    let minutes = at / 60_000;
    let clock = format!("{:02}:{:02} UTC", minutes / 60 % 24, minutes % 60);
    match at.saturating_sub(now).div_ceil(1_000) {
        0 => format!("{clock}, by now"),
        seconds @ 1..120 => format!("{clock}, in {seconds} s"),
        seconds => format!("{clock}, in {} min", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when_the_last_cached_answer_is_gone() {
        let report = DrainReport {
            subject: "frankfurt".to_owned(),
            per_mille: 985,
            to_per_mille: 0,
            begin: 0,
            end: 600_000,
            expires: Some(900_000),
            records: 2,
            names: vec!["shop.example.".to_owned()],
            everywhere: true,
        };
        let rows = [
            Row {
                authority: "http://192.0.2.1:9963".to_owned(),
                answer: Some(report),
                error: None,
            },
            Row {
                authority: "http://192.0.2.2:9963".to_owned(),
                answer: None,
                error: Some("unreachable".to_owned()),
            },
        ];

        assert_eq!(
            text(&rows, 500_000, false),
            "AUTHORITY              RECORDS  NOW     DONE                 NOBODY HAS IT CACHED\n\
             http://192.0.2.1:9963  2        98.5 %  00:10 UTC, in 100 s  00:15 UTC, in 7 min\n\
             http://192.0.2.2:9963  unreachable\n\
             \n\
             It holds for every authority that shares the store.\n"
        );
    }
}
