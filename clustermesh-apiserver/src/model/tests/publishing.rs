//! What our own cluster shows, and when.

use std::path::Path;

use super::*;

#[test]
fn publishes_everything_at_once_and_then_only_changes() {
    let mut model = model();
    model.apply(configured(&["us"]), START);

    let effects = model.apply(objects(&["a"]), START);
    let [
        Effect::Write {
            part: Part::Own,
            write: Write::All(table),
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    for key in [
        "causeway/capabilities/eu",
        "causeway/delta/services/v1/eu/default/a",
        "causeway/state/services/v1/eu/default/a",
        "cilium/.heartbeat",
        "cilium/cluster-config/eu",
        "cilium/state/services/v1/eu/default/a",
        "cilium/synced/eu/cilium/state/endpointslices/v1",
    ] {
        assert!(table.contains_key(key), "{key}");
    }
    assert!(!table.contains_key("causeway/synced/eu"));

    let mut changes = own_changes(&model.apply(objects(&["b"]), START + 1));
    changes.sort();
    assert_eq!(
        changes,
        [
            "+causeway/delta/services/v1/eu/default/b",
            "+causeway/state/services/v1/eu/default/b",
            "+cilium/state/services/v1/eu/default/b",
            "-causeway/delta/services/v1/eu/default/a",
            "-causeway/state/services/v1/eu/default/a",
            "-cilium/state/services/v1/eu/default/a",
        ]
    );
    assert_eq!(model.apply(objects(&["b"]), START + 2), []);
}

#[test]
fn renews_the_heartbeat_every_minute() {
    let mut model = started(&[]);

    assert_eq!(model.apply(Input::Tick, START + 59_999), []);
    let changes = own_changes(&model.apply(Input::Tick, START + 60_000));
    assert_eq!(changes, ["+cilium/.heartbeat"]);
    assert_eq!(model.apply(Input::Tick, START + 119_999), []);
    let changes = own_changes(&model.apply(Input::Tick, START - 500_000));
    assert_eq!(changes, ["+cilium/.heartbeat"], "the clock was set back");
}

#[test]
fn tells_the_time_to_peers_of_its_own_kind() {
    let mut model = started(&[]);

    let pulse = |unix_microseconds| Input::Pulse { unix_microseconds };
    assert_eq!(
        own_changes(&model.apply(pulse(1), START)),
        ["+causeway/pulse/eu"]
    );
    assert_eq!(model.apply(pulse(1), START), []);
}

#[test]
fn collects_identities_only_while_it_sees_all_objects() {
    let mut model = model();
    let labels = "k8s:a=b;k8s:io.kubernetes.pod.namespace=shop;".to_owned();
    let remembered = Remembered {
        identities: vec![(70_000, labels)],
        ..Remembered::default()
    };
    model.apply(Input::Remembered(remembered), START);
    let broken = Manifests {
        events: Vec::new(),
        problems: Some(ManifestProblems {
            errors: vec!["a.yaml:1:1: torn".to_owned()],
            ..ManifestProblems::default()
        }),
    };
    model.apply(Input::Objects(broken), START);

    let late = START + 2 * publish::Options::default().identity_grace;
    let changes = own_changes(&model.apply(Input::Tick, late));
    assert_eq!(changes, ["+cilium/.heartbeat"]);

    model.apply(objects(&[]), late);
    let whole = Manifests {
        events: Vec::new(),
        problems: Some(ManifestProblems::default()),
    };
    model.apply(Input::Objects(whole), late);
    let changes = own_changes(&model.apply(Input::Tick, late));
    assert_eq!(changes, ["-cilium/state/identities/v1/id/70000"]);
}

#[test]
fn is_complete_once_it_knows_whether_each_remote_lives() {
    let mut model = started(&["us", "ap"]);

    let effects = model.apply(said("us", 1, silence()), START + 1_000);
    assert_eq!(own_changes(&effects), ["+causeway/state/peers/v1/us"]);

    let effects = model.apply(Input::Tick, START + 5_000);
    assert_eq!(
        own_changes(&effects),
        ["+causeway/state/peers/v1/ap", "+causeway/synced/eu"]
    );
}

#[test]
fn tells_agents_at_once_that_a_remote_is_lost() {
    let mut model = started(&["us"]);
    connect(&mut model, "us", 2);

    let effects = model.apply(said("us", 1, silence()), START + 9);

    let [
        Effect::Write {
            part: Part::Own,
            write: Write::Changes(changes),
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}");
    };
    let state = br#"{"connected":false,"sinceUnixMilliseconds":1000009,"reason":"silent"}"#;
    let put = Change::Put("causeway/state/peers/v1/us".into(), state.as_slice().into());
    assert_eq!(changes[..], [put]);
}

#[test]
fn says_what_is_exported_to_a_cluster_that_nobody_knows() {
    let mut model = started(&["us"]);
    model.apply(exported("b", "us, ap, asia"), START);
    assert_eq!(
        problems(&model),
        [
            "Service default/b is exported to ap, which is no peer and cannot read it",
            "Service default/b is exported to asia, which is no peer and cannot read it",
        ]
    );
    assert_eq!(model.problem_counts()["export"], 2);

    let users = UsersFile::read(
        Path::new("users.yaml"),
        Ok("users: [{name: remote-asia, role: remote}]"),
    );
    let users = Listing {
        files: [("users.yaml".to_owned(), Arc::new(users))].into(),
        problem: None,
    };
    model.apply(Input::Users(users), START);
    model.apply(configured(&["us", "ap"]), START);
    assert_eq!(problems(&model), [""; 0]);

    model.apply(configured(&["us"]), START);
    assert_eq!(problems(&model).len(), 1);
    model.apply(objects(&["a"]), START);
    assert_eq!(problems(&model), [""; 0]);
}

fn exported(service: &str, peers: &str) -> Input {
    restarted(&format!(
        "apiVersion: v1\nkind: Service\nspec: {{clusterIP: 10.0.0.1}}\n\
         metadata: {{name: {service}, annotations: {{service.cilium.io/global: 'true', \
         causeway.io/export-to: '{peers}'}}}}\n"
    ))
}

fn problems(model: &Model) -> Vec<String> {
    let problems = model.status(true, None).problems;
    problems.into_iter().map(|it| it.what).collect()
}
