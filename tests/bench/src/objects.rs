//! Makes the Kubernetes objects of a cluster as manifests: the load on a publisher.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Objects in one file of many: what a tool that dumps a cluster would write.
const OBJECTS_PER_FILE: u32 = 1_000;

/// The two spellings of a manifest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Spelling {
    /// A `List`, as `kubectl get -o json` prints it.
    Json,
    /// Documents, each an object in block style.
    Yaml,
}

/// Writes `count` CiliumEndpoints into files of `directory`.
///
/// # Errors
///
/// If they cannot be written.
pub(crate) fn write_endpoints(directory: &Path, count: u32, spelling: Spelling) -> Result<()> {
    for first in (0..count).step_by(OBJECTS_PER_FILE as usize) {
        let numbers = first..count.min(first + OBJECTS_PER_FILE);
        let (name, text) = match spelling {
            Spelling::Json => {
                let items: Vec<String> = numbers.map(json_endpoint).collect();
                let items = items.join(",\n");
                let list = format!(r#"{{"apiVersion":"v1","kind":"List","items":[{items}]}}"#);
                (format!("endpoints-{first}.json"), list)
            }
            Spelling::Yaml => {
                let documents: String = numbers.map(yaml_endpoint).collect();
                (format!("endpoints-{first}.yaml"), documents)
            }
        };
        replace(directory, &name, &text)?;
    }
    Ok(())
}

/// Writes a global service with its one backend, as a file of its own. `version` is its address:
/// see [`backend`].
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write_service(directory: &Path, number: u32, version: u32) -> Result<()> {
    let [.., high, low] = number.to_be_bytes();
    let text = format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: svc-{number}\n  namespace: shop\n  annotations:\n    service.cilium.io/global: \"true\"\nspec:\n  clusterIP: 10.96.{high}.{low}\n  ports:\n  - name: http\n    port: 80\n\
         ---\n{}",
        slice(number, 0, &[backend(version)])
    );
    replace(directory, &format!("service-{number}.yaml"), &text)
}

/// Writes a global service of many backends: a file for the service and each slice.
///
/// # Errors
///
/// If they cannot be written.
pub(crate) fn write_large_service(directory: &Path, slices: u32, per_slice: u32) -> Result<()> {
    write_service(directory, 0, 0)?;
    for slice in 1..=slices {
        write_slice(directory, slice, per_slice, None)?;
    }
    Ok(())
}

/// Writes one slice of the large service; with a `version`, the first address is its [`backend`].
///
/// # Errors
///
/// If it cannot be written.
pub(crate) fn write_slice(
    directory: &Path,
    number: u32,
    per_slice: u32,
    version: Option<u32>,
) -> Result<()> {
    let backends = (0..per_slice).map(|it| match version {
        Some(version) if it == 0 => backend(version),
        _ => format!("10.128.{number}.{it}"),
    });
    let backends: Vec<String> = backends.collect();
    let name = format!("slice-{number}.yaml");
    replace(directory, &name, &slice(0, number, &backends))
}

/// The address of a backend in a version of its own; no two versions share one.
pub(crate) fn backend(version: u32) -> String {
    let [_, second, third, fourth] = version.to_be_bytes();
    format!("11.{second}.{third}.{fourth}")
}

/// Puts a file in the place of another at once, as a control plane would.
fn replace(directory: &Path, name: &str, text: &str) -> Result<()> {
    let temporary = directory.join(format!(".{name}"));
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, directory.join(name)))
        .with_context(|| format!("cannot write {name} in {}", directory.display()))
}

fn json_endpoint(number: u32) -> String {
    let it = Endpoint::numbered(number);
    format!(
        r#"{{"apiVersion":"cilium.io/v2","kind":"CiliumEndpoint","metadata":{{"name":"{}","namespace":"{}","labels":{{"app":"web","pod-template-hash":"5d9c"}}}},"status":{{"id":{number},"identity":{{"id":{},"labels":["k8s:app=web"]}},"networking":{{"addressing":[{{"ipv4":"{}"}}],"node":"{}"}},"state":"ready"}}}}"#,
        it.name, it.namespace, it.identity, it.address, it.node
    )
}

fn yaml_endpoint(number: u32) -> String {
    let it = Endpoint::numbered(number);
    format!(
        "---\napiVersion: cilium.io/v2\nkind: CiliumEndpoint\nmetadata:\n  name: {}\n  namespace: {}\n  labels:\n    app: web\n    pod-template-hash: 5d9c\nstatus:\n  id: {number}\n  identity:\n    id: {}\n    labels:\n    - k8s:app=web\n  networking:\n    addressing:\n    - ipv4: {}\n    node: {}\n  state: ready\n",
        it.name, it.namespace, it.identity, it.address, it.node
    )
}

struct Endpoint {
    name: String,
    namespace: String,
    identity: u32,
    address: String,
    node: String,
}

impl Endpoint {
    fn numbered(number: u32) -> Self {
        let [_, second, third, fourth] = number.to_be_bytes();
        Self {
            name: format!("web-5d9c-{number}"),
            namespace: format!("shop-{}", number % 100),
            identity: (1 << 16) + 256 + number % 10_000,
            address: format!("10.{second}.{third}.{fourth}"),
            node: format!("192.168.0.{}", number % 100),
        }
    }
}

fn slice(service: u32, number: u32, backends: &[String]) -> String {
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: svc-{service}-{number}\n  namespace: shop\n  labels:\n    kubernetes.io/service-name: svc-{service}\naddressType: IPv4\nports:\n- name: http\n  port: 8080\nendpoints:\n",
    );
    for address in backends {
        // A string takes all that is written to it.
        let _ = writeln!(
            text,
            "- addresses: [{address}]\n  conditions: {{ready: true}}"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use clustermesh_apiserver::manifest::parse;

    use super::*;

    #[test]
    fn writes_what_a_publisher_reads() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        write_endpoints(directory, 1_500, Spelling::Json).unwrap();
        write_endpoints(directory, 1_500, Spelling::Yaml).unwrap();
        write_large_service(directory, 3, 100).unwrap();

        let mut objects = 0;
        for file in fs::read_dir(directory).unwrap() {
            let manifest = parse(&fs::read_to_string(file.unwrap().path()).unwrap());
            assert_eq!(manifest.errors, []);
            objects += manifest.objects.len();
        }
        assert_eq!(objects, 2 * 1_500 + 2 + 3);
    }
}
