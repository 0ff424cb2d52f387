mod exports;
mod identities;
mod laws;
mod scopes;

use super::*;
use crate::manifest;

const NOW: u64 = 1_000_000;
const GRACE: u64 = 900_000;

#[test]
fn hands_out_only_what_changed() {
    let mut publisher = publisher();
    publisher.apply(
        applied(&[pod("web-1", "10.0.0.1"), pod("web-2", "10.0.0.2")]),
        NOW,
    );

    let changes = publisher.apply(applied(&[pod("web-1", "10.0.0.3")]), NOW);
    assert_eq!(
        texts(&changes),
        [
            "+cilium/state/ip/v1/default/10.0.0.3",
            "-cilium/state/ip/v1/default/10.0.0.1"
        ]
    );
    assert_eq!(
        publisher.apply(applied(&[pod("web-1", "10.0.0.3")]), NOW),
        []
    );
}

#[test]
fn passes_an_address_on_without_a_delete_in_between() {
    let mut publisher = publisher();
    publisher.apply(applied(&[pod("web-2", "10.0.0.1")]), NOW);

    assert_eq!(
        publisher.apply(applied(&[pod("web-1", "10.0.0.1")]), NOW),
        []
    );
    let problems: Vec<String> = publisher.problems().collect();
    assert_eq!(
        problems,
        ["address 10.0.0.1 of Pod shop/web-1 is not published: Pod shop/web-2 has it already"]
    );

    let changes = publisher.apply(vec![ObjectEvent::Deleted(key("Pod", "shop", "web-2"))], NOW);
    assert_eq!(texts(&changes), ["+cilium/state/ip/v1/default/10.0.0.1"]);
    assert!(value(&publisher, "cilium/state/ip/v1/default/10.0.0.1").contains("\"web-1\""));
    assert_eq!(publisher.problems().count(), 0);
}

#[test]
fn believes_cilium_before_the_pod() {
    let mut publisher = publisher();
    publisher.apply(applied(&[pod("web-1", "10.0.0.1")]), NOW);
    let endpoint = "{apiVersion: cilium.io/v2, kind: CiliumEndpoint, metadata: {name: web-1, namespace: shop}, \
                    status: {identity: {id: 65999}, networking: {addressing: [{ipv4: 10.0.0.9}], node: 192.168.0.1}}}";

    publisher.apply(applied(&[endpoint.to_owned()]), NOW);
    let addresses = keys(&publisher, "cilium/state/ip/");
    assert_eq!(addresses, ["cilium/state/ip/v1/default/10.0.0.9"]);

    publisher.apply(
        vec![ObjectEvent::Deleted(key("CiliumEndpoint", "shop", "web-1"))],
        NOW,
    );
    let addresses = keys(&publisher, "cilium/state/ip/");
    assert_eq!(addresses, ["cilium/state/ip/v1/default/10.0.0.1"]);
}

#[test]
fn reads_endpoints_from_cilium_slices() {
    let mut publisher = publisher();
    let slice = "{apiVersion: cilium.io/v2alpha1, kind: CiliumEndpointSlice, metadata: {name: ces-1}, namespace: shop, \
                 endpoints: [{name: web-1, id: 65999, networking: {addressing: [{ipv4: 10.0.0.9}], node: 192.168.0.1}}]}";

    publisher.apply(applied(&[slice.to_owned()]), NOW);
    let record = value(&publisher, "cilium/state/ip/v1/default/10.0.0.9");
    assert!(
        record.contains(r#""HostIP":"192.168.0.1","ID":65999"#),
        "{record}"
    );

    let changes = publisher.apply(
        vec![ObjectEvent::Deleted(key(
            "CiliumEndpointSlice",
            "",
            "ces-1",
        ))],
        NOW,
    );
    assert_eq!(texts(&changes), ["-cilium/state/ip/v1/default/10.0.0.9"]);
}

#[test]
fn follows_the_node_of_a_pod() {
    let mut publisher = publisher();
    publisher.apply(applied(&[pod("web-1", "10.0.0.1")]), NOW);
    let node = "{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: node-1}, \
                spec: {addresses: [{ip: 192.168.0.1, type: InternalIP}], encryption: {key: 255}}}";

    publisher.apply(applied(&[node.to_owned()]), NOW);

    let record = value(&publisher, "cilium/state/ip/v1/default/10.0.0.1");
    assert!(record.contains(r#""HostIP":"192.168.0.1""#), "{record}");
    assert!(record.contains(r#""Key":255"#), "{record}");
}

#[test]
fn publishes_large_services_in_parts() {
    let mut publisher = publisher();
    publisher.apply(applied(&[service("web", ""), slice("web", 64)]), NOW);
    let whole = "causeway/delta/services/v1/alpha/shop/web";
    let state = "cilium/state/services/v1/alpha/shop/web";
    assert_eq!(keys(&publisher, whole), [whole]);
    assert_eq!(value(&publisher, whole), value(&publisher, state));

    publisher.apply(applied(&[slice("web", 65)]), NOW);
    assert_eq!(keys(&publisher, whole).len(), 66);
    let mut changes = texts(&publisher.apply(applied(&[slice("web", 66)]), NOW));
    changes.retain(|it| it.starts_with("+causeway/delta/"));
    assert_eq!(changes, [format!("+{whole}/10.9.0.65")]);

    let key = Key::DeltaService(alpha().name, "shop/web".parse().unwrap());
    let Record::Service(mut joined) = decode(&publisher, &key) else {
        panic!()
    };
    for part in keys(&publisher, &format!("{whole}/")) {
        let key = Key::parse(&part, &alpha().name).unwrap().unwrap();
        let (Key::DeltaBackend(_, _, address), Record::Backend(backend)) =
            (&key, decode(&publisher, &key))
        else {
            panic!("{part}")
        };
        joined.insert_backend(*address, backend);
    }
    let joined = String::from_utf8(Record::Service(joined).encode()).unwrap();
    assert_eq!(joined, value(&publisher, state));

    publisher.apply(applied(&[slice("web", 3)]), NOW);
    assert_eq!(keys(&publisher, whole), [whole]);
    publisher.apply(
        vec![ObjectEvent::Deleted(self::key("Service", "shop", "web"))],
        NOW,
    );
    assert_eq!(keys(&publisher, "causeway/delta/"), [""; 0]);
}

fn publisher() -> Publisher {
    Publisher::new(alpha(), Options::default())
}

fn alpha() -> Cluster {
    Cluster {
        name: "alpha".parse().unwrap(),
        id: 1.try_into().unwrap(),
        mesh: MeshSize::default(),
    }
}

fn applied(documents: &[String]) -> Vec<ObjectEvent> {
    let manifest = manifest::parse(&documents.join("\n---\n"));
    assert_eq!(manifest.errors, []);
    let objects = manifest.objects.into_iter();
    objects
        .map(|(key, object)| ObjectEvent::Applied(key, object))
        .collect()
}

fn namespace(annotation: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Namespace, metadata: {{name: shop, annotations: {{{annotation}}}}}}}"
    )
}

fn pod(name: &str, address: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, namespace: shop, labels: {{app: web}}}}, \
         spec: {{containers: [], nodeName: node-1}}, status: {{podIP: {address}}}}}"
    )
}

fn service(name: &str, annotation: &str) -> String {
    format!(
        "{{apiVersion: v1, kind: Service, metadata: {{name: {name}, namespace: shop, \
         annotations: {{service.cilium.io/global: 'true', {annotation}}}}}, \
         spec: {{clusterIP: 10.96.0.1, ports: [{{name: http, port: 80}}]}}}}"
    )
}

/// A slice of the Service, with as many backends.
fn slice(service: &str, backends: u8) -> String {
    let endpoints: Vec<String> = (0..backends)
        .map(|it| format!("{{addresses: [10.9.0.{it}], zone: z1, hostname: h{it}}}"))
        .collect();
    format!(
        "{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, \
         metadata: {{name: {service}-1, namespace: shop, labels: {{kubernetes.io/service-name: {service}}}}}, \
         ports: [{{name: http, port: 8080}}], endpoints: [{}]}}",
        endpoints.join(", ")
    )
}

fn key(kind: &str, namespace: &str, name: &str) -> ObjectKey {
    let kind = ObjectKind::ALL
        .into_iter()
        .find(|it| it.to_string() == kind);
    ObjectKey {
        kind: kind.unwrap(),
        name: ObjectName::new(namespace, name),
    }
}

fn keys(publisher: &Publisher, prefix: &str) -> Vec<String> {
    let keys = publisher.table().keys();
    keys.filter(|it| it.starts_with(prefix))
        .map(ToString::to_string)
        .collect()
}

fn value(publisher: &Publisher, key: &str) -> String {
    String::from_utf8(publisher.table()[key].to_vec()).unwrap()
}

fn decode(publisher: &Publisher, key: &Key) -> Record {
    Record::decode(key, &publisher.table()[&*key.published()], None).unwrap()
}

/// The keys put (`+`) and deleted (`-`), sorted.
fn texts(changes: &Changes) -> Vec<String> {
    let mut texts: Vec<String> = changes
        .iter()
        .map(|it| match it {
            Change::Delete(key) => format!("-{key}"),
            Change::Put(key, _) => format!("+{key}"),
        })
        .collect();
    texts.sort();
    texts
}
