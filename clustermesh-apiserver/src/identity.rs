//! Decides which labels make a pod's security identity, and which number it has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use topology::id::ClusterName;
use topology::record::{CLUSTER_LABEL, Labels};

/// Label strings with their numbers.
pub type Numbers = BTreeMap<String, u32>;

/// The labels of a pod's identity: its own, those of its namespace, and who it is for policies.
pub fn labels(
    cluster: &ClusterName,
    namespace: &str,
    namespace_labels: &BTreeMap<String, String>,
    service_account: &str,
    pod_labels: &BTreeMap<String, String>,
) -> Labels {
    let mut labels = Labels::default();
    for (key, value) in pod_labels.iter().filter(|(key, _)| is_identifying(key)) {
        labels.insert("k8s", key, value);
    }
    for (key, value) in namespace_labels {
        labels.insert("k8s", &format!("{NAMESPACE_LABELS}.{key}"), value);
    }
    // The API server gives every namespace this label; manifests on disk mostly lack it.
    let name_key = format!("{NAMESPACE_LABELS}.kubernetes.io/metadata.name");
    labels.insert("k8s", &name_key, namespace);
    labels.insert("k8s", CLUSTER_LABEL, cluster.as_str());
    labels.insert("k8s", SERVICE_ACCOUNT, service_account);
    labels.insert("k8s", POD_NAMESPACE, namespace);
    labels
}

/// The label that names the namespace of an identity.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
const SERVICE_ACCOUNT: &str = "io.cilium.k8s.policy.serviceaccount";

/// Whether a pod's label tells kinds of pods apart, rather than pods of one kind: upstream's
/// default filter. Without it, every roll-out of a Deployment would make a new identity.
fn is_identifying(key: &str) -> bool {
    const SINGLE_PODS: [&str; 11] = [
        "annotation",
        "apps.kubernetes.io/pod-index",
        "batch.kubernetes.io/job-completion-index",
        "controller-revision-hash",
        "etcd_node",
        "io.kubernetes",
        "k8s.io",
        "kubernetes.io",
        "pod-template-generation",
        "pod-template-hash",
        "statefulset.kubernetes.io/pod-name",
    ];
    key.starts_with("app.kubernetes.io")
        || !(key.contains("beta.kubernetes.io") || SINGLE_PODS.iter().any(|it| key.starts_with(it)))
}

/// Gives each label string in `wanted` a number from `range`, or none once all are taken.
///
/// `fixed` numbers belong to identities that exist as objects. A number in `held` is kept where
/// nobody else has it, so a new identity never moves an old one. Every other number comes from the
/// labels themselves, by a hash and then by probing upwards in the order of the labels: a restart
/// without memory arrives at the same numbers, but for two that collide and came in another order.
pub fn allocate(
    wanted: &BTreeSet<String>,
    fixed: &Numbers,
    held: &Numbers,
    range: &RangeInclusive<u32>,
) -> Numbers {
    let mut taken: BTreeSet<u32> = fixed.values().copied().collect();
    let mut numbers = Numbers::new();
    let mut fresh = Vec::new();
    for labels in wanted {
        if let Some(number) = fixed.get(labels) {
            numbers.insert(labels.clone(), *number);
            continue;
        }
        match held.get(labels) {
            Some(number) if range.contains(number) && taken.insert(*number) => {
                numbers.insert(labels.clone(), *number);
            }
            _ => fresh.push(labels),
        }
    }

    for labels in fresh {
        if let Some(number) = probe(labels, range, &taken) {
            taken.insert(number);
            numbers.insert(labels.clone(), number);
        }
    }
    numbers
}

/// The first free number from the hash of `labels` on, around the end of `range`.
fn probe(labels: &str, range: &RangeInclusive<u32>, taken: &BTreeSet<u32>) -> Option<u32> {
    let size = u64::from(range.end() - range.start()) + 1;
    let start = u32::try_from(hash(labels) % size).expect("a remainder of at most 2^32");
    let from_hash = range.start() + start..=*range.end();
    let from_start = *range.start()..range.start() + start;
    from_hash.chain(from_start).find(|it| !taken.contains(it))
}

/// FNV-1a, folded: the same on every machine and in every release, since numbers outlive both.
fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, btree_set};
    use proptest::{prop_assert, prop_assert_eq, proptest};

    use super::*;

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
    fn probes_when_a_number_is_taken_and_gives_up_when_all_are() {
        let wanted = strings(&["a", "b", "c", "d"]);

        let numbers = allocate(&wanted, &Numbers::new(), &Numbers::new(), &(10..=12));

        let given: BTreeSet<u32> = numbers.values().copied().collect();
        assert_eq!(given, BTreeSet::from([10, 11, 12]));
        assert!(!numbers.contains_key("d"));
    }

    #[test]
    fn leaves_the_numbers_of_objects_alone() {
        let fixed = Numbers::from([("object".to_owned(), 11)]);
        let held = Numbers::from([("a".to_owned(), 11)]);

        let numbers = allocate(&strings(&["a", "object"]), &fixed, &held, &(10..=12));

        assert_eq!(numbers["object"], 11);
        assert_ne!(numbers["a"], 11);
    }

    proptest! {
        #[test]
        fn gives_each_its_own_number_within_the_range(wanted in btree_set("[a-f]{1,3}", 0..60)) {
            let range = 65_536..=65_599;

            let numbers = allocate(&wanted, &Numbers::new(), &Numbers::new(), &range);

            let given: BTreeSet<u32> = numbers.values().copied().collect();
            prop_assert_eq!(given.len(), wanted.len());
            prop_assert!(given.iter().all(|it| range.contains(it)));
        }

        #[test]
        fn never_moves_a_number_that_is_held(
            before in btree_set("[a-f]{1,2}", 0..40),
            after in btree_set("[a-f]{1,2}", 0..40),
            fixed in btree_map("[x-z]{1,2}", 0_u32..40, 0..5),
        ) {
            let range = 0..=127;
            let held = allocate(&before, &fixed, &Numbers::new(), &range);

            let numbers = allocate(&after, &fixed, &held, &range);

            for labels in before.intersection(&after) {
                prop_assert_eq!(numbers.get(labels), held.get(labels));
            }
        }
    }

    fn strings(texts: &[&str]) -> BTreeSet<String> {
        texts.iter().map(|it| (*it).to_owned()).collect()
    }
}
