//! What our store shows of remotes that are lost.

use super::*;

#[test]
fn withholds_what_a_lost_cluster_offers_while_another_offers_it_too() {
    let policy = Policy {
        withdraws_lost_services: true,
        ..Policy::default()
    };
    let mut model = offering(policy, &["ap", "us"]);
    let of = |cluster: &str| format!("cilium/cache/services/v1/{cluster}/shop/web");

    let effects = model.apply(said("us", 1, silence()), START + 1);
    assert_eq!(mirrored_changes(&effects), [format!("-{}", of("us"))]);

    let effects = model.apply(said("ap", 1, silence()), START + 2);
    let restored = [format!("+{}", of("us"))];
    assert_eq!(mirrored_changes(&effects), restored, "never the last ones");

    let effects = model.apply(
        said("ap", 1, Update::Connected { cluster_id: 1 }),
        START + 3,
    );
    assert_eq!(mirrored_changes(&effects), [format!("-{}", of("us"))]);
    let effects = model.apply(
        said("us", 1, Update::Connected { cluster_id: 1 }),
        START + 4,
    );
    assert_eq!(mirrored_changes(&effects), [format!("+{}", of("us"))]);
}

#[test]
fn drops_the_services_of_a_cluster_that_stays_lost_if_asked_to() {
    let policy = Policy {
        cache_ttl: Some(10_000),
        ..Policy::default()
    };
    let mut model = offering(policy, &["us"]);
    let web = "cilium/cache/services/v1/us/shop/web";

    model.apply(said("us", 1, silence()), START);
    let effects = model.apply(Input::Tick, START + 9_999);
    assert_eq!(mirrored_changes(&effects), [] as [String; 0]);
    let effects = model.apply(Input::Tick, START + 10_000);
    assert_eq!(mirrored_changes(&effects), [format!("-{web}")]);
    let effects = model.apply(
        said("us", 1, Update::Connected { cluster_id: 1 }),
        START + 20_000,
    );
    assert_eq!(mirrored_changes(&effects), [format!("+{web}")]);
}

/// A model with these remotes, each of which offers the service `shop/web`.
fn offering(policy: Policy, remotes: &[&str]) -> Model {
    let mut model = model();
    model = Model::with_policy(model.cluster, publish::Options::default(), policy, START);
    model.apply(configured(remotes), START);
    model.apply(objects(&["a"]), START);
    for (remote, id) in remotes.iter().zip(2..) {
        let mut records = records(remote, id);
        let value = format!(
            r#"{{"cluster":"{remote}","namespace":"shop","name":"web","backends":{{"10.{id}.0.1":{{}}}},"clusterID":{id}}}"#
        );
        records.push(follower::Record {
            key: format!("cilium/state/services/v1/{remote}/shop/web"),
            value: value.into_bytes(),
            mod_revision: 1,
        });
        model.apply(said(remote, 1, Update::Connected { cluster_id: 1 }), START);
        model.apply(said(remote, 1, Update::Listed(records)), START);
    }
    model
}

/// The same of all remotes' parts.
fn mirrored_changes(effects: &[Effect]) -> Vec<String> {
    changes_in(effects, |it| *it != Part::Own)
}
