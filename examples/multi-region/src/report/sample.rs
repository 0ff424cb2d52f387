//! A whole story in which everything holds, for the tests of everything that shows one.

use lab::record::{Outcome, Record, Server};

use super::{Client, Fact, Measure, Region, Report, Step};
use crate::timeline::{self, Observation, State, Track, Window};
use crate::traffic::Traffic;

pub(crate) fn sample() -> Report {
    let region = |name: &str, place: &str| Region {
        name: name.to_owned(),
        place: place.to_owned(),
    };
    let fact = |name: &str, value: &str| Fact {
        name: name.to_owned(),
        value: value.to_owned(),
    };
    Report {
        started_unix_milliseconds: START / 1_000,
        seconds: WINDOW.seconds(u64::MAX),
        regions: vec![
            region("eu", "Frankfurt"),
            region("us", "Ashburn"),
            region("ap", "Singapore"),
        ],
        steps: steps(),
        clients: vec![
            client(
                "eu client",
                "6300 eu 9500 x:timeout 11140 us 52030 x:timeout 53900 ap 66900 eu",
            ),
            client("us client", "6300 us"),
            client("ap client", "6300 ap"),
        ],
        dns: vec![
            track("eu", "6200 eu 11600 us 54100 ap 67900 eu"),
            track("us", "6200 us 70100 x:timeout 70350 us"),
            track("ap", "6200 ap"),
        ],
        states: timeline::states(&observations(), WINDOW),
        facts: vec![
            fact("Causeway", "0.1.0"),
            fact("Kernel", "Linux 6.1.0-21-amd64"),
            fact("Processors", "2"),
        ],
    }
}

const START: u64 = 1_790_000_000_000_000;
const WINDOW: Window = Window {
    started: START,
    ended: START + 72_500_000,
};

fn client(name: &str, changes: &str) -> Client {
    let traffic = traffic(changes);
    Client {
        track: timeline::track(name, &traffic, WINDOW),
        counts: traffic.counts(0, u64::MAX),
        served: traffic.regions(0, u64::MAX),
    }
}

fn track(name: &str, changes: &str) -> Track {
    timeline::track(name, &traffic(changes), WINDOW)
}

/// A sample every 50 ms; `changes` are pairs of a time in milliseconds and, from then on, the
/// region that serves, or the failure.
fn traffic(changes: &str) -> Traffic {
    let words: Vec<&str> = changes.split(' ').collect();
    let mut traffic = Traffic::requests();
    for (index, pair) in words.chunks(2).enumerate() {
        let moment = |it: &str| START + it.parse::<u64>().unwrap() * 1_000;
        let end = words
            .get(2 * index + 2)
            .map_or(WINDOW.ended, |it| moment(it));
        let times = (moment(pair[0])..end).step_by(50_000);
        traffic.extend(times.map(|at| record(at, pair[1])));
    }
    traffic
}

fn record(at_microseconds: u64, seen: &str) -> Record {
    let server = |region: &str| Server {
        region: region.to_owned(),
        node: format!("{region}-node-1"),
        pod: "shop-1".to_owned(),
    };
    let failure = seen
        .strip_prefix("x:")
        .map(|it| Outcome::Failed(it.to_owned()));
    Record {
        at_microseconds,
        duration_microseconds: 1_200,
        outcome: failure.unwrap_or_else(|| Outcome::Served(server(seen))),
    }
}

fn observations() -> Vec<Observation> {
    let seen = |milliseconds: u64, name: &str, state| Observation {
        at: START + milliseconds * 1_000,
        name: name.to_owned(),
        state,
    };
    let mut observations = Vec::new();
    for name in ["eu–us", "eu–ap", "us–ap"] {
        observations.push(seen(
            1_000,
            name,
            State::Unclear("no handshake yet".to_owned()),
        ));
        observations.push(seen(4_600, name, State::Good("up".to_owned())));
    }
    for name in ["eu–us", "us–ap"] {
        observations.push(seen(
            53_400,
            name,
            State::Bad("no handshake for 5 s".to_owned()),
        ));
        observations.push(seen(65_200, name, State::Good("up".to_owned())));
    }
    observations
}

fn steps() -> Vec<Step> {
    let measure = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        Measure {
            what: cells[0].to_owned(),
            value: cells[1].to_owned(),
            goal: Some(cells[2].to_owned()).filter(|it| !it.is_empty()),
            ok: true,
            timed: false,
        }
    };
    let step = |(number, text): (u8, &str)| {
        let mut lines = text.trim().lines();
        let head: Vec<&str> = lines.next().unwrap().split('|').map(str::trim).collect();
        Step {
            number,
            title: head[0].to_owned(),
            measures: lines.map(measure).collect(),
            started: head[1].parse().unwrap(),
            ended: head[2].parse().unwrap(),
            ok: true,
            failure: None,
        }
    };
    (1..).zip(STEPS.split("\n\n")).map(step).collect()
}

/// For each step its title, start and end, then its measures: what, value and goal.
const STEPS: &str = "
Every node knows all clusters | 0.0 | 6.2
meshctl status --wait | 6.1 s | ≤ 60 s
tunnels up | 12 of 12 | 12

Every client is served by its own region | 6.2 | 9.3
eu client: DNS answer, served by | eu, eu | eu, eu
us client: DNS answer, served by | us, us | us, us
ap client: DNS answer, served by | ap, ap | ap, ap

Every shop backend in eu dies | 9.3 | 23.3
load balancer moved to us | 1.64 s | ≤ 3 s
DNS of eu moved to us | 2.10 s | ≤ 3 s
requests that failed meanwhile | 33 of 40 |

Nothing crosses the internet in clear text | 23.3 | 27.0
markers and pod addresses outside of WireGuard | 0 in 1 204 packets | 0

Agents and API servers restart under load | 27.0 | 51.8
requests that failed | 0 of 1 488 | 0

us is cut off from the internet | 51.8 | 64.2
load balancer of eu moved to ap | 1.90 s | ≤ 3 s
DNS of eu moved to ap | 2.12 s | ≤ 3 s
meshctl status | exit 1, names us | exit 1

Everything heals | 64.2 | 72.5
back to the start after the link | 3.71 s | ≤ 5 s
";
