//! Shows the state of the mesh to people.

use topology::health::Health;
use topology::report::{
    AgentStatus, ApiserverStatus, ClusterReport, ClusterState, DnsStatus, StoreReport,
};

use crate::client::Endpoint;
use crate::status::{Asked, MeshStatus, Outcome, SeenProblem, witnesses};
use crate::table::{Cell, Table, Tone};

pub(super) fn render(status: &MeshStatus, now: u64, colours: bool) -> String {
    let verdict = match status.problems.len() {
        0 => Tone::Good.paint("all is well", colours),
        1 => Tone::Bad.paint("1 problem", colours),
        several => Tone::Bad.paint(&format!("{several} problems"), colours),
    };
    let tables = [
        ("Clusters", clusters(&status.clusters, now)),
        ("API servers", apiservers(&status.apiservers)),
        ("Agents", agents(&status.agents, now)),
        ("DNS authorities", dns(&status.dns, now)),
    ];

    let mut text = format!("Mesh as cluster {} sees it: {verdict}\n", status.cluster);
    for (title, table) in tables {
        if !table.is_empty() {
            text.push_str(&format!("\n{title}\n{}", table.render(colours)));
        }
    }
    text.push_str(&problems(&status.problems, colours));
    text
}

fn clusters(reports: &[ClusterReport], now: u64) -> Table {
    let mut table = Table::new([
        "NAME",
        "ID",
        "STATE",
        "SINCE",
        "SYNCED",
        "NODES",
        "SERVICES",
        "IDENTITIES",
        "ENDPOINTS",
    ]);
    for report in reports {
        let state = match report.state {
            ClusterState::Connected => Cell::new("connected", Tone::Good),
            ClusterState::Lost => Cell::new("lost", Tone::Bad),
            ClusterState::Own => Cell::new("own", Tone::Good),
            ClusterState::Undecided => Cell::new("not yet", Tone::Bad),
        };
        table.row([
            report.name.to_string().into(),
            report
                .id
                .map_or_else(|| "-".to_owned(), |it| it.to_string())
                .into(),
            state,
            report
                .since
                .map_or_else(|| "-".to_owned(), |it| age(it, now))
                .into(),
            yes(report.synced),
            report.nodes.to_string().into(),
            report.services.to_string().into(),
            report.identities.to_string().into(),
            report.endpoints.to_string().into(),
        ]);
    }
    table
}

fn apiservers(asked: &[Asked<ApiserverStatus>]) -> Table {
    let headings = [
        "ADDRESS", "CLUSTER", "READY", "OBJECTS", "RECORDS", "VERSION",
    ];
    daemons(asked, &headings, |endpoint, status| {
        vec![
            endpoint.to_string().into(),
            status.cluster.to_string().into(),
            yes(status.ready),
            status.objects.to_string().into(),
            status.records.to_string().into(),
            status.version.clone().into(),
        ]
    })
}

fn agents(asked: &[Asked<AgentStatus>], now: u64) -> Table {
    let headings = [
        "ADDRESS", "NODE", "READY", "ETCD", "TUNNELS", "SERVICES", "BACKENDS", "VERSION",
    ];
    daemons(asked, &headings, |endpoint, status| {
        let up = status.tunnels.iter().filter(|it| it.up).count();
        vec![
            endpoint.to_string().into(),
            status.node.to_string().into(),
            yes(status.ready),
            store(&status.store, now),
            ratio(up, status.tunnels.len()),
            status.services.to_string().into(),
            status.backends.to_string().into(),
            status.version.clone().into(),
        ]
    })
}

fn dns(asked: &[Asked<DnsStatus>], now: u64) -> Table {
    let headings = [
        "ADDRESS", "READY", "ETCD", "ZONES", "NAMES", "CHECKS", "VERSION",
    ];
    daemons(asked, &headings, |endpoint, status| {
        let checks = status.checks.iter();
        let up = checks.filter(|it| it.health == Health::Healthy).count();
        let names: usize = status.zones.iter().map(|it| it.names).sum();
        vec![
            endpoint.to_string().into(),
            yes(status.ready),
            status
                .store
                .as_ref()
                .map_or_else(|| "-".into(), |it| store(it, now)),
            status.zones.len().to_string().into(),
            names.to_string().into(),
            ratio(up, status.checks.len()),
            status.version.clone().into(),
        ]
    })
}

/// One row per daemon: what `row` makes of its answer, or why there is none.
fn daemons<T>(
    asked: &[Asked<T>],
    headings: &[&'static str],
    row: impl Fn(&Endpoint, &T) -> Vec<Cell>,
) -> Table {
    let mut table = Table::new(headings);
    for Asked { endpoint, outcome } in asked {
        table.row(match outcome {
            Outcome::Answer(answer) => row(endpoint, answer),
            Outcome::Error(error) => {
                vec![endpoint.to_string().into(), Cell::new(error, Tone::Bad)]
            }
        });
    }
    table
}

pub(crate) fn problems(problems: &[SeenProblem], colours: bool) -> String {
    let mut text = String::new();
    if !problems.is_empty() {
        text.push_str("\nProblems\n");
    }
    for problem in problems {
        let what = Tone::Bad.paint(&problem.what, colours);
        let who = witnesses(&problem.seen_by);
        text.push_str(&format!("- {who}: {what}\n  remedy: {}\n", problem.remedy));
    }
    text
}

pub(crate) fn yes(it: bool) -> Cell {
    match it {
        true => Cell::new("yes", Tone::Good),
        false => Cell::new("no", Tone::Bad),
    }
}

pub(crate) fn ratio(up: usize, total: usize) -> Cell {
    let tone = match up == total {
        true => Tone::Good,
        false => Tone::Bad,
    };
    Cell::new(format!("{up}/{total}"), tone)
}

fn store(report: &StoreReport, now: u64) -> Cell {
    match (report.connected, report.since) {
        (true, _) => Cell::new("connected", Tone::Good),
        (false, 0) => Cell::new("not yet", Tone::Bad),
        (false, since) => Cell::new(format!("lost {} ago", age(since, now)), Tone::Bad),
    }
}

/// How long ago `since` was, both in milliseconds since 1970: one unit, rounded down. Clocks differ
/// between machines, so a time to come counts as now.
pub(crate) fn age(since: u64, now: u64) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    match now.saturating_sub(since) / 1_000 {
        seconds @ ..MINUTE => format!("{seconds}s"),
        seconds @ MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h", seconds / HOUR),
        seconds @ DAY.. => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_ages_in_the_largest_unit() {
        check(0, "0s");
        check(59_999, "59s");
        check(60_000, "1m");
        check(3_599_999, "59m");
        check(3_600_000, "1h");
        check(86_400_000, "1d");
        check(8_640_000_000, "100d");
        assert_eq!(age(2_000, 1_000), "0s");
    }

    #[track_caller]
    fn check(milliseconds: u64, expected: &str) {
        assert_eq!(age(1_000, 1_000 + milliseconds), expected);
    }
}
