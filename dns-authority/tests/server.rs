//! The authority as its users meet it: the binary, asked by `dig` and `kdig`, with real targets.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests read the clock to notice what hangs"
)]

#[path = "server/target.rs"]
mod target;

#[path = "server/process.rs"]
mod process;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::Instant;

use kvstore::store::{Link, Store};

use process::{Authority, eventually, run_to_end};
use target::Target;

#[test]
fn dig_and_kdig_get_static_answers() {
    let authority = Authority::start(&zone(""), &[]);

    assert_eq!(
        authority.dig(&["www.example.test", "A", "+short"]),
        "192.0.2.1\n"
    );
    assert_eq!(
        authority.dig(&["www.example.test", "A", "+short", "+tcp"]),
        "192.0.2.1\n"
    );
    let unknown = authority.dig(&["gone.example.test", "A"]);
    assert!(
        unknown.contains("status: NXDOMAIN") && unknown.contains("SOA"),
        "{unknown}"
    );
    assert!(unknown.contains("flags: qr aa"), "{unknown}");
    let elsewhere = authority.dig(&["example.com", "A"]);
    assert!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
    let mixed = authority.dig(&["wWw.ExAmPlE.test", "A", "+noall", "+answer"]);
    assert!(mixed.starts_with("wWw.ExAmPlE.test."), "{mixed}");

    assert_eq!(
        authority.kdig(&["alias.example.test", "A", "+short"]),
        "www.example.test.\n192.0.2.1\n"
    );
    let pipelined = [
        "+tcp",
        "+keepopen",
        "www.example.test",
        "A",
        "+short",
        "mail.example.test",
        "MX",
        "+short",
    ];
    let answers = authority.kdig(&pipelined);
    let answers: Vec<&str> = answers.lines().filter(|it| !it.is_empty()).collect();
    assert_eq!(answers, ["192.0.2.1", "10 www.example.test."]);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for (listen, addresses) in [
        ("0.0.0.0:0", ["127.0.0.1", "127.0.0.53", "127.9.9.9"]),
        ("[::]:0", ["::1", "127.0.0.1", "127.0.0.53"]),
    ] {
        let authority = Authority::start(&zone(""), &[("--listen", listen)]);
        for address in addresses {
            // Connected, so that the system drops what comes from elsewhere; no answer is "".
            let answer = authority.dig_at(address, &["www.example.test", "A", "+short"]);
            assert_eq!(answer, "192.0.2.1\n", "{listen} asked at {address}");
        }
    }
}

#[test]
fn big_answers_fall_back_to_tcp() {
    let texts: String = ('a'..='j')
        .map(|it| format!("big TXT {}\n", String::from(it).repeat(200)))
        .collect();
    let authority = Authority::start(&zone(&texts), &[]);

    let truncated = authority.dig(&["big.example.test", "TXT", "+ignore"]);
    assert!(truncated.contains("flags: qr aa tc"), "{truncated}");
    assert!(truncated.contains("ANSWER: 0"), "{truncated}");
    let whole = authority.dig(&["big.example.test", "TXT", "+short"]);
    assert_eq!(whole.lines().count(), 10, "{whole}");
}

#[test]
fn the_client_subnet_decides_and_comes_back_with_its_scope() {
    let lua = "near LUA A \"pickclosest({'192.0.2.11', '198.51.100.11'})\"\n";
    let authority = Authority::start(&zone(lua), &[("--geo-overrides", OVERRIDES)]);

    for (subnet, address) in [
        ("10.1.7.0/24", "192.0.2.11"),
        ("10.2.7.0/24", "198.51.100.11"),
    ] {
        let answer = authority.dig(&["near.example.test", "A", &format!("+subnet={subnet}")]);
        assert!(answer.contains(&format!("A\t{address}\n")), "{answer}");
        assert!(
            answer.contains(&format!("CLIENT-SUBNET: {subnet}/16")),
            "{answer}"
        );
    }
    let indifferent = authority.kdig(&["www.example.test", "A", "+subnet=10.1.7.0/24"]);
    assert!(indifferent.contains("10.1.7.0/24/0"), "{indifferent}");
}

#[test]
fn answers_follow_the_health_of_targets_and_fail_open() {
    let (first, second) = Target::pair("shop.test");
    let port = first.port();
    let lua = format!(
        "shop 5 LUA A (\"ifurlup('http://shop.test:{port}/healthz', \"\n  \
         \"{{{{'127.0.0.11', '127.0.0.12'}}}}, {{selector='pickclosest', interval=1, timeout=1}})\")\n"
    );
    let authority = Authority::start(&zone(&lua), &[("--geo-overrides", OVERRIDES)]);
    let ask = || authority.dig(&["shop.example.test", "A", "+short", "+subnet=10.1.7.0/24"]);
    let (near, far) = ("127.0.0.11\n", "127.0.0.12\n");
    eventually("both targets are healthy", || ask() == near);

    let died = Instant::now();
    drop(first);
    eventually("the other target is answered", || ask() == far);
    println!(
        "answers changed {:?} after the target died (interval 1 s)",
        died.elapsed()
    );
    let explained = authority.get("/v1/explain/dns?name=shop.example.test&from=10.1.7.7");
    assert!(
        explained.contains("\"chosen\":true,\"because\":\"the only one that is usable\""),
        "{explained}"
    );

    drop(second);
    eventually("both targets are unhealthy", || {
        authority
            .get("/v1/status")
            .contains("every target of shop.example.test.")
    });
    let open = ask();
    assert!(
        [near, far].contains(&open.as_str()),
        "fails open, and answered {open:?}"
    );
    let metrics = authority.get("/metrics");
    assert!(
        metrics.contains("mesh_dns_authority_records_failing_open 1\n"),
        "{metrics}"
    );

    let _again = Target::at("127.0.0.12", port, "shop.test");
    eventually("the target is back", || ask() == far);
}

#[test]
fn health_outlives_a_restart() {
    let (first, _second) = Target::pair("shop.test");
    let lua = format!(
        "port LUA A \"ifportup({}, {{'127.0.0.11'}})\"\n",
        first.port()
    );
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().to_str().unwrap();
    let health = |authority: &Authority| {
        let status: serde_json::Value = serde_json::from_str(&authority.get("/v1/status")).unwrap();
        (
            status["checks"][0]["health"].clone(),
            status["checks"][0]["since"].clone(),
        )
    };

    let authority = Authority::start(&zone(&lua), &[("--state-dir", directory)]);
    eventually("the target is healthy", || {
        health(&authority).0 == "healthy"
    });
    let before = health(&authority);
    assert_eq!(authority.stop(), 0);

    let authority = Authority::start(&zone(&lua), &[("--state-dir", directory)]);
    assert_eq!(health(&authority), before);
}

#[test]
fn a_changed_file_is_taken_over_and_a_broken_one_is_not() {
    let authority = Authority::start(&zone(""), &[]);
    let ask = || authority.dig(&["new.example.test", "A", "+short"]);
    assert_eq!(ask(), "");

    fs::write(authority.zone_file(), zone("new A 192.0.2.7\n")).unwrap();
    eventually("the new record is answered", || ask() == "192.0.2.7\n");

    fs::write(authority.zone_file(), zone("new A nonsense\n")).unwrap();
    eventually("the status names the place", || {
        authority
            .get("/v1/status")
            .contains("example.zone:8:7: expected an IPv4 address")
    });
    assert_eq!(ask(), "192.0.2.7\n");

    fs::remove_file(authority.zone_file()).unwrap();
    eventually("the status says that the file is gone", || {
        authority.get("/v1/status").contains("cannot read zone")
    });
    assert_eq!(ask(), "192.0.2.7\n");

    fs::write(authority.zone_file(), zone("new A 192.0.2.8\n")).unwrap();
    eventually("the mended file is served", || ask() == "192.0.2.8\n");
    assert!(authority.get("/v1/status").contains("\"problems\":[]"));
}

#[test]
fn a_file_of_the_same_length_and_age_is_taken_over() {
    let authority = Authority::start(&zone("new A 192.0.2.7\n"), &[]);
    let ask = || authority.dig(&["new.example.test", "A", "+short"]);
    assert_eq!(ask(), "192.0.2.7\n");

    // As a tool does that copies files with their times.
    let fresh = authority.zone_file().with_extension("new");
    fs::write(&fresh, zone("new A 192.0.2.8\n")).unwrap();
    let written = fs::metadata(authority.zone_file()).unwrap().modified();
    let file = fs::File::options().write(true).open(&fresh).unwrap();
    file.set_modified(written.unwrap()).unwrap();
    fs::rename(&fresh, authority.zone_file()).unwrap();

    eventually("the copy is served", || ask() == "192.0.2.8\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_mesh_have_names_which_outlive_the_store() {
    let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
    let server = kvstore::server::Server::bind(options).await.unwrap();
    let endpoint = format!("endpoints: ['http://{}']\n", server.address());
    let store = Store::Local(server.local());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(ended.await) }));
    let service = r#"{"global":true,"shared":true,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{"http":{"Protocol":"TCP","Port":80}},"backends":{}}"#;
    let mut records = store.connect(&Link::default()).await.unwrap();
    records
        .put("causeway/state/services/v1/eu/shop/shop", service, None)
        .await
        .unwrap();
    records.put("causeway/synced/eu", "", None).await.unwrap();

    tokio::task::spawn_blocking(move || {
        let authority = Authority::start(&zone(""), &[("--etcd-config", &endpoint)]);
        let ask = || authority.dig(&["shop.shop.svc.clusterset.local", "A", "+short"]);
        eventually("the service has its name", || ask() == "10.111.0.10\n");
        let ports = authority.dig(&["_http._tcp.shop.shop.svc.clusterset.local", "SRV", "+short"]);
        assert_eq!(ports, "0 0 80 shop.shop.svc.clusterset.local.\n");

        end.send(()).unwrap();
        eventually("the store is seen to be gone", || {
            authority
                .get("/v1/status")
                .contains("the mesh's store does not answer")
        });
        assert_eq!(ask(), "10.111.0.10\n");
    })
    .await
    .unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_whole_yet_names_nothing() {
    let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
    let server = kvstore::server::Server::bind(options).await.unwrap();
    let endpoint = format!("endpoints: ['http://{}']\n", server.address());
    let store = Store::Local(server.local());
    let serving = tokio::spawn(server.serve(std::future::pending()));
    let mut records = store.connect(&Link::default()).await.unwrap();
    let service = r#"{"global":true,"shared":true,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{},"backends":{}}"#;
    let key = "causeway/state/services/v1/eu/shop/shop";
    records.put(key, service, None).await.unwrap();

    let ask = |authority: &Authority, name: &str| {
        authority.dig(&[&format!("{name}.svc.clusterset.local"), "A"])
    };
    let authority = tokio::task::spawn_blocking(move || {
        // Ready although the store is not whole, because that may last.
        let authority = Authority::start(&zone(""), &[("--etcd-config", &endpoint)]);
        eventually("the store answers", || {
            authority.get("/v1/status").contains("\"connected\":true")
        });
        // That a service does not exist would be a lie, and kept by resolvers.
        let other = ask(&authority, "other.shop");
        assert!(other.contains("status: REFUSED"), "{other}");
        authority
    });
    let authority = authority.await.unwrap();

    records.put("causeway/synced/eu", "", None).await.unwrap();
    let known = tokio::task::spawn_blocking(move || {
        eventually("the service has its name", || {
            ask(&authority, "shop.shop").contains("10.111.0.10")
        });
        let other = ask(&authority, "other.shop");
        assert!(other.contains("status: NXDOMAIN"), "{other}");
    });
    known.await.unwrap();
    serving.abort();
}

#[test]
fn a_message_that_is_too_long_for_a_query_ends_its_connection() {
    let authority = Authority::start(&zone(""), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", authority.port())).unwrap();
    stream.write_all(&5000_u16.to_be_bytes()).unwrap();
    stream.write_all(&[0; 5000]).unwrap();

    let mut answer = Vec::new();
    // The end may come as a reset, because not all was read.
    let _ = stream.read_to_end(&mut answer);

    assert!(answer.is_empty(), "{answer:?}");
}

#[test]
fn noise_does_not_keep_it_from_answering() {
    let authority = Authority::start(&zone(""), &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for length in 0..3000 {
        let bytes: Vec<u8> = (0..length % 600)
            .map(|_| {
                noise = (noise ^ (noise << 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                noise ^= noise >> 29;
                noise.to_le_bytes()[3]
            })
            .collect();
        socket
            .send_to(&bytes, ("127.0.0.1", authority.port()))
            .unwrap();
    }

    eventually("it answers", || {
        authority.dig(&["www.example.test", "A", "+short"]) == "192.0.2.1\n"
    });
}

#[test]
fn mistakes_end_the_process_with_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broken.zone");
    fs::write(&file, zone("x LUA A \"pickrandom({'192.0.2.1')\"\n")).unwrap();
    let broken = format!("example.test={}", file.display());

    let (code, _) = run_to_end(&["--zone", "nonsense"]);
    assert_eq!(code, 2);
    let (code, error) = run_to_end(&["--zone", &broken]);
    let expected = format!(
        "error: {}:8:33: expected `,` or `}}` and found `)`\n",
        file.display()
    );
    assert_eq!((code, error), (1, expected));
    let (code, error) = run_to_end(&["--zone", "example.test=/nowhere"]);
    assert_eq!(code, 1);
    assert!(
        error.starts_with("error: cannot read zone example.test. from /nowhere:"),
        "{error}"
    );

    let authority = Authority::start(&zone(""), &[]);
    let (code, error) = run_to_end(&["--listen", &format!("127.0.0.1:{}", authority.port())]);
    assert_eq!(code, 1);
    assert!(
        error.contains("already in use; stop what listens there"),
        "{error}"
    );
}

#[test]
fn a_signal_ends_it_at_once_with_code_0() {
    let authority = Authority::start(&zone(""), &[]);

    assert_eq!(authority.stop(), 0);
}

/// Frankfurt and Ashburn: clients in 10.1 and 10.2, targets near each.
const OVERRIDES: &str = "
- {prefix: 10.1.0.0/16, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 192.0.2.0/24, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 127.0.0.11/32, latitude: 50.11, longitude: 8.68, name: Frankfurt}
- {prefix: 10.2.0.0/16, latitude: 39.04, longitude: -77.49, name: Ashburn}
- {prefix: 198.51.100.0/24, latitude: 39.04, longitude: -77.49, name: Ashburn}
- {prefix: 127.0.0.12/32, latitude: 39.04, longitude: -77.49, name: Ashburn}
";

/// A zone with `records` from its eighth line on.
fn zone(records: &str) -> String {
    format!(
        "$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
www A 192.0.2.1
mail MX 10 www
alias CNAME www
{records}"
    )
}
