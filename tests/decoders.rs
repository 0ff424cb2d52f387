//! Checks that whatever decodes bytes from outside has a fuzz target, and that the targets exist.

#![expect(clippy::unwrap_used, reason = "a check that cannot run should fail")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that decode, each with the targets that reach it.
const DECODERS: &[(&str, &[&str])] = &[
    (
        "clustermesh-apiserver/src/annotation.rs",
        &["annotations", "publish"],
    ),
    (
        "clustermesh-apiserver/src/certificate.rs",
        &["certificate_file"],
    ),
    (
        "clustermesh-apiserver/src/manifest/document.rs",
        &["manifest", "publish"],
    ),
    (
        "clustermesh-apiserver/src/remote/contract.rs",
        &["contract"],
    ),
    (
        "clustermesh-apiserver/src/remote/endpoint_slice.rs",
        &["endpoint_slice"],
    ),
    ("clustermesh-apiserver/src/remote/reading.rs", &["mirror"]),
    ("clustermesh-apiserver/src/remote/services.rs", &["mirror"]),
    (
        "clustermesh-apiserver/src/remote_file.rs",
        &["contract", "remote_file"],
    ),
    (
        "clustermesh-apiserver/src/troubleshoot/version.rs",
        &["version"],
    ),
    ("clustermesh-apiserver/src/users/file.rs", &["users_file"]),
    ("dns-authority/src/message.rs", &["dns_request"]),
    ("dns-authority/src/wire/edns.rs", &["dns_request"]),
    ("dns-authority/src/wire/query.rs", &["dns_request"]),
    ("kvstore/src/access.rs", &["requests", "users"]),
    ("kvstore/src/auth/bytes.rs", &["users"]),
    ("kvstore/src/config.rs", &["config", "remote_file"]),
    ("kvstore/src/mvcc.rs", &["requests"]),
    ("kvstore/src/server/peer.rs", &["certificate"]),
    ("kvstore/src/tls.rs", &["certificate_file"]),
    ("meshctl/src/context.rs", &["context"]),
    ("topology/src/record.rs", &["mirror", "record"]),
    ("topology/src/record/go_json.rs", &["mirror", "record"]),
    ("topology/src/record/key.rs", &["key", "mirror", "record"]),
];

/// Those that need no target of their own, each with the reason.
const OTHERS: &[(&str, &str)] = &[
    (
        "clustermesh-apiserver/src/directory/scan.rs",
        "asks whether a file is text, and hands it on",
    ),
    (
        "clustermesh-apiserver/src/remember.rs",
        "takes text for labels as it is",
    ),
    (
        "clustermesh-apiserver/src/troubleshoot/tls.rs",
        "hands PEM to rustls as it is",
    ),
    (
        "kvstore/src/follower/list.rs",
        "shows a prefix of our own in a measure",
    ),
    (
        "kvstore/src/server/certificates.rs",
        "hands PEM to rustls as it is",
    ),
    ("kvstore/src/store.rs", "hands PEM to tonic as it is"),
    ("kvstore/src/writer/session.rs", "shows a key in an error"),
    (
        "meshctl/src/client.rs",
        "reads what our own daemons answer, with serde alone",
    ),
    (
        "meshctl/src/clustermesh/connect/pki.rs",
        "hands the operator's own PEM to rcgen as it is",
    ),
];

/// The crates whose decoders these are: all that ClusterMesh is made of.
const CRATES: &[&str] = &["clustermesh-apiserver", "kvstore", "meshctl", "topology"];

/// What decoding looks like.
const DECODES: &[&str] = &[
    "Stored::decode(",
    "decompress(",
    "from_der(",
    "from_pem",
    "from_utf8",
    "pem_slice_iter(",
    "serde_json::from_",
    "serde_saphyr::from_",
];

/// The crates of fuzz targets.
const FUZZ: &[&str] = &["dns-authority/fuzz", "kvstore/fuzz", "tests/fuzz"];

#[test]
fn every_decoder_has_a_target() {
    let known: BTreeSet<&str> = listed().collect();
    let mut sources = Vec::new();
    for name in CRATES {
        collect(&root().join(name).join("src"), &mut sources);
    }
    let missing: Vec<&String> = sources
        .iter()
        .filter(|path| decodes(path) && !known.contains(&***path))
        .collect();

    assert!(missing.is_empty(), "give them fuzz targets: {missing:#?}");
}

#[test]
fn every_listed_module_exists() {
    for path in listed() {
        assert!(root().join(path).is_file(), "{path} is gone");
    }
    for (path, _) in OTHERS {
        assert!(decodes(path), "{path} decodes nothing any more");
    }
}

#[test]
fn every_target_is_declared_and_decodes() {
    let named = DECODERS.iter().flat_map(|(_, targets)| *targets);
    let named: BTreeSet<String> = named.map(ToString::to_string).collect();
    let mut declared = BTreeSet::new();
    for folder in FUZZ {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let files = fs::read_dir(root().join(folder).join("fuzz_targets")).unwrap();
        for file in files {
            let file = file.unwrap().file_name();
            let file = file.to_str().unwrap();
            let path = format!("path = \"fuzz_targets/{file}\"");
            assert!(manifest.contains(&path), "{folder} does not declare {file}");
            declared.insert(file.strip_suffix(".rs").unwrap().to_owned());
        }
    }

    assert_eq!(declared, named);
}

fn listed() -> impl Iterator<Item = &'static str> {
    let decoders = DECODERS.iter().map(|it| it.0);
    decoders.chain(OTHERS.iter().map(|it| it.0))
}

/// Whether the module itself decodes, its tests aside.
fn decodes(path: &str) -> bool {
    let text = fs::read_to_string(root().join(path)).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    DECODES.iter().any(|it| text.contains(it))
}

/// The sources below `directory` but for files of tests, relative to the workspace's root.
fn collect(directory: &Path, sources: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|it| it == "tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, sources);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let relative = path.strip_prefix(root()).unwrap();
            sources.push(relative.to_str().unwrap().to_owned());
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}
