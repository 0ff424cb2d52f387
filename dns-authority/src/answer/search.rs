//! Puts an answer together: looks a name up, follows where it leads, and notes each step.

use std::ptr;

use smallvec::smallvec;

use super::{Answer, Client, Data, Owner, Row, Step, World, scene};
use crate::lifetime::Lifetimes;
use crate::plan::{Basis, Choice, Dependency, Question, Records, Scene, evaluate};
use crate::store::{Found, Node, Set};
use crate::wire::code::{self, Remark};
use crate::wire::kind;
use crate::wire::name::Folded;
use crate::zone::{Zone, Zones};

/// Longer chains of aliases are mistakes, or loops.
const ALIASES_MAX: usize = 8;

const NOT_AUTHORITATIVE: Remark = Remark {
    number: code::REMARK_NOT_AUTHORITATIVE,
    text: "no zone that is served here holds the name",
};
const INCOMPLETE: Remark = Remark {
    number: code::REMARK_NOT_READY,
    text: "no health check has come to a verdict",
};
pub(super) const FAILED: Remark = Remark {
    number: code::REMARK_OTHER,
    text: "the LUA record failed",
};
const FAILS_OPEN: Remark = Remark {
    number: code::REMARK_STALE,
    text: "every target is unhealthy",
};

/// Answers a query for records of a type at `name`, class IN. `entropy` is the chance that random
/// choices are made by.
pub fn answer<'w>(
    world: &'w World,
    name: &Folded,
    wanted: u16,
    client: Client,
    entropy: u64,
) -> Answer<'w> {
    let Some(zone) = world.zones.find_for(name, wanted) else {
        return Answer {
            remark: Some(NOT_AUTHORITATIVE),
            steps: smallvec![Step::NoZone],
            ..Answer::new(code::REFUSED)
        };
    };
    if let Some(lack) = zone.lack() {
        return Answer {
            remark: Some(Remark {
                number: code::REMARK_INVALID_DATA,
                text: lack.text(),
            }),
            steps: smallvec![Step::Lacking(lack)],
            ..Answer::new(code::SERVER_FAILURE)
        };
    }
    let scene = scene(world, name, zone, client, entropy);
    let mut search = Search {
        zone,
        wanted,
        scene,
        lifetimes: &world.lifetimes,
        client,
        answer: Answer {
            zone: Some(zone),
            authoritative: true,
            ..Answer::new(code::NO_ERROR)
        },
    };
    let mut next = search.resolve(name, Owner::Asked);
    for _ in 0..ALIASES_MAX {
        // What another zone says is asked for again, there.
        let Some((owner, target)) = next.filter(|(_, it)| world.zones.is_of(it, zone)) else {
            break;
        };
        next = search.resolve(&target, owner);
    }
    search.answer
}

/// An answer that is being put together.
struct Search<'w, 's> {
    zone: &'w Zone,
    wanted: u16,
    scene: Scene<'s>,
    lifetimes: &'s Lifetimes,
    client: Client,
    answer: Answer<'w>,
}

impl<'w> Search<'w, '_> {
    /// Adds what the zone says of a name; returns the name to go on with if it is an alias.
    fn resolve(&mut self, name: &Folded, owner: Owner<'w>) -> Option<(Owner<'w>, Folded)> {
        let node = match self.zone.find(name) {
            Found::Absent(_) => {
                self.answer.code = code::NO_NAME;
                self.negative(u32::MAX, Step::NoName);
                return None;
            }
            // What is signed of a cut is the parent's to say (RFC 4035 section 3.1.4.1).
            Found::Delegated(cut)
                if self.wanted == kind::DS && cut.owner().len() == name.length() =>
            {
                cut
            }
            Found::Delegated(cut) => {
                self.refer(cut);
                return None;
            }
            Found::Redirected(node) => return self.redirect(name, owner, node),
            Found::Exact(node) => node,
            Found::Wildcard(node) => {
                self.answer.steps.push(Step::Wildcard(node.owner()));
                node
            }
        };
        self.take(name, node, owner)
    }

    fn take(
        &mut self,
        name: &Folded,
        node: Node<'w>,
        owner: Owner<'w>,
    ) -> Option<(Owner<'w>, Folded)> {
        // One set of records is all that ANY gets (RFC 8482 section 4.1).
        let is_any = self.wanted == kind::ANY;
        let set = if is_any {
            node.sets().next()
        } else {
            node.set(self.wanted)
        };
        let Some(set) = set.or_else(|| node.set(kind::CNAME)) else {
            self.negative(u32::MAX, Step::NoData);
            return None;
        };
        let target = self.add(name, node, owner, set);
        if set.kind != kind::CNAME || self.wanted == kind::CNAME || is_any {
            return None;
        }
        let target = target?;
        let name = Folded::read(target.name(name)).ok()?;
        self.answer.steps.push(Step::Alias(target.clone()));
        Some((target, name))
    }

    /// Adds the records that `node` has of a type, under this name. Returns the data of the first, as if
    /// it were a name.
    fn add(
        &mut self,
        name: &Folded,
        node: Node<'w>,
        owner: Owner<'w>,
        mut set: Set<'w>,
    ) -> Option<Owner<'w>> {
        if set.has_plans() {
            // Records of one type have one TTL, whoever chooses them.
            let plans = set.plans().map(|it| self.zone.plan(it));
            let ttls = plans.map(|it| it.ttl(set.ttl, self.lifetimes, &self.scene));
            set.ttl = ttls.min().unwrap_or(set.ttl);
        }
        let mut first = set.data().next().map(Owner::Known);
        if first.is_some() {
            self.answer.steps.push(Step::Static);
            let data = Data::Set(set);
            self.answer.answers.push(row(owner.clone(), &set, data));
        }
        if !set.has_plans() {
            return first;
        }
        let scene = Scene {
            question: Question {
                name: name.octets(),
                owner: node.owner(),
                ..self.scene.question
            },
            ..self.scene
        };
        for plan in set.plans().map(|it| self.zone.plan(it)) {
            let choice = evaluate(plan, &scene);
            self.widen(choice.dependency);
            if let Some(remark) = remark(&choice) {
                self.answer.remark = Some(remark);
            }
            if choice.failure.is_some() {
                self.answer.code = code::SERVER_FAILURE;
                self.answer.authoritative = false;
                self.answer.answers.clear();
                self.answer.steps.push(Step::Chosen { plan, choice });
                return None;
            }
            let (data, target) = match &choice.records {
                Records::Made(made) => {
                    let target = made.first().map(|it| Owner::Made(it.clone()));
                    (Data::Computed(made.clone()), target)
                }
                Records::Picked(picked) => {
                    let data = picked.first().and_then(|it| it.data.as_deref());
                    (Data::Picked(picked.clone()), data.map(Owner::Known))
                }
            };
            if target.is_some() {
                self.answer.answers.push(row(owner.clone(), &set, data));
            }
            first = first.or(target);
            self.answer.steps.push(Step::Chosen { plan, choice });
        }
        if first.is_none() {
            // Only for now: what is healthy again is found as soon as if it had been answered.
            self.negative(set.ttl, Step::NoData);
        }
        first
    }

    /// Follows what a DNAME says of all names below it (RFC 6672 section 3.1).
    fn redirect(
        &mut self,
        name: &Folded,
        owner: Owner<'w>,
        node: Node<'w>,
    ) -> Option<(Owner<'w>, Folded)> {
        let set = node.set(kind::DNAME)?;
        let target = set.data().next()?;
        self.answer.steps.push(Step::Redirected(node.owner()));
        let known = Owner::Known(node.owner());
        self.answer.answers.push(row(known, &set, Data::Set(set)));

        let kept = name.length() - node.owner().len();
        let made = [&name.octets()[..kept], target].concat().into_boxed_slice();
        let Ok(next) = Folded::read(&made) else {
            self.answer.code = code::NAME_TOO_LONG;
            return None;
        };
        self.answer.answers.push(Row {
            owner,
            kind: kind::CNAME,
            ttl: set.ttl,
            data: Data::Made(made.clone()),
        });
        self.answer
            .steps
            .push(Step::Alias(Owner::Made(made.clone())));
        let is_wanted = [kind::CNAME, kind::ANY].contains(&self.wanted);
        (!is_wanted).then_some((Owner::Made(made), next))
    }

    /// Makes the scope hold for one more thing that the answer depends on.
    fn widen(&mut self, dependency: Dependency) {
        let Some(subnet) = self.client.subnet.filter(|it| it.prefix_len() > 0) else {
            return;
        };
        let scope = match dependency {
            Dependency::Address => subnet.prefix_len(),
            Dependency::Location(fix) => fix.prefix_length,
            Dependency::Nothing => 0,
            Dependency::Prefix(bits) => bits,
        };
        self.answer.scope = self.answer.scope.max(scope);
    }

    /// Says that something is not there, and for how long that may be believed (RFC 2308), which is
    /// at most `ttl_max` seconds.
    fn negative(&mut self, ttl_max: u32, step: Step<'w>) {
        let (origin, soa) = self.zone.soa();
        let ttl = self.zone.negative_ttl().min(ttl_max);
        let row = Row {
            ttl,
            ..row(Owner::Known(origin), &soa, Data::Set(soa))
        };
        self.answer.authorities.push(row);
        self.answer.steps.push(step);
    }

    /// Names the servers of a delegated part of the zone, with the addresses that are known.
    fn refer(&mut self, cut: Node<'w>) {
        self.answer.authoritative &= !self.answer.answers.is_empty();
        self.answer.steps.push(Step::Delegated(cut.owner()));
        let Some(servers) = cut.set(kind::NS) else {
            return;
        };
        let owner = Owner::Known(cut.owner());
        let data = Data::Set(servers);
        self.answer.authorities.push(row(owner, &servers, data));
        for server in servers.data() {
            let node = Folded::read(server).ok();
            let node = node.and_then(|it| self.zone.node(&it));
            let Some(node) = node else {
                continue;
            };
            let sets = [kind::A, kind::AAAA]
                .into_iter()
                .filter_map(|it| node.set(it));
            for set in sets.filter(|it| it.data().next().is_some()) {
                let owner = Owner::Known(node.owner());
                self.answer
                    .additionals
                    .push(row(owner, &set, Data::Set(set)));
            }
        }
    }
}

/// What a client is told of how the answer came about.
fn remark(choice: &Choice<'_>) -> Option<Remark> {
    let has = |basis| choice.parts.iter().any(|it| it.basis == basis);
    match choice.failure {
        Some(_) if has(Basis::Incomplete) => Some(INCOMPLETE),
        Some(_) => Some(FAILED),
        None => has(Basis::AllUnhealthy).then_some(FAILS_OPEN),
    }
}

fn row<'w>(owner: Owner<'w>, set: &Set<'_>, data: Data<'w>) -> Row<'w> {
    Row {
        owner,
        kind: set.kind,
        ttl: set.ttl,
        data,
    }
}

impl Zones {
    /// The zone that answers a question: for the key of a zone that another vouches for, the other
    /// (RFC 4035 section 3.1.4.1).
    fn find_for(&self, name: &Folded, wanted: u16) -> Option<&Zone> {
        let zone = self.find(name)?;
        let is_of_parent = wanted == kind::DS && zone.origin() == name.octets();
        let parent = is_of_parent.then(|| self.find_above(name)).flatten();
        Some(parent.unwrap_or(zone))
    }

    fn is_of(&self, name: &Folded, zone: &Zone) -> bool {
        self.find(name).is_some_and(|it| ptr::eq(it, zone))
    }
}
