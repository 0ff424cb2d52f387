//! Turns samples and observations into spans of time: who served, what was answered, what was up.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::traffic::{Seen, Traffic};

/// The time that is told of, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) started: u64,
    pub(crate) ended: u64,
}

/// One row of the picture: spans in order, none of which overlaps another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Track {
    pub(crate) name: String,
    pub(crate) spans: Vec<Span>,
}

/// A time in which nothing changed, in seconds since the window's start.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Span {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) state: State,
    /// How many samples or observations say so; none say that nothing is known.
    pub(crate) samples: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    /// It broke or failed, in these words.
    Bad(String),
    /// It is as it should be.
    Good(String),
    /// This region served, or was the answer.
    Region(String),
    /// Nobody asked, or nobody looked.
    Silent,
    /// It is neither: not known yet, or not one region.
    Unclear(String),
}

/// What somebody saw of a thing that has a state: a tunnel, a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Observation {
    /// In microseconds since 1970.
    pub(crate) at: u64,
    /// What was looked at.
    pub(crate) name: String,
    pub(crate) state: State,
}

/// Longer than this without a sample, in microseconds, and what a client saw last says nothing.
/// It is longer than the clients' timeouts and intervals.
const SILENCE: u64 = 2_000_000;

/// How many different reasons a span of failures names.
const REASONS_MAX: usize = 3;

impl Window {
    /// Seconds since the start; what is outside of the window counts as its edge.
    pub(crate) fn seconds(self, at: u64) -> f64 {
        let at = at.min(self.ended).saturating_sub(self.started);
        std::time::Duration::from_micros(at).as_secs_f64()
    }
}

/// Where `traffic` of a client called `name` was sent, and when.
pub(crate) fn track(name: &str, traffic: &Traffic, window: Window) -> Track {
    let mut spans: Vec<Span> = Vec::new();
    let inside = |at| (window.started..window.ended).contains(&at);
    let mut samples = traffic.samples().filter(|it| inside(it.sent)).peekable();
    while let Some(sample) = samples.next() {
        let next = samples.peek().map_or(window.ended, |it| it.sent);
        let silent = sample.sent.saturating_add(SILENCE) < next;
        let to = if silent { sample.ended.min(next) } else { next };
        let span = |from, to, state, samples| Span {
            from: window.seconds(from),
            to: window.seconds(to),
            state,
            samples,
        };
        push(
            &mut spans,
            span(sample.sent, to, State::from(&sample.seen), 1),
        );
        if silent {
            push(&mut spans, span(to, next, State::Silent, 0));
        }
    }
    Track {
        name: name.to_owned(),
        spans,
    }
}

/// The states of everything that was looked at, by name. A state lasts until the next observation
/// of the same thing, so observing only changes is enough.
pub(crate) fn states(observations: &[Observation], window: Window) -> Vec<Track> {
    let mut things: BTreeMap<&str, Vec<&Observation>> = BTreeMap::new();
    for observation in observations {
        things
            .entry(&observation.name)
            .or_default()
            .push(observation);
    }

    let track = |(name, mut seen): (&str, Vec<&Observation>)| {
        seen.sort_by_key(|it| it.at);
        let ends = seen.iter().skip(1).map(|it| it.at).chain([window.ended]);
        let mut spans = Vec::new();
        for (observation, end) in seen.iter().zip(ends) {
            let (from, to) = (window.seconds(observation.at), window.seconds(end));
            push(
                &mut spans,
                Span {
                    from,
                    to,
                    state: observation.state.clone(),
                    samples: 1,
                },
            );
        }
        // What was replaced before the window, or seen only after it, took no time in it.
        spans.retain(|it| it.from < it.to);
        Track {
            name: name.to_owned(),
            spans,
        }
    };
    things.into_iter().map(track).collect()
}

/// Adds `next` to the last span if it only continues it.
fn push(spans: &mut Vec<Span>, next: Span) {
    let Some(last) = spans.last_mut() else {
        spans.push(next);
        return;
    };
    if !continues(&mut last.state, &next.state) {
        spans.push(next);
        return;
    }
    last.to = next.to;
    last.samples += next.samples;
}

/// Whether `next` is more of `last`. Failures are, whatever their reasons, which are gathered.
fn continues(last: &mut State, next: &State) -> bool {
    let (State::Bad(reasons), State::Bad(reason)) = (&mut *last, next) else {
        return last == next;
    };
    let known: Vec<&str> = reasons.split("; ").collect();
    if !known.contains(&&**reason) && known.len() < REASONS_MAX {
        *reasons = format!("{reasons}; {reason}");
    }
    true
}

impl From<&Seen> for State {
    fn from(seen: &Seen) -> Self {
        match seen {
            Seen::Region(region) => Self::Region(region.clone()),
            Seen::Elsewhere(addresses) => Self::Unclear(addresses.clone()),
            Seen::Failed(reason) => Self::Bad(reason.clone()),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(text) | Self::Good(text) | Self::Region(text) | Self::Unclear(text) => {
                formatter.write_str(text)
            }
            Self::Silent => formatter.write_str("nothing seen"),
        }
    }
}

/// One line, such as `eu client: eu 0.0–12.3 s, timeout 12.3–14.1 s, us 14.1–40.0 s`.
impl fmt::Display for Track {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.name)?;
        for (
            index,
            Span {
                from, to, state, ..
            },
        ) in self.spans.iter().enumerate()
        {
            let comma = if index == 0 { "" } else { "," };
            write!(formatter, "{comma} {state} {from:.1}–{to:.1} s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use lab::record::{Outcome, Record, Server};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_failover_becomes_three_spans() {
        check(
            &[
                (0, "eu"),
                (1_000, "eu"),
                (2_000, ""),
                (2_500, ""),
                (3_000, "us"),
                (4_000, "us"),
            ],
            "client: eu 0.0–2.0 s, timeout 2.0–3.0 s, us 3.0–5.0 s",
        );
    }

    #[test]
    fn a_time_without_samples_is_not_filled_with_the_last_one() {
        check(
            &[(0, "eu"), (1_000, "eu"), (4_000, "eu")],
            "client: eu 0.0–1.2 s, nothing seen 1.2–4.0 s, eu 4.0–5.0 s",
        );
        check(
            &[(100, "eu")],
            "client: eu 0.1–0.3 s, nothing seen 0.3–5.0 s",
        );
        check(&[], "client:");
    }

    #[test]
    fn samples_outside_of_the_window_are_left_out() {
        check(
            &[(3_000, "us"), (4_900, "us"), (5_000, "eu")],
            "client: us 3.0–5.0 s",
        );
    }

    #[test]
    fn failures_in_a_row_are_one_span_that_names_a_few_reasons() {
        let mut traffic = Traffic::requests();
        let reasons = [
            "timeout",
            "cannot connect",
            "timeout",
            "status 503",
            "no answer",
        ];
        let failures = (0..).zip(reasons);
        traffic.extend(failures.map(|(at, it)| record(at, Outcome::Failed(it.to_owned()))));

        let track = track("client", &traffic, WINDOW);

        let expected = State::Bad("timeout; cannot connect; status 503".to_owned());
        assert_eq!(track.spans[0].state, expected);
        assert_eq!(track.spans[0].samples, 5);
    }

    #[test]
    fn a_state_lasts_until_the_next_observation_of_the_same_thing() {
        let up = || State::Good("up".to_owned());
        let down = || State::Bad("no handshake".to_owned());
        let observations = [
            observation(0, "eu–us", up()),
            observation(1_000, "eu–ap", up()),
            observation(2_000, "eu–us", up()),
            observation(3_000, "eu–us", down()),
            observation(9_000, "eu–us", up()),
        ];

        let tracks = states(&observations, WINDOW);

        let lines: Vec<String> = tracks.iter().map(Track::to_string).collect();
        let expected = [
            "eu–ap: up 1.0–5.0 s",
            "eu–us: up 0.0–3.0 s, no handshake 3.0–5.0 s",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_was_seen_before_the_window_holds_from_its_start() {
        let window = Window {
            started: START + 2_000_000,
            ..WINDOW
        };
        let up = State::Good("up".to_owned());

        let tracks = states(&[observation(0, "eu–us", up)], window);

        assert_eq!(tracks[0].to_string(), "eu–us: up 0.0–3.0 s");
    }

    proptest! {
        #[test]
        fn spans_are_in_order_and_count_every_sample(
            samples in prop::collection::vec((0_u64..7_000, prop::bool::ANY), 0..40),
        ) {
            let mut traffic = Traffic::requests();
            let region = |eu| if eu { "eu" } else { "" };
            traffic.extend(samples.iter().map(|(at, eu)| record(*at, outcome(region(*eu)))));

            let track = track("client", &traffic, WINDOW);

            let inside = samples.iter().filter(|(at, _)| *at < 5_000).count();
            let counted: u64 = track.spans.iter().map(|it| it.samples).sum();
            prop_assert_eq!(counted, u64::try_from(inside).unwrap());
            let gapless = track.spans.windows(2).all(|it| it[0].to == it[1].from);
            prop_assert!(gapless);
            prop_assert!(track.spans.iter().all(|it| it.from <= it.to));
            prop_assert!(track.spans.windows(2).all(|it| it[0].state != it[1].state));
        }
    }

    const START: u64 = 1_700_000_000_000_000;
    const WINDOW: Window = Window {
        started: START,
        ended: START + 5_000_000,
    };

    /// Samples as milliseconds and region, an empty one for a failure.
    #[track_caller]
    fn check(samples: &[(u64, &str)], expected: &str) {
        let mut traffic = Traffic::requests();
        traffic.extend(
            samples
                .iter()
                .map(|(at, region)| record(*at, outcome(region))),
        );

        assert_eq!(track("client", &traffic, WINDOW).to_string(), expected);
    }

    fn outcome(region: &str) -> Outcome {
        match region {
            "" => Outcome::Failed("timeout".to_owned()),
            region => Outcome::Served(Server {
                region: region.to_owned(),
                node: "node-1".into(),
                pod: "shop-1".into(),
            }),
        }
    }

    fn record(milliseconds: u64, outcome: Outcome) -> Record {
        let at_microseconds = START + milliseconds * 1_000;
        Record {
            at_microseconds,
            duration_microseconds: 200_000,
            outcome,
        }
    }

    fn observation(milliseconds: u64, name: &str, state: State) -> Observation {
        Observation {
            at: START + milliseconds * 1_000,
            name: name.to_owned(),
            state,
        }
    }
}
