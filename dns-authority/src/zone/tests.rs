use proptest::prelude::*;

use super::*;
use crate::check::Checks;
use crate::geo::Atlas;
use crate::plan::Compiler;

#[test]
fn reads_every_kind_of_record() {
    let text = r#"; the zone of everything
$TTL 1h
@       IN SOA ns1 hostmaster.example. ( 2026010101 ; serial
            2h 15m  ; refresh, retry
            1w 5m ) ; expire, minimum
        NS  ns1
        NS  ns2.elsewhere.test.
        300 IN MX 10 mail
        CAA 0 issue "ca.test"
ns1     A   192.0.2.1
        AAAA 2001:db8::1
$ORIGIN deep.example.
a\.b    IN 60 TXT "two words" bare "say \"hi\"\059"
_http._tcp SRV 0 5 80 @
www     CNAME @
$TTL 7
1       PTR .
key     SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
"#;
    check(
        text,
        r#"1.deep.example. 7 PTR .
_http._tcp.deep.example. 3600 SRV 0 5 80 deep.example.
a\.b.deep.example. 60 TXT "two words" "bare" "say \"hi\";"
example. 300 MX 10 mail.example.
example. 3600 CAA 0 issue "ca.test"
example. 3600 NS ns1.example.
example. 3600 NS ns2.elsewhere.test.
example. 3600 SOA ns1.example. hostmaster.example. 2026010101 7200 900 604800 300
key.deep.example. 7 SSHFP 1 1 0123456789abcdef0123456789abcdef01234567
ns1.example. 3600 A 192.0.2.1
ns1.example. 3600 AAAA 2001:db8::1
www.deep.example. 3600 CNAME deep.example.
"#,
    );
}

#[test]
fn makes_records_of_ranges() {
    check(
        &format!(
            "{START}$GENERATE 1-3/2 host$ 7 IN A 192.0.2.$\n\
            $GENERATE 9-10 ${{1,3}}.a\\$b CNAME x${{0,2,X}}-$$\n\
            $GENERATE 26-26 ${{0,5,n}} PTR ${{-20}}.test.\n\
            $GENERATE 1-2 t TXT \"n $\"\n"
        ),
        r#"010.a$b.example. 60 CNAME x09-$.example.
011.a$b.example. 60 CNAME x0A-$.example.
a.1.0.example. 60 PTR 6.test.
example. 60 SOA ns.example. hostmaster.example. 1 3600 600 86400 60
host1.example. 7 A 192.0.2.1
host3.example. 7 A 192.0.2.3
t.example. 60 TXT "n 1"
t.example. 60 TXT "n 2"
"#,
    );
    check_error(
        "$GENERATE 3-1 a A 192.0.2.1",
        "3:11: `3-1` ends before it begins",
    );
    check_error(
        "$GENERATE 1 a A 192.0.2.1",
        "3:11: `1` is not a range: 1-254, 0-100/2",
    );
    check_error(
        "$GENERATE 1-9/0 a A 192.0.2.1",
        "3:11: `1-9/0` is not a range: 1-254, 0-100/2",
    );
    check_error(
        "$GENERATE 0-4294967295 a A 192.0.2.1",
        "3:11: `0-4294967295` makes more records than a million",
    );
    check_error(
        "$GENERATE 250-256 a A 192.0.2.$",
        "3:23: expected an IPv4 address and found `192.0.2.256`",
    );
    check_error(
        "$GENERATE 1-2 ${0,0,q} A 192.0.2.1",
        "3:15: `${0,0,q}` has no `${offset,width,base}` that makes sense",
    );
    check_error("$GENERATE 1-2", "3:11: there is no record to generate");
}

#[test]
fn reads_files_that_it_includes() {
    let include = |file: &str| match file {
        "hosts" => Ok(Arc::from("a A 192.0.2.1\n$ORIGIN deep\nb A 192.0.2.2\n")),
        "broken" => Ok(Arc::from("\nb A\n")),
        "itself" => Ok(Arc::from("$INCLUDE itself")),
        _ => Err(format!("cannot read {file}: no such file")),
    };
    let read = |lines: &str| {
        let text = format!("{START}{lines}\n");
        let source = Source {
            text: &text,
            include: &include,
        };
        let atlas = Atlas::default();
        let mut compiler = Compiler {
            atlas: &atlas,
            checks: Checks::default(),
        };
        zone(&Folded::parse("example.").unwrap(), source, &mut compiler)
    };
    let zone =
        read("o A 192.0.2.9\n$INCLUDE hosts\n A 192.0.2.8\n$INCLUDE hosts sub\nc A 192.0.2.3")
            .unwrap();
    let mut names: Vec<String> = zone
        .nodes()
        .map(|it| Shown(it.owner()).to_string())
        .collect();
    names.sort();
    assert_eq!(
        names.join(" "),
        "a.example. a.sub.example. b.deep.example. b.deep.sub.example. c.example. deep.example. deep.sub.example. example. o.example. sub.example."
    );
    let origin = zone.node(&Folded::parse("o.example").unwrap()).unwrap();
    assert_eq!(origin.set(kind::A).unwrap().data().count(), 2);

    let error = |lines: &str| read(lines).unwrap_err().to_string();
    assert_eq!(
        error("$INCLUDE broken"),
        "3:1: in broken:2:4: an IPv4 address is missing"
    );
    assert_eq!(
        error("$INCLUDE gone"),
        "3:10: cannot read gone: no such file"
    );
    assert!(error("$INCLUDE itself").ends_with("more than 8 files include each other"));
}

#[test]
fn compiles_lua_records() {
    check_plan(
        r#"LUA A "ifportup(443, {'192.0.2.1', '192.0.2.2'})""#,
        "ifportup random backup random: 192.0.2.1 (tcp 192.0.2.1:443) 192.0.2.2 (tcp 192.0.2.2:443)",
    );
    check_plan(
        r#"LUA A ( "ifurlup('https://www.test:8443/up?x=1', "
               "{{'192.0.2.1'}, {'192.0.2.2'}}, {selector='pickclosest', backupSelector='empty'})" )"#,
        "ifurlup pickclosest backup empty: 192.0.2.1 (https://www.test:8443/up?x=1 at 192.0.2.1:8443) | 192.0.2.2 (https://www.test:8443/up?x=1 at 192.0.2.2:8443)",
    );
    check_plan(
        r#"LUA AAAA "ifurlup('http://[2001:db8::1]', {'2001:db8::1'})""#,
        "ifurlup random backup random: 2001:db8::1 (http://[2001:db8::1]/ at [2001:db8::1]:80)",
    );
    check_plan(
        r#"LUA A "ifurlup('icmp://', {'192.0.2.1'})""#,
        "ifurlup random backup random: 192.0.2.1 (icmp 192.0.2.1)",
    );
    check_plan(
        r#"LUA A "ifurlup('grpc://shop.test:9000/Cart', {'192.0.2.1'}, {minimumSuccesses=2})""#,
        "ifurlup random backup random: 192.0.2.1 (grpc://shop.test:9000/Cart at 192.0.2.1:9000)",
    );
    check_plan(
        r#"LUA A "ifurlextup({{['192.0.2.1']='https://health.test/a', ['192.0.2.2']='icmp://10.0.0.2'}})""#,
        "ifurlextup random backup random: 192.0.2.1 (https://health.test/a at health.test:443) 192.0.2.2 (icmp 10.0.0.2)",
    );
    check_plan(
        r#"LUA A "pickwrandom({{10, '192.0.2.1'}, {20, '192.0.2.2'}})""#,
        "pickwrandom random by weight backup random by weight: 192.0.2.1*10 192.0.2.2*20",
    );
    check_plan(
        r#"LUA A "'192.0.2.1'""#,
        "constant all backup all: 192.0.2.1",
    );
    check_plan(
        r#"LUA TXT "all({'a b', 'c'})""#,
        "all all backup all: a b c",
    );
    check_plan(
        r#"LUA CNAME "pickhashed({'a', 'b.test.'})""#,
        "pickhashed hashed backup hashed: a b.test.",
    );
    check_plan(
        r#"LUA MX "all({'10 mail'})""#,
        "all all backup all: 10 mail",
    );
}

#[test]
fn says_what_is_wrong_and_where() {
    check_error(
        "www A 192.0.2.256",
        "3:7: expected an IPv4 address and found `192.0.2.256`",
    );
    check_error("www A", "3:6: an IPv4 address is missing");
    check_error(
        "www A 192.0.2.1 192.0.2.2",
        "3:17: a record of type A ends before `192.0.2.2`",
    );
    check_error("www BOGUS x", "3:5: `BOGUS` is no record type");
    check_error("www CH A 192.0.2.1", "3:5: class CH is not served, only IN");
    check_error(
        "www.test. A 192.0.2.1",
        "3:1: www.test. does not belong to the zone example.",
    );
    check_error(
        "a..b A 192.0.2.1",
        "3:1: `a..b` is not a domain name: a label is empty",
    );
    check_error(
        "$INCLUD x",
        "3:1: there is no `$INCLUD` here, only `$GENERATE`, `$INCLUDE`, `$ORIGIN` and `$TTL`",
    );
    check_error(
        "$TTL soon",
        "3:6: `soon` is not a time to live: 300, 5m, 1h30m",
    );
    check_error(
        "x CNAME y\nx A 192.0.2.1",
        "4:1: x.example. has a CNAME and can have nothing beside it",
    );
    check_error(
        "x LUA CNAME \"all({'y'})\"\nx LUA CNAME \"all({'z'})\"",
        "4:1: x.example. has a CNAME and can have nothing beside it",
    );
    check_error("@ SOA a b 2 1 1 1 1", "3:1: the zone has a second SOA");
    check_error("x TXT \"", "3:7: the quoted string is never closed");
    check_error(
        "x TXT \\30",
        "3:7: `\\` needs a character or three digits (000 to 255)",
    );
}

#[test]
fn says_what_is_wrong_inside_expressions() {
    check_error(
        r#"x LUA A "ifurldown('http://a', {'192.0.2.1'})""#,
        "3:10: there is no function `ifurldown`; there are all, asnum, closestMagic, continent, continentCode, country, countryCode, createForward, createForward6, createReverse, createReverse6, dblookup, filterForward, geoiplookup, ifportup, ifurlextup, ifurlup, latlon, latlonloc, netmask, newCA, newDN, newNMG, newNetmask, pickchashed, pickclosest, pickfirst, pickhashed, picklatency, pickleastload, picknamehashed, pickrandom, pickrandomsample, pickselfweighted, pickwhashed, pickwrandom, region, regionCode, sticky, tonumber, tostring, view",
    );
    check_error(
        "x LUA A ( \"ifportup(80, {'192.0.2.1'}, \"\n\n   \"{intervall=1})\" )",
        "5:16: there is no option `intervall`; there are backupSelector, failOnIncompleteCheck, interval, leaveBelow, minimumFailures, minimumSuccesses, selector, source, spillAbove, sticky, timeout",
    );
    check_error(
        r#"x LUA A "ifportup(80, {'192.0.2.1'}, {selector='best'})""#,
        "3:48: there is no selector `best`; there are all, first, hashed, latency, leastload, pickclosest, random",
    );
    check_error(
        r#"x LUA A "pickrandom({'2001:db8::1'})""#,
        "3:22: `2001:db8::1` is no value of a record of type A: expected an IPv4 address and found `2001:db8::1`",
    );
    check_error(
        r#"x LUA A "pickrandom({})""#,
        "3:10: there is nothing to choose from",
    );
    check_error(
        r#"x LUA A "pickrandom()""#,
        "3:10: `pickrandom` takes one argument, a table of values",
    );
    check_error(
        r#"x LUA A "ifportup(0, {'192.0.2.1'})""#,
        "3:19: expected a whole number from 1 to 65535 and found a number",
    );
    check_error(
        r#"x LUA A "ifurlup('ftp://a', {'192.0.2.1'})""#,
        "3:18: `ftp://a` is not a URL that starts with grpc://, grpcs://, http://, https:// or icmp://",
    );
    check_error(
        r#"x LUA A "pickselfweighted('grpc://a', {'192.0.2.1'})""#,
        "3:27: `pickselfweighted` reads weights from answers over http:// or https://",
    );
    check_error(
        r#"x LUA A pickrandom"#,
        "3:9: expected an expression in double quotes and found `pickrandom`",
    );
    check_error(
        r#"x LUA A "ifportup(80, {'a'})""#,
        "3:24: `a` is no value of a record of type A: expected an IPv4 address and found `a`",
    );
    check_error(
        r#"x LUA A "return {}""#,
        "3:17: there is nothing to choose from",
    );
}

#[test]
fn needs_an_soa() {
    let error = read("www 60 A 192.0.2.1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:1: the zone has no SOA record at example."
    );
    let error = read("www A 192.0.2.1").unwrap_err();
    assert_eq!(
        error.to_string(),
        "1:1: no time to live: begin the file with `$TTL 300` or the like"
    );
}

proptest! {
    #[test]
    fn never_panics(
        words in proptest::collection::vec(
            prop_oneof![
                Just("\n"), Just("\n@"), Just("IN"), Just("A"), Just("SOA"), Just("LUA"), Just("TXT"),
                Just("("), Just(")"), Just("\"pickrandom({'"), Just("'})\""), Just("$TTL"), Just("60"),
                Just("CAA"), Just("HTTPS"), Just("TLSA"), Just("NAPTR"), Just("SSHFP"), Just("CERT"),
                Just("1"), Just("alpn=h2"), Just("."), Just("a"), Just("ff"), Just("\\"), Just("\""),
            ],
            0..24,
        ),
    ) {
        let _ = read(&words.join(" "));
    }
}

const START: &str = "$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n";

fn read(text: &str) -> Result<(Zone, Checks), crate::text::ParseError> {
    let atlas = Atlas::default();
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let zone = zone(&Folded::parse("example.").unwrap(), text, &mut compiler)?;
    Ok((zone, compiler.checks))
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let (zone, _) = read(text).unwrap();
    let mut lines = Vec::new();
    for node in zone.nodes() {
        for set in node.sets() {
            let head = format!(
                "{} {} {}",
                Shown(node.owner()),
                set.ttl,
                kind::Shown(set.kind)
            );
            let data = set.data().map(|it| ShownData(set.kind, it));
            lines.extend(data.map(|it| format!("{head} {it}\n")));
        }
    }
    lines.sort();
    let printed = lines.concat();
    assert_eq!(printed, expected);
}

#[track_caller]
fn check_plan(record: &str, expected: &str) {
    let (zone, checks) = read(&format!("{START}x {record}\n")).unwrap();
    let plan = zone.plan(0).picks()[0];
    let sets: Vec<String> = plan
        .sets
        .iter()
        .map(|set| print_set(set, &checks))
        .collect();
    let backup = match plan.backup {
        crate::plan::Backup::Empty => "empty".to_owned(),
        crate::plan::Backup::Select(selector) => selector.to_string(),
    };
    let head = format!("{} {} backup {backup}", plan.function, plan.selector);
    assert_eq!(format!("{head}: {}", sets.join(" | ")), expected);
}

fn print_set(set: &[crate::plan::Candidate], checks: &Checks) -> String {
    let candidates: Vec<String> = set
        .iter()
        .map(|it| {
            let weight = if it.weight == 1 {
                String::new()
            } else {
                format!("*{}", it.weight)
            };
            let check = it
                .check
                .map(|id| format!(" ({})", checks.get(id)))
                .unwrap_or_default();
            format!("{}{weight}{check}", it.text)
        })
        .collect();
    candidates.join(" ")
}

#[track_caller]
fn check_error(lines: &str, expected: &str) {
    let error = read(&format!("{START}{lines}\n")).unwrap_err();
    assert_eq!(error.to_string(), expected);
}
