use crate::check::Checks;
use crate::expression::parse;
use crate::geo::Atlas;
use crate::plan::{Compiler, Dependency, Question, Records, Scene, compile, evaluate};
use crate::text::Position;
use crate::wire::kind;
use crate::zone::{Character, ShownData};

#[test]
fn computes_what_depends_on_the_query() {
    check(kind::TXT, "qname:toStringNoDot() .. '!'", "\"1-2-3-4.x!\"");
    check(kind::TXT, "country('DE') and 'here' or 'there'", "\"here\"");
    check(
        kind::TXT,
        "(country('US') or nil) and 'a' or #{1, 2} .. ''",
        "\"2\"",
    );
    check(
        kind::TXT,
        "({'a', 'b', c='d'}).c .. ({'a', 'b'})[2]",
        "\"db\"",
    );
    check(kind::TXT, "7 % 4 + 2 ^ 3 .. ''", "\"11\"");
    check(
        kind::TXT,
        "-7 % 4 .. ('x'):upper():lower() .. ('abcdef'):sub(2, -2)",
        "\"1xbcde\"",
    );
    check(
        kind::TXT,
        "pickrandom({qname:toString()})",
        "\"1-2-3-4.x.\"",
    );
    check(kind::A, "createForward()", "1.2.3.4");
    check(
        kind::A,
        "filterForward(createForward(), newNMG({'9.0.0.0/8'}), '')",
        "",
    );
    check(
        kind::A,
        "pickfirst({'192.0.2.1', '192.0.2.2'})",
        "192.0.2.1",
    );
    check(
        kind::CNAME,
        "country('DE') and 'de.example.net' or 'example.net'",
        "de.example.net.",
    );
    check(kind::TXT, "countryCode() .. regionCode()", "\"de--\"");
    check(
        kind::TXT,
        "tostring(10) .. tostring(true) .. (tonumber('0x') or 'nil')",
        "\"10truenil\"",
    );
}

#[test]
fn fails_where_lua_would() {
    check_failure("'a' < 1", "a string cannot be compared with a number");
    check_failure("bestwho .. nil", "nil cannot be part of a text");
    check_failure(
        "qname:nonsense()",
        "a name has no method `nonsense` for such arguments",
    );
    check_failure("who.x", "an address has no elements");
    check_failure(
        "country('US')",
        "the result is a boolean, and a string or a table of strings was wanted",
    );
    check_failure(
        "qname:toString()",
        "`1-2-3-4.x.` is no value of a record of type A: ",
    );
    check_failure(
        "pickrandomsample(#qname:toString() * 1000, {'1.2.3.4'})",
        "from 1 to 1000",
    );
}

#[test]
fn says_at_load_what_is_wrong_and_where() {
    check_error(
        "country()",
        "1:1: `country` takes one argument, a string or a table of strings",
    );
    check_error(
        "qnam",
        "1:1: there is no variable `qnam`; there are bestwho, dh, ",
    );
    check_error(
        "country('DE') and 'nowhere' or '1.2.3.4'",
        "1:19: `nowhere` is no value of a record of type A: ",
    );
    check_error(
        "view({{{'10.0.0.0/33'}, {'1.2.3.4'}}})",
        "1:9: expected a network like 192.0.2.0/24 and found a string",
    );
    check_error(
        "ifportup(80, {who:toString()})",
        "1:1: the arguments of `ifportup` have to be constants",
    );
    check_error(
        "pickwrandom({{1, '1.2.3.4'}, {'1.2.3.4'}})",
        "1:30: expected a {weight, value} pair",
    );
    check_error(
        "geoiplookup('1.2.3.4', GeoIPQueryAttribute.X)",
        "1:24: expected GeoIPQueryAttribute and one of ASn",
    );
}

#[test]
fn depends_on_no_more_of_the_client_than_it_looks_at() {
    let dependency = |text: &str| {
        let choice = |plan: &crate::plan::Plan, scene: &Scene<'_>| evaluate(plan, scene).dependency;
        with(kind::TXT, text, choice)
    };
    assert_eq!(dependency("qname:toString()"), Dependency::Nothing);
    assert_eq!(
        dependency("netmask({'10.9.0.0/16'}) and 'a' or 'b'"),
        Dependency::Prefix(13)
    );
    assert_eq!(dependency("bestwho:toString()"), Dependency::Address);
    assert_eq!(dependency("who:toString()"), Dependency::Nothing);
    assert_eq!(dependency("countryCode()"), Dependency::Prefix(8));
    assert!(matches!(dependency("latlon()"), Dependency::Location(fix) if fix.prefix_length == 8));
}

/// Does something with the plan of `text`, and with a query of 10.0.0.1 in Germany for 1-2-3-4.x.
#[track_caller]
fn with<T>(kind: u16, text: &str, run: impl Fn(&crate::plan::Plan, &Scene<'_>) -> T) -> T {
    let overrides = "[{prefix: 10.0.0.0/8, country: DE}, {prefix: 11.0.0.0/8}]";
    let atlas = Atlas::new(overrides.parse().unwrap(), Vec::new());
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let plan = compile(&parse(&characters(text)).unwrap(), kind, &mut compiler).unwrap();
    let bare = Scene::bare();
    let scene = Scene {
        atlas: &atlas,
        question: Question {
            name: b"\x071-2-3-4\x01x\0",
            owner: b"\x01*\x01x\0",
            ..bare.question
        },
        ..bare
    };
    run(&plan, &scene)
}

#[track_caller]
fn check(kind: u16, text: &str, expected: &str) {
    let shown = with(kind, text, |plan, scene| {
        let choice = evaluate(plan, scene);
        let data: Vec<Box<[u8]>> = match choice.records {
            Records::Made(made) => made,
            Records::Picked(picked) => picked.iter().map(|it| it.data.clone().unwrap()).collect(),
        };
        let shown: Vec<String> = data
            .iter()
            .map(|it| ShownData(kind, it).to_string())
            .collect();
        (shown.join(" "), choice.failure)
    });
    assert_eq!(shown, (expected.to_owned(), None));
}

#[track_caller]
fn check_failure(text: &str, expected: &str) {
    let failure = with(kind::A, text, |plan, scene| evaluate(plan, scene).failure);
    let failure = failure.expect("it fails").to_string();
    assert!(failure.contains(expected), "{failure}");
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    let mut compiler = Compiler {
        atlas: &Atlas::default(),
        checks: Checks::default(),
    };
    let source = parse(&characters(text)).unwrap();
    let error = compile(&source, kind::A, &mut compiler)
        .unwrap_err()
        .to_string();
    assert!(error.starts_with(expected), "{error}");
}

fn characters(text: &str) -> Vec<Character> {
    (1..)
        .zip(text.chars())
        .map(|(column, value)| Character {
            value,
            escaped: false,
            position: Position { line: 1, column },
        })
        .collect()
}
