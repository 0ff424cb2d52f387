//! A made-up city database: as large as real ones, the same on every machine, and nobody's data.

use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::{fs, iter};

use anyhow::{Context as _, Result};

/// How many networks and distinct places it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) networks: u32,
    pub(crate) places: u32,
}

/// Countries with their continents and middles, in degrees.
const COUNTRIES: [(&str, &str, f64, f64); 16] = [
    ("US", "NA", 38.0, -97.0),
    ("CA", "NA", 56.0, -106.0),
    ("BR", "SA", -10.0, -55.0),
    ("DE", "EU", 51.0, 9.0),
    ("FR", "EU", 46.0, 2.0),
    ("GB", "EU", 54.0, -2.0),
    ("NL", "EU", 52.0, 5.0),
    ("NO", "EU", 62.0, 10.0),
    ("ZA", "AF", -29.0, 24.0),
    ("NG", "AF", 10.0, 8.0),
    ("JP", "AS", 36.0, 138.0),
    ("IN", "AS", 20.0, 77.0),
    ("CN", "AS", 35.0, 105.0),
    ("SG", "AS", 1.3, 103.8),
    ("AU", "OC", -27.0, 133.0),
    ("NZ", "OC", -41.0, 174.0),
];

/// Lengths of the networks that lie in others, as often as they stand here.
const LENGTHS: [u32; 12] = [17, 18, 19, 20, 21, 22, 23, 24, 24, 24, 24, 24];

/// Writes the database, in the layout of GeoLite2 City.
///
/// # Errors
///
/// If the file cannot be written.
pub(crate) fn write(path: &Path, size: Size) -> Result<()> {
    let mut chance = Chance(0x1234_5678_9abc_def1);
    let mut data = Vec::new();
    let offsets: Vec<u32> = (0..size.places)
        .map(|number| {
            let offset = data.len();
            city(number, &mut chance, &mut data);
            u32::try_from(offset).expect("places of 100 octets")
        })
        .collect();
    let mut tree = Tree::new();
    for block in 0..1 << 16 {
        tree.insert(block << 16, 16, chance.below(size.places));
    }
    for _ in 1 << 16..size.networks {
        let length = LENGTHS[chance.below(12) as usize];
        let address = chance.below(u32::MAX) & (u32::MAX << (32 - length));
        tree.insert(address, length, chance.below(size.places));
    }

    let file = fs::File::create(path).context("cannot write the database")?;
    let mut file = BufWriter::new(file);
    tree.write(&mut file, &offsets)?;
    file.write_all(&[0; 16])?;
    file.write_all(&data)?;
    file.write_all(b"\xab\xcd\xefMaxMind.com")?;
    file.write_all(&metadata(u32::try_from(tree.nodes.len())?))?;
    Ok(file.flush()?)
}

fn city(number: u32, chance: &mut Chance, into: &mut Vec<u8>) {
    let (country, continent, latitude, longitude) = COUNTRIES[number as usize % COUNTRIES.len()];
    let mut near = |middle: f64| middle + f64::from(chance.below(1000)) / 100.0 - 5.0;
    let location = map(&[
        ("latitude", double(near(latitude))),
        ("longitude", double(near(longitude))),
    ]);
    let names = map(&[("en", text(&format!("City {number}")))]);
    into.extend(map(&[
        ("city", map(&[("names", names)])),
        ("continent", map(&[("code", text(continent))])),
        ("country", map(&[("iso_code", text(country))])),
        ("location", location),
    ]));
}

fn metadata(nodes: u32) -> Vec<u8> {
    map(&[
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", vec![0x04, 0x02, 0x6a, 0xb1, 0x3b, 0x80]),
        ("database_type", text("GeoLite2-City")),
        ("description", vec![0xe0]),
        ("ip_version", vec![0xa1, 6]),
        ("languages", vec![0x00, 0x04]),
        (
            "node_count",
            [&[0xc4], nodes.to_be_bytes().as_slice()].concat(),
        ),
        ("record_size", vec![0xa1, 32]),
    ])
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let count = u8::try_from(entries.len()).expect("a handful");
    let entries = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()]);
    iter::once(0xe0 | count).chain(entries.flatten()).collect()
}

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).ok().filter(|it| *it < 29);
    let length = length.expect("longer texts are written otherwise");
    [&[0x40 | length], text.as_bytes()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [&[0x68], number.to_be_bytes().as_slice()].concat()
}

/// The search tree of an IPv6 database with IPv4 addresses at `::/96`.
struct Tree {
    nodes: Vec<[Branch; 2]>,
    /// The node of `::/96`.
    v4: usize,
}

#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(u32),
    Place(u32),
}

impl Tree {
    fn new() -> Self {
        let mut nodes = Vec::new();
        for next in 1..=96 {
            nodes.push([Branch::Node(next), Branch::Nothing]);
        }
        nodes.push([Branch::Nothing; 2]);
        Self { nodes, v4: 96 }
    }

    fn insert(&mut self, address: u32, length: u32, place: u32) {
        let mut node = self.v4;
        for depth in 0..length - 1 {
            let side = side(address, depth);
            node = match self.nodes[node][side] {
                Branch::Node(next) => next as usize,
                // What held for the whole holds for its halves.
                whole @ (Branch::Nothing | Branch::Place(_)) => {
                    let next = self.nodes.len();
                    self.nodes.push([whole; 2]);
                    self.nodes[node][side] = Branch::Node(u32::try_from(next).expect("32 bits"));
                    next
                }
            };
        }
        let last = &mut self.nodes[node][side(address, length - 1)];
        // Networks inside stay as they are.
        if !matches!(last, Branch::Node(_)) {
            *last = Branch::Place(place);
        }
    }

    fn write(&self, file: &mut impl std::io::Write, offsets: &[u32]) -> Result<()> {
        let count = u32::try_from(self.nodes.len())?;
        for branch in self.nodes.iter().flatten() {
            let record = match branch {
                Branch::Nothing => count,
                Branch::Node(node) => *node,
                Branch::Place(place) => count + 16 + offsets[*place as usize],
            };
            file.write_all(&record.to_be_bytes())?;
        }
        Ok(())
    }
}

fn side(address: u32, depth: u32) -> usize {
    (address >> (31 - depth) & 1) as usize
}

/// The same numbers on every machine (xorshift).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from((self.0 >> 16) % u64::from(limit)).expect("below 32 bits")
    }
}
