//! Decides which gRPC code a refusal has: etcd's.

use tonic::{Code, Status};

use crate::mvcc::Refusal;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::Compacted | Refusal::FutureRevision | Refusal::LeaseTtlTooLarge => {
                Code::OutOfRange
            }
            Refusal::Corrupt => Code::DataLoss,
            Refusal::DuplicateKey
            | Refusal::EmptyKey
            | Refusal::InvalidSortOption
            | Refusal::KeyNotFound
            | Refusal::LeaseProvided
            | Refusal::RequestTooLarge
            | Refusal::TooManyOperations
            | Refusal::ValueProvided => Code::InvalidArgument,
            Refusal::LeaseExists => Code::FailedPrecondition,
            Refusal::LeaseNotFound => Code::NotFound,
            Refusal::NoSpace => Code::ResourceExhausted,
        };
        Self::new(code, refusal.to_string())
    }
}

/// What a cluster of one member in one process has no use for.
pub(super) fn not_supported(what: &str) -> Status {
    Status::unimplemented(format!(
        "etcdserver: {what} is not supported by this embedded store"
    ))
}

/// A limit is reached.
pub(super) fn too_many_requests() -> Status {
    Status::resource_exhausted(TOO_MANY_REQUESTS)
}

pub(super) const TOO_MANY_REQUESTS: &str = "etcdserver: too many requests";

/// The stream ends because the server does; clients connect again.
pub(super) fn stopped() -> Status {
    Status::unavailable("etcdserver: server stopped")
}
