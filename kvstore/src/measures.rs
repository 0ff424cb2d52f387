//! What reading and writing a store costs, and what fails of it: the names and labels are upstream's.

use std::collections::BTreeSet;
use std::time::Duration;

use etcd_client::{Event, EventType};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

mod scope;

use scope::{SCOPES, Scope};

/// Measures of all writers and followers that share it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Measures {
    /// Whose records a writer of a single lane writes.
    own: String,
    operations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    events: Family<EventLabels, Histogram, fn() -> Histogram>,
    quorum_errors: Family<QuorumLabels, Counter>,
    sync_errors: Family<SyncLabels, Counter>,
    sync_queue: Family<SyncLabels, Gauge>,
}

/// What is asked of a store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Operation {
    AcquireLease,
    ListPrefix,
    Txn,
}

/// An operation that is not over yet.
#[derive(Debug)]
pub(crate) struct Ongoing {
    operations: Family<OperationLabels, Histogram, fn() -> Histogram>,
    operation: Operation,
    scope: &'static str,
}

/// The keys of one owner that are to be written.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// By scope.
    waiting: [Gauge; SCOPES],
    failed: [Counter; SCOPES],
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct OperationLabels {
    action: &'static str,
    kind: &'static str,
    outcome: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct EventLabels {
    scope: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct QuorumLabels {
    error: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct SyncLabels {
    scope: &'static str,
    source_cluster: String,
}

/// From a write into the own process to a store far away that is overloaded.
const BUCKETS_SECONDS: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
];

impl Default for Measures {
    /// Measures that nobody sees.
    fn default() -> Self {
        Self::new(String::new())
    }
}

impl Measures {
    /// Shows them under upstream's names, behind the registry's prefix. `own` is the cluster whose
    /// records a writer of a single lane writes; lanes are called after theirs.
    pub fn register(registry: &mut Registry, own: &str) -> Self {
        let it = Self::new(own.to_owned());
        let help = "Seconds that an operation on the store took";
        let operations = it.operations.clone();
        registry.register("kvstore_operations_duration_seconds", help, operations);
        let help = "Seconds that a change waited before it was taken in";
        registry.register("kvstore_events_queue_seconds", help, it.events.clone());
        let help = "Connections to the store that were given up";
        registry.register("kvstore_quorum_errors", help, it.quorum_errors.clone());
        let help = "Records whose write failed; it is repeated, unless the record is too large";
        registry.register("kvstore_sync_errors", help, it.sync_errors.clone());
        let help = "Records that wait to be written to the store";
        registry.register("kvstore_sync_queue_size", help, it.sync_queue.clone());
        it
    }

    fn new(own: String) -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(BUCKETS_SECONDS);
        Self {
            own,
            operations: Family::new_with_constructor(histogram),
            events: Family::new_with_constructor(histogram),
            quorum_errors: Family::default(),
            sync_errors: Family::default(),
            sync_queue: Family::default(),
        }
    }

    /// An operation on `keys`, which may be prefixes, begins.
    pub(crate) fn begin<'a>(
        &self,
        operation: Operation,
        keys: impl IntoIterator<Item = &'a str>,
    ) -> Ongoing {
        let scope = match operation {
            Operation::AcquireLease => "lease",
            Operation::ListPrefix | Operation::Txn => Scope::of_all(keys),
        };
        Ongoing {
            operations: self.operations.clone(),
            operation,
            scope,
        }
    }

    /// Changes that came together waited for so long until they were taken in.
    pub(crate) fn queued(&self, events: &[Event], waited: Duration) {
        let labels = events.iter().filter_map(|event| {
            let kv = event.kv()?;
            let action = match event.event_type() {
                EventType::Delete => "delete",
                EventType::Put if kv.version() == 1 => "create",
                EventType::Put => "modify",
            };
            Some((Scope::of(kv.key_str().ok()?).as_str(), action))
        });
        for (scope, action) in labels.collect::<BTreeSet<_>>() {
            let histogram = self.events.get_or_create(&EventLabels { scope, action });
            histogram.observe(waited.as_secs_f64());
        }
    }

    /// A store was given up; `silent` if nothing came back from it.
    pub(crate) fn given_up(&self, silent: bool) {
        let error = if silent { "timeout" } else { "refused" };
        let labels = QuorumLabels { error };
        self.quorum_errors.get_or_create(&labels).inc();
    }

    /// What waits of the records of cluster `lane`; an empty name is the own one.
    pub(crate) fn backlog(&self, lane: &str) -> Backlog {
        let source_cluster = if lane.is_empty() { &self.own } else { lane };
        let labels = Scope::ALL.map(|it| SyncLabels {
            scope: it.as_str(),
            source_cluster: source_cluster.to_owned(),
        });
        Backlog {
            waiting: labels
                .clone()
                .map(|it| self.sync_queue.get_or_create_owned(&it)),
            failed: labels.map(|it| self.sync_errors.get_or_create_owned(&it)),
        }
    }
}

impl Ongoing {
    pub(crate) fn end(self, took: Duration, succeeded: bool) {
        let labels = OperationLabels {
            action: self.operation.action(),
            kind: self.operation.kind(),
            outcome: if succeeded { "success" } else { "fail" },
            scope: self.scope,
        };
        let histogram = self.operations.get_or_create(&labels);
        histogram.observe(took.as_secs_f64());
    }
}

impl Backlog {
    pub(crate) fn enter(&self, key: &str) {
        self.waiting[Scope::of(key).index()].inc();
    }

    pub(crate) fn leave(&self, key: &str) {
        self.waiting[Scope::of(key).index()].dec();
    }

    /// The key could not be written.
    pub(crate) fn fail(&self, key: &str) {
        self.failed[Scope::of(key).index()].inc();
    }
}

impl Operation {
    fn action(self) -> &'static str {
        match self {
            Self::AcquireLease => "AcquireLease",
            Self::ListPrefix => "ListPrefix",
            Self::Txn => "Txn",
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::AcquireLease | Self::Txn => "set",
            Self::ListPrefix => "read",
        }
    }
}
