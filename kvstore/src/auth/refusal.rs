//! The ways in which authentication says no, in etcd's words: clients match on them.

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("etcdserver: authentication failed, invalid user ID or password")]
    AuthenticationFailed,
    #[error("etcdserver: authentication is not enabled")]
    AuthenticationNotEnabled,
    /// It would lock out the last administrator.
    #[error("etcdserver: invalid auth management")]
    InvalidAuthManagement,
    #[error("etcdserver: invalid auth token")]
    InvalidAuthToken,
    /// Users and roles changed while the request was looked at.
    #[error("etcdserver: revision of auth store is old")]
    OldRevision,
    #[error("etcdserver: permission denied")]
    PermissionDenied,
    #[error("etcdserver: permission is not granted to the role")]
    PermissionNotGranted,
    #[error("etcdserver: permission not given")]
    PermissionNotGiven,
    #[error("etcdserver: role name already exists")]
    RoleAlreadyExist,
    #[error("etcdserver: role name is empty")]
    RoleNameEmpty,
    #[error("etcdserver: role name not found")]
    RoleNotFound,
    #[error("etcdserver: role is not granted to the user")]
    RoleNotGranted,
    #[error("etcdserver: root user does not have root role")]
    RootRoleNotExist,
    #[error("etcdserver: root user does not exist")]
    RootUserNotExist,
    #[error("etcdserver: too many users, roles and permissions")]
    TooManyEntries,
    #[error("etcdserver: too many requests")]
    TooManyRequests,
    #[error("etcdserver: user name already exists")]
    UserAlreadyExist,
    #[error("etcdserver: user name is empty")]
    UserNameEmpty,
    #[error("etcdserver: user name not found")]
    UserNotFound,
}
