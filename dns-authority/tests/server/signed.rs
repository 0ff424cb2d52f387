//! Answers that others validate: BIND's `delv`, and Unbound as a resolver on its own.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use dns_authority::dnssec::parent;
use tempfile::TempDir;

use super::process::{Authority, HANG, eventually, run_to_end};
use super::zone;

const RECORDS: &str = "
*.wild A 192.0.2.2
*.wild TXT Wild
below.ent A 192.0.2.3
loop CNAME alias
Mixed MX 10 Mail.Example.Test.
tree DNAME elsewhere
leaf.elsewhere A 192.0.2.4
_sip._tcp SRV 0 0 5060 Www
wildalias CNAME some.wild
every LUA A \"all({'192.0.2.6', '192.0.2.5', '192.0.2.6'})\"
every A 192.0.2.7
one LUA A \"pickrandom({'192.0.2.8', '192.0.2.9'})\"
plain NS ns
safe NS ns
";

#[test]
fn unbound_validates_what_is_there_and_what_is_not() {
    for how in [
        "ecdsap256",
        "ed25519:split",
        "ecdsap256:nsec",
        "ed25519:nsec3",
        "ecdsap256:nsec3:split",
    ] {
        let validated = Validated::start(how);
        let is_compact = !how.contains("nsec");
        let check = |name: &str, kind: &str, expected: &str| {
            let found = validated.unbound(name, kind);
            assert!(found.contains(expected), "{how}, {name} {kind}: {found}");
            let is_secure = found.lines().all(|it| it.ends_with("(secure)"));
            assert!(is_secure, "{how}, {name} {kind}: {found}");
        };
        check("www", "A", "192.0.2.1");
        check("x.wild", "A", "192.0.2.2");
        check("y.x.wild", "TXT", "\"Wild\"");
        check("alias", "A", "192.0.2.1");
        check("loop", "A", "192.0.2.1");
        check("wildalias", "A", "192.0.2.2");
        check("mixed", "MX", "handled by 10 Mail.");
        check("leaf.tree", "A", "192.0.2.4");
        check("_sip._tcp", "SRV", "5060");
        check("every", "A", "192.0.2.5");
        check("one", "A", "192.0.2.");

        check("www", "TXT", "no TXT record");
        check("ent", "A", "no address");
        check("x.wild", "MX", "no mail");
        check("one", "AAAA", "no IPv6");
        for gone in ["gone", "a.b.c.gone", "x.below.ent", "gone.tree"] {
            check(
                gone,
                "A",
                if is_compact { "no address" } else { "NXDOMAIN" },
            );
        }

        let plain = validated.unbound("www.plain", "A");
        assert!(plain.contains("192.0.2.21 (insecure)"), "{how}: {plain}");
        check("www.safe", "A", "192.0.2.22");
        check(
            "gone.safe",
            "TXT",
            if is_compact { "no TXT" } else { "NXDOMAIN" },
        );
    }
}

#[test]
fn delv_validates_each_kind_of_answer() {
    for how in ["ecdsap256", "ed25519:nsec3", "ecdsap256:nsec"] {
        let validated = Validated::start(how);
        let check = |name: &str, kind: &str, expected: &str| {
            let found = validated.delv(name, kind);
            assert!(found.contains(expected), "{how}, {name} {kind}: {found}");
        };
        check("www", "A", "; fully validated\nwww.example.test.");
        check("x.wild", "A", "; fully validated");
        check("loop", "A", "; fully validated\nloop.example.test.");
        check("every", "A", "; fully validated");
        check("www", "TXT", "; negative response, fully validated");
        check("gone", "A", "; negative response, fully validated");
        check("ent", "A", "; negative response, fully validated");
        check("x.wild", "MX", "; negative response, fully validated");
        check("", "DNSKEY", "; fully validated");
    }
}

#[test]
fn only_who_wants_proofs_gets_them() {
    let keys = tempfile::tempdir().unwrap();
    let authority = start(&keys, "ecdsap256");

    let plain = authority.dig(&["gone.example.test", "A"]);
    assert!(
        plain.contains("NXDOMAIN") && !plain.contains("NSEC"),
        "{plain}"
    );
    let proven = authority.dig(&["gone.example.test", "A", "+dnssec"]);
    assert!(proven.contains("status: NOERROR"), "{proven}");
    assert!(
        proven.contains("NSEC\t\\000.gone.example.test. RRSIG NSEC TYPE128"),
        "{proven}"
    );
    assert!(
        proven.contains("flags: do;") && !proven.contains(" ad"),
        "{proven}"
    );
    // Who says so gets the code, and the same proof.
    let knowing = ask_knowing(&authority);
    assert_eq!(knowing[3] & 0xf, 3, "{knowing:?}");
    assert!(
        knowing.windows(7).any(|it| it == b"\x01\x00\x04gone"),
        "{knowing:?}"
    );
    let meta = authority.dig(&["gone.example.test", "TYPE128"]);
    assert!(meta.contains("FORMERR"), "{meta}");
    let asked = authority.dig(&["www.example.test", "NSEC", "+dnssec", "+noall", "+answer"]);
    assert!(
        asked.contains("NSEC\t\\000.www.example.test. A RRSIG NSEC"),
        "{asked}"
    );
    let signatures = authority.dig(&["www.example.test", "RRSIG", "+noall", "+answer"]);
    assert_eq!(signatures, "");
    let signatures = authority.dig(&["www.example.test", "RRSIG", "+dnssec", "+noall", "+answer"]);
    assert_eq!(signatures.lines().count(), 1, "{signatures}");
    assert!(signatures.contains("RRSIG\tA 13 3 60"), "{signatures}");
    // The same question, the same signature.
    let ask = || authority.dig(&["www.example.test", "A", "+dnssec", "+noall", "+answer"]);
    assert_eq!(ask(), ask());
}

#[test]
fn keys_of_files_are_taken_over_and_open_ones_are_not() {
    let keys = tempfile::tempdir().unwrap();
    let file = keys.path().join("example.test.keys");
    let mode = |mode| fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let dnskey = |authority: &Authority| authority.dig(&["example.test", "DNSKEY", "+short"]);
    let keeper = start(&keys, "ed25519");
    let first = dnskey(&keeper);
    assert!(first.starts_with("257 3 15 "), "{first}");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
    drop(keeper);

    // An edge that only signs.
    let directory = keys.path().to_str().unwrap();
    let edge = Authority::start(&zone(RECORDS), &[("--dnssec-dir", directory)]);
    assert_eq!(dnskey(&edge), first);
    mode(0o640);
    eventually("the status says that others may read the keys", || {
        edge.get("/v1/status").contains("chmod 600")
    });
    assert_eq!(dnskey(&edge), first);
    let zone_file = edge.zone_file();
    let zone = format!("example.test={}", zone_file.display());
    let (code, error) = run_to_end(&["--zone", &zone, "--dnssec-dir", directory]);
    assert!(code == 1 && error.contains("chmod 600"), "{error}");

    fs::remove_file(&file).unwrap();
    let other = start(&keys, "ecdsap256");
    let second = dnskey(&other);
    eventually("the edge signs with the new keys", || {
        dnskey(&edge) == second
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_parent_is_asked_for_what_it_knows() {
    let digest = "ab".repeat(32);
    let big: String = (0..60)
        .map(|it| format!("big DS {it} 13 2 {digest}\n"))
        .collect();
    let records = format!("sub NS ns\nsub 300 DS 7 13 2 {digest}\nbig NS ns\n{big}");
    let authority = tokio::task::spawn_blocking(move || Authority::start(&zone(&records), &[]));
    let authority = authority.await.unwrap();
    let address = ([127, 0, 0, 1], authority.port()).into();
    let ask = async |label: &str| {
        let length = u8::try_from(label.len()).unwrap();
        let name = [&[length], label.as_bytes(), b"\x07example\x04test\x00"].concat();
        parent::ask(address, &name).await
    };

    let known = ask("sub").await.unwrap();
    assert_eq!(known.ttl, 300);
    assert_eq!(known.ds, [[&[0, 7, 13, 2][..], &[0xab; 32]].concat()]);
    // Too many for UDP.
    assert_eq!(ask("big").await.unwrap().ds.len(), 60);
    for none in ["www", "gone"] {
        assert_eq!(ask(none).await.unwrap().ds, Vec::<Vec<u8>>::new(), "{none}");
    }
    let elsewhere = parent::ask(address, b"\x05other\x00").await;
    assert!(
        elsewhere
            .unwrap_err()
            .chain()
            .any(|it| it.to_string().contains("code 5"))
    );
}

#[test]
fn the_status_says_what_the_parent_should_know() {
    let keys = tempfile::tempdir().unwrap();
    let ds = "sub NS ns\nsub DS 7 13 2 aa\n";
    let parent = Authority::start(&zone(ds), &[]);
    let file = keys.path().join("sub");
    fs::write(&file, zone("")).unwrap();
    let child = format!("sub.example.test={}", file.display());
    let directory = keys.path().to_str().unwrap();
    let flags = [
        ("--zone", &*child),
        ("--dnssec-dir", directory),
        ("--dnssec", "sub.example.test=ecdsap256:split"),
    ];
    let authority = Authority::start(&zone(""), &flags);

    let shown = authority.get("/v1/dns/keys?zone=sub.example.test");
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let key = |index: usize| {
        let key = &shown["keys"][index];
        [&key["role"], &key["stage"]].map(|it| it.as_str().unwrap().to_owned())
    };
    assert_eq!(key(0), ["ksk", "published"], "{shown}");
    assert_eq!(key(1), ["zsk", "active"], "{shown}");
    let unsigned = authority.get("/v1/dns/keys?zone=example.test");
    assert!(unsigned.contains("is not signed"), "{unsigned}");

    let path = format!(
        "/v1/dns/delegation?zone=sub.example.test&parent=127.0.0.1:{}",
        parent.port()
    );
    let delegation = authority.get(&path);
    for expected in [
        "sub.example.test. 60 IN NS ns.sub.example.test.",
        "ns.sub.example.test. 60 IN A 127.0.0.1",
        "the parent names other servers: ns.example.test.",
        "vouches for none of the keys",
        "the keys of sub.example.test. are new",
    ] {
        assert!(delegation.contains(expected), "{expected}: {delegation}");
    }
    // What an operator does who knows that no cache has anything of the zone.
    let keys = keys.path().join("sub.example.test.keys");
    let text = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, text.replace("published", "submitted")).unwrap();
    eventually("the zone asks for its DS record", || {
        let cds = authority.dig(&["sub.example.test", "CDS", "+short"]);
        let digest = cds.trim().rsplit_once(' ').map_or("none", |it| it.1);
        let wanted = authority.get(&path);
        cds.contains(" 13 2 ") && wanted.contains(digest) && !wanted.contains("are new")
    });
}

/// The answer to a client that understands compact denial, which `dig` cannot say of itself.
fn ask_knowing(authority: &Authority) -> Vec<u8> {
    let mut query = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
    query.extend(b"\x04gone\x07example\x04test\x00\x00\x01\x00\x01");
    query.extend(b"\x00\x00\x29\x04\xd0\x00\x00\xc0\x00\x00\x00");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    socket
        .send_to(&query, ("127.0.0.1", authority.port()))
        .unwrap();
    let mut answer = vec![0; 1232];
    let length = socket.recv(&mut answer).unwrap();
    answer.truncate(length);
    answer
}

/// An authority with three zones, two of them signed, and what others know of its keys.
struct Validated {
    authority: Authority,
    directory: TempDir,
}

impl Validated {
    fn start(how: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let part = |name: &str, address: &str| {
            let file = directory.path().join(name);
            fs::write(
                &file,
                zone(&format!("www A {address}\n")).replace("www A 192.0.2.1\n", ""),
            )
            .unwrap();
            format!("{name}.example.test={}", file.display())
        };
        let (plain, safe) = (part("plain", "192.0.2.21"), part("safe", "192.0.2.22"));
        let keys = directory.path().join("keys");
        let authority = Authority::start(
            &zone(RECORDS),
            &[
                ("--zone", &plain),
                ("--zone", &safe),
                ("--dnssec-dir", keys.to_str().unwrap()),
                ("--dnssec", &format!("example.test={how}")),
                ("--dnssec", &format!("safe.example.test={how}")),
            ],
        );
        let validated = Self {
            authority,
            directory,
        };
        let anchor = validated.dnskey("example.test", "anchor");
        let text = fs::read_to_string(anchor).unwrap();
        let keys: Vec<String> = text
            .lines()
            .map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                let [owner, _, _, _, flags, protocol, algorithm, key @ ..] = &words[..] else {
                    panic!("a DNSKEY record: {line}");
                };
                format!(
                    "{owner} static-key {flags} {protocol} {algorithm} \"{}\";\n",
                    key.concat()
                )
            })
            .collect();
        let keys = format!("trust-anchors {{\n{}}};\n", keys.concat());
        fs::write(validated.directory.path().join("anchor.delv"), keys).unwrap();
        let settings = format!(
            "server:\n do-not-query-localhost: no\n local-zone: test. nodefault\n trust-anchor-file: \"{}\"\n\
             stub-zone:\n name: example.test\n stub-addr: 127.0.0.1@{}\n stub-prime: no\n\
             stub-zone:\n name: safe.example.test\n stub-addr: 127.0.0.1@{1}\n stub-prime: no\n\
             stub-zone:\n name: plain.example.test\n stub-addr: 127.0.0.1@{1}\n stub-prime: no\n",
            validated.directory.path().join("anchor").display(),
            validated.authority.port()
        );
        fs::write(validated.directory.path().join("unbound.conf"), settings).unwrap();
        validated.vouch_for("safe");
        validated
    }

    /// Puts the child's DS record into its parent.
    fn vouch_for(&self, child: &str) {
        let child = format!("{child}.example.test");
        let file = self.dnskey(&child, "child");
        let ds = run("ldns-key2ds", &["-n", "-2"], &file, "ldnsutils");
        assert!(ds.contains("DS"), "{ds}");
        fs::write(self.authority.zone_file(), zone(&format!("{RECORDS}{ds}"))).unwrap();
        eventually("the parent vouches for its child", || {
            let answer = self.authority.dig(&[&child, "DS", "+short"]);
            !answer.is_empty()
        });
    }

    /// A file with the keys of a zone that its parent is to know.
    fn dnskey(&self, zone: &str, file: &str) -> PathBuf {
        let keys = self.authority.dig(&[zone, "DNSKEY", "+noall", "+answer"]);
        let entry: Vec<&str> = keys.lines().filter(|it| it.contains("257 3")).collect();
        let file = self.directory.path().join(file);
        fs::write(&file, entry.join("\n") + "\n").unwrap();
        file
    }

    fn unbound(&self, name: &str, kind: &str) -> String {
        let settings = self.directory.path().join("unbound.conf");
        let name = format!("{name}.example.test.");
        run(
            "unbound-host",
            &["-v", "-t", kind, &name, "-C"],
            &settings,
            "unbound-host",
        )
    }

    fn delv(&self, name: &str, kind: &str) -> String {
        let anchor = self.directory.path().join("anchor.delv");
        let port = self.authority.port().to_string();
        let name = format!("{name}.example.test.");
        let arguments = [
            "@127.0.0.1",
            "-p",
            &port,
            "+root=example.test",
            name.trim_start_matches('.'),
            kind,
            "-a",
        ];
        run("delv", &arguments, &anchor, "bind9-dnsutils")
    }
}

fn start(keys: &TempDir, how: &str) -> Authority {
    Authority::start(
        &zone(RECORDS),
        &[
            ("--dnssec-dir", keys.path().to_str().unwrap()),
            ("--dnssec", &format!("example.test={how}")),
        ],
    )
}

/// What a program says, told of a file behind its arguments.
fn run(program: &str, arguments: &[&str], file: &Path, package: &str) -> String {
    let output = Command::new(program).args(arguments).arg(file).output();
    let output = output.unwrap_or_else(|it| {
        panic!("cannot run {program}: {it}; install {package}, or run ./setup")
    });
    let (said, complained) = (output.stdout, output.stderr);
    String::from_utf8(said).unwrap() + &String::from_utf8(complained).unwrap()
}
