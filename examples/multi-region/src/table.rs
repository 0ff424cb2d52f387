//! Writes the report as a text table that fits into 100 columns.

use crate::report::wrap::wrapped;
use crate::report::{Report, Step, grouped};

/// The report as lines of text, with colors only for a terminal.
pub(crate) fn text(report: &Report, colored: bool) -> String {
    let ink = Ink { colored };
    let mut lines = row(
        ["step", "what", "measured", "goal"],
        None,
        |it| ink.dim(it),
        ink,
    );
    for step in &report.steps {
        lines.extend(step_lines(step, ink));
    }
    lines.push(String::new());
    for client in &report.clients {
        let (name, counts) = (&client.track.name, client.counts);
        let (total, failed) = (grouped(counts.total), grouped(counts.failed));
        lines.push(format!(
            "{:INDENT$}{name}: {total} requests, {failed} failed",
            ""
        ));
    }
    let verdict = capitalized(&report.verdict());
    let verdict = if report.holds() {
        ink.good(&verdict)
    } else {
        ink.bad(&verdict)
    };
    lines.extend([
        String::new(),
        format!("{:INDENT$}{verdict}", ""),
        String::new(),
    ]);
    lines.join("\n")
}

/// Columns of each cell before the result; with two between the cells, and the result, a row has
/// 100.
const WIDTHS: [usize; 4] = [4, 46, 22, 14];

/// Where the text of a step starts, in columns.
const INDENT: usize = WIDTHS[0] + 2;

/// Colors for a terminal, by their meaning.
#[derive(Clone, Copy, Debug)]
struct Ink {
    colored: bool,
}

fn step_lines(step: &Step, ink: Ink) -> Vec<String> {
    let number = step.number.to_string();
    let seconds = format!("{:.1} s", step.ended - step.started);
    let cells = [&*number, &step.title, &seconds, ""];
    let mut lines = row(cells, Some(step.holds()), |it| ink.bold(it), ink);
    for measure in &step.measures {
        let (what, goal) = (format!("  {}", measure.what), measure.goal.as_deref());
        let cells = ["", &*what, &measure.value, goal.unwrap_or_default()];
        lines.extend(row(cells, Some(measure.ok), str::to_owned, ink));
    }
    for line in step
        .failure
        .iter()
        .flat_map(|it| wrapped(it, 100 - INDENT - 2))
    {
        lines.push(ink.bad(&format!("{:INDENT$}  {line}", "")));
    }
    lines
}

/// The lines of one row, painted by `paint`; cells that are too long go on in the next line of
/// their column. The result stands in the first line.
fn row(
    cells: [&str; WIDTHS.len()],
    ok: Option<bool>,
    paint: impl Fn(&str) -> String,
    ink: Ink,
) -> Vec<String> {
    let columns: Vec<Vec<String>> = cells
        .iter()
        .zip(WIDTHS)
        .map(|(cell, width)| wrapped(cell, width))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let text = |at: usize| {
        let cells = columns.iter().map(|it| it.get(at).map_or("", |it| &**it));
        let cells = cells
            .zip(WIDTHS)
            .map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>()
    };
    let result = match ok {
        None => String::new(),
        Some(true) => ink.good("ok"),
        Some(false) => ink.bad("FAILED"),
    };
    let line = |at| match at {
        0 if ok.is_some() => paint(&text(at)) + &result,
        _ => paint(text(at).trim_end()),
    };
    (0..height).map(line).collect()
}

fn capitalized(text: &str) -> String {
    let mut characters = text.chars();
    let first = characters.next().map(|it| it.to_uppercase().to_string());
    first.unwrap_or_default() + characters.as_str()
}

impl Ink {
    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    fn bad(self, text: &str) -> String {
        self.paint("31;1", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colored {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn aligns_the_columns_of_every_row() {
        let text = text(&sample(), false);

        let rows: Vec<&str> = text.lines().take_while(|it| !it.is_empty()).collect();
        assert_eq!(
            rows[0],
            "step  what                                            measured                goal"
        );
        let third = "3     Every shop backend in eu dies                   14.0 s                                  ok";
        assert!(rows.contains(&third), "{text}");
        let measure = "        load balancer moved to us                     1.64 s                  ≤ 3 s           ok";
        assert!(rows.contains(&measure), "{text}");
    }

    #[test]
    fn no_line_is_wider_than_100_columns() {
        let mut report = sample();
        let step = &mut report.steps[3];
        step.title = "a title with many words in it ".repeat(6);
        step.measures[0].what = "x".repeat(130);
        step.measures[0].ok = false;
        step.failure = Some("there is a reason that takes some telling ".repeat(9));

        let text = text(&report, false);

        let widest = text.lines().map(|it| it.chars().count()).max();
        assert!(widest <= Some(100), "{text}");
        assert!(text.contains("1 of 7 steps failed: 4"), "{text}");
        assert_eq!(text.matches("FAILED").count(), 2, "{text}");
    }

    #[test]
    fn colors_are_for_terminals_and_control_characters_for_nobody() {
        let mut report = sample();
        report.steps[0].title = "evil\x1b[2J\ntitle".to_owned();

        assert!(!text(&report, false).contains('\x1b'));
        let colored = text(&report, true);
        assert!(colored.contains("\x1b[32mok\x1b[0m"), "{colored}");
        assert!(!colored.contains("\x1b[2J"), "{colored}");
        assert!(colored.contains("evil [2J title"), "{colored}");
    }
}
