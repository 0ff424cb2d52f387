//! A lab on this machine: links, places, processes, and nothing left afterwards. Needs root.

#![expect(clippy::unwrap_used, reason = "a step that cannot run should fail")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use lab::inspect::{Inspection, Secrets};
use lab::manifests::Service;
use lab::record::{Outcome, Record};
use lab::{
    Capture, Conditions, Follower, Kubelet, Lab, ManifestDirectory, Place, Plan, Pod, Process,
    Program, binaries, leftovers, wait_for,
};

/// For anything that takes milliseconds unless it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// For the labs of other tests to end.
const TURN: Duration = Duration::from_secs(600);

const DELAY: Duration = Duration::from_millis(20);

const MARKER: &str = "CAUSEWAY-TEST-MARKER";

#[test]
fn the_internet_delays_loses_limits_cuts_and_heals() {
    let lab = start();
    let server = serve(&lab, &lab.plan().region("eu").control(), "control");
    let client = lab.plan().region("us").control();
    let ask = || ask(&lab, &client, "http://192.0.2.10:8080/");

    // A connection is set up in one round trip and used in another.
    let records = ask();
    assert!(records.iter().all(|it| !it.failed()), "{records:?}");
    let fastest = records
        .iter()
        .map(|it| it.duration_microseconds)
        .min()
        .unwrap();
    assert!(u128::from(fastest) >= 4 * DELAY.as_micros(), "{fastest} µs");

    let lossy = Conditions {
        loss: 1.0,
        ..Conditions::delayed(DELAY)
    };
    lab.internet().set_conditions("eu", "us", lossy);
    assert!(ask().iter().all(Record::failed));
    lab.internet()
        .set_conditions("eu", "us", Conditions::delayed(DELAY));
    assert!(ask().iter().all(|it| !it.failed()));

    lab.internet().cut("us");
    assert!(ask().iter().all(Record::failed));
    lab.internet().heal("us");
    assert!(ask().iter().all(|it| !it.failed()));

    // A megabyte there and back takes two seconds at a megabyte per second.
    let slow = Conditions {
        rate: Some(1_000_000),
        ..Conditions::delayed(DELAY)
    };
    lab.internet().set_conditions("eu", "us", slow);
    let megabyte = lab.directory().join("megabyte");
    fs::write(&megabyte, vec![b'x'; 1_000_000]).unwrap();
    let seconds = post(&lab, &client, "http://192.0.2.10:8080/echo", &megabyte);
    assert!((2.0..20.0).contains(&seconds), "{seconds} s");

    drop(server);
    end(lab);
}

#[test]
fn pods_are_reached_from_their_region_and_a_kubelet_says_which_are_ready() {
    let lab = start();
    let eu = lab.plan().region("eu");
    let (shop, client) = (eu.pod_named("shop-1"), eu.pod(eu.pod_named("client-1")));
    let directory = ManifestDirectory::create(lab.directory().join("manifests/eu")).unwrap();
    let slice = directory.path().join("endpointslice-shop.yaml");
    let kubelet = Kubelet::start(eu, service(), directory).unwrap();
    let mut server = serve(&lab, &eu.pod(shop), "shop-1");
    let upstream = format!("{}:8080", eu.pod_address(shop));
    let edge = Program::new("edge", binaries::find("lab-edge").unwrap()).arguments([
        "--listen",
        "192.0.2.11:80",
        "--upstream",
        &*upstream,
    ]);
    let edge = lab.spawn(&eu.node(1), edge).unwrap();

    wait_for_text(&slice, "ready: true");
    // From another node's pod, to the pod and to the ingress in front of it.
    for url in [
        format!("http://{upstream}/"),
        "http://192.0.2.11/".to_owned(),
    ] {
        let records = ask(&lab, &client, &url);
        let Outcome::Served(server) = &records.last().unwrap().outcome else {
            panic!("{url}: {records:?}");
        };
        assert_eq!((&*server.region, &*server.pod), ("eu", "shop-1"));
    }

    server.kill().unwrap();
    wait_for_text(&slice, "ready: false");
    wait_for("the ingress to notice", PATIENCE, || {
        let records = ask(&lab, &client, "http://192.0.2.11/healthz");
        let refused = Outcome::Failed("status 503".to_owned());
        Ok(records.iter().all(|it| it.outcome == refused).then_some(()))
    })
    .unwrap();
    server.start_again().unwrap();
    wait_for_text(&slice, "ready: true");
    let stopped = server.stop().unwrap();
    assert!(stopped.status.success());

    drop((kubelet, server, edge));
    end(lab);
}

#[test]
fn a_capture_sees_what_is_sent_in_the_clear() {
    let lab = start();
    let (eu, us) = (lab.plan().region("eu"), lab.plan().region("us"));
    let server = serve(&lab, &eu.control(), "control");
    let secret = lab.directory().join("secret");
    fs::write(&secret, MARKER).unwrap();

    let harmless = inspect(&lab, &eu.router(), || {
        ask(&lab, &us.control(), "http://192.0.2.10:8080/");
    });
    assert!(
        harmless.packets > 0 && harmless.leak_count == 0,
        "{harmless:?}"
    );
    assert!(!harmless.is_proof());

    let marked = inspect(&lab, &eu.router(), || {
        post(&lab, &us.control(), "http://192.0.2.10:8080/echo", &secret);
    });
    assert!(marked.leak_count >= 2, "{marked:?}");

    // Nobody hides the address of a pod that talks to another region's hosts.
    let exposed = inspect(&lab, &us.router(), || {
        let curl = Program::new("curl", "curl").arguments(["-s", "-m", "1", "192.0.2.10:8080"]);
        lab.run(&us.pod(us.pod_named("client-1")), curl, PATIENCE)
            .unwrap();
    });
    assert!(exposed.leak_count >= 1, "{exposed:?}");

    drop(server);
    end(lab);
}

#[test]
fn hosts_of_a_node_have_wireguard_sockets_of_their_own_and_share_the_bpf_file_system() {
    let lab = start();
    let (one, other) = (
        lab.plan().region("eu").node(1),
        lab.plan().region("eu").node(2),
    );
    let shell = |place: &Place, script: &str| {
        let program = Program::new("sh", "sh").arguments(["-c", script]);
        let finished = lab.run(place, program, PATIENCE).unwrap();
        assert!(finished.status.success(), "{finished:?}");
        finished.stdout
    };

    shell(&one, "touch /var/run/wireguard/one");
    assert_eq!(shell(&one, "ls /var/run/wireguard"), "one\n");
    assert_eq!(shell(&other, "ls /var/run/wireguard"), "");
    assert!(!Path::new("/var/run/wireguard/one").exists());

    let bpffs = lab.bpffs(&one);
    shell(&one, &format!("mkdir {}/pins", bpffs.display()));
    assert!(bpffs.join("pins").is_dir());
    let kind = shell(&other, &format!("stat -f -c %T {}", bpffs.display()));
    assert_eq!(kind, "bpf_fs\n");

    let group = shell(&one, "grep ^0: /proc/self/cgroup");
    assert!(group.ends_with("/causeway-lab/eu-node-1\n"), "{group}");
    end(lab);
}

#[test]
fn a_killed_lab_is_swept_by_the_next_one_and_an_interrupted_one_sweeps_itself() {
    let mut killed = lab_up();
    assert!(
        Lab::start(plan(), None)
            .unwrap_err()
            .to_string()
            .contains("another run is active")
    );
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(!leftovers().is_empty());

    let lab = start();
    assert!(lab.swept() > 0);
    assert!(
        !Path::new("/run/netns/cw-ap-control").exists(),
        "only the killed lab has this region"
    );
    end(lab);

    let mut interrupted = lab_up();
    let pid = interrupted.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(interrupted.wait().unwrap().code(), Some(130));
    // Another test may have its turn by now.
    assert!(!Path::new("/run/netns/cw-ap-control").exists());
}

fn plan() -> Plan {
    let mut plan = Plan::three_regions();
    plan.regions.retain(|it| it.name != "ap");
    plan.paths = vec![("eu".to_owned(), "us".to_owned(), Conditions::delayed(DELAY))];
    for region in &mut plan.regions {
        let pod = |name: &str, node, app: &str| {
            let (name, app) = (name.to_owned(), app.to_owned());
            Pod {
                name,
                node,
                suffix: 10,
                app,
            }
        };
        region.pods = vec![pod("shop-1", 1, "shop"), pod("client-1", 2, "client")];
    }
    plan
}

fn service() -> Service {
    Service {
        namespace: "shop".to_owned(),
        name: "shop".to_owned(),
        suffix: 10,
        port: 80,
        target_port: 8080,
        app: "shop".to_owned(),
    }
}

fn start() -> Lab {
    Lab::start_when_free(plan(), TURN).unwrap()
}

/// Ends a lab and proves that nothing is left, unless another test has started its own.
fn end(lab: Lab) {
    let namespaces = || {
        let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
        let names = entries.filter_map(|it| it.file_name().into_string().ok());
        names
            .filter(|it| it.starts_with("cw-eu-") || it.starts_with("cw-us-"))
            .count()
    };
    assert!(leftovers().len() > namespaces() && namespaces() == 12);
    lab.end(|| {
        assert_eq!(leftovers(), Vec::<String>::new());
        assert_eq!(namespaces(), 0);
    });
}

fn serve(lab: &Lab, place: &Place, pod: &str) -> Process {
    let program = Program::new("pod", binaries::find("lab-pod").unwrap()).arguments([
        "--region",
        "eu",
        "--node",
        place.host_name(),
        "--pod",
        pod,
    ]);
    let mut server = lab.spawn(place, program).unwrap();
    wait_for("the server", PATIENCE, || {
        server.check()?;
        let curl = Program::new("curl", "curl").arguments(["-sf", "http://127.0.0.1:8080/healthz"]);
        Ok(lab
            .run(place, curl, PATIENCE)?
            .status
            .success()
            .then_some(()))
    })
    .unwrap();
    server
}

/// Five requests from `place`.
fn ask(lab: &Lab, place: &Place, url: &str) -> Vec<Record> {
    let program = Program::new("client", binaries::find("lab-client").unwrap()).arguments([
        "http",
        "--url",
        url,
        "--count",
        "5",
        "--interval-ms",
        "20",
    ]);
    let finished = lab.run(place, program, PATIENCE).unwrap();
    assert!(finished.status.success(), "{finished:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(&file, finished.stdout).unwrap();
    let records = Follower::new(file.path().to_owned()).read().unwrap();
    assert_eq!(records.len(), 5);
    records
}

/// The seconds that it takes to post a file and get it back.
fn post(lab: &Lab, place: &Place, url: &str, file: &Path) -> f64 {
    let data = format!("@{}", file.display());
    let program = Program::new("curl", "curl").arguments([
        "-sf",
        "-o",
        "/dev/null",
        "-w",
        "%{time_total}",
        "--data-binary",
        &*data,
        url,
    ]);
    let finished = lab.run(place, program, PATIENCE).unwrap();
    assert!(finished.status.success(), "{finished:?}");
    finished.stdout.parse().unwrap()
}

fn inspect(lab: &Lab, router: &Place, work: impl FnOnce()) -> Inspection {
    let capture = Capture::start(lab, router, "wan0").unwrap();
    work();
    let pods = "10.0.0.0/8".parse().unwrap();
    let secrets = Secrets {
        marker: MARKER.into(),
        prefixes: vec![pods],
    };
    capture.stop().unwrap().inspect(&secrets).unwrap()
}

fn wait_for_text(path: &Path, text: &str) {
    let what = format!("`{text}` in {}", path.display());
    let found = || Ok(fs::read_to_string(path)?.contains(text).then_some(()));
    wait_for(&what, PATIENCE, found).unwrap();
}

/// A lab in a process of its own, once it is complete.
fn lab_up() -> Child {
    let program = binaries::find("lab-up").unwrap();
    wait_for("a turn", TURN, || {
        let mut command = Command::new(&program);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line)?;
        if line.starts_with("up;") {
            return Ok(Some(child));
        }
        let said = String::from_utf8(child.wait_with_output()?.stderr)?;
        assert!(said.contains("another run is active"), "{said}");
        thread::sleep(Duration::from_millis(200));
        Ok(None)
    })
    .unwrap()
}
