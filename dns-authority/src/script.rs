//! LUA records that are scripts: kept as text, and run in a sandbox of which each thread has its own.
//!
//! A script begins anew with each query: what it defines is gone afterwards, and nothing that it does
//! reaches another record. It has no files, no network and no other code than the zone's own, 5 ms of
//! a processor and 16 MiB. The functions of plain records mean the same here. What is checked is found
//! out when the zone is loaded, by trying the script: once as it is, once with every question about the
//! client's place answered by yes, and once by no; what it checks beyond that stays unknown.

mod engine;
mod values;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use crate::check::{Check, CheckId, Checks};
use crate::drain::Scales;
use crate::geo::Atlas;
use crate::plan::value::{Failure, Value};
use crate::plan::{Measures, Program, Registry, Run, Scene};
use crate::text::{ParseError, Position};
use crate::zone::{Zone, Zones};

pub(crate) use engine::run;

/// A script, or code that scripts include.
#[derive(Debug)]
pub(crate) struct Script {
    /// What tells it from all others, also from those of zones that were loaded before.
    number: u64,
    text: String,
    /// Where it stands in its zone's file.
    position: Position,
    kind: u16,
    /// The health checks that it was found to name.
    checks: OnceLock<BTreeMap<Arc<Check>, CheckId>>,
}

impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Script {
    /// # Errors
    ///
    /// It is not Lua.
    pub(crate) fn new(text: &str, position: Position, kind: u16) -> Result<Self, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        engine::check_syntax(text)
            .map_err(|it| ParseError::new(position, format!("the script is not Lua: {it}")))?;
        Ok(Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            text: text.to_owned(),
            position,
            kind,
            checks: OnceLock::new(),
        })
    }

    pub(crate) fn kind(&self) -> u16 {
        self.kind
    }
}

/// Runs each script of `zone` on trial, so that the checks that it names begin.
pub(crate) fn learn(zone: &Zone, atlas: &Atlas, checks: &mut Checks) {
    let scripts = zone
        .plans()
        .filter_map(|(owner, plan)| match &plan.program {
            Program::Script(script) => Some((owner, script)),
            Program::Formula(_) | Program::Library(_) | Program::Pick(_) => None,
        });
    let mut zones = None;
    let (measures, scales) = (Measures::default(), Scales::default());
    for (owner, script) in scripts {
        let zones = zones.get_or_insert_with(|| {
            let mut zones = Zones::default();
            zones.insert(Arc::new(zone.clone()));
            zones
        });
        let scene = Scene::trial(atlas, (&measures, &scales), zones, owner, zone.origin());
        let mut known = BTreeMap::new();
        for forced in [None, Some(true), Some(false)] {
            let mut trial = Run::new(&scene);
            trial.force(forced);
            let registry = Registry::Learning(checks, &mut known);
            // It may well fail for a client that there is not.
            let _: Result<Value, Failure> = run(script, registry, &mut trial);
        }
        let _: Result<(), _> = script.checks.set(known);
    }
}

/// Runs `script` for a query.
pub(crate) fn answer(script: &Arc<Script>, query: &mut Run<'_, '_>) -> Result<Value, Failure> {
    let none = BTreeMap::new();
    let known = script.checks.get().unwrap_or(&none);
    run(script, Registry::Known(known), query)
}

#[cfg(test)]
mod tests;
