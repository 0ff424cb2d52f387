//! Decides what a query is answered, and why: a pure function of the zones, the health of targets,
//! the geography, the query and the client.

use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use ipnet::IpNet;
use topology::health::Health;

use crate::geo::Atlas;
use crate::plan::{Basis, Choice, Dependency, Plan, Scene, evaluate};
use crate::zone::{Found, RecordSet, Zone, Zones};

/// Everything that answers are made of, at one moment. Published whole, so that no answer mixes
/// two moments.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub zones: Arc<Zones>,
    pub atlas: Arc<Atlas>,
    /// By [`CheckId`](crate::check::CheckId).
    pub health: Arc<[Health]>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The resolver: where the query came from.
    pub resolver: IpAddr,
    /// Whom the resolver asks for (RFC 7871).
    pub subnet: Option<IpNet>,
}

/// What is answered, with the way to it.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    pub code: ResponseCode,
    pub authoritative: bool,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
    /// For how many leading bits of the client's address the answer holds (RFC 7871 section
    /// 7.2.1); 0 if it holds for everybody.
    pub scope: u8,
    pub steps: Vec<Step<'a>>,
}

/// One thing that led to an answer.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// The name is another name for this one.
    Alias(Name),
    /// A LUA record chose.
    Chosen {
        plan: &'a Plan,
        choice: Choice<'a>,
    },
    /// The name, or one above it, belongs to other servers.
    Delegated(&'a Name),
    /// The name exists without records of this type.
    NoData,
    NoName,
    NoZone,
    /// Records of the zone, the same for everybody.
    Static,
    Wildcard(&'a Name),
}

/// Longer chains of aliases are mistakes, or loops.
const ALIASES_MAX: usize = 8;

impl Client {
    /// Whom the answer is for: the client's network if it is known, else the resolver. A subnet of
    /// length 0 asks to be forgotten.
    pub fn who(&self) -> IpAddr {
        match self.subnet {
            Some(subnet) if subnet.prefix_len() > 0 => subnet.network(),
            Some(_) | None => self.resolver,
        }
    }
}

/// Answers a query for records of type `kind` at `name`, class IN. `entropy` is the chance that
/// random choices are made by.
pub fn answer<'a>(
    world: &'a World,
    name: &Name,
    kind: RecordType,
    client: Client,
    entropy: u64,
) -> Answer<'a> {
    let Some(zone) = world.zones.find(name) else {
        return Answer {
            steps: vec![Step::NoZone],
            ..Answer::new(ResponseCode::Refused)
        };
    };
    let scene = Scene {
        atlas: &world.atlas,
        health: &world.health,
        who: client.who(),
        entropy,
    };
    let mut answer = Answer {
        authoritative: true,
        ..Answer::new(ResponseCode::NoError)
    };

    let mut name = name.clone();
    for _ in 0..=ALIASES_MAX {
        match answer.resolve(zone, &name, kind, &scene, client) {
            Some(target)
                if world
                    .zones
                    .find(&target)
                    .is_some_and(|it| ptr::eq(it, zone)) =>
            {
                name = target;
            }
            // What another zone says is asked for again, there.
            Some(_) | None => break,
        }
    }
    answer
}

impl<'a> Answer<'a> {
    /// An answer without content.
    pub(crate) fn new(code: ResponseCode) -> Self {
        Self {
            code,
            authoritative: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            scope: 0,
            steps: Vec::new(),
        }
    }

    /// Adds what `zone` says of `name`; returns the name to go on with if it is an alias.
    fn resolve(
        &mut self,
        zone: &'a Zone,
        name: &Name,
        kind: RecordType,
        scene: &Scene<'_>,
        client: Client,
    ) -> Option<Name> {
        let node = match zone.find(name) {
            Found::Absent => {
                self.code = ResponseCode::NXDomain;
                self.negative(zone, u32::MAX, Step::NoName);
                return None;
            }
            Found::Delegated(cut, servers) => {
                self.refer(zone, cut, servers);
                return None;
            }
            Found::Empty => {
                self.negative(zone, u32::MAX, Step::NoData);
                return None;
            }
            Found::Node(node) => node,
            Found::Wildcard(wildcard, node) => {
                self.steps.push(Step::Wildcard(wildcard));
                node
            }
        };

        // One set of records is all that ANY gets (RFC 8482 section 4.1).
        let is_any = kind == RecordType::ANY;
        let set = if is_any {
            node.sets().first()
        } else {
            node.set(kind)
        };
        let alias = node
            .set(RecordType::CNAME)
            .filter(|_| kind != RecordType::CNAME);
        let Some(set) = set.or(alias) else {
            self.negative(zone, u32::MAX, Step::NoData);
            return None;
        };
        let first = self.answers.len();
        self.add(name, set, scene, client);
        if self.answers.len() == first && self.code == ResponseCode::NoError {
            // Only for now: what is healthy again is found as soon as if it had been answered.
            self.negative(zone, set.ttl, Step::NoData);
        }
        if let Some(RData::CNAME(target)) = self.answers.get(first).map(|it| &it.data)
            && kind != RecordType::CNAME
            && !is_any
        {
            let target = target.0.clone();
            self.steps.push(Step::Alias(target.clone()));
            return Some(target);
        }
        None
    }

    /// Adds the records of `set`, under the name that was asked for.
    fn add(&mut self, name: &Name, set: &'a RecordSet, scene: &Scene<'_>, client: Client) {
        if !set.fixed.is_empty() {
            self.steps.push(Step::Static);
        }
        let fixed = set.fixed.iter().map(|it| record(name, set.ttl, it));
        self.answers.extend(fixed);

        for plan in &set.plans {
            let choice = evaluate(plan, scene);
            if choice.basis == Basis::Incomplete {
                self.code = ResponseCode::ServFail;
                self.authoritative = false;
                self.answers.clear();
            } else {
                let picked = choice
                    .picked
                    .iter()
                    .map(|it| record(name, set.ttl, &it.data));
                self.answers.extend(picked);
            }
            self.widen(choice.dependency, client);
            self.steps.push(Step::Chosen { plan, choice });
            if self.code == ResponseCode::ServFail {
                return;
            }
        }
    }

    /// Makes the scope hold for one more thing that the answer depends on.
    fn widen(&mut self, dependency: Dependency, client: Client) {
        let Some(subnet) = client.subnet.filter(|it| it.prefix_len() > 0) else {
            return;
        };
        let scope = match dependency {
            Dependency::Address => subnet.prefix_len(),
            Dependency::Location(fix) => fix.prefix_length,
            Dependency::Nothing => 0,
        };
        self.scope = self.scope.max(scope);
    }

    /// Says that something is not there, and for how long that may be believed (RFC 2308), which is
    /// at most `ttl_max` seconds.
    fn negative(&mut self, zone: &Zone, ttl_max: u32, step: Step<'a>) {
        let ttl = zone.soa_ttl.min(zone.soa.minimum).min(ttl_max);
        let soa = RData::SOA(zone.soa.clone());
        self.authorities.push(record(&zone.origin, ttl, &soa));
        self.steps.push(step);
    }

    /// Names the servers of a delegated part of the zone, with the addresses that are known.
    fn refer(&mut self, zone: &'a Zone, cut: &'a Name, servers: &'a RecordSet) {
        self.authoritative &= !self.answers.is_empty();
        self.steps.push(Step::Delegated(cut));
        for server in &servers.fixed {
            self.authorities.push(record(cut, servers.ttl, server));
            let RData::NS(server) = server else {
                continue;
            };
            let Some(node) = zone.node(&server.0) else {
                continue;
            };
            for kind in [RecordType::A, RecordType::AAAA] {
                if let Some(set) = node.set(kind) {
                    let glue = set.fixed.iter().map(|it| record(&server.0, set.ttl, it));
                    self.additionals.extend(glue);
                }
            }
        }
    }
}

fn record(name: &Name, ttl: u32, data: &RData) -> Record {
    let mut record = Record::from_rdata(name.clone(), ttl, data.clone());
    record.dns_class = DNSClass::IN;
    record
}

#[cfg(test)]
mod tests;
