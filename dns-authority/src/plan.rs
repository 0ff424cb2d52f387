//! What a LUA record answers, decided once when its zone is loaded.
//!
//! Every function of the language becomes the same thing: ordered sets of candidates, each with an
//! optional health check, and a selector.

mod compile;
mod evaluate;
mod options;

pub(crate) use compile::{Compiler, Target, compile};
pub(crate) use evaluate::distance;
pub use evaluate::{Basis, Choice, Dependency, Picked, Scene, evaluate};

use std::fmt;

use topology::geo::Location;

use crate::check::CheckId;

/// A compiled expression. Answers with candidates of the first set that has usable ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// As it is written, for explanations.
    pub function: String,
    /// At least one, none of them empty.
    pub sets: Vec<Vec<Candidate>>,
    pub selector: Selector,
    /// Chooses among all candidates of all sets while none of them is healthy.
    pub backup: Backup,
    /// Answer SERVFAIL, instead of guessing, until a check has succeeded or all have failed.
    pub fail_on_incomplete_check: bool,
}

/// A value that may be answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// As it is written.
    pub text: String,
    /// As it travels, names in full.
    pub data: Box<[u8]>,
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
    /// By the client's address: the same client gets the same answer.
    Hashed,
    Random,
    WeightedHashed,
    WeightedRandom,
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::All => "all",
            Self::Closest => "pickclosest",
            Self::Hashed => "hashed",
            Self::Random => "random",
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
