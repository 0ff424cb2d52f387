use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const GRACE: u64 = 1_000;

#[test]
fn describes_a_pod_as_upstream_does() {
    let pod = BTreeMap::from([
        ("app".to_owned(), "web".to_owned()),
        ("pod-template-hash".to_owned(), "7d4b9".to_owned()),
        ("app.kubernetes.io/name".to_owned(), "shop".to_owned()),
        ("kubernetes.io/arch".to_owned(), "amd64".to_owned()),
    ]);

    let labels = labels(
        &"alpha".parse().unwrap(),
        "shop",
        &BTreeMap::new(),
        "default",
        &pod,
    );

    assert_eq!(
        labels.to_string(),
        "k8s:app=web;k8s:app.kubernetes.io/name=shop;\
         k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop;\
         k8s:io.cilium.k8s.policy.cluster=alpha;\
         k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop;"
    );
}

#[test]
fn allocates_nothing_for_labels_that_have_a_number_already() {
    let options = known::Options {
        fixed_identity_mapping: vec!["200=db".parse().unwrap()],
        ..known::Options::default()
    };
    let known = Known::new(&"eu".parse().unwrap(), &options);
    let mut identities = Identities::new(10..=12, GRACE, known);
    let labels = "k8s:io.cilium.fixed-identity=db;";
    identities.remember([(11, labels.to_owned())], 0);

    take(&mut identities, labels, "p");

    assert_eq!(identities.allocate(), Moved::default());
    assert_eq!(identities.number(labels), Some(200));
    // What a life before the option allocated goes when nobody can carry it any more.
    let moved = identities.collect(GRACE);
    assert_eq!(moved.numbers, BTreeSet::from([11]));
}

#[test]
fn shares_a_number_between_pods_with_the_same_labels() {
    let mut identities = identities(10..=12);
    for pod in ["p1", "p2"] {
        take(&mut identities, "a", pod);
    }

    let moved = identities.allocate();

    assert_eq!(moved.numbers.len(), 1);
    assert_eq!(moved.pods.len(), 2);
    assert!(identities.number("a").is_some());
}

#[test]
fn probes_when_a_number_is_taken_and_goes_on_when_one_is_free_again() {
    let mut identities = identities(10..=12);
    for labels in ["a", "b", "c", "d"] {
        take(&mut identities, labels, labels);
    }
    identities.allocate();

    let given: BTreeSet<u32> = ["a", "b", "c"]
        .iter()
        .filter_map(|it| identities.number(it))
        .collect();
    assert_eq!(given, BTreeSet::from([10, 11, 12]));
    assert_eq!((identities.number("d"), identities.exhausted()), (None, 1));

    identities.release(&"b".into(), &pod("b"), 5);
    assert_eq!(identities.collect(5 + GRACE - 1), Moved::default());
    let moved = identities.collect(5 + GRACE);
    assert!(moved.pods.contains(&pod("d")), "{moved:?}");
    assert_eq!(identities.exhausted(), 0);
}

#[test]
fn keeps_a_number_for_pods_that_come_back_within_the_grace() {
    let mut identities = identities(10..=99);
    take(&mut identities, "a", "p");
    identities.allocate();
    let number = identities.number("a");

    identities.release(&"a".into(), &pod("p"), 5);
    take(&mut identities, "a", "q");

    assert_eq!(identities.collect(5 + 10 * GRACE), Moved::default());
    assert_eq!(identities.number("a"), number);
}

#[test]
fn gives_way_to_identities_that_exist_as_objects() {
    let mut identities = identities(10..=12);
    take(&mut identities, "a", "p");
    identities.allocate();
    let number = identities.number("a").unwrap();

    let moved = identities.fix(number, Some("object".into()), 0);
    assert!(moved.pods.contains(&pod("p")));
    let other = identities.number("a").unwrap();
    assert_ne!(other, number);

    let third = (10..=12).find(|it| *it != number && *it != other).unwrap();
    let moved = identities.fix(third, Some("a".into()), 0);
    assert!(moved.pods.contains(&pod("p")));
    assert_eq!(identities.number("a"), Some(third));

    identities.fix(third, None, 0);
    assert!(identities.number("a").is_some(), "the pod is still there");
}

#[test]
fn takes_over_what_a_former_life_allocated() {
    let mut identities = identities(10..=12);

    let outside = (9, "c".to_owned());
    identities.remember([(11, "a".to_owned()), (12, "b".to_owned()), outside], 0);
    take(&mut identities, "a", "p");
    identities.allocate();

    assert_eq!(identities.number("a"), Some(11));
    assert_eq!(identities.number("c"), None);
    let moved = identities.collect(GRACE);
    assert_eq!(moved.numbers, BTreeSet::from([12]));
}

#[derive(Clone, Debug)]
enum Step {
    Collect,
    Fix(u32, Option<String>),
    Release(String, String),
    Take(String, String),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pod = "[p-s]";
    let labels = "[a-h]";
    let step = prop_oneof![
        1 => Just(Step::Collect),
        1 => (0_u32..12, proptest::option::of(labels)).prop_map(|(number, it)| Step::Fix(number, it)),
        4 => (labels, pod).prop_map(|(labels, pod)| Step::Release(labels, pod)),
        4 => (labels, pod).prop_map(|(labels, pod)| Step::Take(labels, pod)),
    ];
    vec(step, 0..80)
}

proptest! {
    #[test]
    fn no_two_label_strings_ever_share_a_number(steps in steps()) {
        let mut identities = identities(0..=9);
        let mut users = BTreeSet::new();
        let mut now = 0;
        for step in steps {
            now += 400;
            let before: BTreeMap<String, u32> = users.iter().filter_map(|(labels, _): &(String, String)| {
                Some((labels.clone(), identities.number(labels)?))
            }).collect();
            let mut moved = match step.clone() {
                Step::Collect => identities.collect(now),
                Step::Fix(number, labels) if number <= 9 => {
                    identities.fix(number, labels.map(Into::into), now)
                }
                Step::Fix(..) => Moved::default(),
                Step::Release(labels, name) => {
                    identities.release(&labels.as_str().into(), &pod(&name), now);
                    users.remove(&(labels, name));
                    Moved::default()
                }
                Step::Take(labels, name) => {
                    take(&mut identities, &labels, &name);
                    users.insert((labels, name));
                    Moved::default()
                }
            };
            moved.pods.extend(identities.allocate().pods);

            let mut given: BTreeMap<u32, &str> = BTreeMap::new();
            for (labels, name) in &users {
                let Some(number) = identities.number(labels) else {
                    prop_assert!(identities.exhausted() > 0);
                    continue;
                };
                prop_assert_eq!(&**identities.labels(number).unwrap(), labels.as_str());
                let other = given.insert(number, labels);
                prop_assert!(other.is_none_or(|it| it == labels));
                // A number that changes is told to those who carry it.
                let is_same = before.get(labels) == Some(&number);
                prop_assert!(is_same || moved.pods.contains(&pod(name)) || matches!(step, Step::Take(..)));
            }
        }
    }
}

fn identities(range: RangeInclusive<u32>) -> Identities {
    Identities::new(range, GRACE, Known::default())
}

fn take(identities: &mut Identities, labels: &str, name: &str) {
    identities.take(&labels.into(), pod(name));
}

fn pod(name: &str) -> ObjectName {
    ObjectName::new("shop", name)
}
