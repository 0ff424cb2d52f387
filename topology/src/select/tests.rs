use crate::health::Health;
use crate::mesh::Event;
use crate::record::{ClusterReach, Reach};

use super::*;

#[test]
fn prefers_local_backends() {
    check("local", "eu us ap", "", "eu: Preferred(Local)");
}

#[test]
fn moves_to_the_nearest_remote_cluster_when_the_own_has_none() {
    check(
        "local",
        "us ap",
        "",
        "us: Nearest(Some(Kilometers(Kilometers(6549))))",
    );
}

#[test]
fn passes_over_a_lost_cluster() {
    check(
        "local",
        "us ap",
        "us",
        "ap: Nearest(Some(Kilometers(Kilometers(10258))))",
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
        "eu: Nearest(Some(Kilometers(Kilometers(0))))",
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
fn passes_over_a_cluster_that_is_out_of_reach_but_never_all() {
    let reach = [
        ("us", Health::Unhealthy, None),
        ("ap", Health::Healthy, None),
    ];
    let nearest = "ap: Nearest(Some(Kilometers(Kilometers(10258))))";
    check_seen("local", "us ap", &reach, nearest);
    check_seen("none", "eu us ap", &reach, "ap eu: Merged");
    check_seen("local", "us", &reach, "us: AllLost");

    let selection = select_seen("none", "eu us ap", &reach);
    let because = selection.passed_over.iter().map(|it| it.because);
    assert_eq!(because.collect::<Vec<_>>(), [Because::Unreachable]);
}

#[test]
fn says_lost_of_a_cluster_that_is_both_lost_and_out_of_reach() {
    let mut mesh = mesh("eu us", "us");
    mesh.see(reach(&[("us", Health::Unhealthy, None)]));

    let selection = backends(&mesh, &name(), &service("none", true), "http");

    assert_eq!(selection.passed_over[0].because, Because::Lost);
}

#[test]
fn believes_other_nodes_where_this_one_has_not_probed() {
    let mut mesh = mesh("eu us", "");
    let us: &ClusterName = &"us".parse().unwrap();
    let tell = |mesh: &mut Mesh, node: &str, health| {
        let value = serde_json::to_string(&reach(&[("us", health, None)])).unwrap();
        let key = format!("causeway/agents/reach/v1/eu/{node}");
        put(mesh, &key, &value);
    };

    assert!(mesh.is_reachable(us), "nobody knows");
    tell(&mut mesh, "a", Health::Unhealthy);
    assert!(!mesh.is_reachable(us));
    tell(&mut mesh, "b", Health::Unknown);
    assert!(mesh.is_reachable(us), "one is enough");
    mesh.see(reach(&[("us", Health::Unhealthy, None)]));
    assert!(!mesh.is_reachable(us), "the own view counts first");
}

#[test]
fn goes_by_round_trips_where_all_in_question_are_measured() {
    let near = Some(40_000);
    let far = Some(90_000);
    check_seen(
        "local",
        "us ap",
        &[("us", Health::Healthy, far), ("ap", Health::Healthy, near)],
        "ap: Nearest(Some(RoundTrip(RoundTrip { microseconds: 40000 })))",
    );
    check_seen(
        "local",
        "us ap",
        &[("us", Health::Healthy, far), ("ap", Health::Healthy, None)],
        "us: Nearest(Some(Kilometers(Kilometers(6549))))",
    );
    let equal = [
        ("us", Health::Healthy, Some(40_900)),
        ("ap", Health::Healthy, near),
    ];
    let selection = select_seen("remote", "eu us ap", &equal);
    assert_eq!(text(&selection), "ap us: Preferred(Remote)");
}

#[test]
fn steps_of_round_trips_are_a_millisecond_or_a_tenth_wide() {
    let step = |microseconds| RoundTrip { microseconds }.step();

    assert_eq!(step(0), step(999));
    assert_eq!(step(999) + 1, step(1_000));
    assert_eq!(step(10_000), step(10_999));
    assert_eq!(step(10_999) + 1, step(11_000));
    assert!(step(100_000) < step(115_000));
    assert!(step(u32::MAX) < 200);
    assert!((0..300_000).is_sorted_by_key(step));
}

#[test]
fn tells_distances_as_numbers_and_round_trips_by_name() {
    let json = |it: Reason| serde_json::to_string(&it).unwrap();
    let kilometers = Reason::Nearest(Some(Distance::Kilometers(Kilometers(6549))));
    let microseconds = 12_345;
    let measured = Reason::Nearest(Some(Distance::RoundTrip(RoundTrip { microseconds })));

    assert_eq!(json(kilometers), r#"{"nearest":6549}"#);
    assert_eq!(
        json(measured),
        r#"{"nearest":{"roundTripMicroseconds":12345}}"#
    );
    for reason in [kilometers, measured] {
        assert_eq!(
            serde_json::from_str::<Reason>(&json(reason)).unwrap(),
            reason
        );
    }
    assert_eq!(
        measured.to_string(),
        "nearest of the other clusters, 12.3 ms"
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

#[track_caller]
fn check_seen(affinity: &str, offering: &str, seen: &[Seen], expected: &str) {
    assert_eq!(text(&select_seen(affinity, offering, seen)), expected);
}

/// A cluster with its health and its round trip in microseconds, as this node sees it.
type Seen = (&'static str, Health, Option<u32>);

fn select_seen(affinity: &str, offering: &str, seen: &[Seen]) -> Selection {
    let mut mesh = mesh(offering, "");
    mesh.see(reach(seen));
    let service = service(affinity, offering.contains("eu"));
    backends(&mesh, &name(), &service, "http")
}

fn reach(seen: &[Seen]) -> Reach {
    let clusters = seen.iter().map(|(cluster, health, round_trip)| {
        let reach = ClusterReach {
            health: *health,
            since_unix_milliseconds: 1,
            round_trip_microseconds: *round_trip,
            loss_per_mille: 0,
            path_mtu: None,
        };
        (cluster.parse().unwrap(), reach)
    });
    Reach {
        clusters: clusters.collect(),
    }
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
