//! What the fuzz targets and the ordinary test put through every decoder: whatever is read must be
//! written so that it reads the same, and nothing may panic.

use std::path::PathBuf;

use clustermesh_apiserver::annotation;
use clustermesh_apiserver::manifest::ManifestFile;
use clustermesh_apiserver::remote_file::RemoteFile;
use topology::id::ClusterName;
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

fn owner() -> ClusterName {
    "alpha".parse().expect("a name")
}
