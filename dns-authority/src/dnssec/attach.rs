//! Adds to an answer what proves it: a signature behind each set of records, and for what is not there
//! the records that say so.

use smallvec::SmallVec;

use super::algorithm::Failed;
use super::canonical::Records;
use super::denial::{Denial, Lookup, Proof};
use super::signer::{Origin, Signer};
use crate::answer::{Answer, Data, Owner, Row, Rows, Step};
use crate::store::Found;
use crate::wire::code::{self, Remark};
use crate::wire::kind;
use crate::wire::name::Folded;
use crate::wire::query::Query;
use crate::zone::Zone;

/// Adds what proves the answer to a client that wants to know, if its zone is signed.
pub fn attach<'w>(query: &Query<'_>, answer: &mut Answer<'w>) {
    let Some((zone, signer)) = answer.zone.and_then(|it| Some((it, it.signer()?))) else {
        return;
    };
    if answer.code == code::SERVER_FAILURE {
        return;
    }
    let mut clerk = Clerk {
        zone,
        signer,
        query,
        records: Records::default(),
    };
    clerk.prove(answer);
    if clerk.sign(answer).is_err() {
        *answer = Answer {
            remark: Some(NOT_SIGNED),
            ..Answer::new(code::SERVER_FAILURE)
        };
    }
}

const NOT_SIGNED: Remark = Remark {
    number: code::REMARK_OTHER,
    text: "the answer could not be signed",
};

struct Clerk<'w, 'q> {
    zone: &'w Zone,
    signer: &'w Signer,
    query: &'q Query<'q>,
    records: Records,
}

impl<'w> Clerk<'w, '_> {
    fn prove(&self, answer: &mut Answer<'w>) {
        let name = self.final_name(answer);
        let found = self.zone.find(&name);
        match answer.steps.last() {
            Some(Step::NoName | Step::NoData) => self.prove_absence(&name, found, answer),
            Some(Step::Delegated(_)) => self.prove_delegation(&name, found, answer),
            Some(_) | None => (),
        }
        self.prove_expansions(answer);
    }

    /// The name that the answer's last word is about: where the aliases lead.
    fn final_name(&self, answer: &Answer<'_>) -> Folded {
        let last = answer.steps.iter().rev().find_map(|it| {
            let Step::Alias(owner) = it else {
                return None;
            };
            Some(owner.name(&self.query.name))
        });
        let last = last.and_then(|it| Folded::read(it).ok());
        last.unwrap_or_else(|| self.query.name.clone())
    }

    fn prove_absence(&self, name: &Folded, found: Found<'w>, answer: &mut Answer<'w>) {
        let denial = self.signer.denial();
        let is_compact = denial == Denial::Compact;
        if is_compact && !self.query.edns.is_some_and(|it| it.compact_ok) {
            // The proof is of a name without records, and the code must not say otherwise.
            answer.code = code::NO_ERROR;
        }
        if self.query.kind == kind::RRSIG && self.show_signatures(name, found, answer) {
            return;
        }
        let proofs = denial.of_absence(&self.lookup(name, found), self.query.kind);
        // The one record that is there because somebody asks.
        let has_nsec = match found {
            Found::Exact(_) => denial != Denial::Nsec3,
            Found::Absent(_) | Found::Wildcard(_) => is_compact,
            Found::Delegated(_) | Found::Redirected(_) => false,
        };
        if self.query.kind == kind::NSEC && has_nsec {
            answer.authorities.clear();
            self.push(proofs, &mut answer.answers);
        } else {
            self.push(proofs, &mut answer.authorities);
        }
    }

    /// A question for signatures gets those of one set, as one for everything does (RFC 8482).
    fn show_signatures(&self, name: &Folded, found: Found<'w>, answer: &mut Answer<'w>) -> bool {
        let (Found::Exact(node) | Found::Wildcard(node)) = found else {
            return false;
        };
        let Some(set) = node
            .sets()
            .find(|it| it.data().next().is_some() && !it.has_plans())
        else {
            return false;
        };
        let row = Row {
            owner: Owner::Made(name.octets().into()),
            kind: set.kind,
            ttl: set.ttl,
            data: Data::Set(set),
        };
        answer.authorities.clear();
        answer.answers.push(row);
        true
    }

    /// A part that is delegated comes with what its parent knows of its keys, or the proof that this is
    /// nothing.
    fn prove_delegation(&self, name: &Folded, found: Found<'w>, answer: &mut Answer<'w>) {
        let Found::Delegated(cut) = found else {
            return;
        };
        match cut.set(kind::DS) {
            Some(set) => answer.authorities.push(Row {
                owner: Owner::Known(cut.owner()),
                kind: kind::DS,
                ttl: set.ttl,
                data: Data::Set(set),
            }),
            None => {
                let lookup = self.lookup(name, found);
                let proofs = self.signer.denial().of_absence(&lookup, kind::DS);
                self.push(proofs, &mut answer.authorities);
            }
        }
    }

    /// Names that a wildcard stood in for.
    fn prove_expansions(&self, answer: &mut Answer<'w>) {
        let is_expanded = answer
            .steps
            .iter()
            .any(|it| matches!(it, Step::Wildcard(_)));
        if !is_expanded || self.signer.denial() == Denial::Compact {
            return;
        }
        for index in 0..answer.answers.len() {
            let owner = answer.answers[index].owner.name(&self.query.name);
            let Ok(name) = Folded::read(owner) else {
                continue;
            };
            let lookup = self.lookup(&name, self.zone.find(&name));
            let proofs = self.signer.denial().of_expansion(&lookup);
            self.push(proofs, &mut answer.authorities);
        }
    }

    fn lookup<'l>(&'l self, name: &'l Folded, found: Found<'l>) -> Lookup<'l> {
        Lookup {
            origin: self.zone.origin(),
            name,
            found,
        }
    }

    /// Each once.
    fn push(&self, proofs: Vec<Proof>, rows: &mut Rows<'w>) {
        for Proof { owner, kind, data } in proofs {
            let is_known = rows.iter().any(|it| {
                it.kind == kind && matches!(&it.owner, Owner::Made(known) if **known == *owner)
            });
            if !is_known {
                rows.push(Row {
                    owner: Owner::Made(owner.into()),
                    kind,
                    ttl: self.zone.negative_ttl(),
                    data: Data::Made(data.into()),
                });
            }
        }
    }

    fn sign(&mut self, answer: &mut Answer<'w>) -> Result<(), Failed> {
        let is_expanded = answer
            .steps
            .iter()
            .any(|it| matches!(it, Step::Wildcard(_)));
        let is_compact = self.signer.denial() == Denial::Compact;
        let origin = if is_expanded && is_compact {
            Origin::Passing
        } else {
            Origin::Lasting
        };
        self.sign_rows(&mut answer.answers, origin, is_expanded)?;
        self.sign_rows(&mut answer.authorities, Origin::Lasting, false)?;
        // The addresses of other servers are theirs to sign.
        if !matches!(answer.steps.last(), Some(Step::Delegated(_))) {
            self.sign_rows(&mut answer.additionals, Origin::Lasting, false)?;
        }
        if self.query.kind == kind::RRSIG {
            answer.answers.retain(|it| it.kind == kind::RRSIG);
        }
        Ok(())
    }

    /// Puts behind each set the signatures of it.
    fn sign_rows(
        &mut self,
        rows: &mut Rows<'w>,
        origin: Origin,
        is_expanded: bool,
    ) -> Result<(), Failed> {
        let mut signed = Rows::with_capacity(2 * rows.len());
        let mut last_kind = None;
        let mut unsigned = std::mem::take(rows).into_iter().peekable();
        while let Some(first) = unsigned.next() {
            let mut set: SmallVec<[Row<'w>; 2]> = SmallVec::new();
            let is_same = |it: &Row<'_>| {
                let asked = &self.query.name;
                let names = (it.owner.name(asked), first.owner.name(asked));
                it.kind == first.kind && names.0.eq_ignore_ascii_case(names.1)
            };
            while let Some(row) = unsigned.next_if(is_same) {
                set.push(row);
            }
            set.insert(0, first);
            let is_of_dname = last_kind == Some(kind::DNAME) && set[0].kind == kind::CNAME;
            last_kind = Some(set[0].kind);
            if is_of_dname || self.is_of_others(&set[0]) {
                signed.extend(set);
            } else {
                self.sign_set(set, origin, is_expanded, &mut signed)?;
            }
        }
        *rows = signed;
        Ok(())
    }

    /// Which servers a part has is for the part itself to say.
    fn is_of_others(&self, row: &Row<'_>) -> bool {
        let owner = row.owner.name(&self.query.name);
        row.kind == kind::NS && !owner.eq_ignore_ascii_case(self.zone.origin())
    }

    fn sign_set(
        &mut self,
        mut set: SmallVec<[Row<'w>; 2]>,
        origin: Origin,
        is_expanded: bool,
        signed: &mut Rows<'w>,
    ) -> Result<(), Failed> {
        let kind = set[0].kind;
        let ttl = set.iter().map(|it| it.ttl).min().unwrap_or_default();
        drop_repeated(&mut set);
        self.records.clear();
        for row in &mut set {
            row.ttl = ttl;
            row.each(|data| self.records.push(kind, data));
        }
        let owner = set[0].owner.clone();
        let name = owner.name(&self.query.name).to_ascii_lowercase();
        let name = self.wildcard(&name, is_expanded).unwrap_or(name);
        let origin = match kind {
            kind::NSEC | kind::NSEC3 => Origin::Passing,
            _ => origin,
        };
        signed.extend(set);
        let covered = (&name[..], kind, ttl);
        self.signer
            .sign(covered, &mut self.records, origin, |data| {
                signed.push(Row {
                    owner: owner.clone(),
                    kind: kind::RRSIG,
                    ttl,
                    data: Data::Made((*data).into()),
                });
            })
    }

    /// The name that a set was found by, if that is not its owner and the signature shall say so.
    fn wildcard(&self, name: &[u8], is_expanded: bool) -> Option<Vec<u8>> {
        if !is_expanded || self.signer.denial() == Denial::Compact {
            return None;
        }
        match self.zone.find(&Folded::read(name).ok()?) {
            Found::Wildcard(node) => Some(node.owner().to_ascii_lowercase()),
            Found::Absent(_) | Found::Delegated(_) | Found::Exact(_) | Found::Redirected(_) => None,
        }
    }
}

/// Takes out of a set what is in it already: a plan may name a target twice, and not all validators pass
/// over what should not be there (RFC 2181 section 5).
fn drop_repeated(set: &mut SmallVec<[Row<'_>; 2]>) {
    let mut seen: SmallVec<[&[u8]; 8]> = SmallVec::new();
    for row in set.iter_mut() {
        match &mut row.data {
            Data::Set(data) => seen.extend(data.data()),
            Data::Picked(candidates) => candidates.retain(|it| {
                let Some(data) = it.data.as_deref() else {
                    return false;
                };
                let is_new = !seen.contains(&data);
                if is_new {
                    seen.push(data);
                }
                is_new
            }),
            // What is computed for this query is one set by itself.
            Data::Computed(all) => {
                all.sort();
                all.dedup();
            }
            Data::Made(_) => (),
        }
    }
    set.retain(|it| !matches!(&it.data, Data::Picked(candidates) if candidates.is_empty()));
}

#[cfg(test)]
mod tests;
