use super::*;
use crate::check::Checks;
use crate::plan::Compiler;
use crate::wire::kind;
use crate::wire::name::Shown;
use crate::zone::{ShownData, zone};

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
    zones.insert(Arc::new(inner));
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
        let name = Folded::parse(name).unwrap();
        let found = answer(&world, &name, kind::A, client_at(CLIENT), 1);
        assert!(found.answers.is_empty(), "{name:?}");
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
fn goes_where_a_dname_leads() {
    let zone = format!("{ZONE}old DNAME new\nwww.new A 192.0.2.8\nfar DNAME new.test.\n");
    let world = world(&zone, "");
    let check = |question: &str, expected: &str| {
        assert_eq!(ask(&world, question, CLIENT), expected);
    };
    check(
        "www.old.example. A",
        "NOERROR | old.example. 300 DNAME new.example.; www.old.example. 300 CNAME www.new.example.; www.new.example. 300 A 192.0.2.8",
    );
    check(
        "www.old.example. CNAME",
        "NOERROR | old.example. 300 DNAME new.example.; www.old.example. 300 CNAME www.new.example.",
    );
    check(
        "a.b.far.example. A",
        "NOERROR | far.example. 300 DNAME new.test.; a.b.far.example. 300 CNAME a.b.new.test.",
    );
    check(
        "old.example. DNAME",
        "NOERROR | old.example. 300 DNAME new.example.",
    );
    check("old.example. A", "NOERROR | | SOA");
    check(
        "x.old.example. A",
        "NXDOMAIN | old.example. 300 DNAME new.example.; x.old.example. 300 CNAME x.new.example. | SOA",
    );
}

#[test]
fn says_that_a_name_becomes_too_long() {
    let label = "l".repeat(60);
    let long = format!("{label}.{label}.{label}");
    let world = world(&format!("{ZONE}s DNAME {long}\n"), "");
    let found = ask(&world, &format!("{label}.{label}.s.example. A"), CLIENT);
    assert!(
        found.starts_with("YXDOMAIN | s.example. 300 DNAME"),
        "{found}"
    );
}

#[test]
fn remarks_what_an_answer_is_worth() {
    let remark = |options: &str, health: &str| {
        let record = format!("shop LUA A \"ifportup(80, {{'192.0.2.11'}}, {{{options}}})\"");
        let world = world(&format!("{ZONE}{record}\n"), health);
        let (name, kind) = read("shop.example. A");
        answer(&world, &name, kind, client_at(CLIENT), 1)
            .remark
            .map(|it| it.number)
    };
    assert_eq!(remark("", "H"), None);
    assert_eq!(remark("", "U"), Some(code::REMARK_STALE));
    assert_eq!(
        remark("failOnIncompleteCheck=true", "?"),
        Some(code::REMARK_NOT_READY)
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
    let (name, kind) = read(question);
    let found = answer(&world, &name, kind, client_at(client), 1);
    let mut data = Vec::new();
    for row in &found.answers {
        row.each(|it| data.push(ShownData(row.kind, it).to_string()));
    }

    assert_eq!(format!("{} /{}", data.join(" "), found.scope), expected);
}

fn ask(world: &World, question: &str, client: &str) -> String {
    let (name, kind) = read(question);
    let found = answer(world, &name, kind, client_at(client), 1);
    let code = code::Shown(found.code);
    let code = match found.authoritative || found.code == code::REFUSED {
        true => code.to_string(),
        false => format!("{code} (no authority)"),
    };
    let asked = question.split(' ').next().unwrap();
    let sections =
        [&found.answers, &found.authorities, &found.additionals].map(|it| print(it, &name, asked));
    format!(
        "{code} | {} | {} | {}",
        sections[0], sections[1], sections[2]
    )
    .replace("  ", " ")
    .trim_end_matches([' ', '|'])
    .to_owned()
}

/// `name type`
fn read(question: &str) -> (Folded, u16) {
    let (name, kind) = question.split_once(' ').unwrap();
    (Folded::parse(name).unwrap(), kind::named(kind).unwrap())
}

fn print(rows: &[Row<'_>], name: &Folded, asked: &str) -> String {
    let mut records = Vec::new();
    for row in rows {
        let owner = match row.owner {
            Owner::Asked => asked.to_owned(),
            Owner::Known(_) | Owner::Made(_) => Shown(row.owner.name(name)).to_string(),
        };
        let (ttl, kind) = (row.ttl, kind::Shown(row.kind));
        row.each(|data| {
            let data = ShownData(row.kind, data);
            records.push(match row.kind {
                kind::SOA => "SOA".to_owned(),
                _ => format!("{owner} {ttl} {kind} {data}"),
            });
        });
    }
    records.join("; ")
}

fn client_at(subnet: &str) -> Client {
    Client {
        subnet: Some(subnet.parse().unwrap()),
        ..Client::at("203.0.113.1".parse().unwrap())
    }
}

fn world(text: &str, health: &str) -> World {
    let (zone, checks) = load(text);
    let mut zones = Zones::default();
    zones.insert(Arc::new(zone));
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
        measures: Arc::default(),
        zones: Arc::new(zones),
        atlas: Arc::new(atlas()),
        health: health.into(),
        ..World::default()
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
    let zone = zone(&Folded::parse(origin).unwrap(), text, &mut compiler).unwrap();
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
