//! Why a service is served by what serves it, and what the API servers count meanwhile.

use std::fs;

use serde_json::{Value, json};

use crate::world::{Life, Server, World, code, eventually, stdout};

#[test]
fn explains_every_backend_without_any_agent() {
    let world = World::new();
    let (eu_ca, us_ca) = (world.authority("eu"), world.authority("us"));
    let eu = world.start("eu", 1, &eu_ca, Life::Good);
    let us = world.start("us", 2, &us_ca, Life::Good);
    publish(&eu, 1);
    publish(&us, 2);
    let alone = ["explain", "service", "shop/unheard-of"];
    let unknown = world.meshctl(&alone);
    assert_eq!(code(&unknown), 1);
    let error = String::from_utf8(unknown.stderr).unwrap();
    let expected = "cluster eu has no service shop/unheard-of, and none is shared with it\n";
    assert!(error.ends_with(expected), "{error}");

    let connect = [
        world.connect_arguments(&eu, &us),
        vec!["--apply".to_owned()],
    ]
    .concat();
    let connect: Vec<&str> = connect.iter().map(String::as_str).collect();
    assert_eq!(code(&world.meshctl(&connect)), 0);
    let question = ["clustermesh", "explain", "service", "shop/shop"];
    eventually("both clusters' backends", || {
        stdout(&world.meshctl(&question)).contains("2 of 22 backends serve")
    });

    assert_eq!(
        stdout(&world.meshctl(&question)),
        "\
Service shop/shop on the nodes of cluster eu
global, affinity local; served at 10.111.0.10

Port 80/TCP: preferred by affinity local; 2 of 22 backends serve
CLUSTER  BACKEND         ZONE  VERDICT
eu       10.1.1.10:8080  eu-a  chosen
eu       10.1.1.11:8080  eu-a  chosen
us       10.2.1.10:8080  us-a  passed over: affinity is local
us       10.2.1.11:8080  us-a  passed over: affinity is local
us       10.2.1.12:8080  us-a  passed over: affinity is local
us       10.2.1.13:8080  us-a  passed over: affinity is local
us       10.2.1.14:8080  us-a  passed over: affinity is local
us       10.2.1.15:8080  us-a  passed over: affinity is local
us       10.2.1.16:8080  us-a  passed over: affinity is local
us       10.2.1.17:8080  us-a  passed over: affinity is local
us       and 12 more           passed over: affinity is local
Every backend is shown with --all.
"
    );
    let all = stdout(&world.meshctl(&[&question[..], &["--all"]].concat()));
    assert!(
        all.contains("us       10.2.1.29:8080  us-a  passed"),
        "{all}"
    );
    let value = world.meshctl(&[&question[..], &["-o", "json"]].concat());
    let value: Value = serde_json::from_str(&stdout(&value)).unwrap();
    let passed_over = &value["ports"][0]["selection"]["passed_over"];
    assert_eq!(passed_over.as_array().unwrap().len(), 20);
    assert_eq!(passed_over[19]["address"], "10.2.1.29:8080");
    assert_eq!(passed_over[19]["because"], json!({"affinity": "local"}));
    check_metrics(&world, &eu);
}

/// What only real writing, mirroring and serving counts.
#[track_caller]
fn check_metrics(world: &World, eu: &Server) {
    for (series, is_zero) in [
        (
            r#"cilium_clustermesh_apiserver_kvstore_operations_duration_seconds_count{action="Txn",kind="set","#,
            false,
        ),
        (
            r#"cilium_kvstoremesh_kvstore_operations_duration_seconds_count{action="ListPrefix",kind="read","#,
            false,
        ),
        (
            r#"cilium_kvstoremesh_kvstore_sync_queue_size{scope="services/v1",source_cluster="us"}"#,
            true,
        ),
        (
            r#"cilium_clustermesh_apiserver_kvstore_sync_errors_total{scope="services/v1",source_cluster="eu"}"#,
            true,
        ),
        (
            r#"mesh_clustermesh_apiserver_remote_cluster_changes_waiting{source_cluster="eu",target_cluster="us"}"#,
            true,
        ),
        ("causeway_kvstore_connections ", false),
        ("causeway_kvstore_certificate_reload_failures_total", true),
    ] {
        // Some are shown once a second.
        eventually(series, || {
            let page = world.admin(eu, "/metrics");
            let found = page.lines().find(|it| it.starts_with(series));
            found.is_some_and(|it| it.ends_with(" 0") == is_zero)
        });
    }
}

/// A shared service with two backends in the first cluster and twenty in the second, each in one zone.
fn publish(server: &Server, id: u8) {
    let name = server.name;
    let backends = if id == 1 { 10..12 } else { 10..30 };
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n\
         ---\napiVersion: v1\nkind: Service\n\
         metadata:\n  name: shop\n  namespace: shop\n  annotations:\n    \
         service.cilium.io/global: 'true'\n    service.cilium.io/affinity: local\n\
         spec: {{clusterIP: 10.11{id}.0.10, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: shop-1, namespace: shop, labels: {{kubernetes.io/service-name: shop}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints:\n"
    );
    for number in backends {
        text += &format!(
            "- {{addresses: [10.{id}.1.{number}], zone: {name}-a, conditions: {{ready: true}}}}\n"
        );
    }
    fs::write(server.objects().join("shop.yaml"), text).unwrap();
}
