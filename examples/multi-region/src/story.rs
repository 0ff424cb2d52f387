//! The story of three regions: what happens, in which order, and what must hold after each step.

mod steps;

use std::thread;
use std::time::Duration;

use anyhow::Result;
use lab::{Authority, Lab, unix_microseconds};

use crate::clients::Clients;
use crate::observer::Observer;
use crate::progress::Progress;
use crate::region::{self, Running};
use crate::report::{Client, Measure, Report, Step};
use crate::{telling, timeline};

/// Quiet traffic between the steps, for the eye and for the counts.
const CALM: Duration = Duration::from_secs(2);

/// Tells the story and returns what came of it, with the mesh still running.
pub(crate) fn tell(lab: &Lab) -> Result<(Report, Vec<Running>)> {
    let observer = Observer::default();
    thread::scope(|scope| {
        let started = unix_microseconds();
        let progress = Progress::start("starting three regions");
        let running = start(lab)?;
        drop(progress);

        let end = observer.end_when_dropped();
        scope.spawn(|| observer.watch(lab));
        let mut story = Story {
            lab,
            clients: Clients::default(),
            running,
            started,
            steps: Vec::new(),
        };
        story.run()?;
        drop(end);
        Ok(story.end(&observer))
    })
}

fn start(lab: &Lab) -> Result<Vec<Running>> {
    let authority = Authority::new()?;
    let regions = &lab.plan().regions;
    regions
        .iter()
        .try_for_each(|it| region::prepare(lab, it, &authority))?;
    regions.iter().map(|it| Running::start(lab, it)).collect()
}

struct Story<'a> {
    lab: &'a Lab,
    running: Vec<Running>,
    clients: Clients,
    /// In microseconds since 1970, as all times here.
    started: u64,
    steps: Vec<Step>,
}

impl Story<'_> {
    /// Goes on after a step that failed: what came of the others may say why. Only a mesh that has
    /// never come up has nothing more to tell.
    fn run(&mut self) -> Result<()> {
        self.step(
            1,
            "Converged: every node knows all clusters, services, identities and tunnels",
            Self::converge,
        )?;
        if !self.steps.iter().all(Step::holds) {
            return Ok(());
        }
        self.step(
            2,
            "Clients get the closest region, and are served locally",
            Self::serve_locally,
        )?;
        self.step(
            3,
            "All shop pods in eu die; the next closest region serves",
            Self::fail_over,
        )?;
        self.step(
            4,
            "A marked payload crosses the internet, and nobody can read it",
            Self::encrypt,
        )?;
        self.step(
            5,
            "Every agent and every API server restarts under load",
            Self::restart,
        )?;
        self.step(6, "Region us is cut off; ap takes over", Self::cut)?;
        self.step(
            7,
            "The link and the pods come back; everything heals",
            Self::heal,
        )
    }

    fn step(
        &mut self,
        number: u8,
        title: &str,
        body: impl FnOnce(&mut Self) -> Result<Vec<Measure>>,
    ) -> Result<()> {
        let started = self.seconds_now();
        let progress = Progress::start(&format!("{number}. {title}"));
        let outcome = body(self).and_then(|measures| {
            self.running.iter_mut().try_for_each(Running::check)?;
            Ok(measures)
        });
        lab::end_if_interrupted();
        drop(progress);

        let (measures, failure) = match outcome {
            Ok(measures) => (measures, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let step = Step {
            number,
            title: title.to_owned(),
            ok: failure.is_none() && measures.iter().all(|it| it.ok),
            measures,
            started,
            ended: self.seconds_now(),
            failure,
        };
        telling::say(&telling::step(&step))?;
        self.steps.push(step);
        self.calm()
    }

    fn calm(&mut self) -> Result<()> {
        thread::sleep(CALM);
        self.clients.read()
    }

    fn running(&self, region: &str) -> &Running {
        let found = self.running.iter().find(|it| it.name() == region);
        found.expect("the plan has the regions of the story")
    }

    fn running_mut(&mut self, region: &str) -> &mut Running {
        let found = self.running.iter_mut().find(|it| it.name() == region);
        found.expect("the plan has the regions of the story")
    }

    fn seconds_now(&self) -> f64 {
        Duration::from_micros(unix_microseconds().saturating_sub(self.started)).as_secs_f64()
    }

    fn end(self, observer: &Observer) -> (Report, Vec<Running>) {
        let ended = unix_microseconds();
        let window = timeline::Window {
            started: self.started,
            ended,
        };
        let names = self.lab.plan().regions.iter().map(|it| &*it.name);
        let clients = names.clone().filter_map(|name| {
            let traffic = self.clients.http(name)?;
            Some(Client {
                track: timeline::track(&format!("{name} client"), traffic, window),
                counts: traffic.counts(self.started, ended),
                served: traffic.regions(self.started, ended),
            })
        });
        let dns = names.filter_map(|name| {
            let traffic = self.clients.dns(name)?;
            Some(timeline::track(&format!("{name} DNS"), traffic, window))
        });
        let report = Report {
            started_unix_milliseconds: self.started / 1_000,
            seconds: window.seconds(ended),
            regions: telling::regions(),
            clients: clients.collect(),
            dns: dns.collect(),
            states: timeline::states(&observer.observations(), window),
            facts: telling::facts(self.lab),
            steps: self.steps,
        };
        (report, self.running)
    }
}
