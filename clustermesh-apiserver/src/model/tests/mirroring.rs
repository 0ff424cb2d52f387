//! Which remotes are shown, from their first words to their leaving.

use super::*;

#[test]
fn shows_a_remote_once_it_is_complete() {
    let mut model = started(&["us"]);
    let mut records = records("us", 2);
    let canary = records.pop().unwrap();
    model.apply(said("us", 1, Update::Connected { cluster_id: 1 }), START);

    let effects = model.apply(said("us", 1, Update::Listed(records)), START);
    assert!(
        parts(&effects).iter().all(|it| **it == Part::Own),
        "{effects:?}"
    );

    let put = Update::Changed(vec![follower::Change::Put(canary)]);
    let effects = model.apply(said("us", 1, put), START);
    let [
        Effect::Write {
            part: Part::Remote(_),
            write: Write::All(table),
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    assert!(table.contains_key("cilium/cluster-config/us"));
    assert!(table.contains_key("cilium/synced/us/cilium/cache/nodes/v1"));
}

#[test]
fn removes_a_cluster_in_two_steps() {
    let mut model = started(&["us"]);
    connect(&mut model, "us", 2);

    let effects = model.apply(configured(&[]), START + 5);
    let us: ClusterName = "us".parse().unwrap();
    assert_eq!(effects[0], Effect::Unfollow { remote: us.clone() });
    let config = Change::Delete("cilium/cluster-config/us".into());
    let write = Write::Changes(vec![config]);
    assert_eq!(
        effects[1],
        Effect::Write {
            part: Part::Remote(us.clone()),
            write
        }
    );

    let effects = model.apply(Input::Tick, START + 5 + REMOVAL_GRACE - 1);
    assert_eq!(own_changes(&effects), ["+cilium/.heartbeat"]);
    assert_eq!(effects.len(), 1);
    let effects = model.apply(Input::Tick, START + 5 + REMOVAL_GRACE);
    assert!(
        effects.contains(&Effect::Forget { remote: us }),
        "{effects:?}"
    );
    assert!(own_changes(&effects).contains(&"-causeway/state/peers/v1/us".to_owned()));
}

#[test]
fn keeps_a_cluster_whose_file_comes_back_in_time() {
    let mut model = started(&["us"]);
    connect(&mut model, "us", 2);
    model.apply(configured(&[]), START + 5);

    let effects = model.apply(configured(&["us"]), START + 6);

    assert!(
        matches!(&effects[0], Effect::Follow { generation: 2, .. }),
        "{effects:?}"
    );
    let effects = model.apply(Input::Tick, START + 2 * REMOVAL_GRACE);
    assert!(
        parts(&effects).iter().all(|it| **it == Part::Own),
        "{effects:?}"
    );
}

#[test]
fn refuses_an_id_that_two_clusters_claim_until_one_leaves() {
    let mut model = started(&["ap", "us"]);
    connect(&mut model, "ap", 2);
    connect(&mut model, "us", 2);
    let status = model.status(true, None);
    assert_eq!(
        status.clusters[2].reason,
        "its id 2 is the id of cluster ap"
    );

    model.apply(configured(&["us"]), START + 5);
    let effects = model.apply(Input::Tick, START + 5 + REMOVAL_GRACE);

    let follows = |it: &Effect| matches!(it, Effect::Follow { generation: 2, .. });
    assert!(effects.iter().any(follows), "{effects:?}");
}

#[test]
fn refuses_its_own_id_and_ignores_its_own_file() {
    let mut model = started(&["eu", "us"]);
    connect(&mut model, "us", 1);

    let status = model.status(true, None);
    assert_eq!(status.clusters.len(), 2);
    assert_eq!(
        status.clusters[1].reason,
        "its id 1 is the id of cluster eu"
    );
}

#[test]
fn counts_a_grace_whatever_the_clock_says() {
    let mut model = started(&["us"]);
    connect(&mut model, "us", 2);
    model.apply(configured(&[]), START);

    let set_back = Moment {
        unix_milliseconds: 7,
        uptime_milliseconds: START + REMOVAL_GRACE,
    };
    let effects = model.apply(Input::Tick, set_back);
    let forgets = effects.iter().any(|it| matches!(it, Effect::Forget { .. }));
    assert!(forgets, "{effects:?}");
}

#[test]
fn ignores_a_follower_that_was_replaced() {
    let mut model = started(&["us"]);
    model.apply(said("us", 1, Update::Connected { cluster_id: 1 }), START);
    let elsewhere = listing(&["us"], "http://127.0.0.2:2379");
    model.apply(Input::Configured(elsewhere), START);

    assert_eq!(
        model.apply(said("us", 1, Update::Listed(records("us", 2))), START),
        []
    );
}

#[test]
fn waits_for_remotes_but_not_for_ever() {
    let mut model = started(&["us"]);
    assert!(!model.has_met_remotes(START + CONNECT_GRACE - 1));
    assert!(model.has_met_remotes(START + CONNECT_GRACE));

    connect(&mut model, "us", 2);
    assert!(model.has_met_remotes(START));
}
