mod contract;
mod own_kind;

use kvstore::follower;
use proptest::prelude::*;
use topology::id::ClusterId;
use topology::report::ClusterState;

use super::*;

const MIRROR: &str = include_str!("../../tests/golden/beta-etcd-kvstoremesh.jsonl");
const SOURCE: &str = include_str!("../../tests/golden/alpha-etcd.jsonl");

#[test]
fn mirrors_what_cilium_mirrors() {
    let mut remote = remote();

    let step = remote.apply(Update::Listed(golden(SOURCE)), &taken(), 1_000);

    assert!(!step.follow_again);
    assert!(remote.is_complete());
    let theirs: Table = golden(MIRROR)
        .into_iter()
        .filter(|it| !it.key.contains("/.heartbeat") && !it.key.contains("kvstoremesh-lock"))
        .map(|it| (it.key.into(), it.value.into()))
        .collect();
    assert_eq!(timeless(&remote.table()), timeless(&theirs));
    assert_eq!(applied(Table::new(), step.changes), remote.table());
}

#[test]
fn keeps_everything_when_the_remote_restarts_empty() {
    let mut remote = connected();
    let before = remote.table();

    let step = remote.apply(Update::Listed(Vec::new()), &taken(), 2_000);

    assert_eq!(step, Step::default());
    assert_eq!(remote.table(), before);
    assert!(remote.is_connected());
}

#[test]
fn drops_what_is_gone_once_the_canary_of_its_kind_is_back() {
    let mut remote = connected();
    remote.apply(Update::Listed(Vec::new()), &taken(), 2_000);
    remote.apply(put(WEB, &service(1)), &taken(), 2_001);

    let step = remote.apply(
        put("cilium/synced/alpha/cilium/state/services/v1", "now"),
        &taken(),
        2_002,
    );

    let gone = "cilium/cache/services/v1/alpha/shop/headless";
    assert_eq!(step.changes, [Change::Delete(gone.into())]);
}

#[test]
fn deletes_at_once_what_the_remote_deletes() {
    let mut remote = connected();
    let delete = follower::Change::Delete {
        key: WEB.to_owned(),
        mod_revision: 9,
    };

    let step = remote.apply(Update::Changed(vec![delete]), &taken(), 2_000);

    let gone = "cilium/cache/services/v1/alpha/shop/web";
    assert_eq!(step.changes, [Change::Delete(gone.into())]);
}

#[test]
fn says_since_when_and_why_a_remote_is_lost() {
    let mut remote = connected();
    let reason = "no answer to a ping".to_owned();

    remote.apply(
        Update::Lost {
            reason: reason.clone(),
            silent: true,
        },
        &taken(),
        5_000,
    );
    let lost = PeerState {
        connected: false,
        since_unix_milliseconds: 5_000,
        reason,
    };
    assert_eq!(remote.state(), Some(&lost));

    remote.apply(Update::Connected { cluster_id: 1 }, &taken(), 6_000);
    let back = PeerState {
        connected: true,
        since_unix_milliseconds: 6_000,
        reason: String::new(),
    };
    assert_eq!(remote.state(), Some(&back));
}

#[test]
fn believes_nothing_before_the_cluster_config() {
    let mut remote = remote();
    let mut records = golden(SOURCE);
    records.retain(|it| it.key != CONFIG);
    remote.apply(Update::Connected { cluster_id: 1 }, &taken(), 1);

    let step = remote.apply(Update::Listed(records), &taken(), 1_000);

    assert_eq!(step, Step::default());
    assert_eq!(
        remote.state().unwrap().reason,
        "it has no cluster-config yet"
    );
    let step = remote.apply(
        put(CONFIG, r#"{"id":1,"capabilities":{}}"#),
        &taken(),
        1_001,
    );
    assert!(step.follow_again);
    assert!(!remote.is_connected());
}

#[test]
fn drains_a_cluster_that_changes_its_id() {
    let mut remote = connected();
    let shown = remote.table();

    let step = remote.apply(
        put(CONFIG, r#"{"id":5,"capabilities":{}}"#),
        &taken(),
        2_000,
    );

    assert_eq!(applied(shown, step.changes), Table::new());
    assert!(step.follow_again, "everything is read under the new id");
    assert!(!remote.is_complete());
    let config = put(CONFIG, r#"{"id":5,"capabilities":{}}"#);
    let Update::Changed(mut changes) = config else {
        unreachable!()
    };
    let Some(follower::Change::Put(config)) = changes.pop() else {
        unreachable!()
    };
    let step = remote.apply(Update::Listed(vec![config]), &taken(), 3_000);
    assert!(
        step.changes
            .iter()
            .any(|it| matches!(it, Change::Put(key, _) if &**key == CONFIG))
    );
    assert_eq!(remote.id(), Some(5.try_into().unwrap()));
}

#[test]
fn follows_the_mirrored_tree_of_a_mirror() {
    let mut remote = remote();
    let mut records = golden(MIRROR);
    records.retain(|it| !it.key.contains("lock"));

    let step = remote.apply(Update::Listed(records.clone()), &taken(), 1_000);
    assert!(step.follow_again);
    assert!(
        remote
            .prefixes()
            .contains(&"cilium/cache/ip/v1/alpha/".to_owned())
    );
    let step = remote.apply(Update::Listed(records), &taken(), 1_001);

    assert!(!step.follow_again);
    assert_eq!(timeless(&remote.table()), timeless(&connected().table()));
}

#[test]
fn is_undecided_before_it_was_reached_or_given_up() {
    let mut remote = remote();
    assert_eq!(remote.report().state, ClusterState::Undecided);
    assert_eq!(remote.report().since, None);

    remote.tick(5_000);

    assert_eq!(remote.report().state, ClusterState::Lost);
    assert_eq!(connected().report().state, ClusterState::Connected);
}

#[test]
fn withdraws_the_cluster_config_first() {
    let mut remote = connected();

    let changes = remote.withdraw(2_000);

    assert_eq!(changes, [Change::Delete(CONFIG.into())]);
    assert!(!remote.is_connected());
}

#[test]
fn shows_no_list_as_complete_before_its_end() {
    let mut remote = connected();
    let before = remote.table();
    let mut records = golden(SOURCE);
    records.retain(|it| it.key != WEB);
    let half = records.split_off(records.len() / 2);

    // Even if the canaries came early.
    let mut first = records.clone();
    first.extend(
        half.iter()
            .filter(|it| it.key.starts_with("cilium/synced/"))
            .cloned(),
    );
    let step = remote.apply(Update::Page(first), &taken(), 2_000);
    assert_eq!(step, Step::default());
    let lost = Update::Lost {
        reason: "gone".to_owned(),
        silent: false,
    };
    assert_eq!(remote.apply(lost, &taken(), 2_001), Step::default());
    assert_eq!(remote.table(), before);

    remote.apply(Update::Page(records), &taken(), 3_000);
    let step = remote.apply(Update::Listed(half), &taken(), 3_000);
    let gone = Change::Delete("cilium/cache/services/v1/alpha/shop/web".into());
    assert_eq!(step.changes, [gone]);
}

#[test]
fn drops_nothing_over_what_a_refused_cluster_lists() {
    let mut remote = connected();
    let before = remote.table();
    let mut refused = golden(SOURCE);
    for record in refused.iter_mut().filter(|it| it.key == CONFIG) {
        record.value = br#"{"id":7}"#.to_vec();
    }
    remote.apply(Update::Listed(refused), &taken(), 2_000);
    assert!(remote.is_refused());

    let step = remote.apply(put(CONFIG, r#"{"id":1}"#), &taken(), 2_001);
    assert!(step.follow_again);
    remote.interrupt();
    let step = remote.apply(Update::Connected { cluster_id: 1 }, &taken(), 2_002);

    assert_eq!(step.changes, []);
    assert_eq!(remote.table().len(), before.len());
}

proptest! {
    /// Whatever is repeated, reordered or relisted on the way, the changes add up to the table,
    /// and a complete list ends in the same table.
    #[test]
    fn converges_whatever_the_order(
        order in Just(golden(SOURCE)).prop_shuffle(),
        relist_at in 0_usize..20,
    ) {
        let mut remote = connected();
        let mut shown = remote.table();
        for (at, record) in order.into_iter().enumerate() {
            if at == relist_at {
                let step = remote.apply(Update::Listed(Vec::new()), &taken(), 2_000);
                shown = applied(shown, step.changes);
            }
            let update = Update::Changed(vec![follower::Change::Put(record)]);
            shown = applied(shown, remote.apply(update, &taken(), 2_000).changes);
        }
        let step = remote.apply(Update::Listed(golden(SOURCE)), &taken(), 2_000);
        shown = applied(shown, step.changes);

        prop_assert_eq!(&shown, &remote.table());
        prop_assert_eq!(shown, connected().table());
    }
}

const CONFIG: &str = "cilium/cluster-config/alpha";
const WEB: &str = "cilium/state/services/v1/alpha/shop/web";

fn service(cluster_id: u32) -> String {
    format!(r#"{{"cluster":"alpha","namespace":"shop","name":"web","clusterID":{cluster_id}}}"#)
}

fn remote() -> Remote {
    let (name, own) = ("alpha".parse().unwrap(), "beta".parse().unwrap());
    Remote::new(name, own, MeshSize::default(), 0)
}

fn connected() -> Remote {
    let mut remote = remote();
    remote.apply(Update::Connected { cluster_id: 1 }, &taken(), 1_000);
    remote.apply(Update::Listed(golden(SOURCE)), &taken(), 1_000);
    remote
}

fn taken() -> TakenIds {
    TakenIds::from([(ClusterId::try_from(7).unwrap(), "own".parse().unwrap())])
}

fn put(key: &str, value: &str) -> Update {
    Update::Changed(vec![follower::Change::Put(follower::Record {
        key: key.to_owned(),
        value: value.as_bytes().to_vec(),
        mod_revision: 9,
    })])
}

/// The records of a recorded store; values that are no text stand for themselves in base64.
fn golden(lines: &str) -> Vec<follower::Record> {
    lines
        .lines()
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            let value = line.get("value").or_else(|| line.get("value_b64")).unwrap();
            follower::Record {
                key: line["key"].as_str().unwrap().to_owned(),
                value: value.as_str().unwrap().as_bytes().to_vec(),
                mod_revision: 1,
            }
        })
        .collect()
}

/// The table without the times at which canaries were written.
fn timeless(table: &Table) -> Table {
    let mut table = table.clone();
    for (key, value) in &mut table {
        if key.starts_with("cilium/synced/") {
            *value = Arc::default();
        }
    }
    table
}

fn applied(mut table: Table, changes: Changes) -> Table {
    for change in changes {
        match change {
            Change::Delete(key) => drop(table.remove(&key)),
            Change::Put(key, value) => drop(table.insert(key, value)),
        }
    }
    table
}
