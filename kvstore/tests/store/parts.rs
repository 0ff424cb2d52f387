//! What a follower missed may be more than one message holds: it comes in parts, and revisions stay
//! whole.

use std::collections::BTreeSet;

use etcd_client::{Txn, TxnOp};
use kvstore::follower::{Change, Update};

use crate::follower::{expect_connected_and_listed, follow_by, next};
use crate::support::{Kind, Running, Wire, alert, store};

const TRANSACTIONS: usize = 6;
const KEYS: usize = 14;
const VALUE_BYTES: usize = 100_000;

#[tokio::test(flavor = "multi_thread")]
async fn sees_revisions_whole_that_come_in_parts_embedded() {
    sees_revisions_whole_that_come_in_parts(Kind::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sees_revisions_whole_that_come_in_parts_etcd() {
    sees_revisions_whole_that_come_in_parts(Kind::Etcd).await;
}

async fn sees_revisions_whole_that_come_in_parts(kind: Kind) {
    let server = Running::start(kind).await;
    let mut client = server.client().await;
    let wire = Wire::to(server.address()).await;
    let mut updates = follow_by(alert(), store(wire.address));
    expect_connected_and_listed(&mut updates, 0).await;
    wire.cut();
    assert!(matches!(next(&mut updates).await, Update::Lost { .. }));
    for _ in 0..TRANSACTIONS {
        let put = |key| TxnOp::put(format!("cilium/{key:02}"), vec![b'x'; VALUE_BYTES], None);
        let puts: Vec<TxnOp> = (0..KEYS).map(put).collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    wire.heal();

    assert!(matches!(next(&mut updates).await, Update::Connected { .. }));
    let mut seen = BTreeSet::new();
    while seen.len() < TRANSACTIONS {
        let Update::Changed(changes) = next(&mut updates).await else {
            panic!("nothing but changes is left to come");
        };
        let revisions = changes.iter().map(|it| match it {
            Change::Delete { mod_revision, .. } => *mod_revision,
            Change::Put(record) => record.mod_revision,
        });
        let revisions: BTreeSet<i64> = revisions.collect();
        assert_eq!(changes.len(), revisions.len() * KEYS, "{kind:?}");
        seen.extend(revisions);
    }
}
