//! Draws a track: a block for each span, failures on top and counted.

use super::markup::{Element, element};
use super::palette::{self, BAD, Look};
use super::picture::label;
use super::scale::Scale;
use crate::report::{Region, grouped};
use crate::timeline::{Span, State, Track};

/// How the tracks of a group look, in pixels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// From one row to the next.
    pub(crate) row: f64,
    /// From the row's start to the bar.
    above: f64,
    bar: f64,
    /// Whether failures are counted above the bar; a state that is bad is bad once.
    counted: bool,
}

impl Shape {
    pub(crate) const REQUESTS: Self = Self {
        row: 48.0,
        above: 16.0,
        bar: 24.0,
        counted: true,
    };
    pub(crate) const ANSWERS: Self = Self {
        row: 38.0,
        above: 15.0,
        bar: 17.0,
        counted: true,
    };
    pub(crate) const STATES: Self = Self {
        row: 27.0,
        above: 4.0,
        bar: 17.0,
        counted: false,
    };

    /// From the row's start to the middle of its bar.
    pub(crate) fn middle(self) -> f64 {
        self.above + self.bar / 2.0
    }
}

/// The bar of the row that starts at `y`.
pub(crate) fn draw(
    track: &Track,
    shape: Shape,
    y: f64,
    scale: Scale,
    regions: &[Region],
) -> Vec<Element> {
    // What is bad is drawn last, so that a moment of it is not covered by what follows.
    let (bad, rest): (Vec<&Span>, Vec<&Span>) = track
        .spans
        .iter()
        .partition(|it| matches!(it.state, State::Bad(_)));
    let blocks = rest.iter().chain(&bad).map(|span| {
        let (left, right) = edges(span, scale);
        let place = [left, y + shape.above, right - left, shape.bar];
        let look = palette::of(&span.state, regions);
        let hover = element("title").text(hover(&track.name, span, shape));
        element("g")
            .child(hover)
            .child(block(place, look))
            .children(caption(span, place, look, shape))
    });
    let mut drawn: Vec<Element> = blocks.collect();
    if shape.counted {
        drawn.extend(failures(&bad, y + shape.above - 4.0, scale));
    }
    drawn
}

/// A block at `[x, y, width, height]`.
pub(crate) fn block([x, y, width, height]: [f64; 4], look: Look) -> Element {
    element("rect")
        .at("x", x)
        .at("y", y)
        .at("width", width)
        .at("height", height)
        .with("rx", 2)
        .with("fill", look.fill)
        .with("stroke", look.stroke)
}

/// How wide a text is, in pixels; a little more than it turns out to be in most fonts.
pub(crate) fn text_width(text: &str) -> f64 {
    text.chars()
        .map(|it| {
            if "iljt.,:;|' ()".contains(it) {
                4.4
            } else {
                7.6
            }
        })
        .sum()
}

/// A moment must be wide enough to be seen.
const NARROWEST: f64 = 1.0;
const NARROWEST_BAD: f64 = 5.0;

fn edges(span: &Span, scale: Scale) -> (f64, f64) {
    let (left, right) = (scale.x(span.from), scale.x(span.to));
    let narrowest = match span.state {
        State::Bad(_) => NARROWEST_BAD,
        State::Good(_) | State::Region(_) | State::Silent | State::Unclear(_) => NARROWEST,
    };
    (left, right.max(left + narrowest))
}

/// The state in words on its block, if it fits; on a pattern, it stands on a plate.
fn caption(span: &Span, [x, y, width, height]: [f64; 4], look: Look, shape: Shape) -> Vec<Element> {
    let text = span.state.to_string();
    let text_width = text_width(&text);
    let counted = matches!(span.state, State::Bad(_)) && shape.counted;
    if counted || width < text_width + 12.0 {
        return Vec::new();
    }
    let size = if height < 18.0 { 12 } else { 13 };
    let color = look.text;
    let start = label(x + 7.0, y + height / 2.0 + 4.5, &text);
    if look.fill.starts_with('#') {
        return vec![start.with("font-size", size).with("fill", color)];
    }
    let plate = element("rect")
        .at("x", x + 5.0)
        .at("y", y + 1.0)
        .with("rx", 2);
    let plate = plate
        .at("width", text_width + 2.0)
        .at("height", height - 2.0);
    let middle = label(x + 6.0 + text_width / 2.0, y + height / 2.0 + 4.5, &text);
    let text = middle.with("text-anchor", "middle");
    vec![
        plate.with("fill", "#ffffff"),
        text.with("font-size", size).with("fill", color),
    ]
}

/// How many failures there were, above each span of them. Where two counts would meet, the later
/// one is left to the hover text.
fn failures(bad: &[&Span], y: f64, scale: Scale) -> Vec<Element> {
    let mut drawn = Vec::new();
    let mut free_from = scale.left();
    for span in bad {
        let text = format!("{} failed", grouped(span.samples));
        let (left, right) = edges(span, scale);
        let width = text_width(&text);
        let start = ((left + right - width) / 2.0)
            .min(scale.right() - width)
            .max(scale.left());
        if start < free_from {
            continue;
        }
        free_from = start + width + 6.0;
        let text = label(start + width / 2.0, y, text).with("text-anchor", "middle");
        drawn.push(
            text.with("font-size", 12)
                .with("font-weight", 600)
                .with("fill", BAD),
        );
    }
    drawn
}

fn hover(name: &str, span: &Span, shape: Shape) -> String {
    let Span {
        from,
        to,
        state,
        samples,
    } = span;
    let failed = matches!(state, State::Bad(_)) && shape.counted;
    let failed = if failed { "failed, " } else { "" };
    let seconds = to - from;
    let samples = match samples {
        0 | 1 => String::new(),
        samples => format!(", {} times", grouped(*samples)),
    };
    format!("{name}: {failed}{state} from {from:.2} s to {to:.2} s ({seconds:.2} s{samples})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_of_failure_is_wide_enough_to_be_seen() {
        let drawn = drawn(&[(10.0, "eu"), (10.01, ""), (90.0, "eu")]);

        assert!(drawn.contains("width=\"5\""), "{drawn}");
        assert!(drawn.contains(">1 failed<"), "{drawn}");
        assert!(
            drawn.contains("client: failed, timeout from 10.00 s to 10.01 s"),
            "{drawn}"
        );
    }

    #[test]
    fn counts_of_failures_do_not_meet() {
        let close = drawn(&[
            (10.0, "eu"),
            (11.0, ""),
            (12.0, "eu"),
            (13.0, ""),
            (14.0, "eu"),
        ]);
        let apart = drawn(&[
            (10.0, "eu"),
            (11.0, ""),
            (50.0, "eu"),
            (51.0, ""),
            (52.0, "eu"),
        ]);

        assert_eq!(close.matches(">1 failed<").count(), 1, "{close}");
        assert_eq!(apart.matches(">1 failed<").count(), 2, "{apart}");
    }

    #[test]
    fn a_caption_stands_only_where_it_fits() {
        let drawn = drawn(&[(2.0, "eu"), (50.0, "us")]);

        assert_eq!(drawn.matches(">eu<").count(), 0, "{drawn}");
        assert_eq!(drawn.matches(">us<").count(), 1, "{drawn}");
    }

    /// Ends of spans with the region that served until then, or an empty name for a failure.
    fn drawn(ends: &[(f64, &str)]) -> String {
        let mut from = 0.0;
        let span = |(to, region): &(f64, &str)| {
            let state = match *region {
                "" => State::Bad("timeout".to_owned()),
                region => State::Region(region.to_owned()),
            };
            let span = Span {
                from,
                to: *to,
                state,
                samples: 1,
            };
            from = *to;
            span
        };
        let spans = ends.iter().map(span).collect();
        let track = Track {
            name: "client".to_owned(),
            spans,
        };
        let scale = Scale::new(100.0, 0.0, 1_000.0);
        let drawn = draw(&track, Shape::REQUESTS, 0.0, scale, &[]);
        drawn.iter().map(Element::to_string).collect()
    }
}
