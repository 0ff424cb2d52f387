//! What a cluster's operators and control plane want, and how its API server is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clustermesh_apiserver::directory::{FileChanges, Listing};
use clustermesh_apiserver::manifest::ManifestFile;
use clustermesh_apiserver::manifest::catalog::Catalog;
use clustermesh_apiserver::model::Input;
use clustermesh_apiserver::moment::Moment;
use clustermesh_apiserver::remote_file::RemoteFile;

use crate::Millis;

/// The services of a cluster with their live backends, each a number.
pub(crate) type Truth = BTreeMap<u8, BTreeSet<u8>>;

/// The address of a backend.
pub(crate) fn address(cluster: usize, service: u8, backend: u8) -> String {
    format!("10.{}.{service}.{backend}", cluster + 1)
}

/// Where the store of a cluster is, by name.
pub(crate) fn host(name: &str) -> String {
    format!("{name}.example")
}

/// 2027, so that clocks can be set back without reaching 1970.
const START_UNIX_MILLISECONDS: i64 = 1_800_000_000_000;

/// What the time is on a machine whose clock is `skew` milliseconds off.
pub(crate) fn moment(now: Millis, skew: i64) -> Moment {
    let unix = i64::try_from(now).expect("simulations are short") + START_UNIX_MILLISECONDS;
    Moment {
        unix_milliseconds: u64::try_from(unix + skew).expect("long after 1970"),
        uptime_milliseconds: now,
    }
}

/// `truth` as the manifests' directory would say it.
pub(crate) fn objects(cluster: usize, truth: &Truth) -> Input {
    let file = |(service, backends): (&u8, &BTreeSet<u8>)| {
        let text = manifest(cluster, *service, backends);
        let file = ManifestFile::read("s.yaml", Ok(&text), None);
        (format!("{service}.yaml"), Some(Arc::new(file)))
    };
    let changes = FileChanges {
        files: truth.iter().map(file).collect(),
        problem: None,
    };
    // All of them each time: whoever restarts or lost an event is told so.
    Input::Objects(Catalog::default().update(changes))
}

/// The configuration directory that names `remotes`.
pub(crate) fn configured(remotes: &BTreeSet<String>) -> Input {
    let file = |name: &String| {
        let text = format!("endpoints: ['http://{}:2379']", host(name));
        let file = RemoteFile::read(PathBuf::from(name), Ok(&text), None);
        (name.clone(), Arc::new(file))
    };
    Input::Configured(Listing {
        files: remotes.iter().map(file).collect(),
        problem: None,
    })
}

fn manifest(cluster: usize, service: u8, backends: &BTreeSet<u8>) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{service}, namespace: shop, annotations: {{service.cilium.io/global: 'true'}}}}\n\
         spec: {{clusterIP: 10.96.{cluster}.{service}, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: s{service}-a, namespace: shop, labels: {{kubernetes.io/service-name: s{service}}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints:\n",
    );
    for backend in backends {
        let address = address(cluster, service, *backend);
        // A string takes all that is written to it.
        let _ = writeln!(
            text,
            "- {{addresses: [{address}], conditions: {{ready: true}}}}"
        );
    }
    for backend in backends {
        let address = address(cluster, service, *backend);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: p{service}-{backend}, namespace: shop, labels: {{app: s{service}}}}}\n\
             spec: {{nodeName: n, containers: []}}\nstatus: {{podIP: {address}, phase: Running}}\n"
        );
    }
    text
}
