//! The routes of the admin endpoint about keys: `/v1/dns/keys` and `/v1/dns/delegation`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::timeout;
use topology::report::{DelegationReport, KeyReport, KeysReport, ParentReport, Problem};

use super::problem;
use crate::answer::World;
use crate::dnssec::delegation::{own_problems, parent_problems, records};
use crate::dnssec::keys::{Key, Stage};
use crate::dnssec::parent;
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};
use crate::zone::{ShownData, Zone};

#[derive(Deserialize)]
pub(super) struct OfZone {
    zone: String,
    /// Whom to ask in the place of `--dnssec-parent`.
    parent: Option<SocketAddr>,
}

/// People wait for the answer, and `meshctl` for 3 s.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is known of the zone, and whom to ask about its parent.
type Known = (Arc<ArcSwap<World>>, Option<SocketAddr>);

pub(super) async fn keys(
    State((world, _)): State<Known>,
    Query(request): Query<OfZone>,
) -> Response {
    let zone = match zone(&world, &request.zone) {
        Ok(zone) => zone,
        Err(refused) => return refused,
    };
    let Some(signer) = zone.signer() else {
        let message = format!(
            "{} is not signed: give --dnssec-dir and --dnssec {}=ecdsap256",
            request.zone, request.zone
        );
        return problem(StatusCode::NOT_FOUND, &message);
    };
    let keys = signer.keys();
    Json(KeysReport {
        zone: Shown(zone.origin()).to_string(),
        denial: keys.denial.to_string(),
        keys: keys.keys.iter().map(report).collect(),
    })
    .into_response()
}

pub(super) async fn delegation(
    State((world, parent)): State<Known>,
    Query(request): Query<OfZone>,
) -> Response {
    let zone = match zone(&world, &request.zone) {
        Ok(zone) => zone,
        Err(refused) => return refused,
    };
    let mut report = DelegationReport {
        zone: Shown(zone.origin()).to_string(),
        records: records(&zone),
        parent: None,
        problems: own_problems(&zone),
    };
    match request.parent.or(parent) {
        Some(asked) => match look(asked, &zone).await {
            Ok((parent, problems)) => {
                report.parent = Some(parent);
                report.problems.extend(problems);
            }
            Err(error) => report.problems.push(Problem {
                what: format!("{error:#}"),
                remedy: "ask another server of the parent, or a resolver".to_owned(),
            }),
        },
        None => report.problems.push(Problem {
            what: "nobody knows what the parent says".to_owned(),
            remedy: "name a server of the parent, or a resolver, with --parent".to_owned(),
        }),
    }
    Json(report).into_response()
}

async fn look(asked: SocketAddr, zone: &Zone) -> anyhow::Result<(ParentReport, Vec<Problem>)> {
    let (servers, parent) = timeout(PATIENCE, async {
        tokio::try_join!(
            parent::servers(asked, zone.origin()),
            parent::ask(asked, zone.origin())
        )
    })
    .await
    .with_context(|| format!("{asked} does not answer"))??;
    let ds = parent.ds;
    let problems = parent_problems(zone, &servers, &ds);
    let shown = ds.iter().map(|it| ShownData(kind::DS, it).to_string());
    let report = ParentReport {
        asked,
        servers,
        ds: shown.collect(),
    };
    Ok((report, problems))
}

/// The zone that people mean by `name`.
#[expect(
    clippy::result_large_err,
    reason = "a refusal goes out as it is, once per request of a person"
)]
fn zone(world: &ArcSwap<World>, name: &str) -> Result<Arc<Zone>, Response> {
    let origin = Folded::parse(name).map_err(|why| {
        let message = format!("`{name}` is not a domain name: {why}");
        problem(StatusCode::BAD_REQUEST, &message)
    })?;
    let world = world.load();
    world.zones.0.get(origin.octets()).cloned().ok_or_else(|| {
        let message = format!("no zone {name} is served here");
        problem(StatusCode::NOT_FOUND, &message)
    })
}

fn report(key: &Key) -> KeyReport {
    let (stage, until) = match key.stage {
        Stage::Published => ("published", None),
        Stage::Submitted => ("submitted", None),
        Stage::Active => ("active", None),
        Stage::Retired { until } => ("retired", Some(until * 1000)),
    };
    KeyReport {
        tag: key.pair.tag,
        algorithm: key.pair.private.algorithm().to_string(),
        role: key.role.to_string(),
        stage: stage.to_owned(),
        since: key.since * 1000,
        until,
        made: key.made * 1000,
    }
}
