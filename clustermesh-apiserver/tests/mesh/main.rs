//! Runs real API servers beside each other and looks at their stores with etcd's own client.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "waiting for other processes needs the time"
)]

mod agents;
mod authority;
mod etcd;
mod export;
mod fairness;
mod kill;
mod numbering;
mod region;
mod watch;

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use authority::Authority;
use etcd::Etcd;
use region::{Region, admin, eventually};

#[test]
fn mirrors_a_cluster_and_every_change_of_it() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    let mut eu = eu.peered_with(&[&us]);
    let mut us = us.peered_with(&[&eu]);
    eu.start();
    us.start();
    us.expect_peer("eu", true);

    let mirrored = [
        "cilium/cache/endpointslices/v1/eu/shop/shop-1",
        "cilium/cache/identities/v1/eu/id/",
        "cilium/cache/ip/v1/eu/10.1.1.10",
        "cilium/cache/nodes/v1/eu/eu-node-1",
        "cilium/cache/services/v1/eu/shop/shop",
        "cilium/synced/eu/cilium/cache/services/v1",
    ];
    for key in mirrored {
        eventually(key, || us.keys(key).len() == 1);
    }
    let config = us.value("cilium/cluster-config/eu").unwrap();
    assert!(config.starts_with(r#"{"id":1,"capabilities":{"syncedCanaries":true,"cached":true,"#));
    let source = eu.value("cilium/state/ip/v1/default/10.1.1.10");
    assert_eq!(us.value("cilium/cache/ip/v1/eu/10.1.1.10"), source);
    assert!(source.unwrap().contains(r#""HostIP":"192.0.2.11""#));

    eu.write("shop.yaml", &shop(1, &["10.1.1.10", "10.1.1.11"]));
    eventually("the new backend", || {
        us.backends_of("eu").contains("10.1.1.11")
    });
    eu.write("shop.yaml", &shop(1, &["10.1.1.11"]));
    eventually("one backend less", || {
        !us.backends_of("eu").contains("10.1.1.10")
    });

    let status = admin(us.admin, "/v1/status");
    assert!(status.contains(r#""problems":[]"#), "{status}");
    let metrics = admin(us.admin, "/metrics");
    let labels = r#"{source_cluster="us",target_cluster="eu"}"#;
    eventually("the metrics", || {
        let ready = format!("cilium_kvstoremesh_remote_cluster_readiness_status{labels} 1");
        admin(us.admin, "/metrics").contains(&ready)
    });
    assert!(
        metrics.contains("cilium_kvstoremesh_remote_clusters 1"),
        "{metrics}"
    );
    eu.stop();
    us.stop();
}

#[test]
fn survives_the_death_and_return_of_a_peer() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    let mut eu = eu.peered_with(&[&us]);
    let mut us = us.peered_with(&[&eu]);
    eu.start();
    us.start();
    us.expect_peer("eu", true);
    eu.expect_peer("us", true);
    eventually("eu in us", || us.backends_of("eu").contains("10.1.1.10"));
    let mut watch = us.watch("cilium/cache/");

    eu.kill();
    us.expect_peer("eu", false);
    assert!(us.backends_of("eu").contains("10.1.1.10"));
    eu.start();

    us.expect_peer("eu", true);
    eventually("us in eu again", || {
        eu.backends_of("us").contains("10.2.1.10")
    });
    eu.write("shop.yaml", &shop(1, &["10.1.1.12"]));
    eventually("the next change", || {
        us.backends_of("eu").contains("10.1.1.12")
    });
    // In all that time nothing was deleted but what the source deleted at last.
    eventually("the old address goes", || !watch.deletes().is_empty());
    assert_eq!(watch.deletes(), ["cilium/cache/ip/v1/eu/10.1.1.10"]);
}

#[test]
fn keeps_what_a_broken_file_said_and_names_the_place() {
    let authority = Authority::new();
    let mut eu = Region::new(&authority, "eu", 1);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    eu.start();

    eu.write(
        "shop.yaml",
        "apiVersion: v1\nkind: Service\nmetadata: {name: [",
    );
    eventually("the problem", || {
        admin(eu.admin, "/v1/status").contains("shop.yaml:3:")
    });
    assert!(eu.value("cilium/state/services/v1/eu/shop/shop").is_some());
    eventually("the metric", || {
        let problem = r#"mesh_clustermesh_apiserver_problems{kind="manifest"} 1"#;
        admin(eu.admin, "/metrics").contains(problem)
    });

    eu.write("shop.yaml", "");
    eventually("an empty cluster", || {
        eu.value("cilium/state/services/v1/eu/shop/shop").is_none()
    });
    assert!(admin(eu.admin, "/v1/status").contains(r#""problems":[]"#));
}

#[test]
fn withdraws_a_cluster_that_is_no_longer_configured() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    us.write("shop.yaml", &shop(2, &["10.2.1.10"]));
    let mut eu = eu.peered_with(&[&us]);
    let mut us = us;
    eu.start();
    assert!(admin(eu.admin, "/v1/status").contains(r#""state":"lost""#));
    us.start();
    eventually("us", || eu.backends_of("us").contains("10.2.1.10"));

    fs::remove_file(eu.directory().join("clustermesh/us")).unwrap();

    eventually("no cluster-config", || {
        eu.value("cilium/cluster-config/us").is_none()
    });
    eu.expect_peer("us", false);
    assert!(
        eu.backends_of("us").contains("10.2.1.10"),
        "the rest stays for a while"
    );

    us.configure_in(&eu);
    eu.expect_peer("us", true);
    eventually("the cluster-config", || {
        eu.value("cilium/cluster-config/us").is_some()
    });
}

#[test]
fn holds_a_peer_to_its_contract_and_names_overlapping_pods() {
    let authority = Authority::new();
    let eu = Region::new(&authority, "eu", 1);
    let us = Region::new(&authority, "us", 2);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    // The same pod prefix as in the other region.
    us.write(
        "shop.yaml",
        &shop(2, &["10.2.1.10"]).replace("10.2.1.0/24", "10.1.0.0/16"),
    );
    let mut eu = eu;
    let mut us = us.peered_with(&[&eu]);
    let contract = us.directory().join("clustermesh/eu.contract.yaml");
    region::replace(&contract, "cluster: {id: 1}\nnamespaces: [other]\n");
    eu.start();
    us.start();
    us.expect_peer("eu", true);
    eventually("the cluster-config", || {
        us.value("cilium/cluster-config/eu").is_some()
    });
    assert_eq!(us.backends_of("eu"), "");
    let status = || admin(us.admin, "/v1/status");
    eventually("the violation", || {
        status().contains("is none of its namespaces")
    });
    eventually("the overlap", || {
        status().contains("clusters eu and us have pods in the same addresses")
    });

    region::replace(&contract, "namespaces: [shop]\npodCIDRs: [10.1.0.0/16]\n");
    eventually("the service", || us.backends_of("eu").contains("10.1.1.10"));
    region::replace(&contract, "namespace: []\n");
    eventually("the problem", || {
        status().contains("eu.contract.yaml:1:1: ")
    });
    assert!(
        us.backends_of("eu").contains("10.1.1.10"),
        "what was good stays in force"
    );
    region::replace(&contract, "cluster: {id: 3}\n");
    us.expect_peer("eu", false);
    eventually("the refusal", || {
        status().contains("its id is 1, and its contract says 3")
    });
}

#[test]
fn publishes_to_a_real_etcd_and_tidies_up_after_itself() {
    let authority = Authority::new();
    let etcd = Etcd::start();
    let mut eu = Region::new(&authority, "eu", 1).stored_in(&etcd);
    eu.write("shop.yaml", &shop(1, &["10.1.1.10"]));
    eu.start();
    eventually("the pod", || {
        eu.value("cilium/state/ip/v1/default/10.1.1.10").is_some()
    });
    eventually("the canary", || eu.value("causeway/synced/eu").is_some());

    eu.stop();
    assert!(
        eu.value("cilium/state/ip/v1/default/10.1.1.10").is_some(),
        "a restart empties nothing"
    );
    eu.write("shop.yaml", &shop(1, &["10.1.1.11"]));
    eu.start();

    eventually("the new pod", || {
        eu.value("cilium/state/ip/v1/default/10.1.1.11").is_some()
    });
    eventually("no old pod", || {
        eu.value("cilium/state/ip/v1/default/10.1.1.10").is_none()
    });
    eu.stop();
}

#[test]
fn explains_in_one_sentence_why_it_does_not_start() {
    check_start(
        &["--objects", "/nowhere"],
        1,
        "error: --objects must name a directory that can be read: /nowhere: ",
    );
    check_start(
        &["--kubernetes"],
        1,
        "error: --kubernetes is not built yet; ",
    );
    check_start(
        &["--objects", "/", "--data-dir", "/dev/null"],
        1,
        "error: /dev/null: File exists (os error 17); the data directory must be writable",
    );
    check_start(
        &["--objects", "/", "--listen", "192.0.2.1:2379"],
        2,
        "error: --insecure-loopback serves plaintext",
    );
    check_start(
        &["--objects", "/", "--kubernetes"],
        2,
        "error: the argument '--objects <DIR>' cannot be used with",
    );
}

#[track_caller]
fn check_start(arguments: &[&str], code: i32, sentence: &str) {
    let mut command = Command::new(region::APISERVER);
    command.args([
        "--cluster-name",
        "eu",
        "--cluster-id",
        "1",
        "--admin",
        "127.0.0.1:0",
    ]);
    command
        .args(["--log", "off", "--insecure-loopback"])
        .args(arguments);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.starts_with(sentence), "{text}");
    if code == 1 {
        assert_eq!(text.lines().count(), 1, "{text}");
    }
}

/// A region with one node, one pod per address, and the global Service `shop/shop`.
fn shop(region: u8, addresses: &[&str]) -> String {
    let name = if region == 1 { "eu" } else { "us" };
    let mut text = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: shop}}\n\
         ---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}-node-1}}\n\
         spec: {{podCIDRs: [10.{region}.1.0/24]}}\n\
         status: {{addresses: [{{type: InternalIP, address: 192.0.2.11}}]}}\n\
         ---\napiVersion: v1\nkind: Service\n\
         metadata: {{name: shop, namespace: shop, annotations: {{service.cilium.io/global: 'true'}}}}\n\
         spec: {{clusterIP: 10.11{region}.0.10, ports: [{{port: 80}}]}}\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: shop-1, namespace: shop, labels: {{kubernetes.io/service-name: shop}}}}\n\
         addressType: IPv4\nports: [{{port: 8080}}]\nendpoints:\n",
    );
    for address in addresses {
        text += &format!("- {{addresses: [{address}], conditions: {{ready: true}}}}\n");
    }
    for (number, address) in addresses.iter().enumerate() {
        text += &format!(
            "---\napiVersion: v1\nkind: Pod\n\
             metadata: {{name: shop-{number}, namespace: shop, labels: {{app: shop}}}}\n\
             spec: {{nodeName: {name}-node-1, containers: []}}\n\
             status: {{podIP: {address}, phase: Running}}\n"
        );
    }
    text
}

/// How long something may take before it counts as never happening.
const HANG: Duration = Duration::from_secs(30);
