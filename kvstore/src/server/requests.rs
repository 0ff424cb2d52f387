//! Counts requests, by method and by the code of their answer.

use std::sync::atomic::{AtomicU64, Ordering};

use tonic::Code;

use super::metrics::Page;

/// Counts by method and by code. A method that no client should know counts as unknown, so that
/// requests cannot make the table grow.
#[derive(Debug)]
pub(super) struct Requests(Vec<Counts>);

#[derive(Debug, Default)]
struct Counts {
    started: AtomicU64,
    /// By the code's number.
    handled: [AtomicU64; CODES.len()],
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Method(usize);

impl Default for Requests {
    fn default() -> Self {
        Self((0..=METHODS.len()).map(|_| Counts::default()).collect())
    }
}

impl Requests {
    /// `path` as in HTTP: service and method.
    pub(super) fn method(&self, path: &str) -> Method {
        let known = METHODS.binary_search_by(|(it, _)| (*it).cmp(path));
        Method(known.unwrap_or(METHODS.len()))
    }

    pub(super) fn start(&self, method: Method) {
        self.0[method.0].started.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn finish(&self, method: Method, code: Code) {
        let code = usize::try_from(i32::from(code)).unwrap_or_default();
        self.0[method.0].handled[code].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.family(
            "grpc_server_started_total",
            "counter",
            "Requests that came in.",
        );
        for (labels, counts) in self.rows() {
            page.labelled(&labels, counts.started.load(Ordering::Relaxed));
        }
        page.family(
            "grpc_server_handled_total",
            "counter",
            "Requests by the code of their answer; of a stream, of its beginning.",
        );
        for (labels, counts) in self.rows() {
            for (code, handled) in CODES.iter().zip(&counts.handled) {
                let handled = handled.load(Ordering::Relaxed);
                if 0 < handled {
                    page.labelled(&format!("grpc_code=\"{code}\",{labels}"), handled);
                }
            }
        }
    }

    /// What was asked for at least once, with its labels.
    fn rows(&self) -> impl Iterator<Item = (String, &Counts)> {
        let rows = self.0.iter().enumerate();
        let asked = rows.filter(|(_, counts)| 0 < counts.started.load(Ordering::Relaxed));
        asked.map(|(index, counts)| (labels(METHODS.get(index)), counts))
    }
}

fn labels(method: Option<&(&str, &str)>) -> String {
    let (path, kind) = method.copied().unwrap_or(("/unknown/unknown", "unary"));
    let (service, method) = path[1..].split_once('/').unwrap_or((path, ""));
    format!("grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\"")
}

/// Every method of etcd's, with its kind, in order.
const METHODS: [(&str, &str); 49] = [
    ("/etcdserverpb.Auth/AuthDisable", "unary"),
    ("/etcdserverpb.Auth/AuthEnable", "unary"),
    ("/etcdserverpb.Auth/AuthStatus", "unary"),
    ("/etcdserverpb.Auth/Authenticate", "unary"),
    ("/etcdserverpb.Auth/RoleAdd", "unary"),
    ("/etcdserverpb.Auth/RoleDelete", "unary"),
    ("/etcdserverpb.Auth/RoleGet", "unary"),
    ("/etcdserverpb.Auth/RoleGrantPermission", "unary"),
    ("/etcdserverpb.Auth/RoleList", "unary"),
    ("/etcdserverpb.Auth/RoleRevokePermission", "unary"),
    ("/etcdserverpb.Auth/UserAdd", "unary"),
    ("/etcdserverpb.Auth/UserChangePassword", "unary"),
    ("/etcdserverpb.Auth/UserDelete", "unary"),
    ("/etcdserverpb.Auth/UserGet", "unary"),
    ("/etcdserverpb.Auth/UserGrantRole", "unary"),
    ("/etcdserverpb.Auth/UserList", "unary"),
    ("/etcdserverpb.Auth/UserRevokeRole", "unary"),
    ("/etcdserverpb.Cluster/MemberAdd", "unary"),
    ("/etcdserverpb.Cluster/MemberList", "unary"),
    ("/etcdserverpb.Cluster/MemberPromote", "unary"),
    ("/etcdserverpb.Cluster/MemberRemove", "unary"),
    ("/etcdserverpb.Cluster/MemberUpdate", "unary"),
    ("/etcdserverpb.KV/Compact", "unary"),
    ("/etcdserverpb.KV/DeleteRange", "unary"),
    ("/etcdserverpb.KV/Put", "unary"),
    ("/etcdserverpb.KV/Range", "unary"),
    ("/etcdserverpb.KV/RangeStream", "server_stream"),
    ("/etcdserverpb.KV/Txn", "unary"),
    ("/etcdserverpb.Lease/LeaseGrant", "unary"),
    ("/etcdserverpb.Lease/LeaseKeepAlive", "bidi_stream"),
    ("/etcdserverpb.Lease/LeaseLeases", "unary"),
    ("/etcdserverpb.Lease/LeaseRevoke", "unary"),
    ("/etcdserverpb.Lease/LeaseTimeToLive", "unary"),
    ("/etcdserverpb.Maintenance/Alarm", "unary"),
    ("/etcdserverpb.Maintenance/Defragment", "unary"),
    ("/etcdserverpb.Maintenance/Downgrade", "unary"),
    ("/etcdserverpb.Maintenance/Hash", "unary"),
    ("/etcdserverpb.Maintenance/HashKV", "unary"),
    ("/etcdserverpb.Maintenance/MoveLeader", "unary"),
    ("/etcdserverpb.Maintenance/Snapshot", "server_stream"),
    ("/etcdserverpb.Maintenance/Status", "unary"),
    ("/etcdserverpb.Watch/Watch", "bidi_stream"),
    ("/v3electionpb.Election/Campaign", "unary"),
    ("/v3electionpb.Election/Leader", "unary"),
    ("/v3electionpb.Election/Observe", "server_stream"),
    ("/v3electionpb.Election/Proclaim", "unary"),
    ("/v3electionpb.Election/Resign", "unary"),
    ("/v3lockpb.Lock/Lock", "unary"),
    ("/v3lockpb.Lock/Unlock", "unary"),
];

/// Names of gRPC's codes, by number.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_method_and_no_other() {
        let requests = Requests::default();
        for (index, (path, _)) in METHODS.iter().enumerate() {
            assert_eq!(requests.method(path), Method(index), "{path}");
        }
        let unknown = requests.method("/etcdserverpb.KV/Guess");
        assert_eq!(unknown, Method(METHODS.len()));
        requests.start(unknown);
        requests.finish(unknown, Code::Unimplemented);

        let mut page = Page::default();
        requests.write(&mut page);
        let expected = "grpc_server_handled_total{grpc_code=\"Unimplemented\",\
                        grpc_method=\"unknown\",grpc_service=\"unknown\",grpc_type=\"unary\"} 1\n";
        assert!(page.text().ends_with(expected), "{}", page.text());
    }
}
