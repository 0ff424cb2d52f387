//! Decides what a state looks like: colors that differ in lightness too, and patterns for what is
//! not well.

use super::markup::{Element, element};
use crate::report::Region;
use crate::timeline::State;

/// Dark text on white.
pub(crate) const INK: &str = "#1b2330";
pub(crate) const QUIET: &str = "#56606e";
pub(crate) const LINE: &str = "#c3cad3";
pub(crate) const SHADE: &str = "#f3f5f8";
pub(crate) const BAD: &str = "#b3001b";

/// How a span is filled, and the color of text on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Look {
    pub(crate) fill: &'static str,
    pub(crate) stroke: &'static str,
    pub(crate) text: &'static str,
}

/// From dark to light, so that they differ for everybody and on paper; then darker cousins of
/// them. They repeat beyond that.
const REGIONS: [Look; 6] = [
    look("#23508e", "#23508e", "#ffffff"),
    look("#e58a2c", "#b96a14", INK),
    look("#a9dccb", "#5c9d89", INK),
    look("#6d4a8d", "#6d4a8d", "#ffffff"),
    look("#8a9a3a", "#6d7a2a", INK),
    look("#e9d8a6", "#b59f5c", INK),
];

const GOOD: Look = look("#66788c", "#66788c", "#ffffff");
const FAILED: Look = look("url(#failed)", BAD, BAD);
const SILENT: Look = look("#ffffff", LINE, QUIET);
const UNCLEAR: Look = look("url(#unclear)", "#8f99a6", INK);

pub(crate) fn of(state: &State, regions: &[Region]) -> Look {
    match state {
        State::Bad(_) => FAILED,
        State::Good(_) => GOOD,
        State::Region(name) => match regions.iter().position(|it| it.name == *name) {
            Some(position) => REGIONS[position % REGIONS.len()],
            None => UNCLEAR,
        },
        State::Silent => SILENT,
        State::Unclear(_) => UNCLEAR,
    }
}

/// The patterns that looks refer to.
pub(crate) fn patterns() -> Element {
    let stripes = |id, background, color| {
        let ground = element("rect").with("width", 6).with("height", 6);
        let stripe = element("rect").with("width", 3).with("height", 6);
        element("pattern")
            .with("id", id)
            .with("width", 6)
            .with("height", 6)
            .with("patternUnits", "userSpaceOnUse")
            .with("patternTransform", "rotate(45)")
            .child(ground.with("fill", background))
            .child(stripe.with("fill", color))
    };
    element("defs")
        .child(stripes("failed", "#ffffff", BAD))
        .child(stripes("unclear", "#ffffff", "#d5dae0"))
}

/// Every look with its meaning, in the order in which a legend shows them.
pub(crate) fn legend(regions: &[Region]) -> Vec<(Look, String)> {
    let region = |it: &Region| {
        let look = of(&State::Region(it.name.clone()), regions);
        (look, format!("{} ({})", it.name, it.place))
    };
    let others = [
        (GOOD, "up"),
        (FAILED, "failed, down"),
        (UNCLEAR, "not known yet, or mixed"),
        (SILENT, "nothing seen"),
    ];
    let others = others.map(|(look, meaning)| (look, meaning.to_owned()));
    regions.iter().map(region).chain(others).collect()
}

const fn look(fill: &'static str, stroke: &'static str, text: &'static str) -> Look {
    Look { fill, stroke, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_of_the_first_regions_differ_in_lightness() {
        let mut lightness: Vec<f64> = REGIONS[..3].iter().map(|it| luminance(it.fill)).collect();
        lightness.sort_by(f64::total_cmp);

        for pair in lightness.windows(2) {
            assert!(1.5 <= contrast(pair[0], pair[1]), "{pair:?}");
        }
    }

    #[test]
    fn text_can_be_read_on_every_plain_look() {
        for look in REGIONS.iter().chain([&GOOD, &SILENT]) {
            let contrast = contrast(luminance(look.fill), luminance(look.text));
            assert!(4.5 <= contrast, "{look:?}: {contrast}");
        }
        for color in [INK, QUIET, BAD] {
            assert!(
                4.5 <= contrast(luminance(color), luminance(SHADE)),
                "{color}"
            );
        }
    }

    /// The contrast ratio of WCAG 2, from 1 to 21; 4.5 is enough for text.
    fn contrast(one: f64, other: f64) -> f64 {
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    /// The relative luminance of WCAG 2 of a color such as `#23508e`, from 0 to 1.
    fn luminance(color: &str) -> f64 {
        let channel = |at| {
            let value = u8::from_str_radix(&color[at..at + 2], 16).unwrap();
            let value = f64::from(value) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }
}
