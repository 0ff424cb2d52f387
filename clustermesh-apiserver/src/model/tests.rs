mod loss;

use kvstore::follower;
use topology::id::MeshSize;

use super::*;
use crate::manifest;
use crate::manifest::catalog::ManifestProblems;
use crate::objects::{ObjectEvent, ObjectKind};

const START: u64 = 1_000_000;

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
    model.apply(Input::Remembered(vec![(70_000, labels)]), START);
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

fn model() -> Model {
    let cluster = Cluster {
        name: "eu".parse().unwrap(),
        id: 1.try_into().unwrap(),
        mesh: MeshSize::default(),
    };
    Model::new(cluster, START)
}

/// A model that has published, with these remotes.
fn started(remotes: &[&str]) -> Model {
    let mut model = model();
    model.apply(configured(remotes), START);
    model.apply(objects(&["a"]), START);
    model
}

fn connect(model: &mut Model, remote: &str, id: u32) {
    model.apply(said(remote, 1, Update::Connected { cluster_id: 1 }), START);
    model.apply(said(remote, 1, Update::Listed(records(remote, id))), START);
}

/// A cluster-config and all canaries.
fn records(cluster: &str, id: u32) -> Vec<follower::Record> {
    let name: ClusterName = cluster.parse().unwrap();
    let id = id.try_into().unwrap();
    let mesh = MeshSize::default();
    let canaries = publish::canaries(&Cluster { name, id, mesh }, "now");
    let config = format!(r#"{{"id":{id},"capabilities":{{"syncedCanaries":true}}}}"#);
    let config = (
        format!("cilium/cluster-config/{cluster}"),
        config.into_bytes(),
    );
    let canaries = canaries
        .into_iter()
        .map(|(key, value)| (key.to_string(), value.to_vec()));
    [config]
        .into_iter()
        .chain(canaries)
        .map(|(key, value)| follower::Record {
            key,
            value,
            mod_revision: 1,
        })
        .collect()
}

fn silence() -> Update {
    Update::Lost {
        reason: "silent".to_owned(),
        silent: true,
    }
}

fn said(remote: &str, generation: u64, update: Update) -> Input {
    Input::Said {
        remote: remote.parse().unwrap(),
        generation,
        update,
    }
}

fn configured(remotes: &[&str]) -> Input {
    Input::Configured(listing(remotes, "http://127.0.0.1:2379"))
}

fn listing(remotes: &[&str], endpoint: &str) -> Listing<RemoteFile> {
    let text = format!("endpoints: ['{endpoint}']");
    let file = |name: &&str| RemoteFile::read((*name).into(), Ok(&text), None);
    let files = remotes
        .iter()
        .map(|name| ((*name).to_owned(), Arc::new(file(name))));
    Listing {
        files: files.collect(),
        problem: None,
    }
}

/// One file with a global Service of each name.
fn objects(services: &[&str]) -> Input {
    let service = |name: &&str| {
        format!(
            "---\napiVersion: v1\nkind: Service\nspec: {{clusterIP: 10.0.0.1}}\n\
             metadata: {{name: {name}, annotations: {{service.cilium.io/global: 'true'}}}}\n"
        )
    };
    let text: String = services.iter().map(service).collect();
    let manifest = manifest::parse(&text);
    assert_eq!(manifest.errors, []);
    Input::Objects(Manifests {
        events: vec![ObjectEvent::Restarted {
            kinds: ObjectKind::ALL.to_vec(),
            objects: manifest.objects,
        }],
        problems: None,
    })
}

fn parts(effects: &[Effect]) -> Vec<&Part> {
    let parts = effects.iter().filter_map(|it| match it {
        Effect::Write { part, .. } => Some(part),
        Effect::Follow { .. }
        | Effect::Forget { .. }
        | Effect::Time { .. }
        | Effect::Unfollow { .. } => None,
    });
    parts.collect()
}

/// The keys put (`+`) and deleted (`-`) in the own part.
fn own_changes(effects: &[Effect]) -> Vec<String> {
    changes_in(effects, |it| *it == Part::Own)
}

fn changes_in(effects: &[Effect], is_wanted: fn(&Part) -> bool) -> Vec<String> {
    let mut keys = Vec::new();
    for effect in effects {
        if let Effect::Write {
            part,
            write: Write::Changes(changes),
        } = effect
            && is_wanted(part)
        {
            keys.extend(changes.iter().map(|it| match it {
                Change::Delete(key) => format!("-{key}"),
                Change::Put(key, _) => format!("+{key}"),
            }));
        }
    }
    keys
}
