//! What a LUA record answers, decided once when its zone is loaded.
//!
//! Most functions of the language become the same thing, a [`Pick`]: ordered sets of candidates, each
//! with an optional health check, and a selector. What computes around them becomes a small tree, and
//! a script stays one.
//!
//! What PowerDNS documents is what is done, also where its code does otherwise: `backupSelector` sees
//! the addresses of all sets, `pickselfweighted` chooses by chance when everything is down,
//! `pickclosest` measures on the globe, not on the map, and `pickchashed` forgets nothing. Its functions
//! that choose by hash choose by another one here: a client keeps its answer, which need not be the one
//! that PowerDNS gives it.

mod call;
mod choose;
mod compile;
mod evaluate;
mod formula;
mod measures;
mod options;
mod synthesize;
mod url;
pub(crate) mod value;

pub(crate) use call::{FUNCTIONS, Reader, Registry};
pub(crate) use choose::distance;
pub use choose::{Basis, Part, Picked};
pub(crate) use compile::{Compiler, compile, library};
pub(crate) use evaluate::Run;
pub use evaluate::{Choice, Dependency, Question, Records, Scene, evaluate};
pub(crate) use formula::{Variable, call_with, expression};
pub use measures::Measures;
pub use value::{Failure, Header};

use std::fmt;
use std::sync::Arc;

use topology::geo::Location;

use crate::check::CheckId;
use crate::geo::Ranking;
use crate::script::Script;
use formula::Formula;

/// What a record has, as it travels, names in full.
pub type Content = Box<[u8]>;

/// A compiled record.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The outermost function as it is written, for explanations.
    pub function: String,
    pub(crate) program: Program,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Program {
    /// Computes first what to choose from, or whether to.
    Formula(Formula),
    /// What scripts of the zone may include.
    Library(Arc<Script>),
    Pick(Pick),
    Script(Arc<Script>),
}

/// A choice. Answers with candidates of the first set that has usable ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Pick {
    pub function: String,
    /// At least one, none of them empty.
    pub sets: Vec<Vec<Candidate>>,
    pub selector: Selector,
    /// Chooses among all candidates of all sets while none of them is healthy.
    pub backup: Backup,
    /// Answer SERVFAIL, instead of guessing, until a check has succeeded or all have failed.
    pub fail_on_incomplete_check: bool,
    /// How near the candidates are to everybody, if they are chosen by that and are not too many.
    pub ranking: Option<Arc<Ranking>>,
    /// How many are answered at most, for selectors that can give several.
    pub sample: usize,
    /// A set is passed over while fewer of each thousand of its candidates are healthy, unless no
    /// set has more.
    pub leave_below_permille: u32,
    /// A candidate whose load is at least so many thousandths of its capacity is passed over, unless
    /// all are.
    pub spill_above_permille: Option<u32>,
    /// How much of a client's address tells it from others: leading bits of IPv4 and of IPv6.
    pub client_bits: (u8, u8),
    /// For [`Selector::Consistent`]: which candidate of the one set each hash belongs to.
    pub(crate) table: Vec<u32>,
}

/// A value that may be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As it is written.
    pub text: String,
    /// `None` if the text is only part of what is answered.
    pub data: Option<Content>,
    /// Where the address is, if the value is one and anybody knows.
    pub location: Option<Location>,
    /// The candidate's share in weighted choices, relative to the others'.
    pub weight: u32,
    /// `None` if nothing is asked: always usable.
    pub check: Option<CheckId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selector {
    All,
    /// The nearest to the client; equally near ones by chance.
    Closest,
    /// By the client's address and weight, so that as few clients as can be move when a weight changes.
    Consistent,
    /// The first, in the order of the record.
    First,
    /// By the client's address: the same client gets the same answer.
    Hashed,
    /// The one that the mesh reaches fastest; the nearest while nobody has measured.
    Latency,
    /// The one with the least load; one by chance while nobody has reported.
    LeastLoad,
    /// By the name that is asked for, and weight.
    NameHashed,
    Random,
    /// So many by chance, in any order.
    Sample,
    /// By the client's address, and the weights that the targets report.
    SelfWeighted,
    WeightedHashed,
    WeightedRandom,
}

/// The selectors that options can name.
pub(crate) const SELECTORS: &[(&str, Selector)] = &[
    ("all", Selector::All),
    ("first", Selector::First),
    ("hashed", Selector::Hashed),
    ("latency", Selector::Latency),
    ("leastload", Selector::LeastLoad),
    ("pickclosest", Selector::Closest),
    ("random", Selector::Random),
];

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::Closest => "pickclosest",
            Self::Consistent => "hashed consistently by weight",
            Self::First => "first",
            Self::Hashed => "hashed",
            Self::Latency => "latency",
            Self::LeastLoad => "leastload",
            Self::NameHashed => "hashed by name and weight",
            Self::Random => "random",
            Self::Sample => "sample",
            Self::SelfWeighted => "hashed by reported weight",
            Self::WeightedHashed => "hashed by weight",
            Self::WeightedRandom => "random by weight",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backup {
    /// No records at all.
    Empty,
    Select(Selector),
}

impl Plan {
    /// Every choice that the record may make.
    pub fn picks(&self) -> Vec<&Pick> {
        match &self.program {
            Program::Formula(formula) => formula.picks(),
            Program::Library(_) | Program::Script(_) => Vec::new(),
            Program::Pick(pick) => vec![pick],
        }
    }
}
