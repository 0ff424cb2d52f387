use std::net::Ipv4Addr;

use super::*;
use crate::store::{Builder, Store, Value};
use crate::wire::name::Shown;

const ORIGIN: &[u8] = b"\x01z\x00";

#[test]
fn says_of_what_is_not_there_that_it_has_nothing() {
    let check =
        |name: &str, expected: &str| assert_eq!(absence(Denial::Compact, name), expected, "{name}");

    check("no.a.z.", "no.a.z. NSEC \\000.no.a.z. 46 47 128");
    check("a.z.", "a.z. NSEC \\000.a.z. 1 46 47");
    check("ent.z.", "ent.z. NSEC \\000.ent.z. 46 47");
    check("x.wild.z.", "x.wild.z. NSEC \\000.x.wild.z. 1 46 47");
    check("cut.z.", "cut.z. NSEC cut\\000.z. 2 46 47");
    check("x.cut.z.", "cut.z. NSEC cut\\000.z. 2 46 47");
    check("safe.z.", "safe.z. NSEC safe\\000.z. 2 43 46 47");
    check("z.", "z. NSEC \\000.z. 2 6 46 47");
    assert_eq!(expansion(Denial::Compact, "x.wild.z."), "");
}

#[test]
fn covers_as_little_as_can_be() {
    let check =
        |name: &str, expected: &str| assert_eq!(absence(Denial::Nsec, name), expected, "{name}");
    let fill = |octets: usize| "\\255".repeat(octets);

    check(
        "no.such.a.z.",
        &format!(
            "sucg{}.a.z. NSEC such\\000.a.z. 46 47; ){}.a.z. NSEC *\\000.a.z. 46 47",
            fill(59),
            fill(62)
        ),
    );
    check("a.z.", "a.z. NSEC \\000.a.z. 1 46 47");
    let gap = format!("w{}.wild.z. NSEC x\\000.wild.z. 46 47", fill(62));
    check(
        "y.x.wild.z.",
        &format!("{gap}; *.wild.z. NSEC \\000.*.wild.z. 1 46 47"),
    );
    assert_eq!(expansion(Denial::Nsec, "y.x.wild.z."), gap);
    assert_eq!(expansion(Denial::Nsec, "a.z."), "");
}

#[test]
fn covers_hashes_right_beside_those_of_names() {
    let name = |octets: &[u8]| Shown(octets).to_string();
    let at = |text: &str| hash(&wire(text));
    let (matching, covering) = (
        |text: &str| name(&hashed_owner(&at(text), ORIGIN)),
        |text: &str| name(&hashed_owner(&added(at(text), u8::MAX), ORIGIN)),
    );
    let absence = |name: &str| {
        let mut owners: Vec<String> = proofs(Denial::Nsec3, name, false)
            .iter()
            .map(|it| Shown(&it.owner).to_string())
            .collect();
        owners.sort();
        owners
    };
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };

    assert_eq!(
        absence("no.such.a.z."),
        sorted(vec![
            matching("a.z."),
            covering("such.a.z."),
            covering("*.a.z.")
        ])
    );
    assert_eq!(absence("a.z."), [matching("a.z.")]);
    assert_eq!(absence("x.cut.z."), [matching("cut.z.")]);
    assert_eq!(
        absence("y.x.wild.z."),
        sorted(vec![
            matching("wild.z."),
            covering("x.wild.z."),
            matching("*.wild.z.")
        ])
    );
    let expansion = proofs(Denial::Nsec3, "y.x.wild.z.", true);
    assert_eq!(expansion.len(), 1);
    assert_eq!(
        Shown(&expansion[0].owner).to_string(),
        covering("x.wild.z.")
    );
    // Algorithm, flags, iterations, salt, length; from one before the hash to one behind it.
    assert_eq!(expansion[0].data[..6], [1, 0, 0, 0, 0, 20]);
    assert_eq!(expansion[0].data[6..], added(at("x.wild.z."), 1));
}

#[test]
fn goes_round_in_a_circle_of_hashes() {
    assert_eq!(added([u8::MAX; 20], 1), [0; 20]);
    assert_eq!(added([0; 20], u8::MAX), [u8::MAX; 20]);
    let mut hash = [7; 20];
    hash[19] = 0;
    let mut before = [7; 20];
    (before[18], before[19]) = (6, u8::MAX);
    assert_eq!(added(hash, u8::MAX), before);
    assert_eq!(added(before, 1), hash);
}

fn absence(denial: Denial, name: &str) -> String {
    shown(&proofs(denial, name, false))
}

fn expansion(denial: Denial, name: &str) -> String {
    shown(&proofs(denial, name, true))
}

/// What proves that there is no TXT record, or that the wildcard is the closest.
fn proofs(denial: Denial, name: &str, is_of_expansion: bool) -> Vec<Proof> {
    let store = store();
    let name = Folded::read(&wire(name)).unwrap();
    let lookup = Lookup {
        origin: ORIGIN,
        name: &name,
        found: store.lookup(&name, 1, store.traits(ORIGIN.len())),
    };
    if is_of_expansion {
        denial.of_expansion(&lookup)
    } else {
        denial.of_absence(&lookup, kind::TXT)
    }
}

fn store() -> Store {
    let mut builder = Builder::new(ORIGIN);
    let address = Ipv4Addr::LOCALHOST.octets();
    for (owner, kind) in [
        ("z.", kind::SOA),
        ("z.", kind::NS),
        ("A.z.", kind::A),
        ("A.z.", kind::TXT),
        ("below.ent.z.", kind::A),
        ("*.wild.z.", kind::A),
        ("*.wild.z.", kind::TXT),
        ("cut.z.", kind::NS),
        ("cut.z.", kind::A),
        ("safe.z.", kind::NS),
        ("safe.z.", kind::DS),
    ] {
        builder.push(1, &wire(owner), kind, 60, Value::Data(&address));
    }
    builder.finish().unwrap()
}

fn shown(proofs: &[Proof]) -> String {
    let proofs = proofs.iter().map(|it| {
        assert_eq!(it.kind, kind::NSEC);
        let (next, bitmap) = it.data.split_at(crate::wire::name::length(&it.data));
        let [0, length, bits @ ..] = bitmap else {
            panic!("the first block");
        };
        assert_eq!(usize::from(*length), bits.len());
        let kinds = (0..8 * bits.len()).filter(|it| bits[it / 8] & 0x80 >> (it % 8) != 0);
        let kinds: Vec<String> = kinds.map(|it| it.to_string()).collect();
        format!(
            "{} NSEC {} {}",
            Shown(&it.owner),
            Shown(next),
            kinds.join(" ")
        )
    });
    proofs.collect::<Vec<_>>().join("; ")
}

fn wire(name: &str) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|it| [&[u8::try_from(it.len()).unwrap()], it.as_bytes()].concat());
    let mut wire: Vec<u8> = labels.collect();
    // The last is the root's.
    if name == "." {
        wire.truncate(1);
    }
    wire
}
