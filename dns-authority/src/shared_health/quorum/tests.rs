#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::check::{Check, Method, Timing};

const UP: Health = Health::Healthy;
const DOWN: Health = Health::Unhealthy;
const NEW: Health = Health::Unknown;

#[test]
fn most_of_those_with_a_verdict_decide() {
    // Ours, the others', and what follows; `?` is no verdict yet.
    check("u", &[], "u");
    check("d", &[], "d");
    check("?", &[], "?");
    check("d", &["u", "u"], "u");
    check("u", &["d", "d"], "d");
    check("d", &["d", "u"], "d");
    // One of two is not most.
    check("d", &["u"], "u");
    check("u", &["d"], "u");
    // Who has no verdict is not asked.
    check("?", &["d"], "d");
    check("?", &["u"], "u");
    check("d", &["?", "?"], "d");
    check("u", &["d", "d", "?", "?"], "d");
}

#[test]
fn whoever_sees_everything_down_alone_is_in_doubt() {
    assert_eq!(doubts("dd", &["uu"]), ["own"]);
    assert_eq!(doubts("dd", &["uu", "du"]), ["own"]);
    assert_eq!(doubts("du", &["dd", "du"]), ["a"]);
    // Half of the others is not most, and one target is not everything.
    assert!(doubts("dd", &["dd", "uu"]).is_empty());
    assert!(doubts("d", &["u"]).is_empty());
    assert!(doubts("dd", &[]).is_empty());
    assert!(doubts("dd", &["dd"]).is_empty());

    // What they say counts for nothing, unless nobody else says anything.
    check("ddd", &["uud"], "uud");
    check("ddd", &["u??"], "udd");
}

#[test]
fn what_was_heard_is_believed_for_the_time_of_a_lease() {
    let start = Instant::now();
    let mut quorum = quorum(1);
    hear(&mut quorum, &["u", "u"], start);
    let lost = |reason: &str| Update::Lost {
        reason: reason.to_owned(),
        silent: true,
    };
    let decided = |quorum: &Quorum, now| quorum.decide(&[DOWN], now).health[0];

    quorum.handle(&lost("gone"), start);
    // Told twice, which is no second loss.
    let later = start + LEASE_TTL / 2;
    quorum.handle(&lost("silent"), later);
    assert_eq!(decided(&quorum, later), UP);
    assert_eq!(decided(&quorum, start + LEASE_TTL), DOWN);

    quorum.handle(&Update::Connected { cluster_id: 1 }, start + 2 * LEASE_TTL);
    assert_eq!(decided(&quorum, start + 2 * LEASE_TTL), UP);
    // Their leases ended meanwhile.
    quorum.handle(&Update::Listed(Vec::new()), start + 2 * LEASE_TTL);
    assert_eq!(decided(&quorum, start + 2 * LEASE_TTL), DOWN);
}

#[test]
fn an_authority_that_ends_takes_its_votes_along() {
    let now = Instant::now();
    let mut quorum = quorum(1);
    hear(&mut quorum, &["d", "d"], now);
    assert_eq!(*quorum.decide(&[UP], now).health, [DOWN]);

    let record = record_of(&quorum, "d");
    let key = key_of("a", &quorum);
    let delete = |key: String| {
        Update::Changed(vec![Change::Delete {
            key,
            mod_revision: 9,
        }])
    };
    quorum.handle(&delete(key.clone()), now);
    assert_eq!(*quorum.decide(&[UP], now).health, [UP]);
    assert_eq!(quorum.decide(&[UP], now).heard, 1);

    // And is back, and then says something else.
    quorum.handle(&put(key.clone(), record.encode()), now);
    assert_eq!(*quorum.decide(&[UP], now).health, [DOWN]);
    let record = record_of(&quorum, "u");
    quorum.handle(&put(key.clone(), record.encode()), now);
    assert_eq!(*quorum.decide(&[UP], now).health, [UP]);
    // What makes no sense says nothing.
    let rejected = quorum.handle(&put(key.clone(), b"?".to_vec()), now);
    assert_eq!(rejected, [(key, InvalidRecord::Form)]);
    assert_eq!(quorum.decide(&[UP], now).heard, 1);
}

#[test]
fn another_process_of_the_same_name_is_noticed() {
    let now = Instant::now();
    let mut quorum = quorum(1);
    let key = key_of("own", &quorum);
    let mut record = record_of(&quorum, "d");

    quorum.handle(&put(key.clone(), record.encode()), now);
    assert!(quorum.is_doubled());
    // It votes for nobody: the name is ours.
    assert_eq!(*quorum.decide(&[UP], now).health, [UP]);
    record.process = PROCESS;
    quorum.handle(&put(key, record.encode()), now);
    assert!(!quorum.is_doubled());
}

#[test]
fn votes_follow_their_checks_over_a_reload() {
    let now = Instant::now();
    let mut quorum = quorum(3);
    hear(&mut quorum, &["udu", "ud?"], now);
    assert_eq!(*quorum.decide(&[NEW; 3], now).health, [UP, DOWN, UP]);

    quorum.set_checks(&checks(2));
    assert_eq!(*quorum.decide(&[NEW; 2], now).health, [UP, DOWN]);
    quorum.set_checks(&checks(4));
    assert_eq!(*quorum.decide(&[NEW; 4], now).health, [UP, DOWN, UP, NEW]);
}

proptest! {
    /// Whoever hears the same votes decides the same, whichever of them is his own.
    #[test]
    fn all_who_hear_each_other_agree(views in vec(vec(0_u8..3, 5), 2..6)) {
        let now = Instant::now();
        let views: Vec<String> = views
            .iter()
            .map(|view| view.iter().map(|it| ['u', 'd', '?'][usize::from(*it)]).collect())
            .collect();
        let outcomes = (0..views.len()).map(|own| {
            let mut quorum = quorum(5);
            let others = views.iter().enumerate().filter(|(index, _)| *index != own);
            let others: Vec<&str> = others.map(|(_, it)| it.as_str()).collect();
            hear(&mut quorum, &others, now);
            quorum.decide(&healths(&views[own]), now).health
        });
        let outcomes: Vec<_> = outcomes.collect();
        prop_assert!(outcomes.iter().all(|it| *it == outcomes[0]), "{outcomes:?}");
    }

    /// The order in which news come does not matter, nor how often: the last word of each counts.
    #[test]
    fn only_the_last_word_of_each_counts(
        news in vec((0_usize..3, 0_u8..4), 0..30),
        own in vec(0_u8..3, 1),
    ) {
        let now = Instant::now();
        let own = healths(&own.iter().map(|it| ['u', 'd', '?'][usize::from(*it)]).collect::<String>());
        let (mut by_news, mut by_list) = (quorum(1), quorum(1));
        let connected = Update::Connected { cluster_id: 1 };
        by_news.handle(&connected, now);
        by_list.handle(&connected, now);
        let mut last = BTreeMap::new();
        for (who, what) in news {
            let key = key_of(NAMES[who], &by_news);
            let text = ["u", "d", "?"].get(usize::from(what));
            let update = match text {
                Some(text) => put(key.clone(), record_of(&by_news, text).encode()),
                None => Update::Changed(vec![Change::Delete { key: key.clone(), mod_revision: 1 }]),
            };
            by_news.handle(&update, now);
            match text {
                Some(text) => drop(last.insert(key, record_of(&by_news, text).encode())),
                None => drop(last.remove(&key)),
            }
        }
        let stored = last.into_iter().map(|(key, value)| Stored { key, value, mod_revision: 1 });
        by_list.handle(&Update::Listed(stored.collect()), now);

        prop_assert_eq!(by_news.decide(&own, now), by_list.decide(&own, now));
    }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
const PROCESS: u64 = 7;

#[track_caller]
fn check(own: &str, others: &[&str], expected: &str) {
    let now = Instant::now();
    let mut quorum = quorum(own.len());
    hear(&mut quorum, others, now);

    let outcome = quorum.decide(&healths(own), now);

    assert_eq!(*outcome.health, *healths(expected), "{own} and {others:?}");
}

fn doubts(own: &str, others: &[&str]) -> Vec<String> {
    let now = Instant::now();
    let mut quorum = quorum(own.len());
    hear(&mut quorum, others, now);
    let outcome = quorum.decide(&healths(own), now);
    outcome.doubted.iter().map(ToString::to_string).collect()
}

/// One that is called `own`, of so many checks.
fn quorum(count: usize) -> Quorum {
    let mut quorum = Quorum::new("own".parse().unwrap(), PROCESS);
    quorum.set_checks(&checks(count));
    quorum
}

/// The others are called `a`, `b` and so on.
fn hear(quorum: &mut Quorum, others: &[&str], now: Instant) {
    let mut records = Vec::new();
    for (name, text) in NAMES.iter().zip(others) {
        let vantage: Vantage = name.parse().unwrap();
        let verdicts: Vec<(Fingerprint, Health)> =
            quorum.checks.iter().copied().zip(healths(text)).collect();
        for shard in 0..record::SHARDS {
            let own = verdicts
                .iter()
                .filter(|(it, _)| record::shard(*it) == shard);
            let record = Record::new(1, own.copied());
            if record.up.is_empty() && record.down.is_empty() {
                continue;
            }
            records.push(Stored {
                key: record::key(&vantage, shard),
                value: record.encode(),
                mod_revision: 1,
            });
        }
    }
    quorum.handle(&Update::Connected { cluster_id: 1 }, now);
    let rejected = quorum.handle(&Update::Listed(records), now);
    assert_eq!(rejected, []);
}

/// Where a vantage point's word on the only check lies.
fn key_of(name: &str, quorum: &Quorum) -> String {
    record::key(&name.parse().unwrap(), record::shard(quorum.checks[0]))
}

fn record_of(quorum: &Quorum, text: &str) -> Record {
    Record::new(1, quorum.checks.iter().copied().zip(healths(text)))
}

fn put(key: String, value: Vec<u8>) -> Update {
    Update::Changed(vec![Change::Put(Stored {
        key,
        value,
        mod_revision: 1,
    })])
}

fn healths(text: &str) -> Vec<Health> {
    let health = |it| match it {
        'u' => UP,
        'd' => DOWN,
        _ => NEW,
    };
    text.chars().map(health).collect()
}

/// So many checks, each of which is the same in every set.
pub(in crate::shared_health) fn checks(count: usize) -> Checks {
    let mut checks = Checks::default();
    for port in 1..=count {
        let port = u16::try_from(port).unwrap();
        let timing = Timing {
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            fall: 1,
            rise: 1,
        };
        checks.intern(Check {
            target: SocketAddr::from(([192, 0, 2, 1], port)).into(),
            method: Method::Tcp,
            timing,
            source: None,
        });
    }
    checks
}
