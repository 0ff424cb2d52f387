//! What the fuzz targets and the ordinary test put through every decoder: whatever is read must be
//! written so that it reads the same, and nothing may panic.

use std::path::{Path, PathBuf};

use clustermesh_apiserver::manifest::{self, ManifestFile};
use clustermesh_apiserver::objects::ObjectEvent;
use clustermesh_apiserver::publish::{Cluster, Options, Publisher};
use clustermesh_apiserver::remote::{Changes, Contract, Remote, Table};
use clustermesh_apiserver::remote_file::RemoteFile;
use clustermesh_apiserver::troubleshoot::version::etcd_version;
use clustermesh_apiserver::users::Desired;
use clustermesh_apiserver::users::file::UsersFile;
use clustermesh_apiserver::{annotation, certificate};
use kvstore::follower::{self, Update};
use topology::diff::Change;
use topology::id::{ClusterName, MeshSize};
use topology::record::{Key, Record};

/// A key of a store.
pub(crate) fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(Some(key)) = Key::parse(text, &owner()) else {
        return;
    };
    for spelled in [key.published(), key.mirrored()] {
        let read = Key::parse(&spelled, key.cluster());
        assert_eq!(read, Ok(Some(key.clone())), "{spelled} of {text}");
    }
}

/// A line with a key, and the value after it.
pub(crate) fn record(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |it| *it == b'\n');
    let (Some(key), Some(value)) = (parts.next(), parts.next()) else {
        return;
    };
    let Ok(Ok(Some(key))) = std::str::from_utf8(key).map(|it| Key::parse(it, &owner())) else {
        return;
    };
    let Ok(record) = Record::decode(&key, value, None) else {
        return;
    };
    let written = record.encode();
    match Record::decode(&key, &written, None) {
        Ok(again) => assert_eq!(again, record, "{}", String::from_utf8_lossy(&written)),
        Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&written)),
    }
}

/// A JSON object of annotations.
pub(crate) fn annotations(bytes: &[u8]) {
    let Ok(annotations) = serde_json::from_slice(bytes) else {
        return;
    };
    let annotations = Some(annotations);
    let _ = annotation::is_global_service(&annotations);
    let _ = annotation::is_shared_service(&annotations);
    let _ = annotation::affinity(&annotations);
    let _ = annotation::is_global_namespace(&annotations);
    let _ = annotation::wireguard_public_key(&annotations);
}

/// A manifest, and the same as a change of a good one.
pub(crate) fn manifest(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let file = ManifestFile::read("a.yaml", Ok(text), None);
    let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let before = ManifestFile::read("a.yaml", Ok(good), None);
    let after = ManifestFile::read("a.yaml", Ok(text), Some(&before));
    if file.errors.is_empty() {
        assert_eq!(after.objects, file.objects);
    } else {
        assert_eq!(after.objects, before.objects, "an error takes nothing away");
    }
}

/// Objects of a manifest, published: a peer must be able to read whatever follows from them.
pub(crate) fn publish(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let cluster = Cluster {
        name: owner(),
        id: 1.try_into().expect("an id"),
        mesh: MeshSize::default(),
    };
    let options = Options {
        mcs_api: true,
        ..Options::default()
    };
    let mut publisher = Publisher::new(cluster, options);
    let objects = manifest::parse(text).objects.into_iter();
    let events = objects.map(|(key, object)| ObjectEvent::Applied(key, object));
    let mut told = publisher.table().clone();
    apply(&mut told, publisher.apply(events.collect(), 0));
    assert_eq!(told, *publisher.table(), "the changes add up to the table");
    for (spelled, value) in publisher.table() {
        let open = match spelled.strip_prefix("causeway/export/") {
            Some(scoped) => scoped.split_once('/').expect("a peer and a key").1,
            None => spelled,
        };
        let key = match Key::parse(open, &owner()) {
            Ok(Some(key)) => key,
            other => panic!("{spelled}: {other:?}"),
        };
        let read = Record::decode(&key, value, None);
        // A label's value may have the cluster's label in it: upstream escapes nothing either.
        let is_read = read.is_ok() || matches!(key, Key::Identity(..));
        assert!(
            is_read,
            "{spelled}: {read:?}: {}",
            String::from_utf8_lossy(value)
        );
    }
}

/// What a remote's store says, line by line: `+KEY VALUE` is a part of a list and `=` its end, `-KEY`
/// a deletion, `~` a lost connection, `KEY VALUE` a change. A first line `!` asks for delta records.
pub(crate) fn mirror(bytes: &[u8]) {
    let mut remote = remote();
    let mut shown = Table::new();
    let mut say = |update| {
        let step = remote.apply(update, &[].into(), 0);
        if step.follow_again {
            remote.interrupt();
        }
        apply(&mut shown, step.changes);
    };
    let mut first = vec![put(CONFIG)];
    if bytes.first() == Some(&b'!') {
        first.push(put(DELTAS));
    }
    // Twice, because the tree to follow is chosen in the first list.
    say(Update::Listed(first.clone()));
    say(Update::Listed(first));
    for line in bytes.split(|it| *it == b'\n') {
        say(match line {
            [b'+', line @ ..] => Update::Page(vec![put(line)]),
            [b'=', ..] => Update::Listed(Vec::new()),
            [b'-', key @ ..] => Update::Changed(vec![follower::Change::Delete {
                key: String::from_utf8_lossy(key).into_owned(),
                mod_revision: 2,
            }]),
            [b'~', ..] => Update::Lost {
                reason: "it is gone".to_owned(),
                silent: true,
            },
            line => Update::Changed(vec![follower::Change::Put(put(line))]),
        });
    }
    assert_eq!(shown, remote.table(), "the changes add up to the table");
}

/// An endpoint slice of a peer with a contract: as it is if the first byte is even, or to be packed.
pub(crate) fn endpoint_slice(bytes: &[u8]) {
    let [form, slice @ ..] = bytes else {
        return;
    };
    let value = match form % 2 {
        0 => slice.to_vec(),
        _ => zstd::bulk::compress(slice, 1).expect("there is room"),
    };
    let mut remote = remote();
    let contract = "podCIDRs: [10.0.0.0/8]\nnodeCIDRs: [192.0.2.0/24]\n";
    let contract = Contract::parse(Path::new("alpha.contract.yaml"), "alpha", contract);
    let _ = remote.set_contract(contract.expect("a contract"));
    let record = follower::Record {
        key: "cilium/state/endpointslices/v1/alpha/shop/web-1".to_owned(),
        value: value.clone(),
        mod_revision: 1,
    };
    let list = Update::Listed(vec![put(CONFIG), record]);
    let _ = remote.apply(list, &[].into(), 0);

    let table = remote.table();
    let mirrored = table.get("cilium/cache/endpointslices/v1/alpha/shop/web-1");
    let dropped: u64 = remote.rejections().counts.values().sum();
    assert_eq!(u64::from(mirrored.is_none()), dropped, "shown, or counted");
    assert!(mirrored.is_none_or(|it| **it == *value), "byte for byte");
}

/// A file of the ClusterMesh configuration directory, and the same as a change of a good one.
pub(crate) fn remote_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = || PathBuf::from("beta");
    let file = RemoteFile::read(path(), Ok(text), None);
    let good = RemoteFile::read(path(), Ok("endpoints: ['http://a']"), None);
    let after = RemoteFile::read(path(), Ok(text), Some(&good));
    if file.problem().is_some() {
        assert_eq!(after.config(), good.config(), "an error takes nothing away");
    } else {
        assert_eq!(after.config(), file.config());
    }
}

/// A peer's contract, and the same as a change of a good one.
pub(crate) fn contract(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let path = || PathBuf::from("beta.contract.yaml");
    let file = RemoteFile::read(path(), Ok(text), None);
    let good = RemoteFile::read(path(), Ok("cluster: {id: 2}"), None);
    let after = RemoteFile::read(path(), Ok(text), Some(&good));
    if file.problem().is_some() {
        assert_eq!(
            after.contract(),
            good.contract(),
            "an error takes nothing away"
        );
    } else {
        assert_eq!(after.contract(), file.contract());
    }
}

/// The file of further users, and what follows from it for a store.
pub(crate) fn users_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let entries = match UsersFile::read(Path::new("users.yaml"), Ok(text)) {
        UsersFile::Good(entries) => entries,
        UsersFile::Broken(problem) => {
            assert!(problem.starts_with("users.yaml:"), "{problem}");
            return;
        }
        UsersFile::Other => return,
    };
    let (own, none) = (owner(), Desired::new(&owner(), [], &[], true));
    let desired = Desired::new(&own, [], &entries, true);
    for (user, roles) in &none.users {
        assert_eq!(desired.users.get(user), Some(roles), "{user} is built in");
    }
    for (role, keys) in &none.roles {
        assert_eq!(desired.roles.get(role), Some(keys), "{role} is built in");
    }
}

/// A file with a certificate in PEM.
pub(crate) fn certificate_file(bytes: &[u8]) {
    let report = certificate::report(Path::new("tls.crt"), Ok(bytes.to_vec()));
    let is_read = report.problem.is_empty();
    assert!(is_read || report.problem.starts_with("tls.crt: "));
    let _ = kvstore::tls::user_of_certificate(bytes);
}

/// What a server answers when it is asked for its version.
pub(crate) fn version(bytes: &[u8]) {
    let _ = etcd_version(bytes);
}

const CONFIG: &[u8] = br#"cilium/cluster-config/alpha {"id":1,"capabilities":{}}"#;
const DELTAS: &[u8] = br#"causeway/capabilities/alpha {"deltas":true}"#;

/// A key and, after a space, its value.
fn put(line: &[u8]) -> follower::Record {
    let mut parts = line.splitn(2, |it| *it == b' ');
    let mut part = || parts.next().unwrap_or_default();
    follower::Record {
        key: String::from_utf8_lossy(part()).into_owned(),
        value: part().to_vec(),
        mod_revision: 1,
    }
}

fn remote() -> Remote {
    let own = "beta".parse().expect("a name");
    Remote::new(owner(), own, MeshSize::default(), 0)
}

fn apply(table: &mut Table, changes: Changes) {
    for change in changes {
        match change {
            Change::Delete(key) => drop(table.remove(&key)),
            Change::Put(key, value) => drop(table.insert(key, value)),
        }
    }
}

fn owner() -> ClusterName {
    "alpha".parse().expect("a name")
}
