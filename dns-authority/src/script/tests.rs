use std::sync::Arc;

use topology::health::Health;

use crate::answer::{Client, World, answer};
use crate::check::Checks;
use crate::geo::Atlas;
use crate::plan::Compiler;
use crate::wire::name::Folded;
use crate::wire::{code, kind};
use crate::zone::{ShownData, Zones, zone};

#[test]
fn answers_what_a_script_returns() {
    check("return '192.0.2.1'", "192.0.2.1");
    check("return {'192.0.2.1', '192.0.2.2'}", "192.0.2.1 192.0.2.2");
    check(
        "local ips = {'192.0.2.7'} return pickrandom(ips)",
        "192.0.2.7",
    );
    check(
        "if continent('EU') then return '192.0.2.1' else return '192.0.2.2' end",
        "192.0.2.1",
    );
    check(
        "if bestwho:toString() == '10.0.0.9' then return '192.0.2.3' end",
        "192.0.2.3",
    );
    check(
        "if qname:isPartOf(newDN('example.')) then return '192.0.2.4' end",
        "192.0.2.4",
    );
    check(
        "if newNMG({'10.0.0.0/8'}):match(bestwho) then return '192.0.2.5' end",
        "192.0.2.5",
    );
    check(
        "if who == newCA('10.0.0.9') and not tcp then return '192.0.2.6' end",
        "192.0.2.6",
    );
    check("return dblookup('fixed.example.', pdns.A)", "192.0.2.99");
    check("return string.format('192.0.2.%d', 5 + 3)", "192.0.2.8");
    check(
        "return view({{{'10.0.0.0/8'}, {'192.0.2.9'}}})",
        "192.0.2.9",
    );
    check("include('config') return pick(addresses)", "192.0.2.50");
    check(
        "counter = (counter or 0) + 1 return '192.0.2.' .. counter",
        "192.0.2.1",
    );
    check(
        "counter = (counter or 0) + 1 return '192.0.2.' .. counter",
        "192.0.2.1",
    );
}

#[test]
fn fails_without_harm() {
    check_failure("while true do end", "it computed for longer than 5 ms");
    check_failure(
        "while true do pcall(function() while true do end end) end",
        "it computed for longer than 5 ms",
    );
    check_failure(
        "local t = {} for i = 1, 1e9 do t[i] = table.create(1e6, i) end",
        "not enough memory",
    );
    check_failure("return string.rep('x', 1e9)", "not enough memory");
    check_failure(
        "local function f() return 1 + f() end return f()",
        "stack overflow",
    );
    check_failure("return nothing.at.all", "attempt to index nil");
    check_failure("return io.popen('id')", "attempt to index nil");
    check_failure("return os.execute('id')", "attempt to call a nil value");
    check_failure("return require('x')", "attempt to call a nil value");
    check_failure("string.rep = nil", "attempt to modify a readonly table");
    check_failure("error('on purpose')", "on purpose");
    check_failure("return true", "the result is a boolean");
    check_failure("return 'no address'", "is no value of a record of type A");
    check_failure(
        "return pickrandom(5)",
        "`pickrandom`: expected a table and found a number",
    );
    check_failure(
        "return include('nothing')",
        "no record of type LUA at nothing.example.",
    );
    check_failure(
        "return string.find(string.rep('a', 1e5), string.rep('a?', 40) .. string.rep('a', 40))",
        "",
    );
    // The thread and its engine live on.
    check("return '192.0.2.1'", "192.0.2.1");
}

#[test]
fn finds_the_checks_of_scripts_when_the_zone_is_loaded() {
    let record = "if country('DE') then return ifportup(1, {'192.0.2.1', '192.0.2.2'}) end \
                  return ifurlup('http://x/', {'192.0.2.3'})";
    let (world, checks) = load(record);
    let found: Vec<String> = checks.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "http://x/ at 192.0.2.3:80",
            "tcp 192.0.2.1:1",
            "tcp 192.0.2.2:1"
        ]
    );
    let world = World {
        health: Arc::new([Health::Healthy, Health::Unhealthy, Health::Healthy]),
        ..world
    };
    assert_eq!(ask(&world).0, "192.0.2.2");
}

#[test]
fn refuses_what_is_not_lua() {
    let mut compiler = Compiler {
        atlas: &atlas(),
        checks: Checks::default(),
    };
    let text = format!("{ZONE}x LUA A \";if then\"\n");
    let origin = Folded::parse("example.").unwrap();
    let error = zone(&origin, &text, &mut compiler).unwrap_err().to_string();
    assert!(
        error.starts_with("6:10: the script is not Lua: "),
        "{error}"
    );
}

const ZONE: &str = "$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
fixed A 192.0.2.99
config LUA LUA (\"addresses = {'192.0.2.50'} \"
                \"function pick(all) return all[1] end\")
";

fn atlas() -> Atlas {
    let overrides = "[{prefix: 10.0.0.0/8, continent: EU, country: DE}]";
    Atlas::new(overrides.parse().unwrap(), Vec::new())
}

fn load(script: &str) -> (World, Checks) {
    let atlas = atlas();
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let text = format!("{ZONE}x LUA A \";{script}\"\n");
    let origin = Folded::parse("example.").unwrap();
    let zone = zone(&origin, &text, &mut compiler).unwrap();
    let checks = compiler.checks;
    let mut zones = Zones::default();
    zones.insert(Arc::new(zone));
    let world = World {
        zones: Arc::new(zones),
        atlas: Arc::new(atlas),
        ..World::default()
    };
    (world, checks)
}

/// The records that a client at 10.0.0.9 gets, and why there are none.
fn ask(world: &World) -> (String, String) {
    let name = Folded::parse("x.example.").unwrap();
    let client = Client::at("10.0.0.9".parse().unwrap());
    let answer = answer(world, &name, kind::A, client, 1);
    let mut found = Vec::new();
    for row in &answer.answers {
        row.each(|data| found.push(ShownData(row.kind, data).to_string()));
    }
    let steps = format!("{:?}", answer.steps);
    let failed = answer.code == code::SERVER_FAILURE && answer.remark.is_some();
    (found.join(" "), if failed { steps } else { String::new() })
}

#[track_caller]
fn check(script: &str, expected: &str) {
    let (found, failure) = ask(&load(script).0);
    assert_eq!((found.as_str(), failure.as_str()), (expected, ""));
}

#[track_caller]
fn check_failure(script: &str, expected: &str) {
    let (found, failure) = ask(&load(script).0);
    assert_eq!(found, "");
    assert!(failure.contains("Failure("), "{script} does not fail");
    assert!(failure.contains(expected), "{failure}");
}
