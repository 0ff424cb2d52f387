//! The list of zones that are served, as a zone (RFC 9432): secondaries that follow it need no list of
//! their own.

use aws_lc_rs::digest;

use crate::store::{Builder, Value};
use crate::wire::kind;
use crate::wire::name::{Folded, NAME_BYTES_MAX};
use crate::zone::Zone;

/// The catalog at `origin` of these zones, given by origin. A member whose label would make a name too
/// long is left out; no name of a catalog that people choose is so long.
///
/// # Errors
///
/// The origin leaves no room even for the catalog's own names.
pub fn zone<'a>(
    origin: &Folded,
    members: impl IntoIterator<Item = &'a [u8]>,
    serial: u32,
) -> Result<Zone, String> {
    let mut builder = Builder::new(origin.octets());
    let mut push = |labels: &[&[u8]], kind, data: &[u8]| {
        let mut owner = Vec::new();
        for label in labels {
            owner.push(u8::try_from(label.len()).expect("a short word"));
            owner.extend_from_slice(label);
        }
        owner.extend_from_slice(origin.octets());
        let is_fit = owner.len() <= NAME_BYTES_MAX;
        if is_fit {
            builder.push(0, &owner, kind, TTL, Value::Data(data));
        }
        is_fit
    };
    let numbers = [serial, REFRESH, RETRY, EXPIRE, TTL].map(u32::to_be_bytes);
    push(
        &[],
        kind::SOA,
        &[INVALID, INVALID, &numbers.concat()].concat(),
    );
    push(&[], kind::NS, INVALID);
    if !push(&[b"version"], kind::TXT, b"\x012") {
        return Err("its name is too long".to_owned());
    }
    for member in members {
        push(&[label(member).as_bytes(), b"zones"], kind::PTR, member);
    }
    let store = builder.finish().map_err(|it| it.to_string())?;
    Zone::new(origin.clone(), store, Vec::new()).map_err(|it| it.to_string())
}

/// Nobody serves a catalog's names (RFC 9432 section 4.1).
const INVALID: &[u8] = b"\x07invalid\0";
/// In seconds, as the intervals: secondaries hear of changes by notification.
const TTL: u32 = 0;
const REFRESH: u32 = 3600;
const RETRY: u32 = 600;
const EXPIRE: u32 = 1_209_600;

/// What a member has to itself: the same in every life, so that a zone is never taken for a new one.
fn label(member: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA256, &member.to_ascii_lowercase());
    let octets = digest.as_ref().iter().take(LABEL_OCTETS);
    octets.map(|it| format!("{it:02x}")).collect()
}

/// So many that two members never have the same.
const LABEL_OCTETS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::name::Shown;
    use crate::zone::ShownData;

    #[test]
    fn lists_members_as_the_standard_says() {
        let origin = Folded::parse("c.test").unwrap();
        let catalog = zone(&origin, [&b"\x01a\0"[..], b"\x01B\0"], 7).unwrap();
        let mut lines = Vec::new();
        for node in catalog.nodes() {
            for set in node.sets() {
                let owner = Shown(node.owner());
                lines.extend(set.data().map(|it| {
                    format!(
                        "{owner} {} {}",
                        kind::Shown(set.kind),
                        ShownData(set.kind, it)
                    )
                }));
            }
        }
        lines.sort();
        let members: Vec<&String> = lines.iter().filter(|it| it.contains("PTR")).collect();
        assert_eq!(lines.len(), 5);
        assert!(
            members[0].contains(".zones.c.test. PTR ")
                && members[1].contains(".zones.c.test. PTR ")
        );
        assert!(lines.contains(&"c.test. NS invalid.".to_owned()));
        assert!(lines.contains(&"version.c.test. TXT \"2\"".to_owned()));
        assert_eq!(catalog.serial(), 7);
        assert_eq!(label(b"\x01B\0"), label(b"\x01b\0"));

        let long = Folded::parse(&vec!["x".repeat(62); 4].join(".")).unwrap();
        assert!(zone(&long, [], 7).is_err());
    }
}
