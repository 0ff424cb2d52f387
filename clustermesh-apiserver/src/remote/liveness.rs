//! Decides when our agents are told that a remote cluster is lost, and when that it is back.
//!
//! ```text
//!               kept             kept, and for a while if it was lost often
//!  undecided ───────────▶ connected ◀──────────────────── lost
//!      │                      │                            ▲
//!      └──────────────────────┴────────────────────────────┘
//!        lost: at once       in doubt: when it has lasted for the grace
//! ```
//!
//! Two witnesses are heard: the link to the remote's etcd, and the data plane, which is what the
//! probes through our nodes' tunnels see (`data_plane` says how they are counted).
//!
//! | the remote's etcd | reached | divided | unreached | undecided | nothing known |
//! | --- | --- | --- | --- | --- | --- |
//! | is read and believed | kept | kept | **lost** | kept | kept |
//! | is away, but its host answers | kept | in doubt | **lost** | in doubt | in doubt |
//! | is silent | kept | **lost** | **lost** | in doubt | **lost** |
//! | says what is not acceptable, or left | **lost** | **lost** | **lost** | **lost** | **lost** |
//!
//! Silence means that nothing comes back from the remote's hosts. A connection that was closed or
//! refused means the opposite: somebody is there, and the API server alone is down or restarting,
//! which takes nothing from the data plane. Who reaches the remote's pods knows better than both.

use std::collections::VecDeque;

use topology::record::PeerState;
use topology::report::Witness;

use super::data_plane::{DataPlane, Tally, View};
use crate::moment::Moment;
use crate::timestamp::rfc3339;

/// How long an API server whose host answers may be away, in milliseconds: several restarts.
const GRACE: u64 = 5_000;

/// A remote that was lost once or twice is believed as soon as it is back. One that comes and goes
/// must stay for a while first, in milliseconds, by its losses within the window: each change of its
/// state moves traffic in all clusters.
const FLAPPING_WINDOW: u64 = 60_000;
const STAYS: [u64; 5] = [0, 0, 0, 5_000, 15_000];

/// Times are uptime in milliseconds.
#[derive(Debug)]
pub(super) struct Liveness {
    /// What our agents are told; `None` until that is decided for the first time.
    state: Option<PeerState>,
    decided_by: Witness,
    data_plane: DataPlane,
    /// Since when what is known is not as `state` says, or not known.
    in_doubt_since: Option<u64>,
    /// Since when the remote's etcd does not answer, in milliseconds since 1970.
    unanswered_since: Option<u64>,
    /// When it was lost last, oldest first.
    losses: VecDeque<u64>,
    /// Since when a lost remote is back.
    back_since: Option<u64>,
}

/// What the link to the remote's etcd says of it now, with the reason.
#[derive(Clone, Debug)]
pub(super) enum Evidence {
    /// Its records are read and believed.
    Answer,
    /// It is away, but somebody answers in its place; or it has not been read yet.
    Away(String),
    /// What it says is not acceptable, or it is none of the mesh any more.
    Refusal(String),
    /// Nothing comes back.
    Silence(String),
}

/// What follows from both witnesses.
enum Ruling {
    InDoubt(String),
    Kept(String),
    Lost(String),
}

impl Liveness {
    pub(super) fn new(now: Moment) -> Self {
        Self {
            state: None,
            decided_by: Witness::Etcd,
            data_plane: DataPlane::default(),
            in_doubt_since: Some(now.uptime_milliseconds),
            unanswered_since: None,
            losses: VecDeque::new(),
            back_since: None,
        }
    }

    /// Takes in what our nodes say of the remote. It counts when it is weighed next.
    pub(super) fn hear_nodes(&mut self, tally: Tally, now: Moment) {
        self.data_plane.hear(tally, now.uptime_milliseconds);
    }

    /// Weighs the evidence as it is at `now`, with what our nodes said last.
    pub(super) fn weigh(&mut self, evidence: Evidence, now: Moment) {
        let uptime = now.uptime_milliseconds;
        match evidence {
            Evidence::Answer | Evidence::Refusal(_) => self.unanswered_since = None,
            Evidence::Away(_) | Evidence::Silence(_) => {
                self.unanswered_since.get_or_insert(now.unix_milliseconds);
            }
        }
        if let Evidence::Answer = evidence {
            self.data_plane.hear_answer();
        }
        let (ruling, witness) = self.judge(evidence, uptime);
        let decision = match ruling {
            // What has not begun cannot be kept: the etcd has its time to be read first.
            Ruling::Kept(reason) if self.state.is_none() && witness == Witness::DataPlane => {
                self.is_grace_over(uptime).then_some((true, reason))
            }
            Ruling::Kept(reason) => {
                let since = *self.back_since.get_or_insert(uptime);
                let is_back = !self.is_lost() || since + self.stay(uptime) <= uptime;
                is_back.then_some((true, reason))
            }
            Ruling::Lost(reason) => Some((false, reason)),
            Ruling::InDoubt(reason) => {
                self.back_since = None;
                let is_over = self.is_grace_over(uptime) || self.is_lost();
                is_over.then_some((false, reason))
            }
        };
        if let Some((connected, reason)) = decision {
            self.decided_by = witness;
            self.decide(connected, reason, now);
        }
    }

    /// Who decided what [`state`](Self::state) says.
    pub(super) fn decided_by(&self) -> Witness {
        self.decided_by
    }

    /// How many of our nodes report on the remote.
    pub(super) fn tally(&self) -> Tally {
        self.data_plane.tally()
    }

    fn judge(&self, evidence: Evidence, uptime: u64) -> (Ruling, Witness) {
        use Evidence::{Answer, Away, Refusal, Silence};
        use View::{Divided, Nothing, Reached, Undecided, Unreached};

        match (evidence, self.data_plane.view(uptime)) {
            (Refusal(reason), _) => (Ruling::Lost(reason), Witness::Etcd),
            (Answer, Unreached) => (Ruling::Lost(UNREACHED.to_owned()), Witness::DataPlane),
            (Answer, Divided | Nothing | Reached | Undecided) => {
                (Ruling::Kept(String::new()), Witness::Etcd)
            }
            (Away(reason) | Silence(reason), Unreached) => {
                let reason =
                    format!("{UNREACHED}; its API server does not answer either: {reason}");
                (Ruling::Lost(reason), Witness::DataPlane)
            }
            (Away(reason) | Silence(reason), Reached) => {
                (Ruling::Kept(self.kept_because(&reason)), Witness::DataPlane)
            }
            (Silence(reason), Divided | Nothing) => (Ruling::Lost(reason), Witness::Etcd),
            (Away(reason), Divided | Nothing | Undecided) | (Silence(reason), Undecided) => {
                (Ruling::InDoubt(reason), Witness::Etcd)
            }
        }
    }

    fn kept_because(&self, reason: &str) -> String {
        let since = rfc3339(self.unanswered_since.unwrap_or_default());
        let nodes = self.data_plane.describe();
        format!("its API server does not answer since {since} ({reason}); {nodes}")
    }

    /// Counts from the first doubt.
    fn is_grace_over(&mut self, uptime: u64) -> bool {
        let since = *self.in_doubt_since.get_or_insert(uptime);
        since + GRACE <= uptime
    }

    pub(super) fn state(&self) -> Option<&PeerState> {
        self.state.as_ref()
    }

    fn is_lost(&self) -> bool {
        self.state.as_ref().is_some_and(|it| !it.connected)
    }

    /// How long it must be back before it is believed.
    fn stay(&self, uptime: u64) -> u64 {
        let recent = |it: &&u64| uptime < **it + FLAPPING_WINDOW;
        let losses = self.losses.iter().filter(recent).count();
        STAYS[losses.min(STAYS.len() - 1)]
    }

    fn decide(&mut self, connected: bool, reason: String, now: Moment) {
        if !connected {
            self.back_since = None;
            if self.state.as_ref().is_some_and(|it| it.connected) {
                self.losses.push_back(now.uptime_milliseconds);
                if STAYS.len() < self.losses.len() {
                    self.losses.pop_front();
                }
            }
        }
        let before = self.state.as_ref().filter(|it| it.connected == connected);
        let now = now.unix_milliseconds;
        self.state = Some(PeerState {
            connected,
            since_unix_milliseconds: before.map_or(now, |it| it.since_unix_milliseconds),
            reason,
        });
        self.in_doubt_since = None;
    }
}

/// Why a remote is lost whose API server may well answer.
const UNREACHED: &str = "no node of ours reaches it through its tunnels";

#[cfg(test)]
mod tests;
