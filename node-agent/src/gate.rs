//! Decides when enough is known of the mesh to take away what an earlier agent left in force.
//!
//! The kernel's tables outlive the agent, and the store may be empty after a restart of its own.
//! Until the mesh has been read once, what is in force stands for what is not known yet.

use std::time::{Duration, Instant};

use topology::mesh::Mesh;

/// How long a cluster that is still being read may hold back changes to services; a cluster that
/// was lost before we started would hold them back for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// ```text
///   Unread ── own cluster synced, and each peer synced or waited for ──▶ Settled
///     │                                                                    │
///     └────────────────── own cluster and every peer synced ───────────────┴──▶ Complete
/// ```
///
/// It never goes back: what was read once is kept by the mesh itself.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Knowledge {
    /// Nothing in force may change; what is missing may be added.
    Unread,
    /// Services may change; nothing that protects or connects clusters may go.
    Settled,
    /// Everything follows the mesh.
    Complete,
}

#[derive(Debug)]
pub struct Gate {
    started: Instant,
    knowledge: Knowledge,
}

impl Gate {
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            knowledge: Knowledge::Unread,
        }
    }

    /// Looks at the mesh again, and returns what is known of it at most so far.
    pub fn observe(&mut self, mesh: &Mesh, now: Instant) -> Knowledge {
        let all_synced = mesh.peers().keys().all(|it| mesh.is_synced(it));
        let waited = self.started + PATIENCE <= now;
        let knowledge = match (mesh.is_own_synced(), all_synced) {
            (true, true) => Knowledge::Complete,
            (true, false) if waited => Knowledge::Settled,
            (true, false) | (false, _) => Knowledge::Unread,
        };
        self.knowledge = self.knowledge.max(knowledge);
        self.knowledge
    }

    pub fn knowledge(&self) -> Knowledge {
        self.knowledge
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use topology::mesh::Event;

    use super::*;

    #[test]
    fn waits_for_the_own_cluster_however_long_it_takes() {
        check(&[], PATIENCE * 100, Knowledge::Unread);
    }

    #[test]
    fn is_complete_once_every_peer_is_read() {
        let mut keys = vec!["causeway/synced/eu", PEER];
        keys.extend(US_SYNCED);

        check(&keys, Duration::ZERO, Knowledge::Complete);
    }

    #[test]
    fn settles_without_a_peer_that_does_not_come() {
        check(
            &["causeway/synced/eu", PEER],
            Duration::ZERO,
            Knowledge::Unread,
        );
        check(&["causeway/synced/eu", PEER], PATIENCE, Knowledge::Settled);
    }

    #[test]
    fn never_goes_back() {
        let now = Instant::now();
        let mut gate = Gate::new(now);
        let mut mesh = mesh(&["causeway/synced/eu"]);
        assert_eq!(gate.observe(&mesh, now), Knowledge::Complete);

        mesh.apply(Event::Listed(Vec::new()));

        assert_eq!(gate.observe(&mesh, now), Knowledge::Complete);
    }

    const PEER: &str = "causeway/state/peers/v1/us";
    const US_SYNCED: [&str; 4] = [
        "cilium/synced/us/cilium/cache/identities/v1",
        "cilium/synced/us/cilium/cache/ip/v1",
        "cilium/synced/us/cilium/cache/nodes/v1",
        "cilium/synced/us/cilium/cache/services/v1",
    ];

    #[track_caller]
    fn check(keys: &[&str], after: Duration, expected: Knowledge) {
        let start = Instant::now();
        let mut gate = Gate::new(start);

        assert_eq!(gate.observe(&mesh(keys), start + after), expected);
    }

    fn mesh(keys: &[&str]) -> Mesh {
        let mut mesh = Mesh::new("eu".parse().unwrap());
        let value = |key: &str| match key {
            PEER => br#"{"connected":false,"sinceUnixMilliseconds":1}"#.to_vec(),
            _ => Vec::new(),
        };
        let entries = keys.iter().map(|it| ((*it).to_owned(), value(it)));
        assert!(mesh.apply(Event::Listed(entries.collect())).is_empty());
        mesh
    }
}
