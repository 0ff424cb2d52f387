//! Leads each of the service's methods to what answers it.
//!
//! By hand, because etcd-client exports no names for the messages of one method, which the generated
//! trait demands.

use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::routing::MethodRouter;
use etcd_client::proto::{
    PbAuthDisableRequest, PbAuthDisableResponse, PbAuthEnableRequest, PbAuthEnableResponse,
    PbAuthRoleAddRequest, PbAuthRoleAddResponse, PbAuthRoleDeleteRequest, PbAuthRoleDeleteResponse,
    PbAuthRoleGrantPermissionRequest, PbAuthRoleGrantPermissionResponse, PbAuthRoleListRequest,
    PbAuthRoleListResponse, PbAuthRoleRevokePermissionRequest, PbAuthRoleRevokePermissionResponse,
    PbAuthUserDeleteRequest, PbAuthUserDeleteResponse, PbAuthUserGrantRoleRequest,
    PbAuthUserGrantRoleResponse, PbAuthUserListRequest, PbAuthUserListResponse,
    PbAuthUserRevokeRoleRequest, PbAuthUserRevokeRoleResponse, PbResponseHeader,
};
use prost::Message;
use tonic::{Request, Response, Status};

use super::Service;
use crate::auth::{Access, Command, Keys, Refusal};
use crate::server::gate::Caller;
use crate::server::routes;

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<PbResponseHeader>,
    #[prost(bool, tag = "2")]
    enabled: bool,
    #[prost(uint64, tag = "3")]
    auth_revision: u64,
}

pub(in super::super) fn add(router: Router, service: Service) -> Router {
    let service = &Arc::new(service);
    let router = router
        .route(
            "/etcdserverpb.Auth/AuthEnable",
            command(
                service,
                |_: PbAuthEnableRequest| Ok(Command::Enable),
                |header| PbAuthEnableResponse { header },
            ),
        )
        .route(
            "/etcdserverpb.Auth/AuthDisable",
            command(
                service,
                |_: PbAuthDisableRequest| Ok(Command::Disable),
                |header| PbAuthDisableResponse { header },
            ),
        )
        .route("/etcdserverpb.Auth/AuthStatus", answer(service, status))
        .route(
            "/etcdserverpb.Auth/Authenticate",
            unary(service, Service::authenticate),
        );
    add_roles(add_users(router, service), service)
}

fn add_users(router: Router, service: &Arc<Service>) -> Router {
    router
        .route(
            "/etcdserverpb.Auth/UserAdd",
            unary(service, Service::user_add),
        )
        .route(
            "/etcdserverpb.Auth/UserChangePassword",
            unary(service, Service::user_change_password),
        )
        .route(
            "/etcdserverpb.Auth/UserDelete",
            command(
                service,
                |it: PbAuthUserDeleteRequest| Ok(Command::UserDelete { user: it.name }),
                |header| PbAuthUserDeleteResponse { header },
            ),
        )
        .route(
            "/etcdserverpb.Auth/UserGet",
            answer(service, Service::user_get),
        )
        .route("/etcdserverpb.Auth/UserList", answer(service, user_list))
        .route(
            "/etcdserverpb.Auth/UserGrantRole",
            command(
                service,
                |it: PbAuthUserGrantRoleRequest| {
                    Ok(Command::UserGrantRole {
                        user: it.user,
                        role: it.role,
                    })
                },
                |header| PbAuthUserGrantRoleResponse { header },
            ),
        )
        .route(
            "/etcdserverpb.Auth/UserRevokeRole",
            command(
                service,
                |it: PbAuthUserRevokeRoleRequest| {
                    Ok(Command::UserRevokeRole {
                        user: it.name,
                        role: it.role,
                    })
                },
                |header| PbAuthUserRevokeRoleResponse { header },
            ),
        )
}

fn add_roles(router: Router, service: &Arc<Service>) -> Router {
    router
        .route(
            "/etcdserverpb.Auth/RoleAdd",
            command(
                service,
                |it: PbAuthRoleAddRequest| Ok(Command::RoleAdd { role: it.name }),
                |header| PbAuthRoleAddResponse { header },
            ),
        )
        .route(
            "/etcdserverpb.Auth/RoleDelete",
            command(
                service,
                |it: PbAuthRoleDeleteRequest| Ok(Command::RoleDelete { role: it.role }),
                |header| PbAuthRoleDeleteResponse { header },
            ),
        )
        .route(
            "/etcdserverpb.Auth/RoleGet",
            answer(service, Service::role_get),
        )
        .route("/etcdserverpb.Auth/RoleList", answer(service, role_list))
        .route(
            "/etcdserverpb.Auth/RoleGrantPermission",
            command(service, grant, |header| PbAuthRoleGrantPermissionResponse {
                header,
            }),
        )
        .route(
            "/etcdserverpb.Auth/RoleRevokePermission",
            command(service, revoke, |header| {
                PbAuthRoleRevokePermissionResponse { header }
            }),
        )
}

fn status(service: &Service, caller: &Caller, _: StatusRequest) -> Result<StatusResponse, Status> {
    caller.permission().check_everything()?;
    let header = service.header();
    Ok(service.look(|auth| StatusResponse {
        header,
        enabled: auth.is_enabled(),
        auth_revision: auth.revision(),
    }))
}

fn user_list(
    service: &Service,
    caller: &Caller,
    _: PbAuthUserListRequest,
) -> Result<PbAuthUserListResponse, Status> {
    caller.permission().check_everything()?;
    Ok(PbAuthUserListResponse {
        header: service.header(),
        users: service.look(|auth| auth.users().map(str::to_owned).collect()),
    })
}

fn role_list(
    service: &Service,
    caller: &Caller,
    _: PbAuthRoleListRequest,
) -> Result<PbAuthRoleListResponse, Status> {
    caller.permission().check_everything()?;
    Ok(PbAuthRoleListResponse {
        header: service.header(),
        roles: service.look(|auth| auth.roles().map(str::to_owned).collect()),
    })
}

fn grant(request: PbAuthRoleGrantPermissionRequest) -> Result<Command, Refusal> {
    let permission = request.perm.ok_or(Refusal::PermissionNotGiven)?;
    let access = Access::of_number(permission.perm_type).ok_or(Refusal::PermissionNotGiven)?;
    Ok(Command::RoleGrantPermission {
        role: request.name,
        keys: Keys {
            key: permission.key,
            range_end: permission.range_end,
        },
        access,
    })
}

#[expect(clippy::unnecessary_wraps, reason = "as the other commands are read")]
fn revoke(request: PbAuthRoleRevokePermissionRequest) -> Result<Command, Refusal> {
    Ok(Command::RoleRevokePermission {
        role: request.role,
        keys: Keys {
            key: request.key,
            range_end: request.range_end,
        },
    })
}

/// For a method that is one command, read from the request, and answers with a header.
fn command<Q, R>(
    service: &Arc<Service>,
    read: fn(Q) -> Result<Command, Refusal>,
    respond: fn(Option<PbResponseHeader>) -> R,
) -> MethodRouter
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    answer(service, move |service, caller, request| {
        let header = service.command(caller, read(request)?)?;
        Ok(respond(header))
    })
}

/// For a method that need not wait.
fn answer<Q, R>(
    service: &Arc<Service>,
    method: impl Fn(&Service, &Caller, Q) -> Result<R, Status> + Copy + Send + Sync + 'static,
) -> MethodRouter
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
{
    unary(service, move |service, caller, request| {
        ready(method(&service, &caller, request))
    })
}

fn unary<Q, R, F>(
    service: &Arc<Service>,
    method: impl Fn(Arc<Service>, Caller, Q) -> F + Copy + Send + Sync + 'static,
) -> MethodRouter
where
    Q: Message + Default + 'static,
    R: Message + Default + 'static,
    F: Future<Output = Result<R, Status>> + Send + 'static,
{
    routes::unary(
        service,
        move |service: Arc<Service>, request: Request<Q>| {
            let caller = service.gate.caller(&request);
            let answer = method(service, caller, request.into_inner());
            async { answer.await.map(Response::new) }
        },
    )
}
