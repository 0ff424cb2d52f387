//! Writes the report as one HTML page that needs no other file, no script and no network.

mod bar;
mod date;
mod markup;
mod palette;
mod picture;
mod scale;
mod story;

use markup::{Element, element};

use crate::report::{Client, Measure, Report, Step, grouped};

/// The whole page.
pub(crate) fn render(report: &Report) -> String {
    let title = format!("{TITLE}: {}", report.verdict());
    let viewport = element("meta").with("name", "viewport");
    let head = element("head")
        .child(element("meta").with("charset", "utf-8"))
        .child(viewport.with("content", "width=device-width, initial-scale=1"))
        .child(element("title").text(title))
        .child(element("style").text(include_str!("page/style.css")));
    let page = element("html")
        .with("lang", "en")
        .child(head)
        .child(body(report));
    format!("<!DOCTYPE html>\n{page}\n")
}

const TITLE: &str = "Three regions, one mesh";

fn body(report: &Report) -> Element {
    let class = if report.holds() {
        "verdict ok"
    } else {
        "verdict failed"
    };
    let mark = if report.holds() { '✓' } else { '✗' };
    let date = date::utc(report.started_unix_milliseconds);
    let when = format!(
        "{date}, {:.1} s from start to end. Hover over the picture for exact times.",
        report.seconds
    );
    element("body")
        .child(element("h1").text(TITLE))
        .child(element("p").with("class", "quiet").text(when))
        .child(
            element("p")
                .with("class", class)
                .text(format!("{mark} {}", report.verdict())),
        )
        .child(
            element("div")
                .with("class", "picture")
                .child(picture::picture(report)),
        )
        .child(element("h2").text("The story"))
        .child(wide(steps(report)))
        .child(element("h2").text("The requests"))
        .child(wide(requests(report)))
        .child(element("h2").text("Where it ran"))
        .child(wide(facts(report)))
}

/// On a narrow screen a table scrolls by itself.
fn wide(table: Element) -> Element {
    element("div").with("class", "wide").child(table)
}

fn steps(report: &Report) -> Element {
    let heads = [
        ("number", ""),
        ("", "What"),
        ("", "Measured"),
        ("", "Goal"),
        ("", "Result"),
    ];
    table(&heads).children(report.steps.iter().map(step))
}

/// A step and its measures stay together.
fn step(step: &Step) -> Element {
    let seconds = format!("{:.1} s", step.ended - step.started);
    let title = element("tr")
        .with("class", "step")
        .child(cell("number", step.number))
        .child(element("th").with("scope", "rowgroup").text(&step.title))
        .child(cell("", seconds))
        .child(cell("", ""))
        .child(result(step.holds()));
    let failure = step.failure.iter().map(|it| {
        let text = element("td")
            .with("class", "failure")
            .with("colspan", 4)
            .text(it);
        element("tr").child(cell("", "")).child(text)
    });
    element("tbody")
        .child(title)
        .children(step.measures.iter().map(measure))
        .children(failure)
}

fn measure(measure: &Measure) -> Element {
    let goal = measure.goal.as_deref().unwrap_or_default();
    element("tr")
        .child(cell("", ""))
        .child(cell("", &measure.what))
        .child(cell("", &measure.value))
        .child(cell("", goal))
        .child(result(measure.ok))
}

fn requests(report: &Report) -> Element {
    let regions = report
        .regions
        .iter()
        .map(|it| ("figure", format!("Served by {}", it.name)));
    let mut heads = vec![("", "Client".to_owned())];
    heads.extend([
        ("figure", "Requests".to_owned()),
        ("figure", "Failed".to_owned()),
    ]);
    heads.extend(regions);
    let heads: Vec<(&str, &str)> = heads
        .iter()
        .map(|(class, text)| (*class, &**text))
        .collect();

    let row = |client: &Client| {
        let served = report
            .regions
            .iter()
            .map(|it| client.served.get(&it.name).copied());
        let figures = [client.counts.total, client.counts.failed].into_iter();
        let figures = figures.chain(served.map(Option::unwrap_or_default));
        let name = element("th").with("scope", "row").text(&client.track.name);
        element("tr")
            .child(name)
            .children(figures.map(|it| cell("figure", grouped(it))))
    };
    table(&heads).child(plain(report.clients.iter().map(row)))
}

fn facts(report: &Report) -> Element {
    let regions = report
        .regions
        .iter()
        .map(|it| (format!("Region {}", it.name), &it.place));
    let facts = report.facts.iter().map(|it| (it.name.clone(), &it.value));
    let row = |(name, value): (String, &String)| {
        let name = element("th").with("scope", "row").text(name);
        element("tr").child(name).child(cell("", value))
    };
    element("table").child(plain(regions.chain(facts).map(row)))
}

fn table(heads: &[(&str, &str)]) -> Element {
    let head = |(class, text): &(&str, &str)| {
        element("th")
            .with("scope", "col")
            .with("class", class)
            .text(text)
    };
    element("table").child(element("thead").child(element("tr").children(heads.iter().map(head))))
}

fn plain(rows: impl Iterator<Item = Element>) -> Element {
    element("tbody").with("class", "plain").children(rows)
}

fn cell(class: &str, text: impl std::fmt::Display) -> Element {
    element("td").with("class", class).text(text)
}

fn result(ok: bool) -> Element {
    if ok {
        cell("result ok", "✓ ok")
    } else {
        cell("result failed", "✗ FAILED")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Region, sample};
    use crate::timeline::State;

    #[test]
    fn is_well_formed_and_needs_nothing_from_elsewhere() {
        let page = render(&sample());

        assert_eq!(unbalanced(&page), None);
        for outside in ["<script", "<link", "src=", "href=", "@import", "//cdn"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("http://").count(), 1, "only the name of SVG");
    }

    #[test]
    fn the_style_needs_no_escape() {
        assert!(!include_str!("page/style.css").contains(['<', '>', '&', '\'', '"']));
    }

    #[test]
    fn tells_every_step_measure_client_and_fact() {
        let report = sample();
        let page = render(&report);

        let measures = report.steps.iter().flat_map(|it| &it.measures);
        let told = report.steps.iter().map(|it| &it.title);
        let told = told.chain(measures.flat_map(|it| [&it.what, &it.value]));
        let told = told.chain(report.clients.iter().map(|it| &it.track.name));
        let told = told.chain(report.facts.iter().flat_map(|it| [&it.name, &it.value]));
        for text in told {
            assert!(page.contains(&format!(">{text}<")), "{text}");
        }
        assert!(page.contains("✓ all 7 steps hold"));
        assert!(page.contains("eu client: us from 11.14 s to 52.03 s"));
        assert!(page.contains(">33 failed<"));
    }

    #[test]
    fn a_failed_step_cannot_be_overlooked() {
        let mut report = sample();
        report.steps[4].ok = false;
        report.steps[4].failure = Some("2 requests failed".to_owned());

        let page = render(&report);

        assert!(page.contains("✗ 1 of 7 steps failed: 5"));
        assert!(page.contains("2 requests failed"));
        assert_eq!(page.matches("✗ FAILED").count(), 1);
    }

    #[test]
    fn hostile_text_stays_text() {
        let hostile = "</style><script>alert(\"1\")</script><img src='x'>&\u{0}\u{1b}".to_owned();
        let mut report = sample();
        report.regions.push(Region {
            name: hostile.clone(),
            place: hostile.clone(),
        });
        report.steps[0].title.clone_from(&hostile);
        report.steps[1].failure = Some(hostile.clone());
        report.steps[2].measures[0].value.clone_from(&hostile);
        report.facts[0].value.clone_from(&hostile);
        report.clients[0].track.name.clone_from(&hostile);
        report.dns[0].spans[0].state = State::Bad(hostile.clone());
        report.states[0].spans[0].state = State::Unclear(hostile);

        let page = render(&report);

        assert_eq!(unbalanced(&page), None);
        assert!(!page.contains("<script"));
        assert!(!page.contains("<img"));
    }

    #[test]
    fn an_empty_report_is_a_page_too() {
        let mut report = sample();
        report.seconds = 0.0;
        report.steps.clear();
        report.clients.clear();
        report.dns.clear();
        report.states.clear();

        let page = render(&report);

        assert_eq!(unbalanced(&page), None);
        assert!(!page.contains("NaN"));
    }

    #[test]
    fn the_picture_alone_is_well_formed_and_every_text_in_it_can_be_read() {
        let picture = picture::picture(&sample()).to_string();

        assert_eq!(unbalanced(&format!("<!DOCTYPE svg>{picture}")), None);
        let sizes = picture.split("font-size=\"").skip(1);
        let sizes = sizes.map(|it| it.split('"').next().unwrap().parse::<u32>().unwrap());
        assert!(sizes.min() >= Some(12));
    }

    /// The first tag that is not closed, not opened, or not written as XML wants it.
    fn unbalanced(page: &str) -> Option<String> {
        let page = page.strip_prefix("<!DOCTYPE ").unwrap();
        let mut open = Vec::new();
        for piece in page.split('<').skip(1) {
            let Some((tag, text)) = piece.split_once('>') else {
                return Some(piece.to_owned());
            };
            let (name, attributes) = tag.split_once(' ').unwrap_or((tag, ""));
            let closed = name.strip_prefix('/');
            let quotes = attributes.matches('"').count();
            if text.contains('>')
                || quotes % 2 != 0
                || attributes.matches("=\"").count() * 2 != quotes
            {
                return Some(piece.to_owned());
            }
            match closed {
                Some(name) if open.pop() != Some(name) => return Some(piece.to_owned()),
                None if !tag.ends_with('/') => open.push(name),
                Some(_) | None => (),
            }
        }
        open.pop().map(str::to_owned)
    }
}
