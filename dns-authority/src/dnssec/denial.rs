//! Proves that something is not there, or that a wildcard stands in for a name rightly.
//!
//! No proof says more than what was asked for: each is made for its query, so that nobody can walk
//! through the names of a zone.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::near;
use super::records::{HASH_BYTES, hash, hashed_owner, nsec, nsec3};
use crate::store::{Found, Node};
use crate::wire::kind;
use crate::wire::name::{Folded, NAME_BYTES_MAX};

/// How it is proven that something is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// What does not exist is said to have no records (RFC 9824): the shortest proof.
    #[default]
    Compact,
    /// By NSEC records that cover as little as can be (RFC 4470).
    Nsec,
    /// By NSEC3 records that cover as little as can be (RFC 7129 appendix B).
    Nsec3,
}

/// A record that proves something, alone in its set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    pub owner: Vec<u8>,
    pub kind: u16,
    pub data: Vec<u8>,
}

/// What was looked for in a zone, and what was found.
#[derive(Clone, Copy, Debug)]
pub struct Lookup<'a> {
    /// Of the zone, in lower case.
    pub origin: &'a [u8],
    pub name: &'a Folded,
    pub found: Found<'a>,
}

impl Denial {
    /// Proves that there is no record of type `wanted`, nor an alias in its place.
    pub fn of_absence(self, lookup: &Lookup<'_>, wanted: u16) -> Vec<Proof> {
        let name = lookup.name.octets();
        let prover = Prover {
            denial: self,
            origin: lookup.origin,
        };
        match (self, lookup.found) {
            (_, Found::Delegated(cut)) => vec![prover.of_cut(cut)],
            (_, Found::Exact(node) | Found::Redirected(node)) => {
                vec![prover.of_node(&folded(node), node, Some(wanted))]
            }
            (Self::Compact, Found::Wildcard(node)) => {
                vec![prover.of_node(name, node, Some(wanted))]
            }
            (Self::Compact, Found::Absent(_)) => {
                let kinds = BTreeSet::from([kind::RRSIG, kind::NSEC, kind::NXNAME]);
                vec![prover.of_existence(name, &kinds)]
            }
            (Self::Nsec | Self::Nsec3, Found::Wildcard(node)) => {
                let mut proofs = prover.of_expansion(lookup.name, node);
                proofs.push(prover.of_node(&folded(node), node, Some(wanted)));
                if self == Self::Nsec3 {
                    let encloser = lookup.name.suffix(skipped(lookup.name, node) + 1);
                    // What is at the encloser is of no interest: it is there, and above the name.
                    proofs.push(prover.of_existence(encloser, &BTreeSet::new()));
                }
                proofs
            }
            (Self::Nsec | Self::Nsec3, Found::Absent(encloser)) => {
                let skipped = lookup.name.labels() - labels(encloser.owner());
                let mut proofs = vec![prover.of_gap(lookup.name.suffix(skipped - 1))];
                let wildcard = [b"\x01*", &folded(encloser)[..]].concat();
                if wildcard.len() <= NAME_BYTES_MAX {
                    proofs.push(prover.of_gap(&wildcard));
                }
                if self == Self::Nsec3 {
                    proofs.push(prover.of_node(&folded(encloser), encloser, None));
                }
                proofs
            }
        }
    }

    /// Proves that no name is closer to the one that was looked for than the wildcard that was found.
    /// Compact answers need none: they sign what was found as if it had the name.
    pub fn of_expansion(self, lookup: &Lookup<'_>) -> Vec<Proof> {
        let prover = Prover {
            denial: self,
            origin: lookup.origin,
        };
        match lookup.found {
            Found::Wildcard(node) if self != Self::Compact => {
                prover.of_expansion(lookup.name, node)
            }
            Found::Absent(_)
            | Found::Delegated(_)
            | Found::Exact(_)
            | Found::Redirected(_)
            | Found::Wildcard(_) => Vec::new(),
        }
    }

    /// The type that proves.
    fn kind(self) -> u16 {
        match self {
            Self::Compact | Self::Nsec => kind::NSEC,
            Self::Nsec3 => kind::NSEC3,
        }
    }
}

struct Prover<'a> {
    denial: Denial,
    origin: &'a [u8],
}

impl Prover<'_> {
    /// What there is at a name, without what was looked for in vain: for this client it is not there.
    fn of_node(&self, name: &[u8], node: Node<'_>, wanted: Option<u16>) -> Proof {
        let mut kinds: BTreeSet<u16> = node.sets().map(|it| it.kind).collect();
        if let Some(wanted) = wanted {
            kinds.remove(&wanted);
            kinds.remove(&kind::CNAME);
        }
        if !kinds.is_empty() {
            kinds.insert(kind::RRSIG);
        }
        self.of_existence(name, &kinds)
    }

    /// At a cut the zone has the names of other servers, and maybe a digest of their key.
    fn of_cut(&self, cut: Node<'_>) -> Proof {
        let mut kinds = BTreeSet::from([kind::NS]);
        if cut.set(kind::DS).is_some() {
            kinds.extend([kind::DS, kind::RRSIG]);
        }
        let name = folded(cut);
        match self.denial {
            // What is below is not ours to speak of.
            Denial::Compact | Denial::Nsec => {
                self.nsec(&name, &near::after(&name, self.origin), kinds)
            }
            Denial::Nsec3 => self.of_existence(&name, &kinds),
        }
    }

    fn of_existence(&self, name: &[u8], kinds: &BTreeSet<u16>) -> Proof {
        match self.denial {
            Denial::Compact | Denial::Nsec => {
                let next = near::first_below(name, self.origin);
                self.nsec(name, &next, kinds.clone())
            }
            Denial::Nsec3 => {
                let hash = hash(name);
                self.nsec3(&hash, &added(hash, 1), kinds)
            }
        }
    }

    /// That there is neither this name nor any below.
    fn of_gap(&self, name: &[u8]) -> Proof {
        match self.denial {
            Denial::Compact | Denial::Nsec => {
                let (owner, next) = (near::before(name), near::after(name, self.origin));
                self.nsec(&owner, &next, BTreeSet::new())
            }
            Denial::Nsec3 => {
                let hash = hash(name);
                let (owner, next) = (added(hash, u8::MAX), added(hash, 1));
                self.nsec3(&owner, &next, &BTreeSet::new())
            }
        }
    }

    fn of_expansion(&self, name: &Folded, wildcard: Node<'_>) -> Vec<Proof> {
        vec![self.of_gap(name.suffix(skipped(name, wildcard)))]
    }

    fn nsec(&self, owner: &[u8], next: &[u8], mut kinds: BTreeSet<u16>) -> Proof {
        kinds.extend([kind::RRSIG, kind::NSEC]);
        Proof {
            owner: owner.to_vec(),
            kind: self.denial.kind(),
            data: nsec(next, &kinds),
        }
    }

    fn nsec3(
        &self,
        owner: &[u8; HASH_BYTES],
        next: &[u8; HASH_BYTES],
        kinds: &BTreeSet<u16>,
    ) -> Proof {
        Proof {
            owner: hashed_owner(owner, self.origin),
            kind: self.denial.kind(),
            data: nsec3(next, kinds),
        }
    }
}

/// How many labels of `name` come before the one below which the wildcard is.
fn skipped(name: &Folded, wildcard: Node<'_>) -> usize {
    name.labels() - labels(wildcard.owner())
}

fn labels(name: &[u8]) -> usize {
    Folded::read(name).map_or(0, |it| it.labels())
}

fn folded(node: Node<'_>) -> Vec<u8> {
    node.owner().to_ascii_lowercase()
}

/// Another hash, so far away in a circle: 255 is one back.
fn added(mut hash: [u8; HASH_BYTES], difference: u8) -> [u8; HASH_BYTES] {
    let fill = if difference == u8::MAX { u8::MAX } else { 0 };
    let mut carry = false;
    for (index, octet) in hash.iter_mut().rev().enumerate() {
        let by = if index == 0 { difference } else { fill };
        let (sum, first) = octet.overflowing_add(by);
        let (sum, second) = sum.overflowing_add(u8::from(carry));
        (*octet, carry) = (sum, first || second);
    }
    hash
}

impl fmt::Display for Denial {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Compact => "compact",
            Self::Nsec => "nsec",
            Self::Nsec3 => "nsec3",
        })
    }
}

impl FromStr for Denial {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "compact" => Ok(Self::Compact),
            "nsec" => Ok(Self::Nsec),
            "nsec3" => Ok(Self::Nsec3),
            _ => Err(format!(
                "`{text}` is no kind of denial: use compact, nsec or nsec3"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
