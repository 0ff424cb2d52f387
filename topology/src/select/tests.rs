use crate::mesh::Event;

use super::*;

#[test]
fn prefers_local_backends() {
    check("local", "eu us ap", "", "eu: Preferred(Local)");
}

#[test]
fn moves_to_the_nearest_remote_cluster_when_the_own_has_none() {
    check("local", "us ap", "", "us: Nearest(Some(Kilometers(6549)))");
}

#[test]
fn passes_over_a_lost_cluster() {
    check(
        "local",
        "us ap",
        "us",
        "ap: Nearest(Some(Kilometers(10258)))",
    );
    check("none", "eu us ap", "us", "ap eu: Merged");
}

#[test]
fn never_selects_nothing_while_somebody_offers() {
    check("local", "us", "us", "us: AllLost");
    check("remote", "us ap", "us ap", "us: AllLost");
}

#[test]
fn shares_the_load_without_affinity() {
    check("none", "eu us ap", "", "ap eu us: Merged");
}

#[test]
fn prefers_the_nearest_remote_cluster_if_told_so() {
    check("remote", "eu us ap", "", "us: Preferred(Remote)");
    check("remote", "eu us ap", "us", "ap: Preferred(Remote)");
    check(
        "remote",
        "eu us ap",
        "us ap",
        "eu: Nearest(Some(Kilometers(0)))",
    );
}

#[test]
fn says_so_when_nobody_offers() {
    check("local", "", "", ": NoBackends");
}

#[test]
fn uses_only_the_own_cluster_for_a_service_that_is_not_global() {
    let mesh = mesh("eu us", "");
    let mut service = service("none", true);
    service.global = false;

    let selection = backends(&mesh, &name(), &service, "http");

    assert_eq!(text(&selection), "eu: NotGlobal");
}

#[test]
fn says_why_the_others_were_passed_over() {
    let mesh = mesh("eu us ap", "us");

    let selection = backends(&mesh, &name(), &service("local", false), "http");

    let because: Vec<String> = (selection.passed_over.iter())
        .map(|it| format!("{} {:?}", it.backend.cluster, it.because))
        .collect();
    assert_eq!(because, ["us Lost"]);
    assert_eq!(
        selection.passed_over[0].backend.address,
        "10.2.1.5:8080".parse().unwrap()
    );
}

#[test]
fn tells_each_backend_s_zone() {
    let mut mesh = mesh("eu us", "");
    for (tree, cluster, id) in [("state", "eu", 1), ("cache", "us", 2)] {
        let service = format!(
            r#"{{"cluster":"{cluster}","namespace":"shop","name":"shop","clusterID":{id},
                "backends":{{"10.{id}.1.5":{{"http":{{"Protocol":"TCP","Port":8080}}}}}},
                "zones":{{"10.{id}.1.5":{{"zone":"{cluster}-a"}}}}}}"#
        );
        let key = format!("cilium/{tree}/services/v1/{cluster}/shop/shop");
        put(&mut mesh, &key, &service);
    }

    let selection = backends(&mesh, &name(), &service("local", true), "http");

    let chosen: Vec<_> = selection
        .backends
        .iter()
        .map(|it| it.zone.as_deref())
        .collect();
    assert_eq!(chosen, [Some("eu-a")]);
    assert_eq!(
        selection.passed_over[0].backend.zone.as_deref(),
        Some("us-a")
    );
}

#[test]
fn finds_the_nearest_and_shares_equal_distances() {
    let paris = Location::new(48.86, 2.35).ok();
    let places = [(50.11, 8.68), (39.04, -77.49), (50.11, 8.68)];
    let place = |it: &(f64, f64)| Location::new(it.0, it.1).ok();

    let (near, distance) = nearest(paris, &places, place);
    assert_eq!((near.len(), distance), (2, Some(Kilometers(478))));

    assert_eq!(nearest(None, &places, place).0.len(), 3);
    assert_eq!(nearest(paris, &[], place), (vec![], None));
}

/// Selects with backends in the clusters `offering`, some of them `lost`, and compares.
#[track_caller]
fn check(affinity: &str, offering: &str, lost: &str, expected: &str) {
    let mesh = mesh(offering, lost);
    let service = service(affinity, offering.contains("eu"));

    assert_eq!(text(&backends(&mesh, &name(), &service, "http")), expected);
}

fn text(selection: &Selection) -> String {
    let clusters: Vec<&str> = (selection.backends.iter())
        .map(|it| it.cluster.as_str())
        .collect();
    format!("{}: {:?}", clusters.join(" "), selection.reason)
}

fn name() -> ServiceName {
    "shop/shop".parse().unwrap()
}

fn service(affinity: &str, offers: bool) -> LocalService {
    let backends = if offers {
        r#"{"10.1.1.5":{"http":{"Protocol":"TCP","Port":8080}}}"#
    } else {
        "{}"
    };
    let json = format!(
        r#"{{"global":true,"shared":true,"affinity":"{affinity}","frontends":["10.111.0.10"],
            "ports":{{"http":{{"Protocol":"TCP","Port":80}}}},"backends":{backends}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

fn mesh(offering: &str, lost: &str) -> Mesh {
    let mut mesh = Mesh::new("eu".parse().unwrap());
    for (id, cluster, location) in [
        (1, "eu", "50.11,8.68"),
        (2, "us", "39.04,-77.49"),
        (3, "ap", "1.35,103.82"),
    ] {
        let tree = if cluster == "eu" { "state" } else { "cache" };
        let node = format!(
            r#"{{"Name":"n","Cluster":"{cluster}","ClusterID":{id},
                "Annotations":{{"causeway.io/location":"{location}"}}}}"#
        );
        put(
            &mut mesh,
            &format!("cilium/{tree}/nodes/v1/{cluster}/n"),
            &node,
        );
        if cluster == "eu" {
            continue;
        }
        let connected = !lost.contains(cluster);
        let peer = format!(r#"{{"connected":{connected},"sinceUnixMilliseconds":1}}"#);
        put(
            &mut mesh,
            &format!("causeway/state/peers/v1/{cluster}"),
            &peer,
        );
        if offering.contains(cluster) {
            let service = format!(
                r#"{{"cluster":"{cluster}","namespace":"shop","name":"shop","clusterID":{id},
                    "backends":{{"10.{id}.1.5":{{"http":{{"Protocol":"TCP","Port":8080}}}}}}}}"#
            );
            put(
                &mut mesh,
                &format!("cilium/cache/services/v1/{cluster}/shop/shop"),
                &service,
            );
        }
    }
    mesh
}

#[track_caller]
fn put(mesh: &mut Mesh, key: &str, value: &str) {
    let rejected = mesh.apply(Event::Put {
        key: key.to_owned(),
        value: value.as_bytes().to_owned(),
    });
    assert!(rejected.is_empty(), "{rejected:?}");
}
