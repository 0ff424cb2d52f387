//! How what is at a name lies in memory.
//!
//! A node is its name, the number of names right below it, the octets of its sets, and these. A set is
//! its type, its time to live, the numbers of its plans, the octets of its data, and both. Numbers are
//! in the order of the network, as what they are sent as.

use crate::wire::name;

/// What is at a name.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    owner: &'a [u8],
    children: u32,
    sets: &'a [u8],
}

/// The records of one type at one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set<'a> {
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    plans: &'a [u8],
    data: &'a [u8],
}

/// Behind the name: two numbers.
const NODE_FIXED_BYTES: usize = 8;

impl<'a> Node<'a> {
    /// The node that `bytes` begin with.
    pub(super) fn read(bytes: &'a [u8]) -> Self {
        let (owner, rest) = bytes.split_at(name::length(bytes));
        let (children, rest) = number(rest);
        let (length, rest) = number(rest);
        Self {
            owner,
            children,
            sets: &rest[..index(length)],
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.owner);
        bytes.extend(self.children.to_be_bytes());
        bytes.extend(length(self.sets.len()).to_be_bytes());
        bytes.extend_from_slice(self.sets);
    }

    pub(super) fn new(owner: &'a [u8], children: u32, sets: &'a [u8]) -> Self {
        Self {
            owner,
            children,
            sets,
        }
    }

    /// How many octets it takes.
    pub(super) fn length(&self) -> usize {
        self.owner.len() + NODE_FIXED_BYTES + self.sets.len()
    }

    /// Its name, in the case that the zone has it in.
    pub fn owner(&self) -> &'a [u8] {
        self.owner
    }

    /// How many names there are right below it.
    pub fn children(&self) -> u32 {
        self.children
    }

    pub fn set(&self, kind: u16) -> Option<Set<'a>> {
        self.sets().find(|it| it.kind == kind)
    }

    /// In order of their types.
    pub fn sets(&self) -> impl Iterator<Item = Set<'a>> + use<'a> {
        let mut rest = self.sets;
        std::iter::from_fn(move || {
            let (set, after) = Set::read(rest)?;
            rest = after;
            Some(set)
        })
    }

    pub(super) fn encoded_sets(&self) -> &'a [u8] {
        self.sets
    }
}

impl<'a> Set<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[high, low], rest) = bytes.split_first_chunk::<2>()?;
        let (ttl, rest) = number(rest);
        let (plans_length, rest) = number(rest);
        let (data_length, rest) = number(rest);
        let (plans, rest) = rest.split_at(index(plans_length));
        let (data, rest) = rest.split_at(index(data_length));
        let set = Self {
            kind: u16::from_be_bytes([high, low]),
            ttl,
            plans,
            data,
        };
        Some((set, rest))
    }

    /// Writes a set; `data` has the length of each record's before it, in two octets.
    pub(super) fn write(kind: u16, ttl: u32, plans: &[u32], data: &[u8], bytes: &mut Vec<u8>) {
        bytes.extend(kind.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(length(size_of_val(plans)).to_be_bytes());
        bytes.extend(length(data.len()).to_be_bytes());
        for plan in plans {
            bytes.extend(plan.to_be_bytes());
        }
        bytes.extend_from_slice(data);
    }

    /// The data of each record.
    pub fn data(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.data;
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (data, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            rest = after;
            Some(data)
        })
    }

    /// The zone's plans that answer beside the records, by their numbers.
    pub fn plans(&self) -> impl Iterator<Item = usize> + use<'a> {
        let (numbers, _) = self.plans.as_chunks::<4>();
        numbers.iter().map(|it| index(u32::from_be_bytes(*it)))
    }

    pub fn has_plans(&self) -> bool {
        !self.plans.is_empty()
    }
}

/// The number that `bytes` begin with, and what follows.
fn number(bytes: &[u8]) -> (u32, &[u8]) {
    let (number, rest) = bytes
        .split_first_chunk::<4>()
        .expect("what we wrote has whole numbers");
    (u32::from_be_bytes(*number), rest)
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a name's records are far below 4 GiB")
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("usize has 32 bits or more")
}
