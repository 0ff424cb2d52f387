//! Shows people why the mesh does what it does: the daemons' reasons, as short text.

use topology::geo::RoundTrip;
use topology::health::Health;
use topology::report::{
    ClusterState, DnsCandidate, DnsExplanation, PeerExplanation, ProbeReport, TunnelReport,
};

use crate::status::{Asked, Outcome};
use crate::table::{Cell, Table, Tone};

mod service;

pub(crate) use service::service;

pub(crate) fn dns(explanation: &DnsExplanation, colours: bool) -> String {
    let place = match explanation.client_location {
        Some(place) => format!("at {:.2},{:.2}", place.latitude(), place.longitude()),
        None => "at an unknown place".to_owned(),
    };
    let mut text = format!(
        "{} {} for {}, {place} ({})\n",
        explanation.name, explanation.record_type, explanation.client, explanation.client_found_by,
    );
    let answers = match explanation.answers.is_empty() {
        true => explanation.response_code.clone(),
        false => format!(
            "{}: {}",
            explanation.response_code,
            explanation.answers.join(", ")
        ),
    };
    text.push_str(&format!("{answers}\nbecause {}\n", explanation.reason));
    let table = candidates(&explanation.candidates);
    if !table.is_empty() {
        text.push_str(&format!("\n{}", table.render(colours)));
    }
    text
}

/// What several agents say of several peers; `now` in seconds since 1970.
pub(crate) fn peers(asked: &[Asked<PeerExplanation>], now: u64, colours: bool) -> String {
    let texts: Vec<String> = asked
        .iter()
        .map(|it| match &it.outcome {
            Outcome::Answer(explanation) => {
                format!("Agent {}\n{}", it.endpoint, peer(explanation, now, colours))
            }
            Outcome::Error(error) => {
                format!(
                    "Agent {}\n  {}\n",
                    it.endpoint,
                    Tone::Bad.paint(error, colours)
                )
            }
        })
        .collect();
    texts.join("\n")
}

fn candidates(candidates: &[DnsCandidate]) -> Table {
    let mut table = Table::new(["CANDIDATE", "HEALTH", "DISTANCE", "VERDICT"]);
    for it in candidates {
        let health = match it.health {
            Some(Health::Healthy) => Cell::new("healthy", Tone::Good),
            Some(Health::Unhealthy) => Cell::new("unhealthy", Tone::Bad),
            Some(Health::Unknown) => "unknown".into(),
            None => "unchecked".into(),
        };
        let distance = it
            .distance
            .map_or_else(|| "-".to_owned(), |it| it.to_string());
        let verdict = match it.chosen {
            true => Cell::new(format!("chosen: {}", it.because), Tone::Good),
            false => Cell::new(format!("passed over: {}", it.because), Tone::Faint),
        };
        table.row([it.value.as_str().into(), health, distance.into(), verdict]);
    }
    table
}

fn peer(explanation: &PeerExplanation, now: u64, colours: bool) -> String {
    let cluster = &explanation.cluster;
    let state = match cluster.state {
        ClusterState::Connected => "connected".to_owned(),
        ClusterState::Lost => format!("lost: {}", cluster.reason),
        ClusterState::Own => "the own cluster".to_owned(),
        ClusterState::Undecided => "not connected yet".to_owned(),
    };
    let mut text = format!(
        "  peer      {}/{}, whose cluster is {state}\n  reason    {}\n",
        cluster.name, explanation.node, explanation.reason
    );
    if let Some(tunnel) = &explanation.tunnel {
        text.push_str(&tunnel_text(tunnel, now, colours));
    }
    text.push_str(&format!("  protected {}\n", list(&explanation.protected)));
    text
}

fn tunnel_text(tunnel: &TunnelReport, now: u64, colours: bool) -> String {
    let state = match tunnel.up {
        true => Tone::Good.paint("up", colours),
        false => Tone::Bad.paint("down", colours),
    };
    let handshake = match tunnel.last_handshake_unix_seconds {
        Some(last) => format!("last handshake {} s ago", now.saturating_sub(last)),
        None => "no handshake yet".to_owned(),
    };
    let endpoint = tunnel
        .endpoint
        .map_or_else(|| "an unknown endpoint".to_owned(), |it| it.to_string());
    let probes = tunnel.probes.as_ref().map(|it| probes(it, now, colours));
    format!(
        "  tunnel    {state} to {endpoint}, {handshake}, {} bytes received, {} sent\n\
         {}  key       {}\n  \
           allowed   {}\n",
        tunnel.received_bytes,
        tunnel.sent_bytes,
        probes.unwrap_or_default(),
        tunnel.public_key,
        list(&tunnel.allowed_ips),
    )
}

/// What probes see of a tunnel, in a line.
fn probes(report: &ProbeReport, now: u64, colours: bool) -> String {
    let health = match report.health {
        Health::Healthy => Tone::Good.paint("answered", colours),
        Health::Unhealthy => Tone::Bad.paint("unanswered", colours),
        Health::Unknown => "never answered yet".to_owned(),
    };
    let mut text = format!(
        "  probes    {health} for {} s, {}.{} % lost",
        now.saturating_sub(report.since / 1_000),
        report.loss_per_mille / 10,
        report.loss_per_mille % 10,
    );
    let round_trip = |microseconds| RoundTrip { microseconds };
    if let Some(median) = report.round_trip_microseconds.map(round_trip) {
        text.push_str(&format!(", round trip {median}"));
    }
    if let Some(p99) = report.round_trip_p99_microseconds.map(round_trip) {
        text.push_str(&format!(", of the slowest hundredth {p99}"));
    }
    if let Some(bytes) = report.path_mtu {
        text.push_str(&format!(", packets up to {bytes} bytes"));
    }
    text + "\n"
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|it| it.to_string()).collect();
    match items.is_empty() {
        true => "none".to_owned(),
        false => items.join(", "),
    }
}

#[cfg(test)]
mod tests;
