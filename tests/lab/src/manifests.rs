//! Writes a region's objects as the Kubernetes manifests that people know.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::plan::{Pod, Region};

/// A service of a region's pods, shared with the other regions.
#[derive(Clone, Debug)]
pub struct Service {
    pub namespace: String,
    pub name: String,
    /// The last byte of its address in the region's service range.
    pub suffix: u8,
    pub port: u16,
    /// The port of its pods.
    pub target_port: u16,
    /// The label `app` of its pods.
    pub app: String,
}

/// A pod behind a service, with the outcome of its probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub pod: Pod,
    pub ready: bool,
}

pub fn namespace(name: &str) -> String {
    format!(
        "\
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels:
    kubernetes.io/metadata.name: {name}
"
    )
}

/// A node, with pod prefixes beside its own one, further annotations, and where it is: latitude and
/// longitude in degrees.
pub fn node(
    region: &Region,
    node: u8,
    more_prefixes: &[Ipv4Net],
    annotations: &[(&str, &str)],
    location: (f64, f64),
) -> String {
    let name = region.node_name(node);
    let region_name = &region.name;
    let (address, pods) = (region.node_address(node), region.pod_cidr(node));
    let gateway = region.pod_gateway(node);
    let (latitude, longitude) = location;
    let annotations = annotations.iter().fold(String::new(), |mut lines, it| {
        let _infallible = write!(lines, "\n    {}: \"{}\"", it.0, it.1);
        lines
    });
    let more = more_prefixes.iter().fold(String::new(), |mut lines, it| {
        let _infallible = write!(lines, "\n    - {it}");
        lines
    });
    format!(
        "\
apiVersion: v1
kind: Node
metadata:
  name: {name}
  labels:
    kubernetes.io/hostname: {name}
    topology.kubernetes.io/region: {region_name}
    topology.kubernetes.io/zone: {region_name}-{node}
  annotations:
    causeway.io/location: \"{latitude},{longitude}\"
    network.cilium.io/ipv4-cilium-host: {gateway}{annotations}
spec:
  podCIDR: {pods}
  podCIDRs:
    - {pods}{more}
status:
  addresses:
    - type: InternalIP
      address: {address}
    - type: Hostname
      address: {name}
  conditions:
    - type: Ready
      status: \"True\"
"
    )
}

pub fn pod(region: &Region, pod: &Pod, namespace: &str) -> String {
    let (node, host) = (region.node_name(pod.node), region.node_address(pod.node));
    let (name, app, address) = (&pod.name, &pod.app, region.pod_address(pod));
    format!(
        "\
apiVersion: v1
kind: Pod
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: {app}
spec:
  nodeName: {node}
  serviceAccountName: {app}
  containers:
    - name: {app}
      image: lab
status:
  phase: Running
  hostIP: {host}
  podIP: {address}
  podIPs:
    - ip: {address}
"
    )
}

/// The service, global and with a preference for the own region.
pub fn service(region: &Region, service: &Service) -> String {
    let Service {
        namespace,
        name,
        port,
        target_port,
        app,
        ..
    } = service;
    let address = region.service_address(service.suffix);
    format!(
        "\
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  annotations:
    service.cilium.io/global: \"true\"
    service.cilium.io/affinity: local
spec:
  type: ClusterIP
  clusterIP: {address}
  clusterIPs:
    - {address}
  selector:
    app: {app}
  ports:
    - name: http
      protocol: TCP
      port: {port}
      targetPort: {target_port}
"
    )
}

/// Where the service's pods are, and which of them are ready.
pub fn endpoint_slice(region: &Region, service: &Service, endpoints: &[Endpoint]) -> String {
    let Service {
        namespace,
        name,
        target_port,
        ..
    } = service;
    let mut text = format!(
        "\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-1
  namespace: {namespace}
  labels:
    kubernetes.io/service-name: {name}
addressType: IPv4
ports:
  - name: http
    protocol: TCP
    port: {target_port}
"
    );
    text.push_str(if endpoints.is_empty() {
        "endpoints: []\n"
    } else {
        "endpoints:\n"
    });
    for Endpoint { pod, ready } in endpoints {
        let address: Ipv4Addr = region.pod_address(pod);
        let (node, zone) = (
            region.node_name(pod.node),
            format!("{}-{}", region.name, pod.node),
        );
        let pod = &pod.name;
        let _infallible = write!(
            text,
            "  - addresses:
      - {address}
    conditions:
      ready: {ready}
      serving: {ready}
      terminating: false
    nodeName: {node}
    zone: {zone}
    targetRef:
      kind: Pod
      namespace: {namespace}
      name: {pod}
"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;

    #[test]
    fn a_slice_says_of_each_pod_whether_it_is_ready() {
        let plan = Plan::three_regions();
        let pod = Pod {
            name: "shop-1".into(),
            node: 2,
            suffix: 10,
            app: "shop".into(),
        };
        let endpoint = Endpoint { pod, ready: false };

        let text = endpoint_slice(plan.region("ap"), &shop(), &[endpoint]);

        assert!(
            text.contains("  - addresses:\n      - 10.3.2.10\n"),
            "{text}"
        );
        assert!(
            text.contains("      ready: false\n      serving: false\n"),
            "{text}"
        );
        assert!(text.contains("    nodeName: ap-node-2\n"), "{text}");
    }

    #[test]
    fn a_slice_without_pods_has_an_empty_list() {
        let plan = Plan::three_regions();

        let text = endpoint_slice(plan.region("ap"), &shop(), &[]);

        assert!(text.ends_with("endpoints: []\n"), "{text}");
    }

    fn shop() -> Service {
        Service {
            namespace: "shop".into(),
            name: "shop".into(),
            suffix: 10,
            port: 80,
            target_port: 8080,
            app: "shop".into(),
        }
    }
}
