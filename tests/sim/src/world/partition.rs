//! What happens to a mesh whose API servers, or whose pods, do not reach each other.

use rand::Rng as _;
use topology::health::Health;

use super::World;
use crate::Millis;
use crate::check::Fault;
use crate::wire::Link;

/// For how long the API servers hear nothing of each other: longer than any grace.
const PARTED: Millis = 30_000;

/// Until when it must be told that nobody reaches a cluster, or that somebody does again.
const TOLD: Millis = 3_000;

/// Nodes of each cluster that report.
const NODES: u8 = 2;

impl World {
    pub(super) async fn fall_apart(&mut self) -> Result<(), Fault> {
        for index in 0..self.sites.len() {
            self.change_truth(index).await?;
            self.start(index).await?;
        }
        self.come_to_agree().await?;
        for (index, other) in self.pairs() {
            self.say(index, other, NODES, Health::Healthy).await;
        }
        // Until that is heard.
        self.come_to_agree().await?;
        self.lose_the_control_plane().await?;
        self.lose_the_data_plane().await
    }

    async fn lose_the_control_plane(&mut self) -> Result<(), Fault> {
        self.history
            .push(format!("{} ms: no control plane", self.now));
        for pair in self.pairs() {
            let links = [Link::Silent, Link::Refused];
            let link = links[self.rng.random_range(0..links.len())];
            self.links.insert(pair, link);
        }
        let end = self.now + PARTED;
        while self.now < end {
            self.step().await?;
            for (index, other) in self.pairs() {
                self.expect_connected(index, other, true)?;
            }
        }
        for (index, other) in self.pairs() {
            let state = self.sites[index].told_of(&self.names[other]);
            if state.is_none_or(|it| it.reason.is_empty()) {
                return Err(format!("c{index} does not say what keeps c{other}"));
            }
        }
        self.links.clear();
        self.come_to_agree().await
    }

    async fn lose_the_data_plane(&mut self) -> Result<(), Fault> {
        let pairs = self.pairs();
        let (index, other) = pairs[self.rng.random_range(0..pairs.len())];
        self.history
            .push(format!("{} ms: c{index} does not reach c{other}", self.now));
        // One node after the other notices; while one of them reaches it, nobody is lost.
        self.say(index, other, NODES - 1, Health::Unhealthy).await;
        let end = self.now + TOLD;
        while self.now < end {
            self.step().await?;
            self.expect_connected(index, other, true)?;
        }
        for (health, connected) in [(Health::Unhealthy, false), (Health::Healthy, true)] {
            self.say(index, other, NODES, health).await;
            let deadline = self.now + TOLD;
            while let Err(fault) = self.expect_connected(index, other, connected) {
                if deadline < self.now {
                    return Err(format!("{fault}, {TOLD} ms later"));
                }
                self.step().await?;
            }
            // Nothing else follows from it: no record goes, and the others stay.
            self.come_to_agree().await?;
            for (index, other) in pairs.iter().copied().filter(|it| *it != (index, other)) {
                self.expect_connected(index, other, true)?;
            }
        }
        Ok(())
    }

    /// The first nodes of a cluster say what they see of another.
    async fn say(&self, index: usize, other: usize, nodes: u8, health: Health) {
        for node in 0..nodes {
            let other = &self.names[other];
            self.sites[index].report(node, other, health).await;
        }
    }

    fn expect_connected(&self, index: usize, other: usize, connected: bool) -> Result<(), Fault> {
        let state = self.sites[index].told_of(&self.names[other]);
        if state.as_ref().is_some_and(|it| it.connected == connected) {
            return Ok(());
        }
        Err(format!(
            "c{index} says {state:?} of c{other}, and should say {connected}"
        ))
    }

    /// Each cluster with each that it mirrors.
    fn pairs(&self) -> Vec<(usize, usize)> {
        let all = 0..self.sites.len();
        let others = |index| {
            all.clone()
                .filter(move |it| *it != index)
                .map(move |it| (index, it))
        };
        all.clone().flat_map(others).collect()
    }
}
