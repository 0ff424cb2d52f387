//! Draws the report as one picture: a row for everything that changes, over time.

use super::bar::{self, Shape};
use super::markup::{Element, element};
use super::palette::{self, INK, LINE, QUIET};
use super::scale::Scale;
use super::story;
use crate::report::{Client, Report, grouped};
use crate::timeline::Track;

/// The picture, which needs nothing but itself. Lengths are in pixels of a picture this wide; it
/// grows and shrinks with its surroundings.
pub(crate) fn picture(report: &Report) -> Element {
    let scale = Scale::new(report.seconds, LEFT, RIGHT);
    let groups = groups(report);
    let top = story::height(&report.steps, scale);
    let bottom = top + groups.iter().map(Group::height).sum::<f64>();
    let (legend, end) = legend(report, scale, bottom + AXIS_HEIGHT);

    let mut y = top;
    let mut rows = Vec::new();
    for group in &groups {
        rows.extend(group.draw(y, scale, report));
        y += group.height();
    }

    let told: Vec<String> = groups
        .iter()
        .flat_map(|group| &group.rows)
        .map(|row| row.track.to_string())
        .collect();
    let paper = element("rect").at("width", WIDTH).at("height", end);
    element("svg")
        .with("xmlns", "http://www.w3.org/2000/svg")
        .with("viewBox", format!("0 0 {WIDTH} {end}"))
        .with("role", "img")
        .with(
            "aria-label",
            "Timeline: which region served each client, and when",
        )
        .with(
            "font-family",
            "system-ui, 'Segoe UI', Roboto, 'Liberation Sans', sans-serif",
        )
        .with("font-size", 13)
        .with("fill", INK)
        .child(element("desc").text(told.join("\n")))
        .child(palette::patterns())
        .child(paper.with("fill", "#ffffff"))
        .children(story::draw(&report.steps, scale, bottom))
        .children(rows)
        .children(axis(scale, bottom))
        .children(legend)
}

const WIDTH: f64 = 1_200.0;
/// Where time starts and ends; names stand to the left.
const LEFT: f64 = 206.0;
const RIGHT: f64 = 1_180.0;
/// Where names start.
const MARGIN: f64 = 14.0;
/// From the axis to the middle of the legend's first line.
const AXIS_HEIGHT: f64 = 48.0;
const HEADING_HEIGHT: f64 = 28.0;

/// Rows of one kind.
struct Group<'a> {
    heading: &'static str,
    rows: Vec<Row<'a>>,
    shape: Shape,
}

struct Row<'a> {
    track: &'a Track,
    /// Small, below the name.
    note: Option<String>,
}

/// Only the kinds that there is something of.
fn groups(report: &Report) -> Vec<Group<'_>> {
    let client = |client: &Client| {
        let (total, failed) = (grouped(client.counts.total), grouped(client.counts.failed));
        Some(format!("{total} requests, {failed} failed"))
    };
    let clients = report.clients.iter().map(|it| (&it.track, client(it)));
    let dns = report.dns.iter().map(|it| (it, None));
    let states = report.states.iter().map(|it| (it, None));

    let mut groups = vec![
        Group::new("Requests: who served", clients, Shape::REQUESTS),
        Group::new("DNS answers", dns, Shape::ANSWERS),
        Group::new("Tunnels and clusters", states, Shape::STATES),
    ];
    groups.retain(|it| !it.rows.is_empty());
    groups
}

impl<'a> Group<'a> {
    fn new(
        heading: &'static str,
        rows: impl Iterator<Item = (&'a Track, Option<String>)>,
        shape: Shape,
    ) -> Self {
        let rows = rows.map(|(track, note)| Row { track, note }).collect();
        Self {
            heading,
            rows,
            shape,
        }
    }

    fn height(&self) -> f64 {
        let rows: f64 = self.rows.iter().map(|_| self.shape.row).sum();
        HEADING_HEIGHT + rows + 6.0
    }

    fn draw(&self, y: f64, scale: Scale, report: &Report) -> Vec<Element> {
        let heading = label(MARGIN, y + 18.0, self.heading).with("font-weight", 600);
        let rule = line([MARGIN, scale.right()], [y, y]).with("stroke", LINE);
        let mut drawn = vec![rule, heading];
        let mut y = y + HEADING_HEIGHT;
        for row in &self.rows {
            let middle = y + self.shape.middle();
            let name = if row.note.is_some() {
                middle - 3.0
            } else {
                middle + 4.5
            };
            drawn.push(label(MARGIN, name, &row.track.name));
            drawn.extend(row.note.iter().map(|it| {
                label(MARGIN, middle + 13.0, it)
                    .with("font-size", 12)
                    .with("fill", QUIET)
            }));
            drawn.extend(bar::draw(row.track, self.shape, y, scale, &report.regions));
            y += self.shape.row;
        }
        drawn
    }
}

fn axis(scale: Scale, y: f64) -> Vec<Element> {
    let mut axis = vec![line([scale.left(), scale.right()], [y, y]).with("stroke", QUIET)];
    for seconds in scale.ticks() {
        let x = scale.x(seconds);
        axis.push(line([x, x], [y, y + 5.0]).with("stroke", QUIET));
        let text = label(x, y + 20.0, format!("{seconds} s"));
        axis.push(
            text.with("text-anchor", "middle")
                .with("font-size", 12)
                .with("fill", QUIET),
        );
    }
    axis
}

/// The legend from `y` on, and where the picture ends below it.
fn legend(report: &Report, scale: Scale, y: f64) -> (Vec<Element>, f64) {
    let mut flow = Flow { x: LEFT, y };
    let mut drawn = Vec::new();
    for (look, meaning) in palette::legend(&report.regions) {
        let [x, y] = flow.place(&meaning);
        drawn.push(bar::block([x, y - 7.0, SWATCH, 14.0], look));
        drawn.push(label(x + SWATCH + 8.0, y + 4.5, meaning));
    }
    flow.end_line();
    for step in story::untitled(&report.steps, scale) {
        let [x, y] = flow.place(&step.title);
        drawn.extend(story::number(step, x + SWATCH / 2.0, y));
        drawn.push(label(x + SWATCH + 8.0, y + 4.5, &step.title));
    }
    flow.end_line();
    (drawn, flow.y - 4.0)
}

/// The width of a color or a number in the legend.
const SWATCH: f64 = 26.0;

/// Where the next entry of the legend goes: from left to right, then into the next line.
struct Flow {
    x: f64,
    /// The middle of the line.
    y: f64,
}

impl Flow {
    fn place(&mut self, text: &str) -> [f64; 2] {
        let width = SWATCH + 8.0 + bar::text_width(text) + 18.0;
        if RIGHT < self.x + width {
            self.end_line();
        }
        let place = [self.x, self.y];
        self.x += width;
        place
    }

    fn end_line(&mut self) {
        if LEFT < self.x {
            (self.x, self.y) = (LEFT, self.y + 28.0);
        }
    }
}

/// Text that starts at `x` and stands on `y`.
pub(crate) fn label(x: f64, y: f64, text: impl std::fmt::Display) -> Element {
    element("text").at("x", x).at("y", y).text(text)
}

pub(crate) fn line([x1, x2]: [f64; 2], [y1, y2]: [f64; 2]) -> Element {
    element("line")
        .at("x1", x1)
        .at("x2", x2)
        .at("y1", y1)
        .at("y2", y2)
}
