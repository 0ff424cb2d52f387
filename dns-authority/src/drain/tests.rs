use std::net::Ipv4Addr;

use kvstore::follower::{Change, Record, Update};
use proptest::prelude::*;

use super::*;

#[test]
fn drains_at_an_even_pace_and_back() {
    let drains = Drains::default();
    let subject: Subject = "Frankfurt".parse().unwrap();
    let drain = drains.order(&subject, Scale::EMPTY, 600_000, 1_000_000);
    let at = |drain: &Drain, minutes: u64| drain.scale(1_000_000 + minutes * 60_000).per_mille();

    assert_eq!(
        [at(&drain, 0), at(&drain, 3), at(&drain, 10), at(&drain, 99)],
        [1000, 700, 0, 0]
    );
    // A clock that was set back finds it at its beginning.
    assert_eq!(drain.scale(0), Scale::FULL);

    let mut drains = drains;
    drains.insert(subject.clone(), drain);
    let undo = drains.order(&subject, Scale::FULL, 60_000, 1_180_000);
    assert_eq!([at(&undo, 3), at(&undo, 4)], [700, 1000]);
    drains.insert(subject.clone(), undo);
    assert!(!drains.is_over(&subject, 1_239_999));
    assert!(drains.is_over(&subject, 1_240_000));
    // What takes no time is done at once.
    let now = drains.order(&subject, Scale::EMPTY, 0, 2_000_000);
    assert_eq!(now.scale(2_000_000), Scale::EMPTY);
}

#[test]
fn finds_what_is_meant() {
    check("Frankfurt", "192.0.2.1", true);
    check("frankfurt", "192.0.2.1", true);
    check("Ashburn", "192.0.2.1", false);
    check("192.0.2.1", "192.0.2.1", true);
    check("192.0.2.0/24", "192.0.2.1", true);
    check("192.0.3.0/24", "192.0.2.1", false);
    check("2001:db8::/32", "2001:db8::1", true);
    check("eu.example.", "EU.example.", true);
    check("eu.example.", "us.example.", false);

    assert_eq!(
        "192.0.2.9/24".parse::<Subject>().unwrap().to_string(),
        "192.0.2.0/24"
    );
    assert_eq!(
        "192.0.2.9/32".parse::<Subject>().unwrap().to_string(),
        "192.0.2.9"
    );
    for bad in ["", "a\nb", &"x".repeat(254)] {
        assert_eq!(bad.parse::<Subject>(), Err(InvalidSubject));
    }
}

#[test]
fn the_lowest_of_several_drains_counts() {
    let mut drains = Drains::default();
    for (subject, to) in [("Frankfurt", 500), ("192.0.2.1", 200)] {
        let to = Scale::try_from(to).unwrap();
        let subject = subject.parse().unwrap();
        let drain = drains.order(&subject, to, 0, 0);
        drains.insert(subject, drain);
    }
    drains.find(
        ["192.0.2.1", "192.0.2.2", "198.51.100.1"].into_iter(),
        place,
    );

    let scales = drains.scales(0);
    let of = |it: &str| scales.of(it).per_mille();
    assert_eq!(
        [of("192.0.2.1"), of("192.0.2.2"), of("198.51.100.1")],
        [200, 500, 1000]
    );
}

#[test]
fn lies_in_the_store_and_on_disk() {
    let mut drains = Drains::default();
    let value = br#"{"fromPerMille":1000,"toPerMille":0,"begin":5,"overMilliseconds":7}"#;
    let put = |key: &str, value: &[u8]| {
        Update::Changed(vec![Change::Put(Record {
            key: key.to_owned(),
            value: value.to_vec(),
            mod_revision: 1,
        })])
    };
    let network = "causeway/dns/drain/v1/192.0.2.0/24";
    let (is_news, rejected) = drains.handle(&put(network, value));
    assert!(is_news && rejected.is_empty());
    let (subject, drain) = drains.iter().next().unwrap();
    assert_eq!(
        (key(subject).as_str(), drain.encode().as_slice()),
        (network, value.as_slice())
    );
    assert_eq!(
        Drains::from_json(&drains.to_json()).unwrap().to_json(),
        drains.to_json()
    );

    let too_much = br#"{"fromPerMille":1001,"toPerMille":0,"begin":5,"overMilliseconds":7}"#;
    assert_eq!(drains.handle(&put(network, too_much)).1.len(), 1);
    assert!(!drains.handle(&put("causeway/dns/health/v1/a/1", b"?")).0);
    let delete = Change::Delete {
        key: network.to_owned(),
        mod_revision: 2,
    };
    assert!(drains.handle(&Update::Changed(vec![delete])).0);
    assert_eq!(drains.iter().count(), 0);
}

proptest! {
    /// A client that was moved stays moved, and the share of those who are left is what the scale
    /// says.
    #[test]
    fn clients_leave_one_by_one(seed in any::<u32>()) {
        let clients: Vec<IpAddr> = (0..2_000_u32)
            .map(|it| Ipv4Addr::from_bits(seed.wrapping_add(it.wrapping_mul(65_537))).into())
            .collect();
        let mut before: Vec<IpAddr> = clients.clone();
        for scale in (0..=1000_u16).rev().step_by(100) {
            let mut scales = Scales::default();
            scales.lower("192.0.2.1", Scale::try_from(scale).unwrap());
            let left = clients.iter().filter(|it| scales.takes_part("192.0.2.1", **it));
            let left: Vec<IpAddr> = left.copied().collect();
            prop_assert!(left.iter().all(|it| before.contains(it)));
            // Five standard deviations of 2,000 lots at a half are 112.
            let expected = usize::from(scale) * 2;
            prop_assert!(left.len().abs_diff(expected) < 112, "{} of {expected}", left.len());
            before = left;
        }
    }

    #[test]
    fn never_leaves_the_way(from in 0_u16..=1000, to in 0_u16..=1000, over: u64, now: u64, begin: u64) {
        let drain = Drain {
            from: Scale::try_from(from).unwrap(),
            to: Scale::try_from(to).unwrap(),
            begin,
            over_milliseconds: over,
        };
        let scale = drain.scale(now).per_mille();
        prop_assert!((from.min(to)..=from.max(to)).contains(&scale));
    }
}

#[track_caller]
fn check(subject: &str, value: &str, expected: bool) {
    let subject: Subject = subject.parse().unwrap();
    assert_eq!(
        subject.is_about(value, place),
        expected,
        "{subject} {value}"
    );
}

fn place(address: IpAddr) -> Option<String> {
    let is_here = address.to_string().starts_with("192.0.2.");
    is_here.then(|| "Frankfurt".to_owned())
}
