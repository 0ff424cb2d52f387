//! The authority among other servers: Debian's NSD and Knot take its zones, `nsupdate` changes them, `kdig`
//! looks on.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the clock to notice what hangs"
)]

#[path = "transfers/api.rs"]
mod api;
#[path = "transfers/peer.rs"]
mod peer;
#[expect(dead_code, reason = "these tests need less of it than others")]
#[path = "server/process.rs"]
mod process;

use std::fs;

use lab::free_address;
use peer::{Peer, nsupdate};
use process::{Authority, eventually};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn keys() -> String {
    let key =
        |name: &str| format!("key \"{name}\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n");
    ["copies", "operator"].map(key).concat()
}

/// Sends an update; returns what there is to complain.
fn update(authority: &Authority, key: Option<&str>, lines: &str) -> String {
    nsupdate(authority.port(), "example.test", key, lines)
}

/// What `kdig` and `nsupdate` sign with.
fn signature(name: &str) -> String {
    format!("hmac-sha256:{name}:{SECRET}")
}

fn zone(serial: u32, records: &str) -> String {
    format!(
        "$TTL 60
@ SOA ns hostmaster {serial} 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.1
mail MX 10 www
text TXT \"some text\" \"more\"
*.wild A 192.0.2.2
near LUA A \"pickrandom({{'192.0.2.3', '192.0.2.4'}})\"
{records}"
    )
}

fn start(serial: u32, flags: &[(&str, &str)]) -> Authority {
    let keys = keys();
    let flags = [&[("--key-file", &*keys)][..], flags].concat();
    Authority::start(&zone(serial, ""), &flags)
}

const GRANTS: [(&str, &str); 2] = [
    ("--transfer-to", "key:copies"),
    ("--update", "example.test=key:operator"),
];

/// The lines of a transfer that have records, without comments and signatures.
fn records(output: &str) -> Vec<Vec<&str>> {
    let lines = output
        .lines()
        .filter(|it| !it.starts_with(';') && !it.is_empty());
    let words = lines.map(|it| it.split_whitespace().collect::<Vec<_>>());
    words.filter(|it| it[3] != "TSIG").collect()
}

#[test]
fn gives_zones_to_whom_it_may_and_to_nobody_else() {
    let authority = start(7, &GRANTS);
    let key = signature("copies");
    let output = authority.kdig(&["-y", &key, "example.test", "AXFR"]);
    let records = records(&output);
    assert_eq!(records.len(), 10, "{output}");
    assert_eq!((records[0][3], records[9][3]), ("SOA", "SOA"));
    assert!(output.contains("\"some text\" \"more\"") && output.contains("*.wild.example.test."));
    // A copy answers with everything that a record may choose from.
    assert!(
        output.contains("192.0.2.3") && output.contains("192.0.2.4"),
        "{output}"
    );

    let refused = |arguments: &[&str], expected: &str| {
        let output = authority.dig(arguments);
        assert!(output.contains(expected), "{output}");
        assert!(!output.contains("192.0.2.1"), "{output}");
    };
    let operator = signature("operator");
    let wrong = "hmac-sha256:copies:d3JvbmcgYnV0IGxvbmcgZW5vdWdo";
    refused(&["example.test", "AXFR"], "Transfer failed");
    refused(
        &["-y", &operator, "example.test", "AXFR"],
        "Transfer failed",
    );
    refused(&["-y", wrong, "example.test", "AXFR"], "Transfer failed");
    refused(&["-y", &key, "www.example.test", "AXFR"], "Transfer failed");
    refused(&["-y", wrong, "www.example.test", "A"], "BADSIG");
    refused(
        &["-y", &signature("unknown"), "www.example.test", "A"],
        "BADKEY",
    );
    // A signed question has a signed answer, which kdig checks.
    let signed = authority.kdig(&["-y", &key, "www.example.test", "A"]);
    assert!(
        signed.contains("192.0.2.1") && signed.contains("TSIG"),
        "{signed}"
    );
}

#[test]
fn takes_updates_and_keeps_them_when_it_is_killed() {
    let state = tempfile::tempdir().unwrap();
    let flags = [
        &GRANTS[..],
        &[("--state-dir", state.path().to_str().unwrap())],
    ]
    .concat();
    let authority = start(7, &flags);
    let key = signature("operator");
    let ask = |authority: &Authority, name: &str| authority.dig(&["+short", name, "A"]);

    let added = update(
        &authority,
        Some(&key),
        "update add new.example.test 60 A 192.0.2.9",
    );
    assert_eq!(added, "");
    assert_eq!(ask(&authority, "new.example.test"), "192.0.2.9\n");
    let refused = update(&authority, None, "update add x.example.test 60 A 192.0.2.9");
    assert!(refused.contains("REFUSED"), "{refused}");
    let copies = signature("copies");
    let refused = update(&authority, Some(&copies), "update delete www.example.test");
    assert!(refused.contains("REFUSED"), "{refused}");
    let unmet = "prereq nxdomain www.example.test\nupdate delete www.example.test";
    let unmet = update(&authority, Some(&key), unmet);
    assert!(unmet.contains("YXDOMAIN"), "{unmet}");
    let gone = update(&authority, Some(&key), "update delete www.example.test A");
    assert_eq!((&*gone, &*ask(&authority, "www.example.test")), ("", ""));

    // What changed since a version, and nothing to whom has it all.
    let steps = authority.kdig(&["-y", &copies, "example.test", "IXFR=7"]);
    let kinds: Vec<&str> = records(&steps).iter().map(|it| it[3]).collect();
    assert_eq!(
        kinds,
        ["SOA", "SOA", "SOA", "A", "SOA", "A", "SOA", "SOA"],
        "{steps}"
    );
    let current = authority.kdig(&["-y", &copies, "example.test", "IXFR=9"]);
    assert_eq!(records(&current).len(), 1, "{current}");
    let unknown = authority.kdig(&["-y", &copies, "example.test", "IXFR=3"]);
    assert_eq!(records(&unknown).len(), 10, "{unknown}");

    // Dropping kills it.
    drop(authority);
    let authority = start(7, &flags);
    assert_eq!(ask(&authority, "new.example.test"), "192.0.2.9\n");
    assert_eq!(ask(&authority, "www.example.test"), "");
    let steps = authority.kdig(&["-y", &copies, "example.test", "IXFR=8"]);
    assert_eq!(records(&steps).len(), 5, "{steps}");
    // The file takes the zone back.
    fs::write(authority.zone_file(), zone(10, "filed A 192.0.2.8")).unwrap();
    eventually("the file is taken over", || {
        ask(&authority, "filed.example.test") == "192.0.2.8\n"
    });
    assert_eq!(ask(&authority, "new.example.test"), "");
}

#[test]
fn nsd_and_knot_follow_every_version() {
    for start_peer in [Peer::nsd, Peer::knot] {
        let port = free_address().port();
        let notify = format!("127.0.0.1:{port},key:copies");
        let authority = start(7, &[&GRANTS[..], &[("--notify", &*notify)]].concat());
        let peer = start_peer(port, authority.port(), SECRET);
        let ask = |name: &str| peer.dig(&["+short", name, "A"]);
        eventually("the copy is there", || {
            ask("www.example.test") == "192.0.2.1\n"
        });
        assert_eq!(ask("a.wild.example.test"), "192.0.2.2\n");
        assert_eq!(ask("near.example.test").lines().count(), 2);

        let key = signature("operator");
        update(
            &authority,
            Some(&key),
            "update add new.example.test 60 A 192.0.2.9",
        );
        eventually("the copy has the update", || {
            ask("new.example.test") == "192.0.2.9\n"
        });
        update(&authority, Some(&key), "update delete new.example.test");
        eventually("the copy has lost it", || {
            ask("new.example.test").is_empty()
        });

        fs::write(authority.zone_file(), zone(20, "filed A 192.0.2.8")).unwrap();
        eventually("the copy has the file", || {
            ask("filed.example.test") == "192.0.2.8\n"
        });
    }
}

#[test]
fn copies_a_zone_serves_it_after_a_restart_and_not_for_ever() {
    let state = tempfile::tempdir().unwrap();
    let (port, primary_port) = (free_address().port(), free_address().port());
    let start = || {
        let listen = format!("127.0.0.1:{port}");
        let secondary = format!("copied.test=127.0.0.1:{primary_port},key:copies");
        let flags = [
            ("--listen", &*listen),
            ("--secondary", &*secondary),
            ("--state-dir", state.path().to_str().unwrap()),
        ];
        start(7, &flags)
    };
    let zone = |expire: u32| {
        format!(
            "$TTL 60\n@ SOA ns h 5 3600 2 {expire} 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n"
        )
    };
    let authority = start();
    let ask = |authority: &Authority, name: &str| authority.dig(&["+short", name, "A"]);
    let absent = authority.dig(&["www.copied.test", "A"]);
    assert!(
        absent.contains("SERVFAIL") && absent.contains("EDE: 24"),
        "{absent}"
    );

    let primary = Peer::knot_primary(primary_port, port, SECRET, &zone(3600));
    eventually("the copy is there", || {
        ask(&authority, "www.copied.test") == "192.0.2.1\n"
    });
    // Its refresh is an hour away: it hears of this by a notification.
    let key = signature("copies");
    let add = "update add new.copied.test 60 A 192.0.2.9";
    eventually("the update is taken", || {
        nsupdate(primary_port, "copied.test", Some(&key), add).is_empty()
    });
    eventually("the copy has the update", || {
        ask(&authority, "new.copied.test") == "192.0.2.9\n"
    });
    let serial = |authority: &Authority| authority.dig(&["+short", "copied.test", "SOA"]);
    let before = serial(&authority);

    drop((primary, authority));
    let authority = start();
    assert_eq!(ask(&authority, "new.copied.test"), "192.0.2.9\n");
    assert_eq!(serial(&authority), before);

    let primary = Peer::knot_primary(
        primary_port,
        port,
        SECRET,
        &zone(4).replace(" 5 3600", " 50 3600"),
    );
    eventually("the copy is replaced", || {
        ask(&authority, "new.copied.test").is_empty()
    });
    assert_eq!(ask(&authority, "www.copied.test"), "192.0.2.1\n");
    drop(primary);
    eventually("the copy expires", || {
        authority.dig(&["www.copied.test"]).contains("EDE: 24")
    });
    assert!(
        authority
            .get("/metrics")
            .contains("mesh_dns_authority_zones_lacking 1")
    );
}

#[test]
fn copies_what_powerdns_has() {
    let port = free_address().port();
    let zone = "$TTL 60\n@ SOA ns h 5 3600 2 3600 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\ntext TXT \"a b\" \"c\"\n*.wild CNAME www\n";
    let _primary = Peer::powerdns(port, zone);
    let authority = start(
        7,
        &[("--secondary", &format!("copied.test=127.0.0.1:{port}"))],
    );
    eventually("the copy is there", || {
        authority.dig(&["+short", "www.copied.test", "A"]) == "192.0.2.1\n"
    });
    assert_eq!(
        authority.dig(&["+short", "text.copied.test", "TXT"]),
        "\"a b\" \"c\"\n"
    );
    assert_eq!(
        authority.dig(&["+short", "x.wild.copied.test", "A"]),
        "www.copied.test.\n192.0.2.1\n"
    );
}

#[test]
fn a_secondary_learns_which_zones_there_are() {
    let port = free_address().port();
    let notify = format!("127.0.0.1:{port},key:copies");
    let flags = [("--catalog", "catalog.test"), ("--notify", &*notify)];
    let authority = start(7, &[&GRANTS[..], &flags].concat());
    let peer = Peer::knot_of_catalog(port, authority.port(), SECRET);
    eventually("the member is there", || {
        peer.dig(&["+short", "www.example.test", "A"]) == "192.0.2.1\n"
    });
}
