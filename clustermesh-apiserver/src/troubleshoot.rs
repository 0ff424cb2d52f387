//! Goes the way to a remote cluster step by step, and says at each what was found and what to do.
//!
//! ```text
//! per endpoint  dns → tcp → tls → server-certificate → client-certificate → etcd
//! per cluster   auth → cluster-config → canaries → contract → pulse
//! ```
//!
//! A step whose ground is missing is skipped; the others go on.

use topology::record::Kind;
use topology::report::{Outcome, PeerReport, Step};

use crate::admin::Peer;
use crate::fresh;
use crate::remote::Remote;

mod endpoint;
mod tls;
pub mod version;

/// The endpoints of one cluster that are looked at; etcd clusters have three or five.
const ENDPOINTS_MAX: usize = 8;

/// All steps of the way to `peer`, in their order.
pub async fn steps(peer: Peer, now_unix_milliseconds: u64) -> Vec<Step> {
    let Peer { report, view, .. } = peer;
    let name = report.cluster.name.as_str();
    let config = view.config.clone();
    let mut steps = Vec::new();
    for endpoint in config.endpoints.iter().take(ENDPOINTS_MAX) {
        let found = endpoint::steps(&config, endpoint, name, now_unix_milliseconds).await;
        steps.extend(found);
    }

    match fresh::remote(view, now_unix_milliseconds.into()).await {
        Ok(remote) => {
            steps.push(passed("auth", "its records may be read".to_owned()));
            steps.extend(cluster(&remote, &report, now_unix_milliseconds));
        }
        Err(error) => {
            let remedy = unreadable(&error.to_string(), name, is_reached(&steps));
            steps.push(failed("auth", error.to_string(), remedy));
            let skipped = ["cluster-config", "canaries", "contract", "pulse"];
            steps.extend(skipped.map(|it| skip(it, "its store cannot be read")));
        }
    }
    steps
}

/// Whether some endpoint is an etcd that answers.
fn is_reached(steps: &[Step]) -> bool {
    let mut answers = steps.iter().filter(|it| it.step == "etcd");
    answers.any(|it| it.outcome == Outcome::Passed)
}

fn unreadable(error: &str, name: &str, is_reached: bool) -> String {
    match is_reached {
        _ if error.contains("permission denied") => format!(
            "let the common name of our client certificate be a user of {name}'s etcd with the \
             role `remote`, such as remote-NAME with the name of our cluster"
        ),
        true => format!("read the log of {name}'s clustermesh-apiserver"),
        false => "remedy the step that failed first".to_owned(),
    }
}

/// What the cluster itself says, as far as it was read.
fn cluster(remote: &Remote, report: &PeerReport, now: u64) -> Vec<Step> {
    let config = cluster_config(remote);
    if config.outcome == Outcome::Failed {
        let skipped = ["canaries", "contract", "pulse"];
        let skipped = skipped.map(|it| skip(it, "nothing of the cluster is believed"));
        return [config].into_iter().chain(skipped).collect();
    }
    vec![
        config,
        canaries(remote),
        contract(remote, report),
        pulse(report, now),
    ]
}

fn cluster_config(remote: &Remote) -> Step {
    let name = remote.name();
    match (remote.refusal(), remote.config()) {
        (None, Some(config)) => {
            let capabilities = &config.capabilities;
            let found = format!(
                "id {}, a mesh of {}, {} canaries, a {}",
                config.id,
                match capabilities.max_connected_clusters {
                    0 => 255,
                    clusters => clusters,
                },
                if capabilities.synced_canaries {
                    "with"
                } else {
                    "without"
                },
                if capabilities.cached {
                    "mirror"
                } else {
                    "source"
                },
            );
            passed("cluster-config", found)
        }
        (None, None) => failed(
            "cluster-config",
            format!("there is no cilium/cluster-config/{name}"),
            missing_config(remote),
        ),
        (Some(refusal), _) => failed(
            "cluster-config",
            refusal.to_owned(),
            match refusal.contains("no cluster-config") {
                true => missing_config(remote),
                false => {
                    "give every cluster its own --cluster-name and --cluster-id, and the same \
                          --max-connected-clusters"
                        .to_owned()
                }
            },
        ),
    }
}

fn missing_config(remote: &Remote) -> String {
    let name = remote.name();
    format!(
        "check that the endpoint is the API server of {name} and no other's, and that it runs with \
         --cluster-name {name}"
    )
}

fn canaries(remote: &Remote) -> Step {
    let is_without = |it: &topology::record::ClusterConfig| !it.capabilities.synced_canaries;
    if remote.config().is_some_and(is_without) {
        return passed("canaries", "it writes none, and says so".to_owned());
    }
    let complete = remote.kinds();
    let missing: Vec<&str> = Kind::ALL
        .into_iter()
        .map(Kind::as_str)
        .filter(|it| !complete.get(*it).is_some_and(|it| it.synced))
        .collect();
    let written = remote.canaries().count();
    match missing.is_empty() {
        true => passed(
            "canaries",
            format!("{written} of {} kinds", Kind::ALL.len()),
        ),
        false => failed(
            "canaries",
            format!("none for {}", missing.join(", ")),
            format!(
                "wait until {} has published everything; if it stays, read the log of its \
                 clustermesh-apiserver",
                remote.name()
            ),
        ),
    }
}

fn contract(remote: &Remote, report: &PeerReport) -> Step {
    let now = remote.rejections().report();
    let reasons = |counts: &std::collections::BTreeMap<String, u64>| {
        let counts = counts
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    };
    if now.total() > 0 {
        return failed(
            "contract",
            format!(
                "{} records break it: {}; at last {}",
                now.total(),
                reasons(&now.by_reason),
                now.last
            ),
            format!(
                "correct what {0} publishes, or what {0}.contract.yaml allows it",
                remote.name()
            ),
        );
    }
    let past = &report.violations;
    if past.total() > 0 {
        return warned(
            "contract",
            format!(
                "kept now, but {} records broke it since the start: {}; at last {}",
                past.total(),
                reasons(&past.by_reason),
                past.last
            ),
            format!("ask {} what it published", remote.name()),
        );
    }
    if let Some(held) = &report.throttle {
        return warned(
            "contract",
            format!(
                "kept, but {} changes wait: it permits {} in a second",
                held.changes_waiting, held.changes_per_second
            ),
            format!(
                "find out why {0} changes so much, or raise limits.changesPerSecond in \
                 {0}.contract.yaml",
                remote.name()
            ),
        );
    }
    let records: usize = remote.kinds().values().map(|it| it.records).sum();
    passed("contract", format!("all {records} records keep it"))
}

fn pulse(report: &PeerReport, now: u64) -> Step {
    let name = &report.cluster.name;
    match report.pulse {
        None => skip("pulse", "the cluster sends none"),
        Some(pulse) if pulse.is_fresh(now) => passed(
            "pulse",
            format!("it takes {} µs to our store", pulse.latency_microseconds),
        ),
        Some(_) => failed(
            "pulse",
            "none arrived for 15 s, although its store can be read".to_owned(),
            format!(
                "compare the clocks of both clusters, and ask `meshctl clustermesh diff {name}`"
            ),
        ),
    }
}

fn passed(step: &str, found: String) -> Step {
    new(step, Outcome::Passed, found, String::new())
}

fn warned(step: &str, found: String, remedy: String) -> Step {
    new(step, Outcome::Warned, found, remedy)
}

fn failed(step: &str, found: String, remedy: String) -> Step {
    new(step, Outcome::Failed, found, remedy)
}

fn skip(step: &str, why: &str) -> Step {
    new(step, Outcome::Skipped, why.to_owned(), String::new())
}

fn new(step: &str, outcome: Outcome, found: String, remedy: String) -> Step {
    Step {
        step: step.to_owned(),
        endpoint: String::new(),
        outcome,
        found,
        remedy,
    }
}
