//! Applies a transaction: choose all branches first, check them, then write in one revision.

use etcd_client::proto::{
    PbCompare, PbRangeRequest, PbResponseOp, PbTargetUnion, PbTxnOpRequest, PbTxnOpResponse,
    PbTxnRequest, PbTxnRequestOp, PbTxnResponse,
};

use super::Store;
use super::entry::Entry;
use super::key_range::KeyRange;
use super::refusal::Refusal;
use super::writing::Writing;

/// A transaction whose compares are decided, those of nested ones included.
struct Chosen {
    succeeded: bool,
    steps: Vec<Step>,
}

enum Step {
    Operation(PbTxnOpRequest),
    Nested(Chosen),
}

pub(super) fn apply(store: &mut Store, request: PbTxnRequest) -> Result<PbTxnResponse, Refusal> {
    let chosen = choose(store, request);
    check_puts(store, &chosen)?;
    check_ranges(store, &chosen)?;

    let mut writing = store.write();
    let response = run(&mut writing, chosen);
    writing.finish();
    Ok(response)
}

fn choose(store: &Store, request: PbTxnRequest) -> Chosen {
    let succeeded = request.compare.iter().all(|it| holds(store, it));
    let branch = if succeeded {
        request.success
    } else {
        request.failure
    };
    let steps = branch
        .into_iter()
        .filter_map(|PbTxnRequestOp { request }| match request? {
            PbTxnOpRequest::RequestTxn(nested) => Some(Step::Nested(choose(store, nested))),
            operation @ (PbTxnOpRequest::RequestDeleteRange(_)
            | PbTxnOpRequest::RequestPut(_)
            | PbTxnOpRequest::RequestRange(_)) => Some(Step::Operation(operation)),
        })
        .collect();
    Chosen { succeeded, steps }
}

fn check_puts(store: &Store, chosen: &Chosen) -> Result<(), Refusal> {
    chosen.steps.iter().try_for_each(|step| match step {
        Step::Nested(nested) => check_puts(store, nested),
        Step::Operation(PbTxnOpRequest::RequestPut(put)) => {
            store.check_previous(put)?;
            store.check_lease(put)
        }
        Step::Operation(_) => Ok(()),
    })
}

fn check_ranges(store: &Store, chosen: &Chosen) -> Result<(), Refusal> {
    chosen.steps.iter().try_for_each(|step| match step {
        Step::Nested(nested) => check_ranges(store, nested),
        // Alone, a range with a negative revision means now; in a transaction it does not.
        Step::Operation(PbTxnOpRequest::RequestRange(PbRangeRequest { revision, .. }))
            if *revision < store.compacted_revision.min(0) =>
        {
            Err(Refusal::Compacted)
        }
        Step::Operation(PbTxnOpRequest::RequestRange(PbRangeRequest { revision, .. })) => {
            store.check_revision(*revision)
        }
        Step::Operation(_) => Ok(()),
    })
}

fn run(writing: &mut Writing<'_>, chosen: Chosen) -> PbTxnResponse {
    let responses = chosen
        .steps
        .into_iter()
        .map(|step| PbResponseOp {
            response: Some(match step {
                Step::Nested(nested) => PbTxnOpResponse::ResponseTxn(run(writing, nested)),
                Step::Operation(operation) => run_operation(writing, operation),
            }),
        })
        .collect();

    PbTxnResponse {
        header: writing.header(),
        succeeded: chosen.succeeded,
        responses,
    }
}

fn run_operation(writing: &mut Writing<'_>, operation: PbTxnOpRequest) -> PbTxnOpResponse {
    match operation {
        PbTxnOpRequest::RequestRange(range) => PbTxnOpResponse::ResponseRange(
            writing.store.range_at(&range, writing.visible_revision()),
        ),
        PbTxnOpRequest::RequestPut(put) => PbTxnOpResponse::ResponsePut(writing.put(put)),
        PbTxnOpRequest::RequestDeleteRange(delete) => {
            PbTxnOpResponse::ResponseDeleteRange(writing.delete_range(&delete))
        }
        PbTxnOpRequest::RequestTxn(nested) => {
            let chosen = choose(writing.store, nested);
            PbTxnOpResponse::ResponseTxn(run(writing, chosen))
        }
    }
}

/// Whether every key in the compare's range passes. A missing key compares as zeroes, but has no value.
fn holds(store: &Store, compare: &PbCompare) -> bool {
    let range = KeyRange::of_request(&compare.key, &compare.range_end);
    let mut found = store
        .keys
        .range::<[u8], _>(range.bounds())
        .filter_map(|(_, versions)| versions.current())
        .peekable();

    if found.peek().is_none() {
        let missing = Entry::tombstone((*compare.key).into(), 0);
        return compare.target != TARGET_VALUE && passes(compare, &missing);
    }
    found.all(|it| passes(compare, it))
}

fn passes(compare: &PbCompare, entry: &Entry) -> bool {
    let number = match &compare.target_union {
        Some(
            PbTargetUnion::Version(it)
            | PbTargetUnion::CreateRevision(it)
            | PbTargetUnion::ModRevision(it)
            | PbTargetUnion::Lease(it),
        ) => *it,
        Some(PbTargetUnion::Value(_)) | None => 0,
    };
    let ordering = match compare.target {
        TARGET_VERSION => entry.version.cmp(&number),
        TARGET_CREATE => entry.create_revision.cmp(&number),
        TARGET_MOD => entry.mod_revision.cmp(&number),
        TARGET_LEASE => entry.lease.cmp(&number),
        _ => match &compare.target_union {
            Some(PbTargetUnion::Value(value)) => (*entry.value).cmp(value),
            _ => (*entry.value).cmp(&[]),
        },
    };
    match compare.result {
        RESULT_EQUAL => ordering.is_eq(),
        RESULT_GREATER => ordering.is_gt(),
        RESULT_LESS => ordering.is_lt(),
        _ => ordering.is_ne(),
    }
}

const TARGET_VERSION: i32 = 0;
const TARGET_CREATE: i32 = 1;
const TARGET_MOD: i32 = 2;
const TARGET_VALUE: i32 = 3;
const TARGET_LEASE: i32 = 4;

const RESULT_EQUAL: i32 = 0;
const RESULT_GREATER: i32 = 1;
const RESULT_LESS: i32 = 2;
