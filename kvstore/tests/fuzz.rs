//! The fuzz targets' entries on mutated samples, so that every run of the tests exercises them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should panic where it stands"
)]

#[path = "../fuzz/entries.rs"]
mod entries;

use std::time::Instant;

use etcd_client::proto::{
    PbCompare, PbDeleteRequest, PbPutRequest, PbRangeRequest, PbTargetUnion, PbTxnOpRequest,
    PbTxnRequest, PbTxnRequestOp,
};
use kvstore::auth::{Access, Auth, Command, Keys, PasswordHash};
use lab::mutate;
use prost::Message as _;

const ROUNDS: usize = 20_000;

#[test]
fn reads_any_configuration() {
    let sample = "endpoints:\n- https://10.0.0.1:2379\ntrusted-ca-file: /ca.crt\n\
                  cert-file: /client.crt\nkey-file: /client.key\n\
                  cilium-host-aliases: [{hostname: a.example, ips: [10.0.0.1, \"fd00::1\"]}]\n";
    mutate(sample.as_bytes(), ROUNDS, entries::config);
}

#[test]
fn reads_any_certificate() {
    let certificate = rcgen::generate_simple_self_signed(["remote".to_owned()]).unwrap();
    mutate(certificate.cert.der(), ROUNDS, entries::certificate);
}

#[test]
fn reads_any_users() {
    let (user, role) = ("remote-beta".to_owned(), "remote".to_owned());
    let commands = [
        Command::UserAdd {
            user: user.clone(),
            password: Some(PasswordHash::of("secret")),
        },
        Command::RoleAdd { role: role.clone() },
        Command::RoleGrantPermission {
            role: role.clone(),
            keys: Keys::prefix("cilium/state/"),
            access: Access::ReadWrite,
        },
        Command::UserGrantRole { user, role },
    ];
    let mut auth = Auth::default();
    for command in commands {
        auth.apply(command).unwrap();
    }
    mutate(&auth.to_bytes(), ROUNDS, entries::users);
}

#[test]
fn takes_any_requests() {
    let start = start();
    mutate(&requests(), ROUNDS, |bytes| entries::requests(bytes, start));
}

#[expect(
    clippy::disallowed_methods,
    reason = "leases need some time to count from"
)]
fn start() -> Instant {
    Instant::now()
}

/// Each kind of request, with most fields in use.
fn requests() -> Vec<u8> {
    let put = |key: &str, value: &str, lease| PbPutRequest {
        key: key.into(),
        value: value.into(),
        lease,
        prev_kv: true,
        ..PbPutRequest::default()
    };
    let range = PbRangeRequest {
        key: "a".into(),
        range_end: "c".into(),
        limit: 2,
        sort_order: 2,
        sort_target: 3,
        max_mod_revision: 9,
        ..PbRangeRequest::default()
    };
    let delete = PbDeleteRequest {
        key: "a".into(),
        range_end: vec![0],
        prev_kv: true,
    };
    let compare = PbCompare {
        target: 2,
        key: "a".into(),
        range_end: "b".into(),
        target_union: Some(PbTargetUnion::ModRevision(2)),
        ..PbCompare::default()
    };
    let operation = |request| PbTxnRequestOp {
        request: Some(request),
    };
    let nested = PbTxnRequest {
        compare: vec![compare.clone()],
        success: vec![operation(PbTxnOpRequest::RequestPut(put("b", "2", 0)))],
        failure: vec![operation(PbTxnOpRequest::RequestDeleteRange(
            delete.clone(),
        ))],
    };
    let txn = PbTxnRequest {
        compare: vec![compare],
        success: vec![
            operation(PbTxnOpRequest::RequestTxn(nested)),
            operation(PbTxnOpRequest::RequestRange(range.clone())),
        ],
        failure: vec![operation(PbTxnOpRequest::RequestPut(put("a", "", 1)))],
    };
    let messages = [
        (4, vec![1]),
        (0, put("a", "1", 1).encode_to_vec()),
        (0, put("a", "2", 0).encode_to_vec()),
        (3, txn.encode_to_vec()),
        (2, range.encode_to_vec()),
        (6, vec![3]),
        (0, put("ab", "3", 1).encode_to_vec()),
        (1, delete.encode_to_vec()),
        (5, Vec::new()),
    ];
    let mut bytes = Vec::new();
    for (kind, message) in messages {
        bytes.push(kind);
        bytes.push(u8::try_from(message.len()).unwrap());
        bytes.extend(message);
    }
    bytes
}
