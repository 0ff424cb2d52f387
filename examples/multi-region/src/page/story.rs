//! Draws the steps of the story across the picture: a band, a number and a title for each.

use super::bar::text_width;
use super::markup::{Element, element};
use super::palette::{BAD, INK, LINE, SHADE};
use super::picture::{label, line};
use super::scale::{Scale, spread};
use crate::report::Step;
use crate::report::wrap::wrapped;

/// How much of the picture numbers and titles take, in pixels.
pub(crate) fn height(steps: &[Step], scale: Scale) -> f64 {
    let heads = heads_of(steps, scale);
    let lines = heads
        .iter()
        .flat_map(|it| &it.lines)
        .map(|it| it.iter().map(|_| LINE_HEIGHT));
    let tallest = lines.map(Iterator::sum).fold(0.0, f64::max);
    SPACE + tallest.max(2.0 * LINE_HEIGHT) + SPACE
}

/// Bands down to `bottom`, then what stands at their tops.
pub(crate) fn draw(steps: &[Step], scale: Scale, bottom: f64) -> Vec<Element> {
    let mut bands = Vec::new();
    let mut heads = Vec::new();
    for head in heads_of(steps, scale) {
        let start = scale.x(head.step.started);
        bands.push(band(head.step, start, scale, bottom));
        let mark = line([start, start], [MIDDLE + RADIUS, bottom]).with("stroke", LINE);
        heads.push(mark.with("stroke-dasharray", "3 3"));
        heads.push(head.draw());
    }
    bands.into_iter().chain(heads).collect()
}

/// The steps without room for a title, which the legend is to name.
pub(crate) fn untitled(steps: &[Step], scale: Scale) -> impl Iterator<Item = &Step> {
    let heads = heads_of(steps, scale).into_iter();
    heads.filter(|it| it.lines.is_none()).map(|it| it.step)
}

/// A number in a circle, around `x` and `y`.
pub(crate) fn number(step: &Step, x: f64, y: f64) -> Vec<Element> {
    let circle = element("circle").at("cx", x).at("cy", y).at("r", RADIUS);
    let digit = label(x, y + BASELINE, step.number).with("text-anchor", "middle");
    let digit = digit.with("fill", "#ffffff").with("font-weight", 600);
    vec![circle.with("fill", color(step)), digit]
}

/// What stands at the top of a step.
struct Head<'a> {
    step: &'a Step,
    /// The middle of the circle.
    center: f64,
    /// The title, if there is room for all of it.
    lines: Option<Vec<String>>,
}

fn heads_of(steps: &[Step], scale: Scale) -> Vec<Head<'_>> {
    // Steps that start at nearly the same time must not hide each other's numbers.
    let wanted: Vec<f64> = steps
        .iter()
        .map(|it| scale.x(it.started) + RADIUS)
        .collect();
    let right = scale.right() - RADIUS;
    let centers = spread(&wanted, 2.0 * RADIUS + 3.0, scale.left() + RADIUS, right);
    let ends = centers
        .iter()
        .skip(1)
        .map(|it| it - RADIUS)
        .chain([scale.right()]);

    let head = |((step, center), end): ((_, &f64), f64)| {
        let room = end - center - RADIUS - 2.0 * SPACE;
        Head {
            step,
            center: *center,
            lines: fitting(step, room),
        }
    };
    steps.iter().zip(&centers).zip(ends).map(head).collect()
}

const RADIUS: f64 = 11.0;
/// Between a circle, its title and the next circle.
const SPACE: f64 = 6.0;
/// Where the middles of the circles are.
const MIDDLE: f64 = 18.0;
/// From the middle of a line of text to where its letters stand.
const BASELINE: f64 = 4.5;
const TITLE_LINES_MAX: usize = 4;
const LINE_HEIGHT: f64 = 15.0;

fn band(step: &Step, start: f64, scale: Scale, bottom: f64) -> Element {
    let fill = match (step.holds(), step.number % 2) {
        (false, _) => "#fdeaec",
        (true, 0) => "#ffffff",
        (true, _) => SHADE,
    };
    element("rect")
        .at("x", start)
        .at("y", 0.0)
        .at("width", (scale.x(step.ended) - start).max(0.0))
        .at("height", bottom)
        .with("fill", fill)
}

/// The title in few lines that are no wider than `room`, without breaking its words.
fn fitting(step: &Step, room: f64) -> Option<Vec<String>> {
    let title = &step.title;
    let fits = |it: &String| text_width(it) * 12.0 / 13.0 <= room;
    let longest_word = title.split(' ').map(|it| it.chars().count()).max()?;
    let widths = (longest_word.max(1)..=title.chars().count().max(1)).rev();
    let mut lines = widths.map(|it| wrapped(title, it));
    let lines = lines.find(|lines| lines.iter().all(fits))?;
    (lines.len() <= TITLE_LINES_MAX).then_some(lines)
}

impl Head<'_> {
    fn draw(&self) -> Element {
        let Step {
            number: count,
            title,
            started,
            ended,
            ..
        } = self.step;
        let verdict = if self.step.holds() { "" } else { ", FAILED" };
        let hover = format!("{count}. {title}: {started:.1}–{ended:.1} s{verdict}");
        let left = self.center + RADIUS + SPACE;
        let lines = self.lines.iter().flatten();
        // The lines stand around the middle of the circle, or below the edge of the picture.
        let above = lines
            .clone()
            .skip(1)
            .map(|_| LINE_HEIGHT / 2.0)
            .sum::<f64>();
        let mut y = (MIDDLE + BASELINE - above).max(SPACE + 9.0);
        let mut title_lines = Vec::new();
        for line in lines {
            title_lines.push(
                label(left, y, line)
                    .with("font-size", 12)
                    .with("fill", color(self.step)),
            );
            y += LINE_HEIGHT;
        }
        element("g")
            .child(element("title").text(hover))
            .children(number(self.step, self.center, MIDDLE))
            .children(title_lines)
    }
}

fn color(step: &Step) -> &'static str {
    if step.holds() { INK } else { BAD }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn a_title_stands_at_its_step_or_in_the_legend() {
        let mut steps = sample().steps;
        steps[1].title = "a title that does not fit into three seconds".to_owned();
        let scale = Scale::new(72.5, 200.0, 1_180.0);

        let legend: Vec<u8> = untitled(&steps, scale).map(|it| it.number).collect();

        assert!(legend.contains(&2), "{legend:?}");
        let drawn = draw(&steps, scale, 500.0);
        let drawn: String = drawn.iter().map(Element::to_string).collect();
        for step in &steps {
            let last_word = step.title.split(' ').next_back().unwrap();
            let shown = drawn.contains(&format!("{last_word}</text>"));
            assert_ne!(shown, legend.contains(&step.number), "{}", step.title);
        }
    }

    #[test]
    fn steps_at_the_same_time_stand_side_by_side() {
        let mut steps = sample().steps;
        for step in &mut steps {
            (step.started, step.ended) = (72.5, 72.5);
        }

        let heads = heads_of(&steps, Scale::new(72.5, 200.0, 1_180.0));

        let apart = heads
            .windows(2)
            .all(|it| 2.0 * RADIUS < it[1].center - it[0].center);
        assert!(apart);
        assert!(heads.iter().all(|it| it.center + RADIUS <= 1_180.0));
    }
}
