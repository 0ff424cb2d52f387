//! Puts an answer's reason into words, from the very values that the answer was made of.

use std::net::IpAddr;

use topology::health::Health;
use topology::report::{DnsCandidate, DnsExplanation};

use crate::answer::{Client, Owner, Row, Step, World, answer};
use crate::check::CheckId;
use crate::geo::Description;
use crate::plan::{Basis, Choice, Dependency, Part, Pick, Plan, Records, Selector, distance};
use crate::wire::name::{Folded, Shown};
use crate::wire::{code, kind};
use crate::zone::ShownData;

/// What a client at `from` is answered for records of type `kind` at `name`, and why.
pub fn explain(
    world: &World,
    name: &Folded,
    kind: u16,
    from: IpAddr,
    entropy: u64,
) -> DnsExplanation {
    let client = Client::at(from);
    let answer = answer(world, name, kind, client, entropy);
    let place = world.atlas.describe(from);
    let reasons: Vec<String> = answer.steps.iter().map(|it| sentence(it, name)).collect();

    DnsExplanation {
        name: Shown(name.octets()).to_string(),
        record_type: kind::Shown(kind).to_string(),
        response_code: code::Shown(answer.code).to_string(),
        client: from,
        client_location: place.location,
        client_found_by: found_by(&place),
        answers: answer.answers.iter().flat_map(shown_data).collect(),
        reason: reasons.join("; "),
        candidates: answer
            .steps
            .iter()
            .flat_map(|it| candidates(it, world, from))
            .collect(),
    }
}

/// The data of each record, as people read it.
fn shown_data(row: &Row<'_>) -> Vec<String> {
    let mut shown = Vec::new();
    row.each(|data| shown.push(ShownData(row.kind, data).to_string()));
    shown
}

/// `override 10.1.0.0/16 (Frankfurt, DE, EU)`
fn found_by(place: &Description) -> String {
    let Some(source) = &place.source else {
        return "nobody knows".to_owned();
    };
    let words: Vec<&str> = [&place.name, &place.country, &place.continent]
        .into_iter()
        .flatten()
        .map(String::as_str)
        .collect();
    match words.is_empty() {
        true => source.clone(),
        false => format!("{source} ({})", words.join(", ")),
    }
}

fn sentence(step: &Step<'_>, asked: &Folded) -> String {
    let shown = |owner: &Owner<'_>| Shown(owner.name(asked)).to_string();
    match step {
        Step::Alias(target) => format!("it is an alias of {}", shown(target)),
        Step::Chosen { plan, choice } => chosen(plan, choice),
        Step::Delegated(cut) => format!("{} is delegated to other servers", Shown(cut)),
        Step::NoData => "the name has no records of this type".to_owned(),
        Step::NoName => "the name does not exist".to_owned(),
        Step::Lacking(lack) => lack.text().to_owned(),
        Step::NoZone => "no zone that is served holds the name".to_owned(),
        Step::Redirected(from) => format!("all below {} is below another name", Shown(from)),
        Step::Static => "the zone says so".to_owned(),
        Step::Wildcard(wildcard) => {
            format!("the wildcard {} stands in for the name", Shown(wildcard))
        }
    }
}

fn chosen(plan: &Plan, choice: &Choice<'_>) -> String {
    let function = &plan.function;
    if let Some(failure) = &choice.failure
        && !choice.parts.iter().any(|it| it.basis == Basis::Incomplete)
    {
        return format!("{function}: {failure}");
    }
    let mut parts: Vec<String> = choice.parts.iter().map(made).collect();
    if let Records::Made(records) = &choice.records
        && choice.failure.is_none()
    {
        parts.push(match records.len() {
            0 => format!("{function}: it gave nothing"),
            _ => format!("{function}: computed for this query"),
        });
    }
    match parts.is_empty() {
        true => "the record says so".to_owned(),
        false => parts.join("; "),
    }
}

/// How one choice of a record came about.
fn made(part: &Part<'_>) -> String {
    let Pick { function, sets, .. } = part.pick;
    let is_checked = sets.iter().flatten().any(|it| it.check.is_some());
    let by = by(part);
    match part.basis {
        _ if function == "constant" => "the record says so".to_owned(),
        Basis::Healthy { .. } if !is_checked => format!("{function}: chosen {by}"),
        Basis::Healthy { set } => format!("{function}: healthy in set {}, chosen {by}", set + 1),
        Basis::Unknown { set } => {
            format!(
                "{function}: none is known to be healthy, chosen {by} among those of set {} not yet probed",
                set + 1
            )
        }
        Basis::AllUnhealthy if part.picked.is_empty() => {
            format!(
                "{function}: every target is unhealthy, and the record says to answer nothing then"
            )
        }
        Basis::AllUnhealthy => {
            format!("{function}: every target is unhealthy, so it fails open, chosen {by}")
        }
        Basis::Incomplete => {
            format!(
                "{function}: no check has come to a verdict, and the record says to fail until one has"
            )
        }
    }
}

fn by(part: &Part<'_>) -> &'static str {
    match (part.selector, part.dependency) {
        _ if part.usable_count == 1 => "because it is the only one",
        (Selector::All, _) => "all",
        (Selector::Closest, Dependency::Location(fix)) if fix.location.is_none() => {
            "by chance, because nobody knows where the client is"
        }
        (Selector::Closest, _) => "by distance",
        (Selector::Consistent | Selector::WeightedHashed, _) => {
            "by the client's address and the weights"
        }
        (Selector::First, _) => "because it comes first",
        (Selector::Hashed, _) => "by the client's address",
        (Selector::Latency, Dependency::Nothing) => "by round-trip time",
        (Selector::Latency, _) => "by distance, because nobody measured round trips",
        (Selector::LeastLoad, _) => "by load",
        (Selector::NameHashed, _) => "by the name and the weights",
        (Selector::Random | Selector::Sample, _) => "by chance",
        (Selector::SelfWeighted, _) => {
            "by the client's address and the weights that targets report"
        }
        (Selector::WeightedRandom, _) => "by chance and the weights",
    }
}

/// What a record chose among; nothing for steps that choose nothing.
fn candidates(step: &Step<'_>, world: &World, from: IpAddr) -> Vec<DnsCandidate> {
    let Step::Chosen { choice, .. } = step else {
        return Vec::new();
    };
    let fix = world.atlas.locate(from);
    let health = |it: CheckId| {
        world
            .health
            .get(it.index())
            .copied()
            .unwrap_or(Health::Unknown)
    };
    let mut rows = Vec::new();
    for part in &choice.parts {
        for (set, candidates) in part.pick.sets.iter().enumerate() {
            for candidate in candidates {
                let chosen = part.picked.iter().any(|it| std::ptr::eq(*it, candidate));
                let health = candidate.check.map(health);
                let usable = health.unwrap_or(Health::Healthy);
                let is_drained = !world.scales.takes_part(&candidate.text, from);
                rows.push(DnsCandidate {
                    value: candidate.text.clone(),
                    health,
                    distance: distance(candidate, fix),
                    chosen,
                    because: match (chosen, is_drained && usable == Health::Healthy) {
                        (false, true) => "it is being drained".to_owned(),
                        _ => because(usable, set, chosen, part).to_owned(),
                    },
                });
            }
        }
    }
    rows
}

/// Why one candidate won or lost.
fn because(health: Health, set: usize, chosen: bool, part: &Part<'_>) -> &'static str {
    let (usable_set, usable_health) = match part.basis {
        Basis::AllUnhealthy if chosen => return "nothing is healthy, and this is answered in doubt",
        Basis::AllUnhealthy => return "unhealthy",
        Basis::Incomplete => return "not answered before a check has come to a verdict",
        Basis::Healthy { set } => (set, Health::Healthy),
        Basis::Unknown { set } => (set, Health::Unknown),
    };
    let (won, lost) = by_selector(part.selector);
    match (chosen, health) {
        (true, _) if part.usable_count == 1 => "the only one that is usable",
        (true, _) => won,
        (false, Health::Unhealthy) => "unhealthy",
        (false, health) if health > usable_health => "not probed yet, and others are healthy",
        (false, _) if set > usable_set => "an earlier set has usable candidates",
        (false, _) if set < usable_set => "too few of its set are healthy, or it is full",
        (false, _) => lost,
    }
}

/// What made one win, and what made the others lose.
fn by_selector(selector: Selector) -> (&'static str, &'static str) {
    match selector {
        Selector::All => ("all that are usable are answered", "not usable"),
        Selector::Closest => (
            "the closest that is usable",
            "farther away, or as close and chance chose another",
        ),
        Selector::First => ("the first that is usable", "another comes first"),
        Selector::Latency => (
            "the one that is reached fastest",
            "another is reached faster",
        ),
        Selector::LeastLoad => ("the one with the least load", "another has less load"),
        Selector::NameHashed => ("it fell to this name", "it falls to other names"),
        Selector::Consistent
        | Selector::Hashed
        | Selector::SelfWeighted
        | Selector::WeightedHashed => ("it fell to this client", "it falls to other clients"),
        Selector::Random | Selector::Sample | Selector::WeightedRandom => {
            ("chance chose it", "chance chose another")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::check::Checks;
    use crate::geo::Atlas;
    use crate::plan::Compiler;
    use crate::zone::{Zones, zone};

    #[test]
    fn tells_why_each_candidate_won_or_lost() {
        check(
            "shop",
            "10.1.2.3",
            "NOERROR; override 10.1.0.0/16 (Frankfurt); ifportup: healthy in set 1, chosen because it is the only one\n\
             - 192.0.2.11 unhealthy 0 km: unhealthy\n\
             + 198.51.100.11 healthy 6549 km: the only one that is usable\n\
             - 203.0.113.11 unknown unplaced: not probed yet, and others are healthy\n",
        );
        check(
            "shop",
            "172.16.0.1",
            "NOERROR; nobody knows; ifportup: healthy in set 1, chosen because it is the only one\n\
             - 192.0.2.11 unhealthy unplaced: unhealthy\n\
             + 198.51.100.11 healthy unplaced: the only one that is usable\n\
             - 203.0.113.11 unknown unplaced: not probed yet, and others are healthy\n",
        );
    }

    #[test]
    fn tells_how_other_answers_came_about() {
        check(
            "www",
            "10.1.2.3",
            "NOERROR; override 10.1.0.0/16 (Frankfurt); the zone says so\n",
        );
        check(
            "gone",
            "172.16.0.1",
            "NXDOMAIN; nobody knows; the name does not exist\n",
        );
        check(
            "alias",
            "172.16.0.1",
            "NOERROR; nobody knows; the zone says so; it is an alias of www.example.; the zone says so\n",
        );
    }

    const ZONE: &str = "$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
www A 192.0.2.1
alias CNAME www
shop LUA A (\"ifportup(80, {'192.0.2.11', '198.51.100.11', '203.0.113.11'}, \"
            \"{selector='pickclosest'})\")
";
    const OVERRIDES: &str = "
- {prefix: 10.1.0.0/16, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 192.0.2.0/24, latitude: 50.11, longitude: 8.68}
- {prefix: 198.51.100.0/24, latitude: 39.04, longitude: -77.49}
";

    #[track_caller]
    fn check(label: &str, from: &str, expected: &str) {
        let atlas = Arc::new(Atlas::new(OVERRIDES.parse().unwrap(), Vec::new()));
        let mut compiler = Compiler {
            atlas: &atlas,
            checks: Checks::default(),
        };
        let mut zones = Zones::default();
        zones.insert(Arc::new(
            zone(&Folded::parse("example.").unwrap(), ZONE, &mut compiler).unwrap(),
        ));
        let world = World {
            measures: Arc::default(),
            zones: Arc::new(zones),
            atlas,
            health: Arc::new([Health::Unhealthy, Health::Healthy, Health::Unknown]),
            ..World::default()
        };
        let name = Folded::parse(&format!("{label}.example.")).unwrap();
        let found = explain(&world, &name, kind::A, from.parse().unwrap(), 0);

        let mut printed = format!(
            "{}; {}; {}\n",
            found.response_code, found.client_found_by, found.reason
        );
        for row in found.candidates {
            let mark = if row.chosen { '+' } else { '-' };
            let health = format!("{:?}", row.health.unwrap()).to_lowercase();
            let distance = row
                .distance
                .map_or_else(|| "unplaced".to_owned(), |it| it.to_string());
            printed += &format!(
                "{mark} {} {health} {distance}: {}\n",
                row.value, row.because
            );
        }
        assert_eq!(printed, expected);
    }
}
