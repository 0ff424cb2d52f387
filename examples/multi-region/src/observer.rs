//! Watches the mesh as an operator would, by asking each region's first agent every half second
//! what it thinks of the other regions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Lab, Region, unix_microseconds};
use topology::report::{AgentStatus, ClusterState};

use crate::region::agent_status;
use crate::timeline::{Observation, State};

/// From the end of one round of questions to the next.
const INTERVAL: Duration = Duration::from_millis(500);

/// What has been seen so far; written by one thread, read by another.
#[derive(Debug, Default)]
pub(crate) struct Observer {
    // Shared between the story and the thread that looks; neither holds it while it waits.
    observations: Mutex<Vec<Observation>>,
    done: AtomicBool,
}

impl Observer {
    /// Looks until the observer is [told to end](Self::end_when_dropped).
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

    /// Ends [`watch`](Self::watch) when it is dropped, so also when the story panics.
    pub(crate) fn end_when_dropped(&self) -> End<'_> {
        End(self)
    }

    pub(crate) fn observations(&self) -> Vec<Observation> {
        self.observations.lock().expect("no writer panics").clone()
    }
}

/// See [`Observer::end_when_dropped`].
#[must_use = "the observer ends as soon as this is dropped"]
pub(crate) struct End<'a>(&'a Observer);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.done.store(true, Ordering::SeqCst);
    }
}

fn look(lab: &Lab, region: &Region) -> Vec<Observation> {
    let at = unix_microseconds();
    let status = agent_status(lab, region, 1).ok();
    let regions = lab.plan().regions.iter();
    let others = regions.filter(|it| it.name != region.name);
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
        Some(ClusterState::Undecided) => State::Unclear("not yet".to_owned()),
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
