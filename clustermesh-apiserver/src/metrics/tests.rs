use prometheus_client::encoding::text;

use super::*;

#[test]
fn has_the_names_that_dashboards_know() {
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (eu, us) = ("eu".parse().unwrap(), "us".parse().unwrap());
    metrics.set_published(&eu, Duration::from_millis(250));
    metrics.set_mirrored(Duration::from_secs(3));
    metrics.observe_latency(&eu, &us, Duration::from_millis(3));
    metrics.show_way(&eu, &us, &Journal::default());
    let liveness = LivenessReport {
        decided_by: Witness::DataPlane,
        nodes_reporting: 3,
        nodes_reaching: 2,
        nodes_not_reaching: 1,
    };
    metrics.show_liveness(&eu, &us, liveness);
    let synced = true;
    let report = KindReport { records: 2, synced };
    metrics.show_kind(&us, "nodes".to_owned(), report);
    let certificates = ["/pki/server.crt", "/pki/us.crt"].map(|file| CertificateReport {
        file: file.to_owned(),
        not_after: 1_800_000_000_000,
        ..CertificateReport::default()
    });
    metrics.show_certificates(Some(&certificates[0]), certificates[1..].iter());

    let mut found = String::new();
    text::encode(&mut found, &registry).unwrap();

    for line in [
        "cilium_kvstoremesh_remote_clusters 0",
        r#"cilium_kvstoremesh_remote_cluster_failures{source_cluster="eu",target_cluster="us"} 0"#,
        r#"cilium_kvstoremesh_remote_cluster_last_failure_ts{source_cluster="eu",target_cluster="us"} 0.0"#,
        r#"cilium_kvstoremesh_kvstore_initial_sync_completed{scope="nodes/v1",source_cluster="us",action="read"} 1"#,
        "cilium_kvstoremesh_bootstrap_seconds 3.0",
        r#"cilium_clustermesh_apiserver_kvstore_initial_sync_completed{scope="services/v1",source_cluster="eu",action="write"} 1"#,
        "cilium_clustermesh_apiserver_bootstrap_seconds 0.25",
        r#"mesh_clustermesh_apiserver_remote_cluster_records{target_cluster="us",kind="nodes"} 2"#,
        r#"mesh_clustermesh_apiserver_remote_cluster_reporting_nodes{source_cluster="eu",target_cluster="us"} 3"#,
        r#"mesh_clustermesh_apiserver_remote_cluster_reaching_nodes{source_cluster="eu",target_cluster="us"} 2"#,
        r#"mesh_clustermesh_apiserver_remote_cluster_judged_by_data_plane{source_cluster="eu",target_cluster="us"} 1"#,
        r#"mesh_clustermesh_apiserver_propagation_latency_seconds_bucket{le="0.005",source_cluster="eu",target_cluster="us"} 1"#,
        r#"mesh_clustermesh_apiserver_certificate_expiry_unix_seconds{file="/pki/server.crt",usage="server"} 1800000000.0"#,
        r#"mesh_clustermesh_apiserver_certificate_expiry_unix_seconds{file="/pki/us.crt",usage="client"} 1800000000.0"#,
    ] {
        let mut lines = found.lines();
        assert!(lines.any(|it| it == line), "{line} is not in\n{found}");
    }
}
