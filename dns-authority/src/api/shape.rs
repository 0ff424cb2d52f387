//! Shows zones as PowerDNS's API does.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Value, json};

use crate::store::{Node, Set};
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};
use crate::zone::{ShownData, Zone};

/// The records of one type at one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct SetShape {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    ttl: u32,
    records: Vec<RecordShape>,
    comments: [(); 0],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct RecordShape {
    content: String,
    disabled: bool,
}

/// The release of PowerDNS whose API this is: tools decide by it what they may ask for.
const LEVEL: &str = "4.9.0";

pub(super) fn server() -> Value {
    json!({
        "type": "Server",
        "id": "localhost",
        "daemon_type": "authoritative",
        "version": format!("{LEVEL}-causeway-{}", env!("CARGO_PKG_VERSION")),
        "url": "/api/v1/servers/localhost",
        "config_url": "/api/v1/servers/localhost/config{/config_setting}",
        "zones_url": "/api/v1/servers/localhost/zones{/zone}",
    })
}

/// A zone without its records.
pub(super) fn zone(zone: &Zone) -> Value {
    let name = Shown(zone.origin()).to_string();
    let serial = zone.serial();
    json!({
        "id": id(&name),
        "name": name,
        "type": "Zone",
        "url": format!("/api/v1/servers/localhost/zones/{}", id(&name)),
        "kind": "Native",
        "serial": serial,
        "edited_serial": serial,
        "notified_serial": serial,
        "masters": [],
        "dnssec": false,
        "account": "",
        "catalog": "",
        "last_check": 0,
        "soa_edit": "",
        "soa_edit_api": "DEFAULT",
        "api_rectify": false,
    })
}

/// What a zone is called in paths: what is not harmless there as `=` and two digits.
fn id(name: &str) -> String {
    let harmless = |it: u8| it.is_ascii_alphanumeric() || b"-_.*".contains(&it);
    let octets = name.bytes().map(|it| match harmless(it) {
        true => char::from(it).to_string(),
        false => format!("={it:02X}"),
    });
    octets.collect()
}

/// The zone with this id; a name as it is will do as well.
pub(super) fn zone_of_id(id: &str) -> Option<Folded> {
    let mut name = Vec::new();
    let mut rest = id.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first != b'=' {
            name.push(*first);
            continue;
        }
        let (digits, after) = after.split_first_chunk::<2>()?;
        name.push(u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?);
        rest = after;
    }
    Folded::parse(str::from_utf8(&name).ok()?).ok()
}

/// All records of a zone, by name and type.
pub(super) fn sets(zone: &Zone) -> Vec<SetShape> {
    let mut sets: Vec<SetShape> = zone
        .nodes()
        .flat_map(|node| node_sets(zone, node))
        .collect();
    sets.sort_by(|a, b| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
    sets
}

fn node_sets<'a>(zone: &'a Zone, node: Node<'a>) -> impl Iterator<Item = SetShape> + use<'a> {
    let name = Shown(node.owner()).to_string();
    let fixed = node.sets().filter_map({
        let name = name.clone();
        move |set| {
            let records: Vec<String> = set.data().map(|it| content(set, it)).collect();
            let kind = kind::Shown(set.kind).to_string();
            (!records.is_empty()).then(|| shape(name.clone(), kind, set.ttl, records))
        }
    });
    let chosen: Vec<(Set<'_>, String)> = node
        .sets()
        .flat_map(|set| set.plans().map(move |it| (set, it)))
        .map(|(set, number)| {
            let function = zone
                .plan(number)
                .function
                .replace('\\', "\\\\")
                .replace('"', "\\\"");
            (set, format!("{} \"{function}\"", kind::Shown(set.kind)))
        })
        .collect();
    let ttl = chosen.iter().map(|it| it.0.ttl).min();
    let records = chosen.into_iter().map(|it| it.1).collect();
    fixed.chain(ttl.map(|ttl| shape(name, "LUA".to_owned(), ttl, records)))
}

fn content(set: Set<'_>, data: &[u8]) -> String {
    ShownData(set.kind, data).to_string()
}

fn shape(name: String, kind: String, ttl: u32, contents: Vec<String>) -> SetShape {
    let records = contents.into_iter().map(|content| RecordShape {
        content,
        disabled: false,
    });
    SetShape {
        name,
        kind,
        ttl,
        records: records.collect(),
        comments: [],
    }
}

/// Zones and records whose names or contents fit a pattern, in which `*` stands for anything and `?` for
/// one character.
pub(super) fn search<'a>(
    zones: impl Iterator<Item = &'a Arc<Zone>>,
    pattern: &str,
    max: usize,
) -> Value {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let fits = |text: &str| {
        let text: Vec<char> = text.to_lowercase().trim_end_matches('.').chars().collect();
        is_fit(&pattern, &text)
    };
    let mut found = Vec::new();
    for zone in zones {
        let origin = Shown(zone.origin()).to_string();
        if fits(&origin) {
            found.push(json!({ "object_type": "zone", "name": origin, "zone_id": id(&origin) }));
        }
        for set in sets(zone) {
            let records = set
                .records
                .iter()
                .filter(|it| fits(&set.name) || fits(&it.content));
            found.extend(records.map(|it| {
                json!({
                    "object_type": "record",
                    "name": set.name,
                    "type": set.kind,
                    "ttl": set.ttl,
                    "content": it.content,
                    "disabled": false,
                    "zone": origin,
                    "zone_id": id(&origin),
                })
            }));
            if max <= found.len() {
                found.truncate(max);
                return found.into();
            }
        }
    }
    found.into()
}

/// Whether a text is what a pattern describes, in time that grows with the product of their lengths.
fn is_fit(pattern: &[char], text: &[char]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < text.len() {
        match pattern.get(at) {
            Some('*') => {
                star = Some((at, from));
                at += 1;
            }
            Some(it) if *it == '?' || *it == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((place, start)) => {
                    *start += 1;
                    (at, from) = (*place + 1, *start);
                }
            },
        }
    }
    pattern[at..].iter().all(|it| *it == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_that_paths_can_have() {
        assert_eq!(id("example.com."), "example.com.");
        assert_eq!(id("0/25.2.192.in-addr.arpa."), "0=2F25.2.192.in-addr.arpa.");
        let name = |id: &str| zone_of_id(id).map(|it| format!("{it:?}"));
        assert_eq!(name("0=2F25.arpa."), Some("0/25.arpa.".to_owned()));
        assert_eq!(name("Example.com"), Some("example.com.".to_owned()));
        assert_eq!((name("a=2"), name("=zz"), name("a..b")), (None, None, None));
    }

    #[test]
    fn patterns_have_stars_and_question_marks() {
        let fits = |pattern: &str, text: &str| {
            let [pattern, text] = [pattern, text].map(|it| it.chars().collect::<Vec<_>>());
            is_fit(&pattern, &text)
        };
        assert!(fits("*", "") && fits("w?w*", "www.example") && fits("*.example", "a.b.example"));
        assert!(!fits("w", "www") && !fits("?", "") && !fits("*a", "b"));
    }
}
