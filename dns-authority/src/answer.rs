//! Decides what a query is answered, and why: a pure function of the zones, the health of targets,
//! the geography, the query and the client.

use std::convert::Infallible;
use std::net::IpAddr;
use std::ptr;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::{SmallVec, smallvec};
use topology::health::Health;

use crate::geo::Atlas;
use crate::plan::{Basis, Choice, Dependency, Picked, Plan, Scene, evaluate};
use crate::store::{Found, Node, Set};
use crate::wire::code::{self, Remark};
use crate::wire::kind;
use crate::wire::name::Folded;
use crate::zone::{Zone, Zones};

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

/// What is answered, with the way to it. Names and data are the zone's own, but for what a DNAME makes.
#[derive(Clone, Debug)]
pub struct Answer<'w> {
    pub code: u16,
    pub authoritative: bool,
    pub answers: Rows<'w>,
    pub authorities: Rows<'w>,
    pub additionals: Rows<'w>,
    /// For how many leading bits of the client's address the answer holds (RFC 7871 section
    /// 7.2.1); 0 if it holds for everybody.
    pub scope: u8,
    /// What a client that understands it is told beside the code.
    pub remark: Option<Remark>,
    pub steps: SmallVec<[Step<'w>; 2]>,
}

pub type Rows<'w> = SmallVec<[Row<'w>; 2]>;

/// Records of one type at one name.
#[derive(Clone, Debug)]
pub struct Row<'w> {
    pub owner: Owner<'w>,
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    pub data: Data<'w>,
}

/// Whose records they are.
#[derive(Clone, Debug)]
pub enum Owner<'w> {
    /// Of the name that was asked for.
    Asked,
    Known(&'w [u8]),
    /// Of one that only this answer has.
    Made(Box<[u8]>),
}

/// What records have, as it travels.
#[derive(Clone, Debug)]
pub enum Data<'w> {
    Made(Box<[u8]>),
    Picked(Picked<'w>),
    Set(Set<'w>),
}

/// One thing that led to an answer.
#[derive(Clone, Debug)]
pub enum Step<'w> {
    /// The name is another name for this one.
    Alias(Owner<'w>),
    /// A LUA record chose.
    Chosen {
        plan: &'w Plan,
        choice: Choice<'w>,
    },
    /// The name, or one above it, belongs to other servers.
    Delegated(&'w [u8]),
    /// The name exists without records of this type.
    NoData,
    NoName,
    NoZone,
    /// Everything below this name is below another one (RFC 6672).
    Redirected(&'w [u8]),
    /// Records of the zone, the same for everybody.
    Static,
    Wildcard(&'w [u8]),
}

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
const FAILS_OPEN: Remark = Remark {
    number: code::REMARK_STALE,
    text: "every target is unhealthy",
};

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

/// Answers a query for records of a type at `name`, class IN. `entropy` is the chance that random
/// choices are made by.
pub fn answer<'w>(
    world: &'w World,
    name: &Folded,
    wanted: u16,
    client: Client,
    entropy: u64,
) -> Answer<'w> {
    let Some(zone) = world.zones.find(name) else {
        return Answer {
            remark: Some(NOT_AUTHORITATIVE),
            steps: smallvec![Step::NoZone],
            ..Answer::new(code::REFUSED)
        };
    };
    let scene = Scene {
        atlas: &world.atlas,
        health: &world.health,
        who: client.who(),
        entropy,
    };
    let mut search = Search {
        zone,
        wanted,
        scene,
        client,
        answer: Answer {
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
    client: Client,
    answer: Answer<'w>,
}

impl<'w> Answer<'w> {
    /// An answer without content.
    pub(crate) fn new(code: u16) -> Self {
        Self {
            code,
            authoritative: false,
            answers: SmallVec::new(),
            authorities: SmallVec::new(),
            additionals: SmallVec::new(),
            scope: 0,
            remark: None,
            steps: SmallVec::new(),
        }
    }
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
        self.take(node, owner)
    }

    fn take(&mut self, node: Node<'w>, owner: Owner<'w>) -> Option<(Owner<'w>, Folded)> {
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
        let target = self.add(owner, set);
        if set.kind != kind::CNAME || self.wanted == kind::CNAME || is_any {
            return None;
        }
        let target = target?;
        let name = Folded::read(target).ok()?;
        self.answer.steps.push(Step::Alias(Owner::Known(target)));
        Some((Owner::Known(target), name))
    }

    /// Adds the records of a set, under this name. Returns the data of the first.
    fn add(&mut self, owner: Owner<'w>, set: Set<'w>) -> Option<&'w [u8]> {
        let mut first = set.data().next();
        if first.is_some() {
            self.answer.steps.push(Step::Static);
            let data = Data::Set(set);
            self.answer.answers.push(row(owner.clone(), &set, data));
        }
        for plan in set.plans().map(|it| self.zone.plan(it)) {
            let choice = evaluate(plan, &self.scene);
            self.widen(choice.dependency);
            if choice.basis == Basis::AllUnhealthy {
                self.answer.remark = Some(FAILS_OPEN);
            }
            if choice.basis == Basis::Incomplete {
                self.answer.remark = Some(INCOMPLETE);
                self.answer.code = code::SERVER_FAILURE;
                self.answer.authoritative = false;
                self.answer.answers.clear();
                self.answer.steps.push(Step::Chosen { plan, choice });
                return None;
            }
            let picked = choice.picked.clone();
            first = first.or_else(|| picked.first().map(|it| &*it.data));
            if !picked.is_empty() {
                let data = Data::Picked(picked);
                self.answer.answers.push(row(owner.clone(), &set, data));
            }
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

fn row<'w>(owner: Owner<'w>, set: &Set<'_>, data: Data<'w>) -> Row<'w> {
    Row {
        owner,
        kind: set.kind,
        ttl: set.ttl,
        data,
    }
}

impl Row<'_> {
    /// Shows the data of each record.
    pub fn each(&self, mut show: impl FnMut(&[u8])) {
        let shown: Result<(), Infallible> = self.try_each(|it| {
            show(it);
            Ok(())
        });
        shown.expect("it cannot fail");
    }

    /// The same until one fails.
    ///
    /// # Errors
    ///
    /// What `show` says.
    pub fn try_each<E>(&self, mut show: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match &self.data {
            Data::Made(data) => show(data),
            Data::Picked(candidates) => candidates.iter().try_for_each(|it| show(&it.data)),
            Data::Set(set) => set.data().try_for_each(show),
        }
    }
}

impl Owner<'_> {
    /// The name, in an answer to a question for `asked`.
    pub fn name<'n>(&'n self, asked: &'n Folded) -> &'n [u8] {
        match self {
            Self::Asked => asked.octets(),
            Self::Known(name) => name,
            Self::Made(name) => name,
        }
    }
}

impl Zones {
    fn is_of(&self, name: &Folded, zone: &Zone) -> bool {
        self.find(name).is_some_and(|it| ptr::eq(it, zone))
    }
}

#[cfg(test)]
mod tests;
