//! Answers a record for one client at one moment, and says why.

use std::net::IpAddr;

use ipnet::IpNet;
use smallvec::{SmallVec, smallvec};
use topology::health::Health;

use super::choose::{Basis, Part, Picked, choose, mix};
use super::formula::made;
use super::value::{Failure, Header, Name};
use super::{Candidate, Content, Measures, Plan, Program};
use crate::check::CheckId;
use crate::drain::Scales;
use crate::geo::{Atlas, Fix};
use crate::lifetime::Lifetimes;
use crate::script;
use crate::store::Found;
use crate::wire::name::Folded;
use crate::zone::{ShownData, Zones};

/// What an answer depends on beside the plan.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    pub atlas: &'a Atlas,
    /// By [`CheckId`]; a check without an entry is unknown.
    pub health: &'a [Health],
    pub measures: &'a Measures,
    pub question: Question<'a>,
    /// Where records are looked up that others name.
    pub zones: &'a Zones,
    /// What is left of values that are being drained.
    pub scales: &'a Scales,
    /// The client, or the resolver that asks for it.
    pub who: IpAddr,
    /// Chance, drawn once per query.
    pub entropy: u64,
}

/// The query, as records can ask about it.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The name that is asked for, in lower case, as it travels.
    pub name: &'a [u8],
    /// The record's, which may be a wildcard.
    pub owner: &'a [u8],
    /// The origin of the zone.
    pub zone: &'a [u8],
    pub resolver: IpAddr,
    pub subnet: Option<IpNet>,
    /// The address that was asked.
    pub local: Option<IpAddr>,
    pub header: Header,
    pub dnssec_ok: bool,
    pub payload_bytes: u16,
    pub tcp: bool,
}

impl<'a> Scene<'a> {
    /// A query of nobody for `name`, before anything is known.
    pub(crate) fn trial(
        atlas: &'a Atlas,
        (measures, scales): (&'a Measures, &'a Scales),
        zones: &'a Zones,
        name: &'a [u8],
        zone: &'a [u8],
    ) -> Self {
        let who = IpAddr::from([0, 0, 0, 0]);
        Self {
            atlas,
            health: &[],
            measures,
            scales,
            question: Question {
                name,
                owner: name,
                zone,
                resolver: who,
                subnet: None,
                local: None,
                header: Header::default(),
                dnssec_ok: false,
                payload_bytes: 0,
                tcp: false,
            },
            zones,
            who,
            entropy: 0,
        }
    }

    /// The strings of the records of this type at `name`, those of LUA records aside.
    pub(super) fn lookup(&self, name: &Name, kind: u16) -> Vec<String> {
        let Ok(name) = Folded::read(&name.0) else {
            return Vec::new();
        };
        let node = match self.zones.find(&name).map(|it| it.find(&name)) {
            Some(Found::Exact(node) | Found::Wildcard(node)) => node,
            Some(Found::Absent(_) | Found::Delegated(_) | Found::Redirected(_)) | None => {
                return Vec::new();
            }
        };
        let data = node.set(kind).into_iter().flat_map(|it| it.data());
        data.map(|it| ShownData(kind, it).to_string()).collect()
    }

    pub fn health_of(&self, check: CheckId) -> Health {
        self.health
            .get(check.index())
            .copied()
            .unwrap_or(Health::Unknown)
    }

    /// Whether a drain leaves the candidate to this client.
    pub(crate) fn takes_part(&self, candidate: &Candidate) -> bool {
        self.scales.is_empty() || self.scales.takes_part(&candidate.text, self.who)
    }

    /// Whether clients part ways over the candidate, because it is half drained.
    pub(super) fn is_parting(&self, candidate: &Candidate) -> bool {
        !self.scales.is_empty() && self.scales.depends_on_client(&candidate.text)
    }

    /// A candidate that nobody checks counts as healthy.
    pub(super) fn usability(&self, candidate: &Candidate) -> Health {
        candidate
            .check
            .map_or(Health::Healthy, |it| self.health_of(it))
    }
}

/// What is answered, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice<'a> {
    pub records: Records<'a>,
    pub dependency: Dependency,
    /// The choices that were made on the way, those of scripts aside.
    pub parts: SmallVec<[Part<'a>; 1]>,
    /// Why there is no answer.
    pub failure: Option<Failure>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Records<'a> {
    /// What the query made.
    Made(Vec<Content>),
    Picked(Picked<'a>),
}

/// What of the client an answer depends on, hence for whom it may be cached (RFC 7871).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Dependency {
    Address,
    Location(Fix),
    Nothing,
    /// So many leading bits of the address.
    Prefix(u8),
}

impl Plan {
    /// For how many seconds an answer may be kept for which the zone says `stated`.
    pub(crate) fn ttl(&self, stated: u32, lifetimes: &Lifetimes, scene: &Scene<'_>) -> u32 {
        if lifetimes.bounds.is_none() {
            return stated;
        }
        let picks = self.picks();
        let candidates = || picks.iter().flat_map(|it| it.sets.iter().flatten());
        let checks = candidates().filter_map(|it| it.check);
        let is_moving = candidates().any(|it| scene.is_parting(it));
        lifetimes.ttl(stated, checks, is_moving)
    }
}

impl Dependency {
    /// On both.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Address, _) | (_, Self::Address) => Self::Address,
            (Self::Nothing, one) | (one, Self::Nothing) => one,
            (Self::Location(a), Self::Location(b)) if a == b => self,
            (a, b) => Self::Prefix(a.bits().max(b.bits())),
        }
    }

    /// How many leading bits of the address matter, all being more than there are.
    fn bits(self) -> u8 {
        match self {
            Self::Address => u8::MAX,
            Self::Location(fix) => fix.prefix_length,
            Self::Nothing => 0,
            Self::Prefix(bits) => bits,
        }
    }
}

/// What a query has led to so far.
pub(crate) struct Run<'p, 's> {
    pub(super) scene: &'s Scene<'s>,
    pub(super) dependency: Dependency,
    pub(super) parts: SmallVec<[Part<'p>; 1]>,
    draws: u64,
    /// While a script is on trial: what questions about the client's place are answered.
    pub(super) forced: Option<bool>,
}

impl<'p, 's> Run<'p, 's> {
    pub(crate) fn new(scene: &'s Scene<'s>) -> Self {
        Self {
            scene,
            dependency: Dependency::Nothing,
            parts: SmallVec::new(),
            draws: 0,
            forced: None,
        }
    }

    /// Chance that no other choice of this query has used.
    pub(super) fn chance(&mut self) -> u64 {
        let draw = self.draws;
        self.draws += 1;
        match draw {
            0 => self.scene.entropy,
            _ => mix(self
                .scene
                .entropy
                .wrapping_add(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15))),
        }
    }

    /// Goes on where `other` stands.
    pub(super) fn skip_to(&mut self, other: &Run<'_, '_>) {
        self.draws = other.draws;
        self.forced = other.forced;
    }

    pub(crate) fn force(&mut self, answer: Option<bool>) {
        self.forced = answer;
    }

    pub(crate) fn atlas(&self) -> &'s Atlas {
        self.scene.atlas
    }

    pub(crate) fn zone_origin(&self) -> &'s [u8] {
        self.scene.question.zone
    }

    pub(crate) fn zones(&self) -> &'s Zones {
        self.scene.zones
    }

    /// What it has led to, for the run that goes on.
    pub(super) fn ended(self) -> (Dependency, u64) {
        (self.dependency, self.draws)
    }

    pub(super) fn resume(&mut self, dependency: Dependency, draws: u64) {
        self.depend(dependency);
        self.draws = draws;
    }

    pub(super) fn depend(&mut self, on: Dependency) {
        self.dependency = self.dependency.and(on);
    }
}

/// Answers `plan`.
pub fn evaluate<'a>(plan: &'a Plan, scene: &Scene<'_>) -> Choice<'a> {
    let mut run = Run::new(scene);
    let records = match &plan.program {
        Program::Formula(formula) => formula.records(&mut run),
        Program::Library(_) => Ok(Records::Made(Vec::new())),
        Program::Script(script) => script::answer(script, &mut run)
            .and_then(|it| made(it, script.kind()))
            .map(Records::Made),
        Program::Pick(pick) => {
            let part = choose(pick, scene, scene.entropy);
            return Choice {
                failure: (part.basis == Basis::Incomplete).then(incomplete),
                records: Records::Picked(part.picked.clone()),
                dependency: part.dependency,
                parts: smallvec![part],
            };
        }
    };
    let (records, failure) = match records {
        Ok(records) => (records, None),
        Err(failure) => (Records::Made(Vec::new()), Some(failure)),
    };
    Choice {
        records,
        dependency: run.dependency,
        parts: run.parts,
        failure,
    }
}

pub(super) fn incomplete() -> Failure {
    Failure("no health check has come to a verdict yet".to_owned())
}

#[cfg(test)]
impl Scene<'static> {
    /// A query of 10.0.0.1 for `.`, in a world without anything.
    pub(super) fn bare() -> Self {
        use std::sync::LazyLock;

        static ATLAS: LazyLock<Atlas> = LazyLock::new(Atlas::default);
        static MEASURES: LazyLock<Measures> = LazyLock::new(Measures::default);
        static SCALES: LazyLock<Scales> = LazyLock::new(Scales::default);
        static ZONES: LazyLock<Zones> = LazyLock::new(Zones::default);
        let who = IpAddr::from([10, 0, 0, 1]);
        Self {
            who,
            entropy: 1,
            ..Self::trial(&ATLAS, (&MEASURES, &SCALES), &ZONES, &[0], &[0])
        }
    }
}
