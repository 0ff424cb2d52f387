//! What a zone's parent has to say of it, and what is wrong with what it says.

use std::collections::BTreeSet;

use topology::report::Problem;

use super::keys::{KEYS_TTL, Keys, Stage};
use super::records::Digest;
use crate::wire::kind;
use crate::wire::name::{Folded, Shown};
use crate::zone::{ShownData, Zone};

/// The records that the parent's zone file needs: servers, addresses of those within the zone, digests of
/// keys; with another digest behind a semicolon, which some parents want instead.
pub(crate) fn records(zone: &Zone) -> Vec<String> {
    let origin = Shown(zone.origin()).to_string();
    let mut lines = Vec::new();
    for (data, ttl) in servers(zone) {
        lines.push(format!("{origin} {ttl} IN NS {}", Shown(data)));
    }
    for (data, _) in servers(zone) {
        lines.extend(glue(zone, data));
    }
    for (digest, before) in [(Digest::Sha256, ""), (Digest::Sha384, "; ")] {
        let ds = zone.signer().map(|it| it.keys().ds(digest));
        for data in ds.into_iter().flatten() {
            let data = ShownData(kind::DS, &data);
            lines.push(format!("{before}{origin} {KEYS_TTL} IN DS {data}"));
        }
    }
    lines
}

/// What is wrong before anybody is asked.
pub(crate) fn own_problems(zone: &Zone) -> Vec<Problem> {
    let origin = Shown(zone.origin());
    let mut problems = Vec::new();
    if servers(zone).next().is_none() {
        problems.push(problem(
            format!("{origin} has no NS records"),
            "add those that the parent shall name",
        ));
    }
    for (server, _) in servers(zone) {
        let is_within = ends_with(server, zone.origin());
        if is_within && glue(zone, server).is_empty() {
            problems.push(problem(
                format!(
                    "{} is a server of {origin} and has no address in it",
                    Shown(server)
                ),
                "add its A or AAAA record: nobody finds the zone without",
            ));
        }
    }
    let wanted = zone.signer().map(|it| it.keys().wanted_at_parent().count());
    if wanted == Some(0) {
        problems.push(problem(
            format!(
                "the keys of {origin} are new, and answers without signatures may be in caches"
            ),
            "wait with DS records until `meshctl dns keys` shows the key as submitted",
        ));
    }
    problems
}

/// What is wrong with the servers and digests that the parent has.
pub(crate) fn parent_problems(zone: &Zone, servers: &[String], ds: &[Vec<u8>]) -> Vec<Problem> {
    let origin = Shown(zone.origin());
    let mut problems = Vec::new();
    let ours: BTreeSet<String> = self::servers(zone)
        .map(|(it, _)| Shown(it).to_string().to_ascii_lowercase())
        .collect();
    let theirs: BTreeSet<String> = servers.iter().cloned().collect();
    if theirs.is_empty() {
        problems.push(problem(
            format!("the parent does not delegate {origin}"),
            "hand it the records above",
        ));
    } else if ours != theirs {
        let theirs: Vec<String> = theirs.into_iter().collect();
        problems.push(problem(
            format!("the parent names other servers: {}", theirs.join(", ")),
            "hand it the NS records above, or mend those of the zone",
        ));
    }
    match zone.signer().map(|it| it.keys()) {
        Some(keys) => problems.extend(of_digests(keys, ds)),
        None if ds.is_empty() => (),
        None => problems.push(problem(
            format!(
                "the parent vouches for keys of {origin}, which is not signed: validators refuse it"
            ),
            "sign it with the keys that it had, or have the parent take its DS records away",
        )),
    }
    problems
}

fn of_digests(keys: &Keys, ds: &[Vec<u8>]) -> Option<Problem> {
    let is_of = |stage: fn(Stage) -> bool| {
        let entry = keys.entry().filter(|it| stage(it.stage));
        let mut digests = entry.flat_map(|it| {
            let of = |digest| super::records::ds(&keys.origin, &it.pair.dnskey, digest);
            [of(Digest::Sha256), of(Digest::Sha384)]
        });
        digests.any(|it| ds.contains(&it))
    };
    let wants = keys.wanted_at_parent().next().is_some();
    let is_wanted = |stage| matches!(stage, Stage::Active | Stage::Submitted);
    if ds.is_empty() {
        return wants.then(|| {
            problem(
                "the parent has no DS record: nobody checks signatures".to_owned(),
                "hand it the DS records above",
            )
        });
    }
    if !is_of(|_| true) {
        return Some(problem(
            "the parent vouches for none of the keys: validators refuse the zone".to_owned(),
            "hand it the DS records above at once",
        ));
    }
    let has_coming = keys.entry().any(|it| it.stage == Stage::Submitted);
    let is_behind = if has_coming {
        !is_of(|it| it == Stage::Submitted)
    } else {
        !is_of(is_wanted)
    };
    is_behind.then(|| {
        problem(
            "the parent does not know the next key yet".to_owned(),
            "hand it the DS records above; the key before it stays until then",
        )
    })
}

fn servers(zone: &Zone) -> impl Iterator<Item = (&[u8], u32)> {
    let origin = Folded::read(zone.origin()).ok();
    let set = origin.and_then(|it| zone.node(&it)?.set(kind::NS));
    set.into_iter()
        .flat_map(|set| set.data().map(move |it| (it, set.ttl)))
}

/// The addresses of a server, if it is within the zone.
fn glue(zone: &Zone, server: &[u8]) -> Vec<String> {
    let node = Folded::read(server).ok().and_then(|it| zone.node(&it));
    let node = node.filter(|_| ends_with(server, zone.origin()));
    let sets = node.into_iter().flat_map(|it| it.sets());
    let addresses = sets.filter(|it| [kind::A, kind::AAAA].contains(&it.kind));
    let lines = addresses.flat_map(|set| {
        set.data().map(move |data| {
            let (ttl, kind) = (set.ttl, kind::Shown(set.kind));
            format!(
                "{} {ttl} IN {kind} {}",
                Shown(server),
                ShownData(set.kind, data)
            )
        })
    });
    lines.collect()
}

/// Whether a name is `origin`, which is in lower case, or below it.
fn ends_with(name: &[u8], origin: &[u8]) -> bool {
    Folded::read(name).is_ok_and(|it| (0..=it.labels()).any(|skipped| it.suffix(skipped) == origin))
}

fn problem(what: String, remedy: &str) -> Problem {
    Problem {
        what,
        remedy: remedy.to_owned(),
    }
}
