//! What metrics tell of each tunnel, and of all together.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use topology::health::Health;
use topology::report::TunnelReport;

use super::signed;
use labels::{ByState, ByStatus, Drops, RoundTrip, Tunnel};

mod labels;

/// Tunnels that have series of their own: a scrape of more would cost more than it tells.
const SERIES_MAX: usize = 1_000;

/// The series of all tunnels; those of a tunnel go with it.
#[derive(Debug, Default)]
pub(super) struct TunnelMetrics {
    by_state: Family<ByState, Gauge>,
    by_status: Family<ByStatus, Gauge>,
    handshake_age: Family<Tunnel, Gauge>,
    handshakes: Family<Tunnel, Counter>,
    received: Family<Tunnel, Counter>,
    sent: Family<Tunnel, Counter>,
    dropped: Family<Drops, Counter>,
    round_trip: Family<RoundTrip, Gauge<f64, std::sync::atomic::AtomicU64>>,
    loss: Family<Tunnel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    path_mtu: Family<Tunnel, Gauge>,
    answered: Family<Tunnel, Gauge>,
    /// Each tunnel that is shown, with its last handshake, in seconds since 1970.
    shown: BTreeMap<Tunnel, Option<u64>>,
}

const MEDIAN: &str = "0.5";
const SLOWEST_HUNDREDTH: &str = "0.99";

impl TunnelMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        metrics.register_all(registry);
        metrics.register_traffic(registry);
        metrics.register_probes(registry);
        metrics
    }

    fn register_all(&self, registry: &mut Registry) {
        registry.register(
            "mesh_node_agent_tunnels",
            "WireGuard peers by state",
            self.by_state.clone(),
        );
        registry.register(
            "cilium_wireguard_peers",
            "WireGuard peers by status: connected, connecting before the first handshake, error",
            self.by_status.clone(),
        );
    }

    fn register_traffic(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "mesh_node_agent_tunnel_handshake_age",
            "Time since the last handshake",
            Unit::Seconds,
            self.handshake_age.clone(),
        );
        registry.register(
            "mesh_node_agent_tunnel_handshakes",
            "Handshakes that were seen: the first and every rekey",
            self.handshakes.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_tunnel_received",
            "Bytes that the device let in, of whole packets with WireGuard's headers",
            Unit::Bytes,
            self.received.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_tunnel_sent",
            "Bytes that the device sent, of whole packets with WireGuard's headers",
            Unit::Bytes,
            self.sent.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_tunnel_dropped",
            "What the device dropped on its way from or to the other end, by cause",
            Unit::Other("packets".to_owned()),
            self.dropped.clone(),
        );
    }

    fn register_probes(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "mesh_node_agent_tunnel_round_trip",
            "Round trips of the last hundred probes through the tunnel",
            Unit::Seconds,
            self.round_trip.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_tunnel_loss",
            "Part of the last hundred probes that had no answer",
            Unit::Ratios,
            self.loss.clone(),
        );
        registry.register_with_unit(
            "mesh_node_agent_tunnel_path_mtu",
            "The largest packet that comes through the tunnel and back",
            Unit::Bytes,
            self.path_mtu.clone(),
        );
        registry.register(
            "mesh_node_agent_tunnel_answered",
            "1 while probes through the tunnel are answered, 0 while they are not; absent before",
            self.answered.clone(),
        );
    }

    /// Shows these tunnels, and no others any more.
    pub(super) fn show(&mut self, tunnels: &[TunnelReport], now_unix_seconds: u64) {
        self.show_counts(tunnels);
        let shown: BTreeMap<Tunnel, &TunnelReport> = tunnels
            .iter()
            .take(SERIES_MAX)
            .map(|it| (Tunnel::of(it), it))
            .collect();
        let gone = self.shown.keys().filter(|it| !shown.contains_key(it));
        let gone: Vec<Tunnel> = gone.cloned().collect();
        for labels in gone {
            self.forget(&labels);
        }
        for (labels, report) in shown {
            self.show_traffic(&labels, report, now_unix_seconds);
            self.show_probes(&labels, report);
            self.shown
                .insert(labels, report.last_handshake_unix_seconds);
        }
    }

    fn show_counts(&self, tunnels: &[TunnelReport]) {
        let up = tunnels.iter().filter(|it| it.up).count();
        for (state, count) in [("up", up), ("down", tunnels.len() - up)] {
            let labels = ByState { state };
            self.by_state.get_or_create(&labels).set(signed(count));
        }
        for status in [CONNECTED, CONNECTING, ERROR] {
            let count = tunnels.iter().filter(|it| self::status(it) == status);
            let labels = ByStatus { status };
            let count = signed(count.count());
            self.by_status.get_or_create(&labels).set(count);
        }
    }

    fn show_traffic(&self, labels: &Tunnel, report: &TunnelReport, now_unix_seconds: u64) {
        if let Some(last) = report.last_handshake_unix_seconds {
            let age = now_unix_seconds.saturating_sub(last);
            let age = i64::try_from(age).unwrap_or(i64::MAX);
            self.handshake_age.get_or_create(labels).set(age);
            if self.shown.get(labels) != Some(&Some(last)) {
                self.handshakes.get_or_create(labels).inc();
            }
        }
        let store = |family: &Family<Tunnel, Counter>, bytes| {
            let counter = family.get_or_create(labels);
            counter.inner().store(bytes, Ordering::Relaxed);
        };
        store(&self.received, report.received_bytes);
        store(&self.sent, report.sent_bytes);
        for (labels, packets) in labels.drops(&report.dropped_packets) {
            if packets == 0 {
                self.dropped.remove(&labels);
            } else {
                let counter = self.dropped.get_or_create(&labels);
                counter.inner().store(packets, Ordering::Relaxed);
            }
        }
    }

    fn show_probes(&self, labels: &Tunnel, report: &TunnelReport) {
        let Some(probes) = &report.probes else {
            self.forget_probes(labels);
            return;
        };
        for (quantile, microseconds) in [
            (MEDIAN, probes.round_trip_microseconds),
            (SLOWEST_HUNDREDTH, probes.round_trip_p99_microseconds),
        ] {
            let labels = labels.with(quantile);
            match microseconds {
                Some(it) => {
                    let seconds = f64::from(it) / 1e6;
                    self.round_trip.get_or_create(&labels).set(seconds);
                }
                None => drop(self.round_trip.remove(&labels)),
            }
        }
        let loss = f64::from(probes.loss_per_mille) / 1e3;
        self.loss.get_or_create(labels).set(loss);
        match probes.path_mtu {
            Some(bytes) => drop(self.path_mtu.get_or_create(labels).set(bytes.into())),
            None => drop(self.path_mtu.remove(labels)),
        }
        let answered = match probes.health {
            Health::Healthy => Some(1),
            Health::Unhealthy => Some(0),
            Health::Unknown => None,
        };
        match answered {
            Some(answered) => drop(self.answered.get_or_create(labels).set(answered)),
            None => drop(self.answered.remove(labels)),
        }
    }

    fn forget(&mut self, labels: &Tunnel) {
        self.handshake_age.remove(labels);
        self.handshakes.remove(labels);
        self.received.remove(labels);
        self.sent.remove(labels);
        for (labels, _) in labels.drops(&BTreeMap::new()) {
            self.dropped.remove(&labels);
        }
        self.forget_probes(labels);
        self.shown.remove(labels);
    }

    fn forget_probes(&self, labels: &Tunnel) {
        for quantile in [MEDIAN, SLOWEST_HUNDREDTH] {
            self.round_trip.remove(&labels.with(quantile));
        }
        self.loss.remove(labels);
        self.path_mtu.remove(labels);
        self.answered.remove(labels);
    }
}

const CONNECTED: &str = "connected";
const CONNECTING: &str = "connecting";
const ERROR: &str = "error";

fn status(tunnel: &TunnelReport) -> &'static str {
    let is_silent = tunnel
        .probes
        .is_some_and(|it| it.health == Health::Unhealthy);
    if tunnel.last_handshake_unix_seconds.is_none() {
        CONNECTING
    } else if tunnel.up && !is_silent {
        CONNECTED
    } else {
        ERROR
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus_client::encoding::text;
    use topology::report::{PostQuantum, ProbeReport};

    use super::*;

    #[test]
    fn tells_of_each_tunnel_and_forgets_it_when_it_goes() {
        let mut registry = Registry::default();
        let mut metrics = TunnelMetrics::register(&mut registry);

        metrics.show(&[tunnel("a"), tunnel("b")], 1_007);
        metrics.show(&[tunnel("a")], 1_008);

        let body = body(&registry);
        for line in [
            r#"mesh_node_agent_tunnels{state="up"} 1"#,
            r#"cilium_wireguard_peers{status="connected"} 1"#,
            r#"cilium_wireguard_peers{status="error"} 0"#,
            r#"mesh_node_agent_tunnel_handshake_age_seconds{cluster="us",node="a"} 8"#,
            r#"mesh_node_agent_tunnel_handshakes_total{cluster="us",node="a"} 1"#,
            r#"mesh_node_agent_tunnel_received_bytes_total{cluster="us",node="a"} 10"#,
            r#"mesh_node_agent_tunnel_sent_bytes_total{cluster="us",node="a"} 20"#,
            r#"mesh_node_agent_tunnel_dropped_packets_total{cluster="us",node="a",cause="replayed"} 7"#,
            r#"mesh_node_agent_tunnel_round_trip_seconds{cluster="us",node="a",quantile="0.99"} 0.25"#,
            r#"mesh_node_agent_tunnel_loss_ratios{cluster="us",node="a"} 0.02"#,
            r#"mesh_node_agent_tunnel_path_mtu_bytes{cluster="us",node="a"} 1420"#,
            r#"mesh_node_agent_tunnel_answered{cluster="us",node="a"} 1"#,
        ] {
            assert!(body.contains(line), "{line} in {body}");
        }
        assert!(!body.contains(r#"node="b""#), "{body}");
    }

    #[test]
    fn counts_rekeys_and_takes_back_what_is_not_known_any_more() {
        let mut registry = Registry::default();
        let mut metrics = TunnelMetrics::register(&mut registry);
        let mut tunnel = tunnel("a");
        for handshake in [1_000, 1_000, 1_120, 1_240] {
            tunnel.last_handshake_unix_seconds = Some(handshake);
            metrics.show(&[tunnel.clone()], 1_300);
        }
        tunnel.probes = None;
        metrics.show(&[tunnel], 1_300);

        let body = body(&registry);
        let line = r#"mesh_node_agent_tunnel_handshakes_total{cluster="us",node="a"} 3"#;
        assert!(body.contains(line), "{body}");
        assert!(
            !body.contains("mesh_node_agent_tunnel_loss_ratios{"),
            "{body}"
        );
    }

    #[test]
    fn keeps_to_so_many_series() {
        let mut metrics = TunnelMetrics::register(&mut Registry::default());
        let tunnels: Vec<_> = (0..2 * SERIES_MAX)
            .map(|it| tunnel(&format!("node-{it}")))
            .collect();

        metrics.show(&tunnels, 1_300);

        assert_eq!(metrics.shown.len(), SERIES_MAX);
    }

    fn body(registry: &Registry) -> String {
        let mut body = String::new();
        text::encode(&mut body, registry).unwrap();
        body
    }

    fn tunnel(node: &str) -> TunnelReport {
        TunnelReport {
            cluster: "us".parse().unwrap(),
            node: node.parse().unwrap(),
            public_key: String::new(),
            endpoint: None,
            allowed_ips: BTreeSet::new(),
            last_handshake_unix_seconds: Some(1_000),
            received_bytes: 10,
            sent_bytes: 20,
            dropped_packets: [("replayed".to_owned(), 7)].into(),
            up: true,
            behind_nat: false,
            relayed_by: None,
            post_quantum: Some(PostQuantum::Established),
            probes: Some(ProbeReport {
                health: Health::Healthy,
                since: 1,
                round_trip_microseconds: Some(125_000),
                round_trip_p99_microseconds: Some(250_000),
                loss_per_mille: 20,
                path_mtu: Some(1_420),
            }),
        }
    }
}
