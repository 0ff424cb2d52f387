//! A small database of places, in the layout of GeoLite2 City.

/// The nodes of a tree over the bits of IPv4 addresses.
struct Tree(Vec<[Branch; 2]>);

#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    /// Where its record begins.
    Place(usize),
}

/// Frankfurt with 10.1.0.0/16 and 192.0.2.0/24, Ashburn with 10.2.0.0/16 and 198.51.100.0/24.
pub(crate) fn places() -> Vec<u8> {
    let frankfurt = city("Frankfurt", ("DE", "EU", "HE"), (50.11, 8.68));
    let ashburn = city("Ashburn", ("US", "NA", "VA"), (39.04, -77.49));
    let mut tree = Tree(vec![[Branch::Nothing; 2]]);
    tree.insert([10, 1, 0, 0], 16, 0);
    tree.insert([192, 0, 2, 0], 24, 0);
    tree.insert([10, 2, 0, 0], 16, frankfurt.len());
    tree.insert([198, 51, 100, 0], 24, frankfurt.len());

    let count = tree.0.len();
    let mut file = Vec::new();
    for branch in tree.0.iter().flatten() {
        let number = match branch {
            Branch::Nothing => count,
            Branch::Node(it) => *it,
            Branch::Place(it) => count + 16 + it,
        };
        file.extend(&u32::try_from(number).unwrap().to_be_bytes()[1..]);
    }
    file.extend([0; 16]);
    file.extend(frankfurt);
    file.extend(ashburn);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let count = u16::try_from(count).unwrap().to_be_bytes();
    file.extend(map(&[
        ("binary_format_major_version", vec![0xa1, 2]),
        ("binary_format_minor_version", vec![0xa0]),
        ("build_epoch", vec![0x04, 0x02, 0x6a, 0xb1, 0x3b, 0x80]),
        ("database_type", text("GeoLite2-City")),
        ("description", vec![0xe0]),
        ("ip_version", vec![0xa1, 4]),
        ("languages", vec![0x00, 0x04]),
        ("node_count", [&[0xc2], &count[..]].concat()),
        ("record_size", vec![0xa1, 24]),
    ]));
    file
}

impl Tree {
    fn insert(&mut self, address: [u8; 4], length: usize, place: usize) {
        let bits = u32::from_be_bytes(address);
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (31 - depth) & 1 == 1);
            if depth == length - 1 {
                self.0[node][side] = Branch::Place(place);
                return;
            }
            node = match self.0[node][side] {
                Branch::Node(next) => next,
                Branch::Nothing | Branch::Place(_) => {
                    let next = self.0.len();
                    self.0.push([Branch::Nothing; 2]);
                    self.0[node][side] = Branch::Node(next);
                    next
                }
            };
        }
    }
}

fn city(
    name: &str,
    (country, continent, region): (&str, &str, &str),
    place: (f64, f64),
) -> Vec<u8> {
    let region = map(&[("iso_code", text(region))]);
    map(&[
        ("city", map(&[("names", map(&[("en", text(name))]))])),
        ("continent", map(&[("code", text(continent))])),
        ("country", map(&[("iso_code", text(country))])),
        (
            "location",
            map(&[
                ("accuracy_radius", vec![0xa1, 10]),
                ("latitude", double(place.0)),
                ("longitude", double(place.1)),
            ]),
        ),
        ("subdivisions", [vec![0x01, 0x04], region].concat()),
    ])
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let count = u8::try_from(entries.len()).unwrap();
    let entries = entries
        .iter()
        .flat_map(|(key, value)| [text(key), value.clone()]);
    std::iter::once(0xe0 | count)
        .chain(entries.flatten())
        .collect()
}

fn text(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    assert!(length < 29, "longer texts are written otherwise");
    [&[0x40 | length], text.as_bytes()].concat()
}

fn double(number: f64) -> Vec<u8> {
    [&[0x68], number.to_be_bytes().as_slice()].concat()
}
