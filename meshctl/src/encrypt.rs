//! Shows the tunnels that encrypt what leaves each node: one line per node in Cilium's words, and one
//! row per tunnel in Submariner's habit.

use serde::Serialize;
use topology::geo::RoundTrip;
use topology::health::Health;
use topology::id::{ClusterName, NodeName};
use topology::report::{AgentStatus, EncryptionReport, NodeEncryption, PostQuantum, TunnelReport};

use crate::context::Context;
use crate::output::Output;
use crate::questions;
use crate::status::{Asked, Outcome};
use crate::table::{Cell, Table, Tone};

/// Asks every agent, and says whether each has answered and all of its tunnels are connected.
pub(crate) async fn status(context: &Context, output: &Output) -> anyhow::Result<bool> {
    anyhow::ensure!(
        !context.agents.is_empty(),
        "the context file lists no agents"
    );
    let status = EncryptStatus::new(questions::everyone(&context.agents).await);
    output.print(&status, |colours| status.text(colours))?;
    Ok(status.well)
}

#[derive(Debug, Serialize)]
struct EncryptStatus {
    well: bool,
    agents: Vec<Asked<NodeTunnels>>,
}

/// One node's part of its agent's status.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct NodeTunnels {
    node: NodeName,
    cluster: ClusterName,
    encryption: Option<EncryptionReport>,
    tunnels: Vec<TunnelReport>,
}

/// What a tunnel is good for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Connected,
    /// No handshake yet.
    Connecting,
    /// Its last handshake is too old.
    Expired,
    /// It has a session, and nothing comes back through it.
    Silent,
}

impl EncryptStatus {
    fn new(asked: Vec<Asked<AgentStatus>>) -> Self {
        let agents: Vec<_> = asked.into_iter().map(node_tunnels).collect();
        let well = agents
            .iter()
            .all(|it| it.answer().is_some_and(NodeTunnels::is_well));
        Self { well, agents }
    }

    fn text(&self, colours: bool) -> String {
        let texts: Vec<String> = (self.agents.iter())
            .map(|it| match &it.outcome {
                Outcome::Answer(node) => node.text(colours),
                Outcome::Error(error) => {
                    let error = Tone::Bad.paint(error, colours);
                    format!("Agent {}\n  {error}\n", it.endpoint)
                }
            })
            .collect();
        texts.join("\n")
    }
}

fn node_tunnels(asked: Asked<AgentStatus>) -> Asked<NodeTunnels> {
    Asked {
        endpoint: asked.endpoint,
        outcome: match asked.outcome {
            Outcome::Answer(status) => Outcome::Answer(NodeTunnels {
                node: status.node,
                cluster: status.cluster,
                encryption: status.encryption,
                tunnels: status.tunnels,
            }),
            Outcome::Error(error) => Outcome::Error(error),
        },
    }
}

impl NodeTunnels {
    fn is_well(&self) -> bool {
        let has_key = (self.encryption.as_ref()).is_none_or(|it| it.public_key.is_some());
        has_key
            && self
                .tunnels
                .iter()
                .all(|it| State::of(it) == State::Connected)
    }

    fn text(&self, colours: bool) -> String {
        let mut text = format!("Node {} of cluster {}\n", self.node, self.cluster);
        if let Some(encryption) = &self.encryption {
            text.push_str(&self.line(encryption, colours));
        }
        let table = table(&self.tunnels);
        if !table.is_empty() {
            text.push_str(&table.render(colours));
        }
        text
    }

    /// As `cilium-dbg encrypt status` has it.
    fn line(&self, encryption: &EncryptionReport, colours: bool) -> String {
        let node_encryption = match encryption.node_encryption {
            NodeEncryption::Disabled => "Disabled",
            NodeEncryption::Enabled => "Enabled",
            NodeEncryption::OptedOut => "OptedOut",
        };
        let interface = &encryption.interface;
        let device = match (&encryption.public_key, encryption.listen_port) {
            (Some(key), Some(port)) => {
                let peers = self.tunnels.len();
                format!("{interface} (Pubkey: {key}, Port: {port}, Peers: {peers})")
            }
            _ => Tone::Bad.paint(&format!("{interface} (no device with a key)"), colours),
        };
        format!("Encryption: Wireguard [NodeEncryption: {node_encryption}, {device}]\n")
    }
}

fn table(tunnels: &[TunnelReport]) -> Table {
    let mut table = Table::new([
        "NODE",
        "CLUSTER",
        "REMOTE IP",
        "NAT",
        "DRIVER",
        "SUBNETS",
        "STATUS",
        "RTT avg.",
    ]);
    for tunnel in tunnels {
        let round_trip = tunnel
            .probes
            .and_then(|it| it.round_trip_microseconds)
            .map(|microseconds| RoundTrip { microseconds });
        let subnets: Vec<String> = tunnel.allowed_ips.iter().map(ToString::to_string).collect();
        table.row([
            tunnel.node.as_str().into(),
            tunnel.cluster.as_str().into(),
            or_dash(tunnel.endpoint.map(|it| it.ip())),
            if tunnel.behind_nat { "yes" } else { "no" }.into(),
            driver(tunnel.post_quantum).into(),
            match subnets.is_empty() {
                true => "-".into(),
                false => subnets.join(", ").into(),
            },
            match &tunnel.relayed_by {
                Some(relay) => Cell::new(format!("relayed by {relay}"), Tone::Bad),
                None => State::of(tunnel).cell(),
            },
            or_dash(round_trip),
        ]);
    }
    table
}

/// Where a post-quantum secret was asked for, what has become of it.
fn driver(post_quantum: Option<PostQuantum>) -> &'static str {
    match post_quantum {
        None | Some(PostQuantum::Off) => "wireguard",
        Some(PostQuantum::Established) => "wireguard, post-quantum",
        Some(PostQuantum::Pending) => "wireguard, post-quantum pending",
        Some(PostQuantum::Unsupported) => "wireguard, post-quantum unsupported",
    }
}

fn or_dash(value: Option<impl ToString>) -> Cell {
    value.map_or_else(|| "-".into(), |it| it.to_string().into())
}

impl State {
    fn of(tunnel: &TunnelReport) -> Self {
        let health = tunnel.probes.map(|it| it.health);
        match (tunnel.up, health) {
            (true, Some(Health::Unhealthy)) => Self::Silent,
            (true, _) => Self::Connected,
            (false, _) if tunnel.last_handshake_unix_seconds.is_none() => Self::Connecting,
            (false, _) => Self::Expired,
        }
    }

    fn cell(self) -> Cell {
        match self {
            Self::Connected => Cell::new("connected", Tone::Good),
            Self::Connecting => Cell::new("connecting", Tone::Bad),
            Self::Expired => Cell::new("error: no handshake", Tone::Bad),
            Self::Silent => Cell::new("error: no answer", Tone::Bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use topology::report::ProbeReport;

    use super::*;
    use crate::status::tests::{agent, answered, tunnel, unanswered};

    #[test]
    fn shows_each_node_s_line_and_its_tunnels() {
        let status = EncryptStatus::new(vec![answered(AGENT, encrypting())]);

        assert!(status.well);
        assert_eq!(
            status.text(false),
            "\
Node eu-node-1 of cluster eu
Encryption: Wireguard [NodeEncryption: Disabled, cilium_wg0 (Pubkey: b3du, Port: 51871, Peers: 1)]
NODE       CLUSTER  REMOTE IP      NAT  DRIVER     SUBNETS                        STATUS     RTT avg.
us-node-1  us       198.51.100.11  no   wireguard  10.2.1.0/24, 198.51.100.11/32  connected  85.4 ms
"
        );
    }

    #[test]
    fn is_well_only_if_every_tunnel_is_connected() {
        check(&|_| (), "connected");
        check(&|it| it.probes = None, "connected");
        check(&|it| it.up = false, "error: no handshake");
        check(&|it| probes(it).health = Health::Unknown, "connected");
        check(
            &|it| probes(it).health = Health::Unhealthy,
            "error: no answer",
        );
        check(
            &|it| {
                it.up = false;
                it.last_handshake_unix_seconds = None;
            },
            "connecting",
        );
    }

    #[test]
    fn names_the_relay_of_a_tunnel_that_has_one() {
        check(
            &|it| {
                it.up = false;
                it.relayed_by = Some("us/us-node-2".to_owned());
            },
            "relayed by us/us-node-2",
        );
    }

    #[test]
    fn says_what_became_of_a_post_quantum_secret() {
        for (state, expected) in [
            (PostQuantum::Off, "  wireguard  "),
            (PostQuantum::Established, "  wireguard, post-quantum  "),
            (PostQuantum::Pending, "  wireguard, post-quantum pending  "),
        ] {
            let mut agent = encrypting();
            agent.tunnels[0].post_quantum = Some(state);
            let status = EncryptStatus::new(vec![answered(AGENT, agent)]);
            let text = status.text(false);
            assert!(text.contains(expected), "{text}");
            let json = serde_json::to_string(&status).unwrap();
            let expected = format!(r#""postQuantum":"{}""#, state.as_str());
            assert!(json.contains(&expected), "{json}");
        }
    }

    #[test]
    fn is_not_well_without_a_device_or_an_answer() {
        let mut agent = encrypting();
        agent.encryption = agent.encryption.map(|it| EncryptionReport {
            public_key: None,
            ..it
        });
        let status = EncryptStatus::new(vec![answered(AGENT, agent)]);
        assert!(!status.well);
        let text = status.text(false);
        assert!(
            text.contains("cilium_wg0 (no device with a key)]"),
            "{text}"
        );

        let status = EncryptStatus::new(vec![answered(AGENT, encrypting()), unanswered(AGENT)]);
        assert!(!status.well);
        let text = status.text(false);
        assert!(text.contains("unreachable: connection refused"), "{text}");
    }

    const AGENT: &str = "http://192.0.2.11:9962";

    #[track_caller]
    fn check(change: &dyn Fn(&mut TunnelReport), expected: &str) {
        let mut agent = encrypting();
        change(&mut agent.tunnels[0]);

        let status = EncryptStatus::new(vec![answered(AGENT, agent)]);

        let text = status.text(false);
        assert!(text.contains(&format!("  {expected}  ")), "{text}");
        assert_eq!(status.well, expected == "connected");
    }

    fn probes(tunnel: &mut TunnelReport) -> &mut ProbeReport {
        tunnel.probes.as_mut().unwrap()
    }

    fn encrypting() -> AgentStatus {
        let mut tunnel = tunnel();
        tunnel.probes = Some(ProbeReport {
            health: Health::Healthy,
            since: 1_700_000_000_000,
            round_trip_microseconds: Some(85_432),
            round_trip_p99_microseconds: Some(91_000),
            loss_per_mille: 3,
            path_mtu: Some(1_420),
        });
        AgentStatus {
            tunnels: vec![tunnel],
            encryption: Some(EncryptionReport {
                interface: "cilium_wg0".to_owned(),
                public_key: Some("b3du".to_owned()),
                listen_port: Some(51871),
                node_encryption: NodeEncryption::Disabled,
            }),
            ..agent(Vec::new())
        }
    }
}
