//! Decides what a query is answered, and why: a pure function of the zones, the health of targets,
//! the geography, the query and the client.

mod search;

use search::FAILED;
pub use search::answer;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;
use topology::health::Health;

use crate::drain::Scales;
use crate::geo::Atlas;
use crate::lifetime::Lifetimes;
use crate::plan::{Choice, Header, Measures, Picked, Plan, Question, Scene};
use crate::store::Set;
use crate::wire::code::{self, Remark};
use crate::wire::name::Folded;
use crate::zone::{Lack, Zone, Zones};

/// Everything that answers are made of, at one moment. Published whole, so that no answer mixes
/// two moments.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub zones: Arc<Zones>,
    pub atlas: Arc<Atlas>,
    /// By [`CheckId`](crate::check::CheckId).
    pub health: Arc<[Health]>,
    pub measures: Arc<Measures>,
    pub scales: Arc<Scales>,
    pub lifetimes: Arc<Lifetimes>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    /// The resolver: where the query came from.
    pub resolver: IpAddr,
    /// Whom the resolver asks for (RFC 7871).
    pub subnet: Option<IpNet>,
    /// The address that was asked, where that is known.
    pub local: Option<IpAddr>,
    pub header: Header,
    /// Whether signatures are wanted.
    pub dnssec_ok: bool,
    /// How long the client lets answers be; 0 if it does not say.
    pub payload_bytes: u16,
    pub is_tcp: bool,
}

/// What is answered, with the way to it. Names and data are the zone's own, but for what a DNAME makes.
#[derive(Clone, Debug)]
pub struct Answer<'w> {
    /// Whose answer it is, if any is responsible.
    pub zone: Option<&'w Zone>,
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
    /// Records that a LUA record has put together for this query.
    Computed(Vec<Box<[u8]>>),
    Picked(Picked<'w>),
    Set(Set<'w>),
}

/// One thing that led to an answer.
#[expect(
    clippy::large_enum_variant,
    reason = "most answers of LUA records have one such step, and none is to take memory of its own"
)]
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
    /// The zone is a copy that cannot be answered from.
    Lacking(Lack),
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

impl Client {
    /// Of whom only the address is known.
    pub fn at(resolver: IpAddr) -> Self {
        Self {
            resolver,
            subnet: None,
            local: None,
            header: Header::default(),
            dnssec_ok: false,
            payload_bytes: 0,
            is_tcp: false,
        }
    }

    /// Whom the answer is for: the client's network if it is known, else the resolver. A subnet of
    /// length 0 asks to be forgotten.
    pub fn who(&self) -> IpAddr {
        match self.subnet {
            Some(subnet) if subnet.prefix_len() > 0 => subnet.network(),
            Some(_) | None => self.resolver,
        }
    }
}

/// What LUA records may ask about.
pub(crate) fn scene<'s>(
    world: &'s World,
    name: &'s Folded,
    zone: &'s Zone,
    client: Client,
    entropy: u64,
) -> Scene<'s> {
    Scene {
        atlas: &world.atlas,
        health: &world.health,
        measures: &world.measures,
        scales: &world.scales,
        zones: &world.zones,
        question: Question {
            name: name.octets(),
            owner: name.octets(),
            zone: zone.origin(),
            resolver: client.resolver,
            subnet: client.subnet,
            local: client.local,
            header: client.header,
            dnssec_ok: client.dnssec_ok,
            payload_bytes: client.payload_bytes,
            tcp: client.is_tcp,
        },
        who: client.who(),
        entropy,
    }
}

impl<'w> Answer<'w> {
    /// An answer without content.
    pub(crate) fn new(code: u16) -> Self {
        Self {
            zone: None,
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

impl Answer<'_> {
    /// Whether a LUA record on the way failed, other than by waiting for its checks.
    pub fn record_failed(&self) -> bool {
        self.code == code::SERVER_FAILURE && self.remark == Some(FAILED)
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
            Data::Computed(all) => all.iter().try_for_each(|it| show(it)),
            Data::Made(data) => show(data),
            Data::Picked(candidates) => {
                let mut data = candidates.iter().filter_map(|it| it.data.as_deref());
                data.try_for_each(show)
            }
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

#[cfg(test)]
mod tests;
