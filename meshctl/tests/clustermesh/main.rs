//! The connections between clusters as people make, see and repair them: `meshctl` as a process,
//! real API servers, Debian's etcd, certificates in files.

#![expect(clippy::unwrap_used, reason = "a test that cannot run should fail")]
#![expect(
    clippy::disallowed_methods,
    reason = "waiting for other processes needs the time, and their arguments the environment"
)]

mod etcd;
mod explain;
mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::ExitCode;

use clap::Parser as _;
use clustermesh_apiserver::config::Config;
use clustermesh_apiserver::serve;
use lab::free_address;
use serde_json::Value;

use etcd::Etcd;
use world::{Authority, Life, Server, World, code, eventually, stdout};

const ALONE: &str = "- apiserver of eu: no remote cluster is configured\n";

/// The API server is this program, started again: a test has the path of its own package's
/// programs only.
#[test]
#[ignore = "is an API server, which the other tests start"]
fn apiserver() {
    let Ok(arguments) = std::env::var(world::ARGUMENTS) else {
        return;
    };
    let arguments = std::iter::once("clustermesh-apiserver").chain(arguments.lines());
    let config = Config::parse_from(arguments);
    kvstore::tls::install_provider();
    let code = daemon::run(
        "clustermesh-apiserver",
        &config.daemon.clone(),
        async |process| serve::serve(config, process).await,
    );
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

#[test]
fn connects_two_clusters_and_disconnects_them() {
    let world = World::new();
    let (eu_ca, us_ca) = (world.authority("eu"), world.authority("us"));
    let eu = world.start("eu", 1, &eu_ca, Life::Good);
    let us = world.start("us", 2, &us_ca, Life::Good);
    let is_alone = || {
        let status = world.meshctl(&["clustermesh", "status"]);
        code(&status) == 1 && stdout(&status).contains(ALONE)
    };
    assert!(is_alone());

    let connect = world.connect_arguments(&eu, &us);
    let connect: Vec<&str> = connect.iter().map(String::as_str).collect();
    let plan = world.meshctl(&[&connect[..], &["--apply", "--dry-run"]].concat());
    assert!(
        stdout(&plan).contains("to write    us.etcd-client.key\n"),
        "{plan:?}"
    );
    assert!(fs::read_dir(eu.clustermesh()).unwrap().next().is_none());

    let done = world.meshctl(&[&connect[..], &["--apply"]].concat());
    assert_eq!(code(&done), 0, "{done:?}");
    check_connected(&eu, &us, &stdout(&done));
    let key = eu.clustermesh().join("us.etcd-client.key");
    assert_eq!(
        fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let before = fs::read(&key).unwrap();
    let contract = fs::read_to_string(eu.clustermesh().join("us.contract.yaml")).unwrap();
    assert_eq!(contract, "cluster:\n  name: us\n  id: 2\n");

    let well = world.meshctl(&["clustermesh", "status", "--wait", "--wait-duration", "60s"]);
    assert_eq!(code(&well), 0, "{well:?}");
    assert!(
        stdout(&well).starts_with("ClusterMesh of cluster eu: 1 of 1 remote clusters well\n"),
        "{well:?}"
    );
    for (peer, question) in [("us", "diff"), ("us", "troubleshoot"), ("eu", "diff")] {
        let answer = world.meshctl(&["clustermesh", question, peer]);
        assert_eq!(code(&answer), 0, "{answer:?}");
    }
    let upstream: Value = serde_json::from_str(&world.admin(&eu, "/v1/cluster")).unwrap();
    assert_eq!(upstream[0]["name"], "us");
    assert_eq!(upstream[0]["ready"], true, "{upstream}");
    assert_eq!(upstream[0]["config"]["cluster-id"], 2, "{upstream}");

    let again = world.meshctl(&[&connect[..], &["--apply", "-o", "json"]].concat());
    let again: Value = serde_json::from_str(&stdout(&again)).unwrap();
    let files = again["clusters"][0]["files"].as_array().unwrap();
    assert!(files.iter().all(|it| it["action"] == "keep"), "{again}");
    assert_eq!(fs::read(&key).unwrap(), before);

    let directories = world.directory_arguments(&eu, &us);
    let mut disconnect = vec!["clustermesh", "disconnect", "eu", "us", "--apply"];
    disconnect.extend(directories.iter().map(String::as_str));
    let mut mistaken = disconnect.clone();
    let nowhere = mistaken.last_mut().unwrap();
    *nowhere = "--directory=us=nowhere";
    assert_eq!(code(&world.meshctl(&mistaken)), 2);
    assert!(eu.clustermesh().join("us").exists(), "nothing was removed");
    assert_eq!(code(&world.meshctl(&disconnect)), 0);
    assert!(fs::read_dir(eu.clustermesh()).unwrap().next().is_none());
    eventually("no remote cluster", is_alone);
    let gone = world.meshctl(&disconnect);
    assert!(stdout(&gone).contains("is absent   us\n"), "{gone:?}");
}

/// What a person reads after the files of both sides were written.
#[track_caller]
fn check_connected(eu: &Server, us: &Server, text: &str) {
    assert_eq!(
        text,
        format!(
            "\
Cluster eu mirrors us
  {}
    written     us.etcd-client-ca.crt
    written     us.etcd-client.crt
    written     us.etcd-client.key
    written     us.contract.yaml
    written     us

Cluster us mirrors eu
  {}
    written     eu.etcd-client-ca.crt
    written     eu.etcd-client.crt
    written     eu.etcd-client.key
    written     eu.contract.yaml
    written     eu

Each etcd must know the other's user, such as remote-eu: ours does as soon as it mirrors the other cluster,
Cilium's is told by its users.yaml.
The API servers read the files by themselves. Next, with the context of eu:
  meshctl clustermesh status --wait
",
            eu.clustermesh().display(),
            us.clustermesh().display()
        )
    );
}

#[test]
fn names_the_step_that_fails_and_its_remedy() {
    let world = World::new();
    let (eu_ca, us_ca) = (world.authority("eu"), world.authority("us"));
    let eu = world.start("eu", 1, &eu_ca, Life::Good);
    let us = world.start("us", 2, &us_ca, Life::Good);
    let ap = world.start("ap", 3, &us_ca, Life::Over);
    let etcd = Etcd::start();
    know(&world, &us, &eu, &eu_ca);
    configure_badly(&world, &eu, [us.port, ap.port], &us_ca, &etcd);
    eventually("us to know the user remote-eu", || {
        code(&world.meshctl(&["clustermesh", "troubleshoot", "us"])) == 0
    });

    let output = world.meshctl(&["clustermesh", "troubleshoot", "-o", "json"]);

    assert_eq!(code(&output), 1, "{output:?}");
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    for (peer, step, said) in [
        ("closed", "tcp", "connection refused"),
        ("noname", "dns", "nowhere.invalid: "),
        (
            "wrongca",
            "server-certificate",
            "the trusted CA did not sign it: CN=us",
        ),
        (
            "wrongname",
            "server-certificate",
            "it stands for other names: CN=us for 127.0.0.1",
        ),
        ("ap", "server-certificate", "it has expired: CN=ap"),
        (
            "refused",
            "client-certificate",
            "refused: its CA did not sign it",
        ),
        ("over", "client-certificate", "CN=remote-eu for no names"),
        ("stranger", "auth", "permission denied"),
        ("plain", "tls", ""),
        ("empty", "cluster-config", "it has no cluster-config yet"),
        (
            "mute",
            "canaries",
            "none for endpointslices, identities, ip, nodes, ",
        ),
        (
            "breach",
            "contract",
            "1 records break it: mismatch 1; at last cilium/state/nodes/v1/breach/a: ",
        ),
    ] {
        world::check_failure(&found, peer, step, said);
    }
    let us = world::steps(&found, "us");
    assert!(us.iter().all(|it| it["outcome"] != "failed"), "{us:#?}");
    check_text(&world, &found);
    eventually("the end of a client's certificate in the metrics", || {
        let metrics = world.admin(&eu, "/metrics");
        metrics.contains("over.crt\",usage=\"client\"} 1609459200.0\n")
    });
}

/// Tells `server` of `peer`, which makes the peer's certificate a user of its store.
fn know(world: &World, server: &Server, peer: &Server, peer_ca: &Authority) {
    let user = format!("remote-{}", server.name);
    let client = world.client("known", peer_ca, &user, Life::Good);
    let endpoint = format!("https://127.0.0.1:{}", peer.port);
    server.configure(peer.name, &endpoint, peer_ca, &client);
}

/// Tells `eu` of peers each of which has one fault, and of `us`, which has none.
fn configure_badly(world: &World, eu: &Server, ports: [u16; 2], us_ca: &Authority, etcd: &Etcd) {
    let [us, ap] = ports;
    let other_ca = world.authority("other");
    let good = world.client("good", us_ca, "remote-eu", Life::Good);
    let foreign = world.client("foreign", &other_ca, "remote-eu", Life::Good);
    let over = world.client("over", us_ca, "remote-eu", Life::Over);
    let stranger = world.client("stranger", us_ca, "stranger", Life::Good);
    for (peer, host, port, ca, client) in [
        ("us", "127.0.0.1", us, us_ca, &good),
        ("closed", "127.0.0.1", free_address().port(), us_ca, &good),
        ("noname", "nowhere.invalid", us, us_ca, &good),
        ("wrongca", "127.0.0.1", us, &other_ca, &good),
        ("wrongname", "localhost", us, us_ca, &good),
        ("ap", "127.0.0.1", ap, us_ca, &good),
        ("refused", "127.0.0.1", us, us_ca, &foreign),
        ("over", "127.0.0.1", us, us_ca, &over),
        ("stranger", "127.0.0.1", us, us_ca, &stranger),
        ("plain", "127.0.0.1", etcd.address.port(), us_ca, &good),
    ] {
        eu.configure(peer, &format!("https://{host}:{port}"), ca, client);
    }
    for (peer, id) in [("empty", None), ("mute", Some(4)), ("breach", Some(5))] {
        eu.configure_plain(peer, &format!("http://{}", etcd.address));
        etcd.pretend(peer, id);
    }
    eventually("all peers", || {
        world.admin(eu, "/v1/cluster").matches("\"name\"").count() == 13
    });
}

/// What a person sees of the cluster whose port is closed.
fn check_text(world: &World, found: &Value) {
    let text = stdout(&world.meshctl(&["clustermesh", "troubleshoot", "closed"]));
    let steps = world::steps(found, "closed");
    let endpoint = steps[0]["endpoint"].as_str().unwrap();
    let closed = endpoint.rsplit_once(':').unwrap().1;
    let auth = steps.iter().find(|it| it["step"] == "auth").unwrap();
    let lost = auth["found"].as_str().unwrap();
    assert_eq!(
        text,
        format!(
            "\
From cluster eu to cluster closed

  https://127.0.0.1:{closed}
  ok       dns                 127.0.0.1
  FAILED   tcp                 127.0.0.1:{closed}: connection refused
                               remedy: start the clustermesh-apiserver of closed, or correct the port in the file closed: the host is there, but nobody listens on port {closed}
  skipped  tls                 a step before it failed
  skipped  server-certificate  a step before it failed
  skipped  client-certificate  a step before it failed
  skipped  etcd                a step before it failed

  the cluster itself
  FAILED   auth                {lost}
                               remedy: remedy the step that failed first
  skipped  cluster-config      its store cannot be read
  skipped  canaries            its store cannot be read
  skipped  contract            its store cannot be read
  skipped  pulse               its store cannot be read

1 steps passed, 0 with a warning, 2 failed, 8 skipped
"
        )
    );
}

#[test]
fn reads_a_replaced_certificate_without_a_restart() {
    let world = World::new();
    let (eu_ca, us_ca) = (world.authority("eu"), world.authority("us"));
    let eu = world.start("eu", 1, &eu_ca, Life::Good);
    let us = world.start("us", 2, &us_ca, Life::Good);
    let good = world.client("good", &us_ca, "remote-eu", Life::Good);
    let shown = world.client("shown", &eu_ca, "remote-eu", Life::Good);
    know(&world, &us, &eu, &eu_ca);
    eu.configure(
        "us",
        &format!("https://127.0.0.1:{}", us.port),
        &us_ca,
        &shown,
    );
    let link = || -> Value {
        let report = world.admin(&eu, "/v1/peers/us");
        serde_json::from_str(&report).unwrap_or_default()
    };
    eventually("the refusal", || link()["link"]["lastFailure"].is_object());
    assert_eq!(link()["link"]["connected"], false);

    fs::copy(&good.key, &shown.key).unwrap();
    fs::copy(&good.cert, &shown.cert).unwrap();

    eventually("the connection", || link()["link"]["connected"] == true);
}

#[test]
fn tells_how_what_is_held_differs() {
    let world = World::new();
    let ca = world.authority("eu");
    let eu = world.start("eu", 1, &ca, Life::Good);
    let etcd = Etcd::start();
    etcd.publish("us", 2);
    eu.configure_plain("us", &format!("http://{}", etcd.address));
    let wait = world.meshctl(&["clustermesh", "status", "--wait", "--wait-duration", "60s"]);
    assert_eq!(code(&wait), 0, "{wait:?}");
    assert_eq!(code(&world.meshctl(&["clustermesh", "diff", "us"])), 0);

    let admin = world.client("admin", &ca, "root", Life::Good);
    eu.put("cilium/cache/nodes/v1/us/ghost", "{}", &admin);
    let output = world.meshctl(&["clustermesh", "diff", "us", "-o", "json"]);

    assert_eq!(code(&output), 1, "{output:?}");
    let found: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let answer = &found[0]["answer"];
    assert_eq!(
        answer["stale"]["first"][0],
        "cilium/cache/nodes/v1/us/ghost"
    );
    assert_eq!(answer["missing"]["count"], 0, "{answer}");
    assert_eq!(answer["different"]["count"], 0, "{answer}");

    let unknown = world.meshctl(&["clustermesh", "diff", "ap"]);
    assert_eq!(code(&unknown), 1);
    let error = String::from_utf8(unknown.stderr).unwrap();
    assert_eq!(error, "error: no API server mirrors ap; they mirror us\n");
}

#[test]
fn refuses_options_that_do_not_fit_together() {
    let world = World::new();
    let authority: Authority = world.authority("eu");
    let ca = [
        format!("--ca-cert=eu={}", authority.cert.display()),
        format!("--ca-key=eu={}", authority.key.display()),
    ];
    let base = ["clustermesh", "connect", "eu", "us", &ca[0], &ca[1]];
    for (arguments, said) in [
        (
            &["--endpoint=eu=https://a:1"][..],
            "--ca-cert is missing for us: ",
        ),
        (
            &["--endpoint=eu=http://a:1"],
            "--ca-cert is missing for us: ",
        ),
        (
            &["--endpoint=ap=https://a:1"],
            "--endpoint is about ap, which is neither eu nor us",
        ),
        (
            &["--endpoint=eu=https://a:1", "--apply"],
            "--apply changes the directories of both",
        ),
    ] {
        let output = world.meshctl(&[&base[..], arguments].concat());
        assert_eq!(code(&output), 2, "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.starts_with(&format!("error: {said}")), "{error}");
    }
}
