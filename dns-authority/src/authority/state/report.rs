//! Says how the authority is, and what an operator should do about it.

use topology::report::{CheckReport, DnsHealth, DnsStatus, Problem, ZoneReport};

use super::State;
use crate::authority::problems::verdict_problem;
use crate::plan::Backup;
use crate::wire::name::Shown;

impl State {
    pub(in crate::authority) fn status(&self) -> DnsStatus {
        let published = self.world.load();
        let zones = published.zones.iter().map(|zone| ZoneReport {
            origin: Shown(zone.origin()).to_string(),
            source: match self.library.file_of(zone.origin()) {
                Some(file) => file.display().to_string(),
                None => "mesh".to_owned(),
            },
            names: zone.names(),
        });
        let verdicts = self.verdicts.verdicts(self.clock.now());
        let checks = verdicts.map(|(it, health, since)| CheckReport {
            target: it.check.to_string(),
            health,
            since,
            last_error: it.last_error.to_owned(),
        });
        DnsStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: false,
            listen: self.listen.clone(),
            zones: zones.collect(),
            checks: checks.collect(),
            store: self.follows_mesh.then(|| self.names.link().clone()),
            problems: self.problems(),
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let problem = |what: String, remedy: &str| Problem {
            what,
            remedy: remedy.to_owned(),
        };
        let mut problems = Vec::new();
        for what in self.library.problems() {
            problems.push(problem(
                what,
                "mend the file; until then its zone stays as it was",
            ));
        }
        for what in self.keeper.problems() {
            problems.push(problem(
                what.to_owned(),
                "until then the zone stays as it was",
            ));
        }
        for what in &self.place_problems {
            let remedy = "mend the file; until then places stay as they were";
            problems.push(problem(what.clone(), remedy));
        }
        problems.extend(self.signing.problems());
        problems.extend(self.verdicts.problems());
        let verdicts = self.verdicts.verdicts(self.clock.now());
        problems.extend(verdicts.filter_map(|(it, health, _)| verdict_problem(&it, health)));
        if let Some(what) = &self.save_problem {
            let remedy =
                "make room or mend --state-dir; a restart begins with older health until then";
            problems.push(problem(what.clone(), remedy));
        }
        for planned in self.failing_open() {
            let pick = planned.pick();
            let what = format!(
                "every target of {} ({}) is unhealthy",
                Shown(&planned.owner),
                pick.function
            );
            let remedy = match pick.backup {
                Backup::Empty => "look at its targets; nothing is answered meanwhile, as it says",
                Backup::Select(_) => "look at its targets; they are answered in doubt meanwhile",
            };
            problems.push(problem(what, remedy));
        }
        let link = self.names.link();
        if self.follows_mesh && !link.connected {
            let what = format!("the mesh's store does not answer: {}", link.reason);
            problems.push(problem(
                what,
                "check --etcd-config and that clustermesh-apiserver runs; names of services stay as they were known last",
            ));
        }
        problems
    }

    pub(in crate::authority) fn health(&self) -> DnsHealth {
        let records = (self.planned.as_slice(), &*self.atlas);
        let at = (self.bounds, self.clock.unix_milliseconds());
        DnsHealth {
            drains: self.draining.reports(records, at),
            ..self.verdicts.report(self.now())
        }
    }
}
