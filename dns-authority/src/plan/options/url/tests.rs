use super::*;
use crate::expression::{Source, parse};
use crate::plan::options::{Options, options};
use crate::text::Position;
use crate::zone::Character;

#[test]
fn reads_which_status_is_healthy() {
    for (text, expected) in [
        ("{}", "200"),
        ("{httpcode=204}", "204"),
        ("{httpcode='204'}", "204"),
        ("{httpcode='200-299, 301'}", "200-299, 301"),
        ("{httpcode={200, '300-302', 404}}", "200, 300-302, 404"),
    ] {
        let status = read(text).unwrap().url.expected_status;
        assert_eq!(status.to_string(), expected, "{text}");
    }
    let wanted = "expected status codes from 100 to 599 like 200, '200-299,301' or \
        {200, '300-399'} and found";
    check_error("{httpcode=99}", &format!("1:11: {wanted} a number"));
    check_error("{httpcode='299-200'}", &format!("1:11: {wanted} a string"));
    check_error("{httpcode={}}", &format!("1:11: {wanted} a table"));
    check_error("{httpcode={{200}}}", &format!("1:11: {wanted} a table"));
}

#[test]
fn reads_headers() {
    let headers = read("{headers={Accept='text/plain', X_Token='a b', ['x-y']='z'}}");
    let headers = headers.unwrap().url.headers;
    let pairs: Vec<(&str, &str)> = headers.iter().collect();
    assert_eq!(
        pairs,
        [("Accept", "text/plain"), ("X-Token", "a b"), ("x-y", "z")]
    );

    check_error(
        "{headers='Accept: a'}",
        "1:10: expected a table like {Accept = 'text/plain', X_Token = 'a'} and found a string",
    );
    check_error(
        "{headers={'a'}}",
        "1:10: expected a table like {Accept = 'text/plain', X_Token = 'a'} and found a table",
    );
    check_error(
        "{headers={['a b']='c'}}",
        "1:19: `a b` is not the name of a header, which has letters, digits and hyphens",
    );
    check_error(
        "{headers={a='b\\r\\nc: d'}}",
        "1:13: expected a string of printable ASCII characters and found a string",
    );
}

#[test]
fn reads_what_is_asked_of_certificates() {
    let tls = |text| read(text).unwrap().url.tls("shop.test");
    assert_eq!(tls("{}"), TlsProbe::new("shop.test"));
    assert_eq!(
        tls("{verify=true, tlsname='other.test', tlsdays=14}"),
        TlsProbe {
            name: "shop.test".to_owned(),
            verify: true,
            expected_name: Some("other.test".to_owned()),
            days_left_min: Some(14),
        }
    );

    check_error(
        "{verify='often'}",
        "1:9: expected true or false and found a string",
    );
    check_error(
        "{tlsname='a b'}",
        "1:10: expected a host name or an address and found a string",
    );
    check_error(
        "{tlsdays=0}",
        "1:10: expected a whole number from 1 to 3650 and found a number",
    );
}

#[test]
fn reads_how_many_probes_decide() {
    let timing = read("{minimumFailures=3, minimumSuccesses='2'}")
        .unwrap()
        .timing;
    assert_eq!((timing.fall, timing.rise), (3, 2));
    assert_eq!(read("{}").unwrap().timing.rise, 1);
    check_error(
        "{minimumSuccesses=0}",
        "1:19: expected a whole number from 1 to 1000 and found a number",
    );
}

#[test]
fn names_the_options_of_urls() {
    check_error(
        "{status=1}",
        "1:9: there is no option `status`; there are backupSelector, byteslimit, \
         failOnIncompleteCheck, headers, httpcode, interval, leaveBelow, minimumFailures, \
         minimumSuccesses, selector, source, spillAbove, sticky, stringmatch, timeout, tlsdays, \
         tlsname, useragent, verify",
    );
}

#[track_caller]
fn check_error(text: &str, expected: &str) {
    assert_eq!(read(text).unwrap_err().to_string(), expected);
}

fn read(text: &str) -> Result<Options, ParseError> {
    let characters: Vec<Character> = (1..)
        .zip(text.chars())
        .map(|(column, value)| Character {
            value,
            escaped: false,
            position: Position { line: 1, column },
        })
        .collect();
    let Source::Formula(table) = parse(&characters).unwrap() else {
        panic!("{text} is no script");
    };
    options(&table, true)
}
