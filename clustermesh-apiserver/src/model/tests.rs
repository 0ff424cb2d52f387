mod agents;
mod loss;
mod mirroring;
mod publishing;

use kvstore::follower;
use topology::id::MeshSize;

use super::*;
use crate::manifest;
use crate::manifest::catalog::ManifestProblems;
use crate::objects::{ObjectEvent, ObjectKind};

const START: u64 = 1_000_000;

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
    restarted(&services.iter().map(service).collect::<String>())
}

/// All objects there are.
fn restarted(manifest: &str) -> Input {
    let manifest = manifest::parse(manifest);
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
