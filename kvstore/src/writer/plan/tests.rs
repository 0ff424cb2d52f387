mod property;

use super::*;

#[test]
fn writes_what_differs_then_deletes_then_announces() {
    let mut plan = plan(&["synced/"]);
    plan.handle_found(BTreeMap::from([("old".into(), 7)]), &BTreeSet::new());
    assert_eq!(
        plan.next_step(),
        Step::Idle,
        "nothing is known to be unwanted yet"
    );

    set(&mut plan, "a=1 synced/x=1 z=1");

    assert_eq!(drive(&mut plan), "grant 1 | z a -old synced/x");
    assert_eq!(plan.next_step(), Step::Idle);
}

#[test]
fn deletes_and_announces_nothing_before_what_was_to_come_first_has_landed() {
    let mut plan = plan(&["synced/"]);
    plan.handle_found(BTreeMap::from([("gone".into(), 0)]), &BTreeSet::new());
    let keys = (0..OPERATIONS_MAX).map(|it| format!("key{it:03}=1"));
    let keys = keys.collect::<Vec<_>>().join(" ");
    plan.leases = Leases::new(1_000);
    plan.handle_granted(1);
    set(&mut plan, &format!("{keys} synced/x=1"));

    let puts = start(&mut plan).unwrap();
    assert!(puts.1.iter().all(|it| matches!(it, Operation::Put { .. })));
    assert_eq!(plan.next_step(), Step::Idle, "the puts are on their way");
    assert_eq!(plan.settled_generation(), 0);
    plan.handle_written(puts.0, 5);

    assert_eq!(drive(&mut plan), "-gone synced/x");
    assert_eq!(plan.settled_generation(), 1);
}

#[test]
fn sends_no_key_twice_at_a_time() {
    let mut plan = plan(&[]);
    plan.handle_granted(1);
    set(&mut plan, "a=1");
    let first = start(&mut plan).unwrap();
    apply(&mut plan, "", "a=2 b=1");

    let second = start(&mut plan).unwrap();
    assert_eq!(keys(&second.1), "b");
    assert_eq!(plan.next_step(), Step::Idle, "a is on its way");
    plan.handle_written(second.0, 3);
    assert_eq!(
        plan.settled_generation(),
        0,
        "not even the first has landed"
    );
    plan.handle_written(first.0, 2);

    assert_eq!(plan.settled_generation(), 1);
    assert_eq!(drive(&mut plan), "a");
    assert_eq!(plan.settled_generation(), 2);
}

#[test]
fn gives_every_lane_its_turn() {
    let mut plan = plan(&[]);
    plan.leases = Leases::new(10_000);
    plan.handle_granted(1);
    let busy: Vec<String> = (0..5_000).map(|it| format!("busy/{it:04}=1")).collect();
    apply(&mut plan, "busy", &busy.join(" "));
    apply(&mut plan, "quiet", "quiet/a=1");

    let (_, operations) = start(&mut plan).unwrap();

    assert!(keys(&operations).contains("quiet/a"));
    assert_eq!(
        operations.len(),
        OPERATIONS_MAX,
        "the busy one has the rest"
    );
}

#[test]
fn lets_each_lane_tidy_up_its_own_prefixes_only() {
    let mut plan = plan(&[]);
    let found = ["a/old", "b/old", "own/key"].map(|it| (Key::from(it), 9));
    plan.handle_found(BTreeMap::from(found), &BTreeSet::new());

    plan.set("a", &["a/".to_owned()], table("a/new=1"));
    assert_eq!(drive(&mut plan), "grant 1 | a/new -a/old");

    plan.set("b", &["b/".to_owned()], BTreeMap::new());
    assert_eq!(drive(&mut plan), "-b/old");
    plan.set("a", &["a/".to_owned()], BTreeMap::new());
    assert_eq!(drive(&mut plan), "-a/new");

    let found = BTreeMap::from([(Key::from("own/key"), 9)]);
    plan.handle_found(found, &BTreeSet::new());
    assert_eq!(plan.next_step(), Step::Idle, "it is nobody's here");
}

#[test]
fn takes_another_lease_when_one_is_full() {
    let mut plan = plan(&[]);
    set(&mut plan, "a=1 b=1 c=1 d=1");

    assert_eq!(drive(&mut plan), "grant 1 | d c b | grant 2 | a");

    set(&mut plan, "b=1 c=1 d=1 e=1");
    assert_eq!(drive(&mut plan), "e -a", "lease 2 still had room");
    set(&mut plan, "b=2 c=1 d=1 e=1 f=1 g=1");
    assert_eq!(drive(&mut plan), "g f b", "and both got some");
}

#[test]
fn rewrites_the_keys_of_a_lost_lease_under_a_new_one() {
    let mut plan = plan(&[]);
    set(&mut plan, "a=1 b=1 c=1 d=1");
    drive(&mut plan);

    plan.handle_found(BTreeMap::from([("a".into(), 2)]), &BTreeSet::from([2]));

    assert_eq!(drive(&mut plan), "b c | grant 3 | d");
}

#[test]
fn puts_again_what_others_changed_when_it_is_time() {
    let mut plan = plan(&[]);
    plan.handle_put("a", b"before anything is known");
    set(&mut plan, "a=1");
    drive(&mut plan);

    plan.handle_put("a", b"theirs");
    assert_eq!(plan.next_step(), Step::Idle, "not at once");
    plan.reassert();
    assert_eq!(drive(&mut plan), "a");

    plan.handle_put("b", b"theirs");
    plan.reassert();
    assert_eq!(drive(&mut plan), "-b");

    plan.handle_put("a", b"theirs");
    plan.handle_put("a", b"1");
    plan.reassert();
    assert_eq!(plan.next_step(), Step::Idle, "somebody put it right");
}

#[test]
fn keeps_what_a_reconnect_finds_in_place_and_repeats_what_was_on_its_way() {
    let mut plan = plan(&[]);
    set(&mut plan, "a=1 b=1");
    drive(&mut plan);
    apply(&mut plan, "", "a=2");
    start(&mut plan).unwrap();

    let found = BTreeMap::from([("a".into(), 1), ("b".into(), 1)]);
    plan.handle_found(found, &BTreeSet::from([1]));

    assert_eq!(drive(&mut plan), "a");
}

#[test]
fn takes_over_keys_that_another_lease_holds() {
    let mut plan = plan(&[]);
    set(&mut plan, "a=1");

    plan.handle_found(BTreeMap::from([("a".into(), 99)]), &BTreeSet::new());

    assert_eq!(drive(&mut plan), "grant 1 | a");
}

#[test]
fn restores_what_somebody_deletes_and_forgets_what_it_deleted_itself() {
    let mut plan = plan(&[]);
    set(&mut plan, "a=1 b=1");
    drive(&mut plan);

    plan.handle_deleted("a", 100);
    assert_eq!(drive(&mut plan), "a");
    plan.handle_deleted("a", 2);
    assert_eq!(plan.next_step(), Step::Idle, "old news");

    set(&mut plan, "a=1");
    assert_eq!(drive(&mut plan), "-b");
    plan.handle_deleted("b", 100);
    assert_eq!(plan.next_step(), Step::Idle);
    assert_eq!(plan.rows.len(), 1, "nothing is left of it");
}

#[test]
fn leaves_out_what_no_store_would_take() {
    let mut plan = plan(&[]);
    let large: Value = vec![0; RECORD_BYTES_MAX].into();
    let table = BTreeMap::from([("a".into(), Arc::clone(&large)), ("b".into(), [1].into())]);
    plan.set("", &[String::new()], table);
    plan.apply("", vec![Change::Put("c".into(), large)]);

    assert_eq!(drive(&mut plan), "grant 1 | b");
}

const KEYS_PER_LEASE: usize = 3;
const OPERATIONS_MAX: usize = 128;

fn plan(last_prefixes: &[&str]) -> Plan {
    Plan::new(
        last_prefixes.iter().map(|it| (*it).to_owned()).collect(),
        KEYS_PER_LEASE,
        OPERATIONS_MAX,
    )
}

/// Sets the table of a writer with a single lane that owns everything.
fn set(plan: &mut Plan, text: &str) {
    plan.set("", &[String::new()], table(text));
}

fn apply(plan: &mut Plan, lane: &str, text: &str) {
    let puts = table(text).into_iter();
    let puts = puts.map(|(key, value)| Change::Put(key, value));
    plan.apply(lane, puts.collect());
}

fn table(text: &str) -> BTreeMap<Key, Value> {
    text.split(' ')
        .map(|pair| pair.split_once('=').unwrap())
        .map(|(key, value)| (key.into(), value.as_bytes().into()))
        .collect()
}

fn start(plan: &mut Plan) -> Option<(u64, Vec<Operation>)> {
    match plan.next_step() {
        Step::Write { number, operations } => Some((number, operations)),
        Step::Grant | Step::Idle => None,
    }
}

fn keys(operations: &[Operation]) -> String {
    let keys = operations.iter().map(|it| match it {
        Operation::Delete { key } => format!("-{key}"),
        Operation::Put { key, .. } => key.to_string(),
    });
    keys.collect::<Vec<_>>().join(" ")
}

/// Carries out every step, and describes them: transactions are separated by `|`.
fn drive(plan: &mut Plan) -> String {
    let mut steps = Vec::new();
    loop {
        match plan.next_step() {
            Step::Idle => return steps.join(" | "),
            Step::Grant => {
                let lease = plan.leases().max().map_or(1, |it| it + 1);
                plan.handle_granted(lease);
                steps.push(format!("grant {lease}"));
            }
            Step::Write { number, operations } => {
                steps.push(keys(&operations));
                plan.handle_written(number, 3);
            }
        }
    }
}
