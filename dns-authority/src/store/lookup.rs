//! Finds what a zone says of a name: RFC 1034 section 4.3.2, with wildcards as in RFC 4592 and DNAME as
//! in RFC 6672.

use super::{Node, Store};
use crate::wire::kind;
use crate::wire::name::{Folded, NAME_BYTES_MAX};

/// What a zone says of a name that belongs to it.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The name does not exist, and nothing stands in for it; the nearest name above it that exists.
    Absent(Node<'a>),
    /// The name is at or below this one, which is delegated to other servers.
    Delegated(Node<'a>),
    /// There is a node, maybe without records.
    Exact(Node<'a>),
    /// The name is below this one, all below which is elsewhere.
    Redirected(Node<'a>),
    /// The name does not exist, and this wildcard stands in for it.
    Wildcard(Node<'a>),
}

/// Whether a zone has what makes names below others special, so that a lookup has to look for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// Parts of it are delegated.
    pub has_cuts: bool,
    pub has_dnames: bool,
}

const WILDCARD_LABEL: [u8; 2] = [1, b'*'];

impl Store {
    /// What special there is in the zone, whose origin takes so many octets.
    pub fn traits(&self, origin_length: usize) -> Traits {
        let mut traits = Traits::default();
        for node in self.nodes() {
            traits.has_dnames |= node.set(kind::DNAME).is_some();
            traits.has_cuts |= node.owner().len() != origin_length && node.set(kind::NS).is_some();
        }
        traits
    }

    /// Looks up a name that belongs to the zone, whose origin has so many labels and exists.
    pub fn lookup(&self, name: &Folded, origin_labels: usize, traits: Traits) -> Found<'_> {
        let depth = name.labels() - origin_labels;
        if (traits.has_cuts || traits.has_dnames)
            && let Some(found) = self.turned_away(name, depth)
        {
            return found;
        }
        if let Some(node) = self.find(name.octets()) {
            return Found::Exact(node);
        }
        let above = (1..=depth).find_map(|it| Some((it, self.find(name.suffix(it))?)));
        let (skipped, encloser) = above.expect("the origin exists");
        let wildcard = self.wildcard_below(name.suffix(skipped));
        wildcard.map_or(Found::Absent(encloser), Found::Wildcard)
    }

    /// The first thing on the way down from the origin that leads elsewhere.
    fn turned_away(&self, name: &Folded, depth: usize) -> Option<Found<'_>> {
        for skipped in (0..=depth).rev() {
            // Nothing exists below what does not.
            let node = self.find(name.suffix(skipped))?;
            let is_origin = skipped == depth;
            if !is_origin && node.set(kind::NS).is_some() {
                return Some(Found::Delegated(node));
            }
            if 0 < skipped && node.set(kind::DNAME).is_some() {
                return Some(Found::Redirected(node));
            }
        }
        None
    }

    /// A name so long that no wildcard fits before it has none.
    fn wildcard_below(&self, encloser: &[u8]) -> Option<Node<'_>> {
        let mut name = [0; NAME_BYTES_MAX];
        let length = WILDCARD_LABEL.len() + encloser.len();
        let place = name.get_mut(..length)?;
        let (label, rest) = place.split_at_mut(WILDCARD_LABEL.len());
        label.copy_from_slice(&WILDCARD_LABEL);
        rest.copy_from_slice(encloser);
        self.find(&name[..length])
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::{Builder, Value};
    use super::*;

    const ORIGIN: &[u8] = b"\x01z\x00";

    #[test]
    fn finds_what_the_standards_say() {
        // RFC 4592 section 2.2.1, with its names of one letter.
        let zone = [
            ("", kind::SOA),
            ("", kind::NS),
            ("*", kind::A),
            ("s*", kind::A),
            ("hs", kind::A),
            ("c", kind::NS),
            ("gc", kind::A),
            ("d", kind::DNAME),
        ];
        let check = |name: &str, expected: &str| assert_eq!(found(&zone, name), expected, "{name}");

        check("h", "wildcard *.z.");
        check("*", "exact *.z.");
        check("sh", "wildcard *.z.");
        check("s*", "exact s.*.z.");
        check("x*", "absent, below *.z.");
        check("xhs", "absent, below h.s.z.");
        check("s", "exact s.z.");
        check("xs", "absent, below s.z.");
        check("", "exact z.");
        check("c", "delegated c.z.");
        check("xyc", "delegated c.z.");
        check("gc", "delegated c.z.");
        check("d", "exact d.z.");
        check("xyd", "redirected d.z.");
    }

    proptest! {
        /// Against the rules, applied to a list of names.
        #[test]
        fn agrees_with_a_list(
            zone in prop::collection::btree_set(("[ab*]{1,4}", prop_oneof![4 => Just(kind::A), 1 => Just(kind::NS), 1 => Just(kind::DNAME)]), 0..10),
            names in prop::collection::vec("[ab*]{0,5}", 20),
        ) {
            let mut zone: Vec<(&str, u16)> = zone.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
            zone.push(("", kind::SOA));
            for name in &names {
                prop_assert_eq!(found(&zone, name), expected(&zone, name), "{} in {:?}", name, zone);
            }
        }
    }

    fn expected(zone: &[(&str, u16)], name: &str) -> String {
        let mut nodes = BTreeMap::<&str, BTreeSet<u16>>::new();
        for (owner, kind) in zone {
            for start in 0..=owner.len() {
                nodes.entry(&owner[start..]).or_default();
            }
            nodes.entry(owner).or_default().insert(*kind);
        }
        let has = |name: &str, kind: u16| nodes.get(name).is_some_and(|it| it.contains(&kind));
        let said = |what: &str, name: &str| format!("{what} {}", shown(name));
        for start in (0..=name.len()).rev() {
            let above = &name[start..];
            if !above.is_empty() && has(above, kind::NS) {
                return said("delegated", above);
            }
            if 0 < start && has(above, kind::DNAME) {
                return said("redirected", above);
            }
        }
        if nodes.contains_key(name) {
            return said("exact", name);
        }
        let above = (1..=name.len()).map(|it| &name[it..]);
        let encloser = above.into_iter().find(|it| nodes.contains_key(it)).unwrap();
        let wildcard = format!("*{encloser}");
        if nodes.contains_key(wildcard.as_str()) {
            return said("wildcard", &wildcard);
        }
        said("absent, below", encloser)
    }

    fn found(zone: &[(&str, u16)], name: &str) -> String {
        let mut builder = Builder::new(ORIGIN);
        for (owner, kind) in zone {
            builder.push(1, &wire(owner), *kind, 60, Value::Data(b"\x00"));
        }
        let store = builder.finish().unwrap();
        let traits = store.traits(ORIGIN.len());
        let name = Folded::read(&wire(name)).unwrap();
        let (what, node) = match store.lookup(&name, 1, traits) {
            Found::Absent(it) => ("absent, below", it),
            Found::Delegated(it) => ("delegated", it),
            Found::Exact(it) => ("exact", it),
            Found::Redirected(it) => ("redirected", it),
            Found::Wildcard(it) => ("wildcard", it),
        };
        format!("{what} {}", crate::wire::name::Shown(node.owner()))
    }

    fn wire(letters: &str) -> Vec<u8> {
        let labels = letters.bytes().flat_map(|it| [1, it]);
        labels.chain(ORIGIN.iter().copied()).collect()
    }

    fn shown(letters: &str) -> String {
        crate::wire::name::Shown(&wire(letters)).to_string()
    }
}
