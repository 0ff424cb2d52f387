use std::collections::BTreeMap;

use super::*;
use crate::check::Checks;
use crate::plan::Compiler;
use crate::zone::zone;

#[test]
fn answers_what_the_zone_says() {
    check("example. A", "NOERROR | example. 300 A 192.0.2.1");
    check(
        "WWW.Example. A",
        "NOERROR | WWW.Example. 300 A 192.0.2.2; WWW.Example. 300 A 192.0.2.3",
    );
    check("example. MX", "NOERROR | example. 300 MX 10 mail.example.");
    check("www.example. AAAA", "NOERROR | | SOA");
    check("nothing.example. A", "NXDOMAIN | | SOA");
    check("example.com. A", "REFUSED");
    check(
        "www.example. ANY",
        "NOERROR | www.example. 300 A 192.0.2.2; www.example. 300 A 192.0.2.3",
    );
}

#[test]
fn knows_names_that_exist_only_through_those_below() {
    check("b.c.example. A", "NOERROR | | SOA");
    check("x.c.example. A", "NXDOMAIN | | SOA");
}

#[test]
fn expands_wildcards_only_where_nothing_is() {
    check(
        "any.wild.example. A",
        "NOERROR | any.wild.example. 300 A 192.0.2.9",
    );
    check(
        "deep.any.wild.example. A",
        "NOERROR | deep.any.wild.example. 300 A 192.0.2.9",
    );
    check("any.wild.example. TXT", "NOERROR | | SOA");
    check("real.wild.example. A", "NOERROR | | SOA");
    check("below.real.wild.example. A", "NXDOMAIN | | SOA");
    check("wild.example. A", "NOERROR | | SOA");
}

#[test]
fn follows_aliases_inside_the_zone() {
    check(
        "alias.example. A",
        "NOERROR | alias.example. 300 CNAME www.example.; www.example. 300 A 192.0.2.2; www.example. 300 A 192.0.2.3",
    );
    check(
        "alias.example. CNAME",
        "NOERROR | alias.example. 300 CNAME www.example.",
    );
    check(
        "away.example. A",
        "NOERROR | away.example. 300 CNAME www.example.com.",
    );
    check(
        "broken.example. A",
        "NXDOMAIN | broken.example. 300 CNAME nothing.example. | SOA",
    );
    let looped = ask(&world(ZONE, ""), "loop.example. A", CLIENT);
    assert!(
        looped.starts_with("NOERROR | loop.example. 300 CNAME loop.example.;"),
        "{looped}"
    );
}

#[test]
fn leaves_an_alias_to_the_zone_that_holds_its_target() {
    let mut world = world(&format!("{ZONE}into CNAME host.inner\n"), "");
    let inner = "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\nhost A 192.0.2.7\n";
    let (inner, _) = load_at("inner.example.", inner);
    let mut zones = (*world.zones).clone();
    zones.0.insert(inner.origin.clone(), Arc::new(inner));
    world.zones = Arc::new(zones);

    assert_eq!(
        ask(&world, "into.example. A", CLIENT),
        "NOERROR | into.example. 300 CNAME host.inner.example."
    );
    assert_eq!(
        ask(&world, "host.inner.example. A", CLIENT),
        "NOERROR | host.inner.example. 300 A 192.0.2.7"
    );
}

#[test]
fn lets_an_answer_of_nothing_be_kept_no_longer_than_an_address() {
    let lua = "shop 5 LUA A \"ifportup(80, {'192.0.2.11'}, {backupSelector='empty'})\"\n";
    let world = world(&format!("{ZONE}{lua}"), "U");
    let ttl = |name: &str| {
        let name = Name::from_ascii(name).unwrap();
        let found = answer(&world, &name, RecordType::A, client_at(CLIENT), 1);
        assert!(found.answers.is_empty(), "{name}");
        found.authorities[0].ttl
    };

    assert_eq!(ttl("shop.example."), 5);
    assert_eq!(ttl("nothing.example."), 60);
}

#[test]
fn refers_to_the_servers_of_a_delegated_part() {
    check(
        "www.sub.example. A",
        "NOERROR (no authority) | | sub.example. 300 NS ns.sub.example. | ns.sub.example. 300 A 192.0.2.53",
    );
    check(
        "sub.example. NS",
        "NOERROR (no authority) | | sub.example. 300 NS ns.sub.example. | ns.sub.example. 300 A 192.0.2.53",
    );
}

#[test]
fn sends_clients_to_the_nearest_healthy_address() {
    let zone = "shop LUA A \"ifurlup('http://shop.example/', {{'192.0.2.11', '198.51.100.11'}}, {selector='pickclosest'})\"";
    check_world(
        zone,
        "H H",
        "shop.example. A",
        "10.1.0.0/24",
        "192.0.2.11 /16",
    );
    check_world(
        zone,
        "H H",
        "shop.example. A",
        "10.2.0.0/24",
        "198.51.100.11 /16",
    );
    check_world(
        zone,
        "U H",
        "shop.example. A",
        "10.1.0.0/24",
        "198.51.100.11 /0",
    );
    check_world(
        zone,
        "U U",
        "shop.example. A",
        "10.1.0.0/24",
        "198.51.100.11 /0",
    );
    check_world(
        zone,
        "U U",
        "shop.example. A",
        "10.1.0.0/0",
        "198.51.100.11 /0",
    );
}

#[test]
fn says_for_which_clients_an_answer_holds() {
    check_world(
        "a LUA A \"pickhashed({'192.0.2.1','192.0.2.2'})\"",
        "",
        "a.example. A",
        "10.1.2.0/24",
        "192.0.2.1 /24",
    );
    check_world(
        "a LUA A \"pickrandom({'192.0.2.1','192.0.2.2'})\"",
        "",
        "a.example. A",
        "10.1.2.0/24",
        "192.0.2.2 /0",
    );
    check_world(
        "a LUA A \"pickclosest({'192.0.2.1','198.51.100.1'})\"",
        "",
        "a.example. A",
        "10.2.2.0/24",
        "198.51.100.1 /16",
    );
    check_world(
        "a LUA A \"pickclosest({'192.0.2.1','198.51.100.1'})\"",
        "",
        "a.example. A",
        "172.16.0.0/16",
        "198.51.100.1 /2",
    );
}

#[test]
fn shares_checks_between_records_that_ask_the_same() {
    let zone = "a LUA A \"ifportup(80, {'192.0.2.1','192.0.2.2'})\"\nb LUA A \"ifportup(80, {'192.0.2.1'})\"\nc LUA A \"ifportup(80, {'192.0.2.1'}, {interval=9})\"";
    let mut checks = Vec::new();
    let (_, table) = load(&format!("{ZONE}{zone}"));
    checks.extend(table.iter().map(|it| it.to_string()));

    assert_eq!(
        checks,
        ["tcp 192.0.2.1:80", "tcp 192.0.2.2:80", "tcp 192.0.2.1:80"]
    );
}

const CLIENT: &str = "10.1.0.0/24";

const ZONE: &str = "$TTL 300
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
@ A 192.0.2.1
@ MX 10 mail
www A 192.0.2.2
www A 192.0.2.3
a.b.c A 192.0.2.4
*.wild A 192.0.2.9
real.wild TXT here
alias CNAME www
away CNAME www.example.com.
broken CNAME nothing
loop CNAME loop
sub NS ns.sub
ns.sub A 192.0.2.53
";

#[track_caller]
fn check(question: &str, expected: &str) {
    assert_eq!(ask(&world(ZONE, ""), question, CLIENT), expected);
}

/// Asks a zone with `record` in it, of whose checks `health` tells (`H`, `U`, `?`), and compares the
/// data of the answers and the scope.
#[track_caller]
fn check_world(record: &str, health: &str, question: &str, client: &str, expected: &str) {
    let world = world(&format!("{ZONE}{record}\n"), health);
    let (name, kind) = question.split_once(' ').unwrap();
    let found = answer(
        &world,
        &Name::from_ascii(name).unwrap(),
        kind.parse().unwrap(),
        client_at(client),
        1,
    );
    let data: Vec<String> = found.answers.iter().map(|it| it.data.to_string()).collect();

    assert_eq!(format!("{} /{}", data.join(" "), found.scope), expected);
}

fn ask(world: &World, question: &str, client: &str) -> String {
    let (name, kind) = question.split_once(' ').unwrap();
    let found = answer(
        world,
        &Name::from_ascii(name).unwrap(),
        kind.parse().unwrap(),
        client_at(client),
        1,
    );
    let codes = [
        (ResponseCode::NoError, "NOERROR"),
        (ResponseCode::NXDomain, "NXDOMAIN"),
        (ResponseCode::Refused, "REFUSED"),
    ];
    let code = codes
        .iter()
        .find(|(code, _)| *code == found.code)
        .unwrap()
        .1;
    let is_refused = found.code == ResponseCode::Refused;
    let code = match found.authoritative || is_refused {
        true => code.to_owned(),
        false => format!("{code} (no authority)"),
    };
    let sections = [&found.answers, &found.authorities, &found.additionals].map(|it| print(it));
    format!(
        "{code} | {} | {} | {}",
        sections[0], sections[1], sections[2]
    )
    .replace("  ", " ")
    .trim_end_matches([' ', '|'])
    .to_owned()
}

fn print(records: &[Record]) -> String {
    let records: Vec<String> = records
        .iter()
        .map(|it| match it.record_type() == RecordType::SOA {
            true => "SOA".to_owned(),
            false => format!("{} {} {} {}", it.name, it.ttl, it.record_type(), it.data),
        })
        .collect();
    records.join("; ")
}

fn client_at(subnet: &str) -> Client {
    Client {
        resolver: "203.0.113.1".parse().unwrap(),
        subnet: Some(subnet.parse().unwrap()),
    }
}

fn world(text: &str, health: &str) -> World {
    let (zone, checks) = load(text);
    let health: Vec<Health> = health
        .split_whitespace()
        .map(|it| match it {
            "H" => Health::Healthy,
            "U" => Health::Unhealthy,
            _ => Health::Unknown,
        })
        .collect();
    assert!(checks.iter().len() == health.len() || health.is_empty());
    World {
        zones: Arc::new(Zones(BTreeMap::from([(
            zone.origin.clone(),
            Arc::new(zone),
        )]))),
        atlas: Arc::new(atlas()),
        health: health.into(),
    }
}

fn load(text: &str) -> (Zone, Checks) {
    load_at("example.", text)
}

fn load_at(origin: &str, text: &str) -> (Zone, Checks) {
    let atlas = atlas();
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let zone = zone(&origin.parse().unwrap(), text, &mut compiler).unwrap();
    (zone, compiler.checks)
}

fn atlas() -> Atlas {
    let overrides = "
- {prefix: 10.1.0.0/16, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 192.0.2.0/24, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 10.2.0.0/16, latitude: 39.04, longitude: -77.49, name: Ashburn}
- {prefix: 198.51.100.0/24, latitude: 39.04, longitude: -77.49, name: Ashburn}
";
    Atlas::new(overrides.parse().unwrap(), Vec::new())
}
