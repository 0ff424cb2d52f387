//! Peers of our own kind, which say more than upstream's.

use super::*;

#[test]
fn reads_services_in_parts_from_a_peer_of_its_own_kind_and_back() {
    let mut remote = connected();
    let before = remote.table();

    let step = remote.apply(put(CAPABILITIES, r#"{"deltas":true}"#), &taken(), 2_000);
    assert!(step.follow_again && step.changes.is_empty());
    let prefixes = remote.prefixes();
    assert!(
        !prefixes.contains(&"cilium/state/".to_owned()),
        "{prefixes:?}"
    );
    let step = remote.apply(Update::Listed(in_parts(golden(SOURCE))), &taken(), 2_001);
    assert_eq!(step, Step::default(), "nothing differs by a byte");

    // One backend more, and the rest is not sent again.
    let part = "causeway/delta/services/v1/alpha/shop/web/10.1.9.9";
    let step = remote.apply(put(part, r#"{"ports":{}}"#), &taken(), 2_002);
    let [Change::Put(key, value)] = &step.changes[..] else {
        panic!("{step:?}");
    };
    assert_eq!(&**key, "cilium/cache/services/v1/alpha/shop/web");
    let text = String::from_utf8(value.to_vec()).unwrap();
    assert!(
        text.contains(r#""10.1.9.9":{}"#) && text.contains("10.1.1.10"),
        "{text}"
    );

    // It becomes one of another kind: without its capabilities, and without parts.
    let step = remote.apply(Update::Listed(golden(SOURCE)), &taken(), 2_003);
    assert!(step.follow_again && step.changes.is_empty());
    remote.apply(Update::Listed(golden(SOURCE)), &taken(), 2_004);
    assert_eq!(remote.table(), before);
}

#[test]
fn drops_no_backend_while_a_peer_of_its_own_kind_starts_anew() {
    let mut remote = connected();
    let before = remote.table();
    remote.apply(put(CAPABILITIES, r#"{"deltas":true}"#), &taken(), 2_000);

    let mut records = in_parts(golden(SOURCE));
    records.retain(|it| !it.key.contains("/synced/") && !it.key.contains("web/10.1.1.10"));
    remote.apply(Update::Listed(records), &taken(), 2_001);

    assert_eq!(remote.table(), before);
}

#[test]
fn takes_what_is_scoped_to_us_as_if_it_were_open() {
    let mut remote = connected();
    let scoped = "causeway/export/beta/cilium/state/ip/v1/default/10.1.7.7";
    let value = r#"{"IP":"10.1.7.7","ID":65537}"#;

    let step = remote.apply(put(scoped, value), &taken(), 2_000);
    let key = Arc::from("cilium/cache/ip/v1/alpha/10.1.7.7");
    assert_eq!(
        step.changes,
        [Change::Put(Arc::clone(&key), value.as_bytes().into())]
    );

    let elsewhere = scoped.replace("beta", "gamma").replace("7.7", "7.8");
    let step = remote.apply(put(&elsewhere, value), &taken(), 2_000);
    assert_eq!(step, Step::default());
    let delete = follower::Change::Delete {
        key: scoped.to_owned(),
        mod_revision: 10,
    };
    let step = remote.apply(Update::Changed(vec![delete]), &taken(), 2_000);
    assert_eq!(step.changes, [Change::Delete(key)]);
}

#[test]
fn keeps_what_moves_between_the_open_and_its_scope() {
    let mut remote = connected();
    let open = "cilium/state/ip/v1/default/10.1.7.7";
    let scoped = format!("causeway/export/beta/{open}");
    let value = r#"{"IP":"10.1.7.7","ID":65537}"#;
    let delete = |key: &str| {
        let key = key.to_owned();
        Update::Changed(vec![follower::Change::Delete {
            key,
            mod_revision: 10,
        }])
    };

    for (from, to) in [(open, &*scoped), (&*scoped, open)] {
        remote.apply(put(from, value), &taken(), 2_000);
        let before = remote.table();
        remote.apply(put(to, value), &taken(), 2_000);
        let step = remote.apply(delete(from), &taken(), 2_000);
        assert_eq!(step, Step::default(), "from {from} to {to}");
        assert_eq!(remote.table(), before);
    }

    let step = remote.apply(delete(open), &taken(), 2_000);
    assert_eq!(step.changes.len(), 1);
}

#[test]
fn tells_when_the_publisher_wrote_last() {
    let mut remote = connected();
    let step = remote.apply(
        put("causeway/pulse/alpha", "1700000000000000"),
        &taken(),
        2_000,
    );
    assert_eq!(step.pulse, Some(1_700_000_000_000_000));
    assert_eq!(remote.table(), connected().table());
}

const CAPABILITIES: &str = "causeway/capabilities/alpha";

/// As a peer of our kind has them: every service in parts.
fn in_parts(records: Vec<follower::Record>) -> Vec<follower::Record> {
    let alpha = "alpha".parse().unwrap();
    let mut all = vec![follower::Record {
        key: CAPABILITIES.to_owned(),
        value: br#"{"deltas":true}"#.to_vec(),
        mod_revision: 1,
    }];
    for record in records {
        let key = Key::parse(&record.key, &alpha).ok().flatten();
        let Some(Key::Service(_, name)) = key else {
            all.push(record);
            continue;
        };
        let key = Key::Service("alpha".parse().unwrap(), name.clone());
        let Ok(Record::Service(mut service)) = Record::decode(&key, &record.value, None) else {
            unreachable!()
        };
        let mut put = |key: Key, value: Record| {
            all.push(follower::Record {
                key: key.published(),
                value: value.encode(),
                mod_revision: 1,
            });
        };
        let cluster = || "alpha".parse().unwrap();
        for (address, backend) in service.take_backends() {
            let key = Key::DeltaBackend(cluster(), name.clone(), address);
            put(key, Record::Backend(backend));
        }
        put(Key::DeltaService(cluster(), name), Record::Service(service));
    }
    all
}
