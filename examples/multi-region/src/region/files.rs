//! Decides what stands in the configuration files of a region.

use lab::{Plan, Region};

use super::{GLOBAL_NAME, PROBE_INTERVAL, PROBE_TIMEOUT, edge_address};

/// A region's place on Earth, in degrees.
pub(crate) struct City {
    pub(crate) region: &'static str,
    pub(crate) name: &'static str,
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) country: &'static str,
    pub(crate) continent: &'static str,
}

pub(crate) const CITIES: [City; 3] = [
    City {
        region: "eu",
        name: "Frankfurt",
        latitude: 50.11,
        longitude: 8.68,
        country: "DE",
        continent: "EU",
    },
    City {
        region: "us",
        name: "Ashburn",
        latitude: 39.04,
        longitude: -77.49,
        country: "US",
        continent: "NA",
    },
    City {
        region: "ap",
        name: "Singapore",
        latitude: 1.35,
        longitude: 103.82,
        country: "SG",
        continent: "AS",
    },
];

/// The zone that every region serves: the nearest region whose edge is well.
pub(crate) fn zone(plan: &Plan) -> String {
    let edges: Vec<String> = plan
        .regions
        .iter()
        .map(|it| format!("'{}'", edge_address(it)))
        .collect();
    let edges = edges.join(", ");
    let (interval, timeout) = (PROBE_INTERVAL.as_secs(), PROBE_TIMEOUT.as_secs());
    format!(
        "\
$TTL 60
@        IN SOA ns hostmaster 1 3600 600 604800 5
@        IN NS  ns
ns       IN A   {control}
; The nearest region whose edge answers for its own pods; all of them if none does.
shop   5 IN LUA A ( \"ifurlup('http://{GLOBAL_NAME}/healthz', {{{{{edges}}}}}, \"
                    \"{{selector='pickclosest', interval={interval}, timeout={timeout}}})\" )
; The same by a connect to the port, and without any check.
tcp    5 IN LUA A \"ifportup(80, {{{edges}}}, {{selector='pickclosest', interval={interval}, timeout={timeout}}})\"
near   5 IN LUA A \"pickclosest({{{edges}}})\"
",
        control = plan.regions[0].control_address(),
    )
}

/// Where the regions' hosts and pods are, which no public database knows.
pub(crate) fn places(plan: &Plan) -> String {
    let mut text = String::new();
    for region in &plan.regions {
        let city = city(&region.name);
        for prefix in [region.underlay, region.pod_range()] {
            text.push_str(&format!(
                "- prefix: {prefix}\n  name: {}\n  latitude: {}\n  longitude: {}\n  \
                 country: {}\n  continent: {}\n",
                city.name, city.latitude, city.longitude, city.country, city.continent,
            ));
        }
    }
    text
}

fn city(region: &str) -> &'static City {
    let found = CITIES.iter().find(|it| it.region == region);
    found.expect("the plan has the regions of the table")
}

/// The latitude and longitude of a region.
pub(crate) fn location(region: &str) -> (f64, f64) {
    let city = city(region);
    (city.latitude, city.longitude)
}

/// What `meshctl` needs to know of the region.
pub(crate) fn context(region: &Region) -> String {
    let control = region.control_address();
    let agents = region.node_numbers();
    let agents = agents.map(|it| format!("\"http://{}:9962\"", region.node_address(it)));
    let agents: Vec<String> = agents.collect();
    format!(
        "cluster: {}\napiservers: [\"http://{control}:9962\"]\nagents: [{}]\n\
         dns: [\"http://{control}:9963\"]\n",
        region.name,
        agents.join(", "),
    )
}
