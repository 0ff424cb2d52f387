//! What changes with what node agents say.

use topology::record::{Key, Node, PeerState, Record};
use topology::report::Witness;

use super::*;

const OLD: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "ICECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn keeps_a_remote_whose_pods_are_reached() {
    let mut model = connected();
    model.apply(reach("node-1", "healthy"), START);
    model.apply(reach("node-2", "unhealthy"), START);

    let effects = model.apply(said("us", 1, silence()), START + 1_000);

    let state = written_state(&effects).unwrap();
    assert!(state.connected && state.since_unix_milliseconds == START);
    let expected = "1 of 2 nodes reach its pods";
    assert!(state.reason.ends_with(expected), "{}", state.reason);
    let liveness = model.remotes().next().unwrap().liveness();
    assert_eq!(liveness.decided_by, Witness::DataPlane);
    assert_eq!((liveness.nodes_reporting, liveness.nodes_reaching), (2, 1));
    let later = model.apply(Input::Tick, START + 600_000);
    assert_eq!(written_state(&later), None);

    let effects = model.apply(reach("node-1", "unhealthy"), START + 600_000);
    assert!(!written_state(&effects).unwrap().connected);
}

#[test]
fn loses_a_remote_that_no_node_reaches_at_once() {
    let mut model = connected();
    let effects = model.apply(reach("node-1", "unhealthy"), START + 5);

    let state = written_state(&effects).unwrap();
    assert_eq!(state.since_unix_milliseconds, START + 5);
    assert_eq!(
        state.reason,
        "no node of ours reaches it through its tunnels"
    );

    let effects = model.apply(reach("node-1", "healthy"), START + 6);
    assert!(written_state(&effects).unwrap().connected);
}

#[test]
fn knows_what_agents_said_before_a_remote_was_configured() {
    let mut model = model();
    model.apply(objects(&["a"]), START);
    model.apply(reach("node-1", "unhealthy"), START);

    let effects = model.apply(configured(&["us"]), START + 1);

    assert!(!written_state(&effects).unwrap().connected);
}

#[test]
fn lets_a_remote_leave_whose_pods_are_reached() {
    let mut model = connected();
    model.apply(reach("node-1", "healthy"), START);

    let effects = model.apply(configured(&[]), START + 1);

    assert!(!written_state(&effects).unwrap().connected);
}

#[test]
fn announces_the_tunnel_of_a_node_until_the_node_is_gone() {
    let mut model = started(&[]);
    model.apply(restarted(&node("")), START);
    let tunnel =
        |key: &str, more: &str| put("tunnel", "n", &format!(r#"{{"publicKey":"{key}"{more}}}"#));

    let more =
        format!(r#","nextPublicKey":"{NEW}","endpoints":["192.0.2.1:51871","[2001:db8::1]:7"]"#);
    let announced = written_node(&model.apply(tunnel(OLD, &more), START)).unwrap();
    assert_eq!(announced.wireguard_public_key, OLD);
    assert_eq!(announced.encryption_key, 255);
    let annotations = [
        (
            "causeway.io/wg-endpoints",
            "192.0.2.1:51871,[2001:db8::1]:7",
        ),
        ("causeway.io/wg-next-pub-key", NEW),
        ("network.cilium.io/wg-pub-key", OLD),
    ];
    let owned = annotations.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(announced.annotations, owned.into());

    let announced = written_node(&model.apply(tunnel(NEW, ""), START)).unwrap();
    assert_eq!(announced.wireguard_public_key, NEW);
    assert_eq!(announced.annotations.len(), 1);

    // The agent is away: nothing changes, not even with the Node.
    assert_eq!(model.apply(gone("tunnel", "n"), START), []);
    let announced = written_node(&model.apply(restarted(&node("note: x")), START)).unwrap();
    assert_eq!(announced.wireguard_public_key, NEW);

    model.apply(objects(&["a"]), START);
    let announced = written_node(&model.apply(restarted(&node("")), START)).unwrap();
    assert_eq!(announced.wireguard_public_key, "");
}

#[test]
fn believes_the_manifest_before_the_agent() {
    let mut model = started(&[]);
    let named = format!("network.cilium.io/wg-pub-key: {OLD}");
    model.apply(restarted(&node(&named)), START);

    let same = format!(r#"{{"publicKey":"{OLD}","nextPublicKey":"{NEW}"}}"#);
    let announced = written_node(&model.apply(put("tunnel", "n", &same), START)).unwrap();
    assert_eq!(announced.annotations["causeway.io/wg-next-pub-key"], NEW);
    assert_eq!(model.status(true, None).problems, []);

    let other = format!(r#"{{"publicKey":"{NEW}","nextPublicKey":"{OLD}"}}"#);
    let announced = written_node(&model.apply(put("tunnel", "n", &other), START)).unwrap();
    assert_eq!(announced.wireguard_public_key, OLD);
    assert_eq!(announced.annotations.len(), 1);
    let problems = model.status(true, None).problems;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].what.contains("its agent has"), "{problems:?}");
}

#[test]
fn completes_cilium_nodes_and_what_was_remembered() {
    let mut model = model();
    let end = format!(r#"{{"publicKey":"{OLD}"}}"#);
    let Input::Agents(Update::Changed(changes)) = put("tunnel", "n", &end) else {
        unreachable!()
    };
    let [follower::Change::Put(record)] = &changes[..] else {
        unreachable!()
    };
    let remembered = Remembered {
        agents: vec![record.clone()],
        ..Remembered::default()
    };
    model.apply(Input::Remembered(remembered), START);

    let cilium = "apiVersion: cilium.io/v2\nkind: CiliumNode\nmetadata: {name: n}\nspec: {}\n";
    let effects = model.apply(restarted(cilium), START);

    let [
        Effect::Write {
            write: Write::All(table),
            ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    let node = String::from_utf8(table["cilium/state/nodes/v1/eu/n"].to_vec()).unwrap();
    assert!(
        node.contains(&format!(r#""WireguardPubKey":"{OLD}""#)),
        "{node}"
    );
    assert!(node.contains(r#""EncryptionKey":255"#), "{node}");
}

/// A model with the remote `us`, connected at the start.
fn connected() -> Model {
    let mut model = started(&["us"]);
    connect(&mut model, "us", 2);
    model
}

fn reach(node: &str, health: &str) -> Input {
    let value = format!(
        r#"{{"clusters":{{"us":{{"health":"{health}","sinceUnixMilliseconds":1,"roundTripMicroseconds":900}}}}}}"#
    );
    put("reach", node, &value)
}

fn put(kind: &str, node: &str, value: &str) -> Input {
    let record = follower::Record {
        key: format!("causeway/agents/{kind}/v1/eu/{node}"),
        value: value.as_bytes().to_vec(),
        mod_revision: 1,
    };
    Input::Agents(Update::Changed(vec![follower::Change::Put(record)]))
}

fn gone(kind: &str, node: &str) -> Input {
    let delete = follower::Change::Delete {
        key: format!("causeway/agents/{kind}/v1/eu/{node}"),
        mod_revision: 1,
    };
    Input::Agents(Update::Changed(vec![delete]))
}

fn node(annotations: &str) -> String {
    format!("apiVersion: v1\nkind: Node\nmetadata: {{name: n, annotations: {{{annotations}}}}}\n")
}

/// What agents are told of `us`, if that changed.
fn written_state(effects: &[Effect]) -> Option<PeerState> {
    let record = written(effects, "causeway/state/peers/v1/us")?;
    let Record::Peer(state) = record else {
        panic!("{record:?}");
    };
    Some(state)
}

/// The node `n` as it is announced, if that changed.
fn written_node(effects: &[Effect]) -> Option<Node> {
    let record = written(effects, "cilium/state/nodes/v1/eu/n")?;
    let Record::Node(node) = record else {
        panic!("{record:?}");
    };
    Some(*node)
}

fn written(effects: &[Effect], key: &str) -> Option<Record> {
    let changes = effects.iter().filter_map(|it| {
        let Effect::Write {
            write: Write::Changes(changes),
            ..
        } = it
        else {
            return None;
        };
        Some(changes)
    });
    let value = changes.flatten().find_map(|it| match it {
        Change::Put(put, value) if **put == *key => Some(value),
        Change::Put(..) | Change::Delete(_) => None,
    })?;
    let key = Key::parse(key, &"eu".parse().unwrap()).unwrap().unwrap();
    Some(Record::decode(&key, value, None).unwrap())
}
