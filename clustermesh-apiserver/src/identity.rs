//! Decides which labels make a pod's security identity, and which number it has.

pub mod known;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use topology::id::ClusterName;
use topology::record::{CLUSTER_LABEL, Labels};

use crate::objects::ObjectName;
use known::Known;

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
    labels.insert("k8s", NAMESPACE_NAME, namespace);
    labels.insert("k8s", CLUSTER_LABEL, cluster.as_str());
    labels.insert("k8s", SERVICE_ACCOUNT, service_account);
    labels.insert("k8s", POD_NAMESPACE, namespace);
    labels
}

/// The label that names the namespace of an identity.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const NAMESPACE_LABELS: &str = "io.cilium.k8s.namespace.labels";
const NAMESPACE_NAME: &str = "io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name";
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

/// Label strings, as they are written into the store; shared between the tables here.
pub type LabelText = Arc<str>;

/// The numbers of all identities of the cluster: those that exist as objects, and those that are
/// allocated here for pods.
///
/// A number belongs to its labels as long as any pod has them, and for a grace period after that:
/// meanwhile peers may still see packets that carry it. New numbers come from the labels themselves,
/// by a hash and then by probing upwards: a restart without memory arrives at the same numbers, but
/// for two that collide and came in another order.
#[derive(Debug)]
pub struct Identities {
    range: RangeInclusive<u32>,
    /// In milliseconds.
    grace: u64,
    known: Known,
    fixed: BTreeMap<u32, LabelText>,
    fixed_by_labels: BTreeMap<LabelText, BTreeSet<u32>>,
    allocated: BTreeMap<LabelText, Allocation>,
    by_number: BTreeMap<u32, LabelText>,
    /// The pods that have each label string.
    users: BTreeMap<LabelText, BTreeSet<ObjectName>>,
    /// Labels in use that have no number, because all are taken.
    waiting: BTreeSet<LabelText>,
}

#[derive(Clone, Copy, Debug)]
struct Allocation {
    number: u32,
    /// Since when no pod has it, in milliseconds since 1970.
    unused_since: Option<u64>,
}

/// What follows from a change: identities that are others, and pods whose number is another.
#[derive(Debug, Default, PartialEq)]
pub struct Moved {
    pub numbers: BTreeSet<u32>,
    pub pods: BTreeSet<ObjectName>,
}

impl Identities {
    /// `grace` in milliseconds.
    pub fn new(range: RangeInclusive<u32>, grace: u64, known: Known) -> Self {
        Self {
            range,
            grace,
            known,
            fixed: BTreeMap::new(),
            fixed_by_labels: BTreeMap::new(),
            allocated: BTreeMap::new(),
            by_number: BTreeMap::new(),
            users: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    pub fn range(&self) -> &RangeInclusive<u32> {
        &self.range
    }

    /// Takes over what a former life allocated. To be called before anything else: a number that is
    /// used already stays whose it is.
    pub fn remember(
        &mut self,
        numbers: impl IntoIterator<Item = (u32, String)>,
        now: u64,
    ) -> Moved {
        let mut moved = Moved::default();
        for (number, labels) in numbers {
            let labels: LabelText = labels.into();
            let is_free =
                !self.fixed.contains_key(&number) && !self.by_number.contains_key(&number);
            let is_new = !self.allocated.contains_key(&labels);
            if is_free && is_new && self.range.contains(&number) {
                self.insert(&labels, number, Some(now));
                moved.numbers.insert(number);
            }
        }
        moved
    }

    /// An identity of the range exists as an object, or (`None`) does so no more.
    pub fn fix(&mut self, number: u32, labels: Option<LabelText>, now: u64) -> Moved {
        let mut moved = Moved::default();
        moved.numbers.insert(number);
        if let Some(before) = self.fixed.remove(&number) {
            self.unfix(number, &before, &mut moved);
        }
        let Some(labels) = labels else {
            self.allocate_waiting(&mut moved);
            return moved;
        };
        // Whoever had the number here gets another one.
        if let Some(evicted) = self.by_number.remove(&number) {
            self.allocated.remove(&evicted);
            if self.users.contains_key(&evicted) && evicted != labels {
                self.waiting.insert(evicted);
            }
        }
        self.fixed.insert(number, Arc::clone(&labels));
        let numbers = self.fixed_by_labels.entry(Arc::clone(&labels)).or_default();
        numbers.insert(number);
        self.waiting.remove(&labels);
        if let Some(allocation) = self.allocated.get_mut(&labels) {
            allocation.unused_since.get_or_insert(now);
        }
        self.move_users(&labels, &mut moved);
        self.allocate_waiting(&mut moved);
        moved
    }

    fn unfix(&mut self, number: u32, labels: &LabelText, moved: &mut Moved) {
        if let Some(numbers) = self.fixed_by_labels.get_mut(labels) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.fixed_by_labels.remove(labels);
            }
        }
        if !self.users.contains_key(labels) {
            return;
        }
        // Pods that are still there keep the number of the object that is not.
        if self.allocated.contains_key(labels) {
            self.use_again(labels);
        } else if self.range.contains(&number) && !self.by_number.contains_key(&number) {
            self.insert(labels, number, None);
        }
        self.move_users(labels, moved);
    }

    /// A pod has these labels now. Its number exists after [`allocate`](Self::allocate).
    pub fn take(&mut self, labels: &LabelText, pod: ObjectName) {
        if self.known.number(labels).is_some() {
            return;
        }
        let pods = self.users.entry(Arc::clone(labels)).or_default();
        pods.insert(pod);
        if self.fixed_by_labels.contains_key(labels) {
            return;
        }
        if self.allocated.contains_key(labels) {
            self.use_again(labels);
        } else {
            self.waiting.insert(Arc::clone(labels));
        }
    }

    /// A pod has these labels no more.
    pub fn release(&mut self, labels: &LabelText, pod: &ObjectName, now: u64) {
        let Some(pods) = self.users.get_mut(labels) else {
            return;
        };
        pods.remove(pod);
        if pods.is_empty() {
            self.users.remove(labels);
            self.waiting.remove(labels);
            if let Some(allocation) = self.allocated.get_mut(labels) {
                allocation.unused_since.get_or_insert(now);
            }
        }
    }

    /// Gives numbers to the labels that were taken since, in the order of the labels.
    pub fn allocate(&mut self) -> Moved {
        let mut moved = Moved::default();
        self.allocate_waiting(&mut moved);
        moved
    }

    /// Forgets numbers that nobody has used for the grace period.
    pub fn collect(&mut self, now: u64) -> Moved {
        let mut moved = Moved::default();
        let grace = self.grace;
        let is_due = |it: &Allocation| it.unused_since.is_some_and(|since| since + grace <= now);
        let due = self.allocated.iter().filter(|(_, it)| is_due(it));
        let due: Vec<(LabelText, u32)> = due
            .map(|(labels, it)| (Arc::clone(labels), it.number))
            .collect();
        for (labels, number) in due {
            self.allocated.remove(&labels);
            self.by_number.remove(&number);
            moved.numbers.insert(number);
        }
        self.allocate_waiting(&mut moved);
        moved
    }

    /// The number of these labels; the lowest, should several objects have them.
    pub fn number(&self, labels: &str) -> Option<u32> {
        if let Some(number) = self.known.number(labels) {
            return Some(number);
        }
        if let Some(numbers) = self.fixed_by_labels.get(labels) {
            return numbers.first().copied();
        }
        self.allocated.get(labels).map(|it| it.number)
    }

    /// Whether these labels have a number that is the same in every cluster.
    pub fn is_known(&self, labels: &str) -> bool {
        self.known.number(labels).is_some()
    }

    pub fn labels(&self, number: u32) -> Option<&LabelText> {
        self.fixed
            .get(&number)
            .or_else(|| self.by_number.get(&number))
    }

    /// How many kinds of pods have no number, because all are taken.
    pub fn exhausted(&self) -> usize {
        self.waiting.len()
    }

    fn allocate_waiting(&mut self, moved: &mut Moved) {
        for labels in std::mem::take(&mut self.waiting) {
            match self.probe(&labels) {
                Some(number) => {
                    self.insert(&labels, number, None);
                    moved.numbers.insert(number);
                    self.move_users(&labels, moved);
                }
                None => drop(self.waiting.insert(labels)),
            }
        }
    }

    fn insert(&mut self, labels: &LabelText, number: u32, unused_since: Option<u64>) {
        let allocation = Allocation {
            number,
            unused_since,
        };
        self.allocated.insert(Arc::clone(labels), allocation);
        self.by_number.insert(number, Arc::clone(labels));
    }

    fn use_again(&mut self, labels: &str) {
        if let Some(allocation) = self.allocated.get_mut(labels) {
            allocation.unused_since = None;
        }
    }

    fn move_users(&self, labels: &str, moved: &mut Moved) {
        moved
            .pods
            .extend(self.users.get(labels).into_iter().flatten().cloned());
    }

    /// The first free number from the hash of `labels` on, around the end of the range.
    fn probe(&self, labels: &str) -> Option<u32> {
        let (first, last) = (*self.range.start(), *self.range.end());
        let size = u64::from(last - first) + 1;
        if size <= (self.by_number.len() + self.fixed.len()) as u64 {
            return None;
        }
        let start =
            first + u32::try_from(hash(labels) % size).expect("a remainder of at most 2^32");
        let is_free = |it: &u32| !self.by_number.contains_key(it) && !self.fixed.contains_key(it);
        (start..=last).chain(first..start).find(is_free)
    }
}

/// FNV-1a, folded: the same on every machine and in every release, since numbers outlive both.
fn hash(text: &str) -> u64 {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash ^ (hash >> 32)
}

#[cfg(test)]
mod tests;
