//! Shows the remote clusters to people.

use topology::record::ClusterConfig;
use topology::report::{
    CertificateReport, ClusterState, LivenessReport, PeerReport, ThrottleReport, ViolationReport,
    Witness,
};

use super::{MeshPeers, OwnCluster, SeenPeer};
use crate::status::SeenProblem;
use crate::status::text::{age, problems, ratio};
use crate::table::{Cell, Table, Tone};

pub(super) fn render(mesh: &MeshPeers, now: u64, colours: bool) -> String {
    let mut text = String::new();
    for cluster in &mesh.clusters {
        text.push_str(&own_cluster(cluster, now, colours));
    }
    text.push_str(problems(&mesh.problems, colours).trim_start_matches('\n'));
    text.push_str(&warnings(&mesh.warnings));
    text
}

/// How often each reason was counted.
pub(super) fn reasons(violations: &ViolationReport) -> String {
    let counts = violations.by_reason.iter();
    let counts: Vec<String> = counts
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    counts.join(", ")
}

/// What the contract holds back.
pub(super) fn throttle(throttle: &ThrottleReport, now: u64) -> String {
    format!(
        "for {}: more than the {} changes in a second that its contract permits; {} wait here",
        age(throttle.since, now),
        throttle.changes_per_second,
        throttle.changes_waiting,
    )
}

fn own_cluster(cluster: &OwnCluster, now: u64, colours: bool) -> String {
    let all = cluster.peers.len();
    let well = cluster.peers.iter().filter(|it| it.well).count();
    let tone = match well == all && all > 0 {
        true => Tone::Good,
        false => Tone::Bad,
    };
    let verdict = tone.paint(&format!("{well} of {all} remote clusters well"), colours);
    let mut text = format!("ClusterMesh of cluster {}: {verdict}\n", cluster.name);
    if all == 0 {
        return text + "\n";
    }
    text.push_str(&format!("\n{}", table(&cluster.peers, now).render(colours)));
    for peer in &cluster.peers {
        text.push_str(&details(&peer.report, now));
    }
    text + "\n"
}

fn table(peers: &[SeenPeer], now: u64) -> Table {
    let mut table = Table::new([
        "PEER",
        "ID",
        "STATE",
        "SINCE",
        "SYNCED",
        "PULSE",
        "NODES",
        "SERVICES",
        "IDENTITIES",
        "ENDPOINTS",
        "SLICES",
        "EXPORTS",
        "FAILURES",
        "AGENTS",
        "TUNNELS",
    ]);
    for peer in peers {
        let report = &peer.report;
        let cluster = &report.cluster;
        let records = |kind: &str| {
            let kind = report.kinds.get(kind);
            kind.map_or(0, |it| it.records).to_string().into()
        };
        let synced = report.kinds.values().filter(|it| it.synced).count();
        let id = cluster
            .id
            .map_or_else(|| "-".to_owned(), |it| it.to_string());
        let since = cluster
            .since
            .map_or_else(|| "-".to_owned(), |it| age(it, now));
        let agents = peer.agents;
        table.row([
            cluster.name.to_string().into(),
            id.into(),
            state(report),
            since.into(),
            ratio(synced, report.kinds.len()),
            pulse(report, now),
            records("nodes"),
            records("services"),
            records("identities"),
            records("ip"),
            records("endpointslices"),
            records("serviceexports"),
            report.link.failures.to_string().into(),
            some(agents.agents_well, agents.agents),
            some(agents.tunnels_up, agents.tunnels),
        ]);
    }
    table
}

fn state(report: &PeerReport) -> Cell {
    match report.cluster.state {
        ClusterState::Connected if !report.refusal.is_empty() => Cell::new("refused", Tone::Bad),
        ClusterState::Connected if !report.link.connected => Cell::new("interrupted", Tone::Bad),
        ClusterState::Connected => Cell::new("connected", Tone::Good),
        ClusterState::Lost => Cell::new("lost", Tone::Bad),
        ClusterState::Own => "own".into(),
        ClusterState::Undecided => Cell::new("not yet", Tone::Bad),
    }
}

fn pulse(report: &PeerReport, now: u64) -> Cell {
    let Some(pulse) = report.pulse else {
        return Cell::new("none", Tone::Faint);
    };
    let tone = match pulse.is_fresh(now) {
        true => Tone::Good,
        false => Tone::Bad,
    };
    let text = match pulse.at {
        Some(at) => format!(
            "{} {} ago",
            duration(pulse.latency_microseconds),
            age(at, now)
        ),
        None => "not yet".to_owned(),
    };
    Cell::new(text, tone)
}

/// Two digits are enough to compare.
fn duration(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds}us"),
        1_000..10_000 => format!("{}.{}ms", microseconds / 1_000, microseconds % 1_000 / 100),
        10_000..1_000_000 => format!("{}ms", microseconds / 1_000),
        _ => format!("{}s", microseconds / 1_000_000),
    }
}

fn some(well: usize, all: usize) -> Cell {
    match all {
        0 => Cell::new("-", Tone::Faint),
        _ => ratio(well, all),
    }
}

/// What no column has room for.
fn details(report: &PeerReport, now: u64) -> String {
    let cluster = &report.cluster;
    let mut lines = vec![
        ("endpoints", report.endpoints.join(", ")),
        ("decided by", decision(report.liveness)),
    ];
    if !cluster.reason.is_empty() {
        lines.push(("reason", cluster.reason.clone()));
    }
    if let Some(failure) = &report.link.last_failure {
        let failure = format!("{} ago: {}", age(failure.at, now), failure.reason);
        lines.push(("last failure", failure));
    }
    lines.push(("config", config(report.config.as_ref())));
    let missing: Vec<&str> = report
        .kinds
        .iter()
        .filter(|(_, it)| !it.synced)
        .map(|(kind, _)| kind.as_str())
        .collect();
    if !missing.is_empty() {
        lines.push(("not synced", missing.join(", ")));
    }
    lines.extend(
        report
            .certificate
            .as_ref()
            .map(|it| ("certificate", certificate(it, now))),
    );
    let violations = match report.violations.total() {
        0 => "none".to_owned(),
        total => format!("{total}: {}", reasons(&report.violations)),
    };
    lines.push(("violations", violations));
    if let Some(it) = &report.throttle {
        lines.push(("held back", throttle(it, now)));
    }

    let mut text = format!("\n{}\n", cluster.name);
    for (name, value) in lines {
        text.push_str(&format!("  {name:<13}{value}\n"));
    }
    text
}

/// What tells whether the cluster is connected.
fn decision(liveness: LivenessReport) -> String {
    let LivenessReport {
        decided_by,
        nodes_reporting,
        nodes_reaching,
        nodes_not_reaching,
    } = liveness;
    let witness = match decided_by {
        Witness::DataPlane => "data plane",
        Witness::Etcd => "etcd",
    };
    if nodes_reporting == 0 {
        return format!("{witness}; no node reports what it reaches");
    }
    let unknown = match nodes_reporting.saturating_sub(nodes_reaching + nodes_not_reaching) {
        0 => String::new(),
        unknown => format!(", {unknown} unknown yet"),
    };
    format!("{witness}; {nodes_reaching} of {nodes_reporting} nodes reach its pods{unknown}")
}

fn config(config: Option<&ClusterConfig>) -> String {
    let Some(config) = config else {
        return "not read yet".to_owned();
    };
    let capabilities = &config.capabilities;
    let mode = match capabilities.endpoint_slices_export_mode.as_str() {
        "" => "services",
        mode => mode,
    };
    let exports = match capabilities.service_exports_enabled {
        None => "unknown",
        Some(false) => "off",
        Some(true) => "on",
    };
    format!(
        "id {}, mesh of {}, canaries {}, {mode}, service exports {exports}{}",
        config.id,
        match capabilities.max_connected_clusters {
            0 => 255,
            clusters => clusters,
        },
        if capabilities.synced_canaries {
            "on"
        } else {
            "off"
        },
        if capabilities.cached {
            ", a mirror"
        } else {
            ""
        },
    )
}

fn certificate(certificate: &CertificateReport, now: u64) -> String {
    if !certificate.problem.is_empty() {
        return certificate.problem.clone();
    }
    let name = &certificate.common_name;
    let file = &certificate.file;
    match certificate.not_after.checked_sub(now) {
        None | Some(0) => format!(
            "{name}, expired {} ago ({file})",
            age(certificate.not_after, now)
        ),
        Some(_) => format!("{name}, {} left ({file})", age(now, certificate.not_after)),
    }
}

fn warnings(warnings: &[SeenProblem]) -> String {
    let mut text = String::new();
    if !warnings.is_empty() {
        text.push_str("\nWarnings\n");
    }
    for warning in warnings {
        text.push_str(&format!(
            "- {}\n  remedy: {}\n",
            warning.headline(),
            warning.remedy
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_latencies_in_two_digits() {
        for (microseconds, expected) in [
            (0, "0us"),
            (999, "999us"),
            (1_000, "1.0ms"),
            (9_960, "9.9ms"),
            (12_345, "12ms"),
            (2_500_000, "2s"),
        ] {
            assert_eq!(duration(microseconds), expected);
        }
    }
}
