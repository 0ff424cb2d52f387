//! Gives a number to every address: sorted ranges, found by one walk that also tells how far the
//! number reaches.

use std::net::IpAddr;
use std::sync::Arc;

/// No number: whoever is asked next may know.
pub(super) const NOTHING: u32 = u32::MAX;

/// A number for each address of both families.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct AddressMap {
    /// Shared with the maps that they were made from or became a part of.
    v4: Arc<Ranges<u32>>,
    v6: Arc<Ranges<u128>>,
}

impl AddressMap {
    pub(super) fn new(v4: Ranges<u32>, v6: Ranges<u128>) -> Self {
        Self {
            v4: Arc::new(v4),
            v6: Arc::new(v6),
        }
    }

    /// The number of `address`, and the length of the shortest prefix that holds it and nothing
    /// with another number.
    pub(super) fn find(&self, address: IpAddr) -> (u32, u8) {
        match address {
            IpAddr::V4(it) => self.v4.find(it.to_bits()),
            IpAddr::V6(it) => self.v6.find(it.to_bits()),
        }
    }

    /// What this map says, and `below` where it says nothing.
    pub(super) fn over(&self, below: &Self) -> Self {
        Self {
            v4: over(&self.v4, &below.v4),
            v6: over(&self.v6, &below.v6),
        }
    }

    /// The same with other numbers.
    pub(super) fn renumber(&self, number: impl Fn(u32) -> u32) -> Self {
        Self::new(self.v4.renumber(&number), self.v6.renumber(&number))
    }

    /// How many ranges there are.
    pub(super) fn ranges_count(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }
}

fn over<A: Address>(upper: &Arc<Ranges<A>>, lower: &Arc<Ranges<A>>) -> Arc<Ranges<A>> {
    match (&*upper.numbers, &*lower.numbers) {
        ([NOTHING], _) => Arc::clone(lower),
        (_, [NOTHING]) => Arc::clone(upper),
        _ => Arc::new(upper.over(lower)),
    }
}

/// A number for each address of one family, as ranges that leave no gap.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Ranges<A> {
    /// Where ranges begin, in ascending order; the first at the lowest address.
    starts: Vec<A>,
    /// By range. Neighbours differ.
    numbers: Vec<u32>,
    /// For each value of an address's leading bits, the range that holds the first such address;
    /// then the last range.
    index: Vec<u32>,
    index_bits: u32,
}

/// An address as a number.
pub(super) trait Address: Copy + Ord {
    const LOWEST: Self;

    /// The value of so many leading bits.
    fn leading(self, bits: u32) -> usize;
    fn next(self) -> Option<Self>;
    fn previous(self) -> Option<Self>;
    /// How many leading bits two addresses have in common.
    fn shared(self, other: Self) -> u8;
}

/// Bits that select a part of a large map at once: half a megabyte of index for both families.
const INDEX_BITS: u32 = 16;
/// Smaller maps are searched as a whole.
const INDEXED_MIN: usize = 256;

impl<A: Address> Ranges<A> {
    fn find(&self, address: A) -> (u32, u8) {
        let part = address.leading(self.index_bits);
        let at = |place: usize| self.index[place] as usize;
        let (first, last) = (at(part), at(part + 1));
        let after = first + self.starts[first..=last].partition_point(|it| *it <= address);
        let start = self.starts[after - 1];

        // A block that holds the address stays inside the range if it is too small to reach the
        // addresses just outside.
        let reach = |outside: A| address.shared(outside) + 1;
        let before = start.previous().map_or(0, reach);
        let behind = self.starts.get(after).map_or(0, |it| reach(*it));
        (self.numbers[after - 1], before.max(behind))
    }

    fn over(&self, below: &Self) -> Self {
        let mut merged = Builder::default();
        let (mut upper, mut lower) = (0, 0);
        loop {
            let number = match self.numbers[upper] {
                NOTHING => below.numbers[lower],
                number => number,
            };
            merged.begin(self.starts[upper].max(below.starts[lower]), number);
            let next_upper = self.starts.get(upper + 1);
            let next_lower = below.starts.get(lower + 1);
            let next = next_upper.into_iter().chain(next_lower).min();
            let Some(next) = next else {
                return merged.finish();
            };
            upper += usize::from(next_upper == Some(next));
            lower += usize::from(next_lower == Some(next));
        }
    }

    fn renumber(&self, number: impl Fn(u32) -> u32) -> Self {
        let mut fresh = Builder::default();
        for (start, old) in self.starts.iter().zip(&self.numbers) {
            fresh.begin(*start, number(*old));
        }
        fresh.finish()
    }
}

impl<A: Address> Default for Ranges<A> {
    fn default() -> Self {
        Builder::default().finish()
    }
}

impl Default for AddressMap {
    fn default() -> Self {
        Self::new(Ranges::default(), Ranges::default())
    }
}

/// Ranges as they are found, in ascending order.
#[derive(Debug)]
pub(super) struct Builder<A> {
    starts: Vec<A>,
    numbers: Vec<u32>,
}

impl<A> Default for Builder<A> {
    fn default() -> Self {
        Self {
            starts: Vec::new(),
            numbers: Vec::new(),
        }
    }
}

impl<A: Address> Builder<A> {
    /// From `start` on, which is not below what came before, addresses have this number.
    pub(super) fn begin(&mut self, start: A, number: u32) {
        if self.starts.last().is_some_and(|it| *it == start) {
            self.starts.pop();
            self.numbers.pop();
        }
        if self.numbers.is_empty() && start != A::LOWEST && number != NOTHING {
            self.starts.push(A::LOWEST);
            self.numbers.push(NOTHING);
        }
        if self.numbers.last() != Some(&number) {
            let start = if self.numbers.is_empty() {
                A::LOWEST
            } else {
                start
            };
            self.starts.push(start);
            self.numbers.push(number);
        }
    }

    /// The addresses of one block have this number, and those behind it none. Blocks come in
    /// ascending order.
    pub(super) fn block(&mut self, first: A, last: A, number: u32) {
        self.begin(first, number);
        if let Some(after) = last.next() {
            self.begin(after, NOTHING);
        }
    }

    pub(super) fn finish(mut self) -> Ranges<A> {
        if self.starts.is_empty() {
            self.begin(A::LOWEST, NOTHING);
        }
        self.starts.shrink_to_fit();
        self.numbers.shrink_to_fit();
        let index_bits = match self.starts.len() {
            0..INDEXED_MIN => 0,
            _ => INDEX_BITS,
        };
        Ranges {
            index: index(&self.starts, index_bits),
            index_bits,
            starts: self.starts,
            numbers: self.numbers,
        }
    }
}

fn index<A: Address>(starts: &[A], bits: u32) -> Vec<u32> {
    let parts = 1 << bits;
    let mut index = Vec::with_capacity(parts + 1);
    for (before, start) in starts.iter().skip(1).enumerate() {
        let parts_before = start.previous().map_or(0, |it| it.leading(bits) + 1);
        index.resize(parts_before, number(before));
    }
    index.resize(parts + 1, number(starts.len() - 1));
    index
}

fn number(range: usize) -> u32 {
    u32::try_from(range).expect("the ranges of a database are bounded far below")
}

macro_rules! address {
    ($number:ty) => {
        impl Address for $number {
            const LOWEST: Self = 0;

            fn leading(self, bits: u32) -> usize {
                let leading = self.checked_shr(Self::BITS - bits).unwrap_or(0);
                usize::try_from(leading).expect("bits of an index")
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }

            fn previous(self) -> Option<Self> {
                self.checked_sub(1)
            }

            fn shared(self, other: Self) -> u8 {
                u8::try_from((self ^ other).leading_zeros()).expect("at most 128")
            }
        }
    };
}

address!(u32);
address!(u128);

#[cfg(test)]
mod tests;
