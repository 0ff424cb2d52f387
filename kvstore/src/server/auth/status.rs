//! Decides which gRPC code a refusal of authentication has: etcd's.

use tonic::{Code, Status};

use crate::auth::Refusal;

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match refusal {
            Refusal::AuthenticationFailed
            | Refusal::InvalidAuthManagement
            | Refusal::OldRevision
            | Refusal::PermissionNotGiven
            | Refusal::RoleNameEmpty
            | Refusal::UserNameEmpty => Code::InvalidArgument,
            Refusal::AuthenticationNotEnabled
            | Refusal::PermissionNotGranted
            | Refusal::RoleAlreadyExist
            | Refusal::RoleNotFound
            | Refusal::RoleNotGranted
            | Refusal::RootRoleNotExist
            | Refusal::RootUserNotExist
            | Refusal::UserAlreadyExist
            | Refusal::UserNotFound => Code::FailedPrecondition,
            Refusal::InvalidAuthToken => Code::Unauthenticated,
            Refusal::PermissionDenied => Code::PermissionDenied,
            Refusal::TooManyEntries | Refusal::TooManyRequests => Code::ResourceExhausted,
        };
        Self::new(code, refusal.to_string())
    }
}
