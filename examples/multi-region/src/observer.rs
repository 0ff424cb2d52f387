//! Watches the mesh as an operator would, by asking each region's first agent every half second
//! what it thinks of the other regions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Lab, Program, Region, unix_microseconds};
use topology::report::{AgentStatus, ClusterState};

use crate::timeline::{Observation, State};

/// From the end of one round of questions to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// An agent that takes longer than this is as good as silent.
const PATIENCE: Duration = Duration::from_secs(5);

/// What has been seen so far; written by one thread, read by another.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    // Shared between the story and the thread that looks; neither holds it while it waits.
    observations: Mutex<Vec<Observation>>,
    done: AtomicBool,
}

impl Observer {
    /// Looks until [`end`](Self::end) is called.
    pub(crate) fn watch(&self, lab: &Lab) {
        while !self.done.load(Ordering::SeqCst) {
            for region in &lab.plan().regions {
                let seen = look(lab, region);
                self.observations
                    .lock()
                    .expect("no writer panics")
                    .extend(seen);
            }
            thread::sleep(INTERVAL);
        }
    }

    pub(crate) fn end(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    pub(crate) fn observations(&self) -> Vec<Observation> {
        self.observations.lock().expect("no writer panics").clone()
    }
}

fn look(lab: &Lab, region: &Region) -> Vec<Observation> {
    let at = unix_microseconds();
    let url = format!("http://{}:9962/v1/status", region.node_address(1));
    let curl = Program::new("curl", "curl").arguments(["-s", "--max-time", "1", &*url]);
    let answer = lab.run(&region.control(), curl, PATIENCE).ok();
    let status = answer.and_then(|it| serde_json::from_str::<AgentStatus>(&it.stdout).ok());
    let others = lab
        .plan()
        .regions
        .iter()
        .filter(|it| it.name != region.name);
    others
        .map(|other| Observation {
            at,
            name: format!("{} → {}", region.name, other.name),
            state: match &status {
                Some(status) => state(status, &other.name),
                None => State::Unclear("agent silent".to_owned()),
            },
        })
        .collect()
}

fn state(status: &AgentStatus, other: &str) -> State {
    let cluster = status.clusters.iter().find(|it| it.name.as_str() == other);
    let mut tunnels = status
        .tunnels
        .iter()
        .filter(|it| it.cluster.as_str() == other)
        .peekable();
    match cluster.map(|it| it.state) {
        None => State::Unclear("unknown".to_owned()),
        Some(ClusterState::Lost) => State::Bad("lost".to_owned()),
        Some(ClusterState::Connected | ClusterState::Own) => {
            if tunnels.peek().is_some() && tunnels.all(|it| it.up) {
                State::Good("up".to_owned())
            } else {
                State::Bad("no tunnel".to_owned())
            }
        }
    }
}
