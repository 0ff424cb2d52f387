//! `meshctl encrypt status` as scripts run it, against a real HTTP server with a canned report.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

const LINE: &str = "Encryption: Wireguard [NodeEncryption: Disabled, \
                    cilium_wg0 (Pubkey: b3du, Port: 51871, Peers: 1)]\n";

#[test]
fn exits_with_0_only_while_every_tunnel_carries() {
    for (up, health, code) in [
        (true, "healthy", 0),
        (true, "unknown", 0),
        (true, "unhealthy", 1),
        (false, "healthy", 1),
    ] {
        let output = ask(&report(up, health), &[]);

        assert_eq!(output.status.code(), Some(code), "{up} {health}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains(LINE), "{text}");
        assert!(text.contains("us-node-1  us       198.51.100.11"), "{text}");
    }
}

#[test]
fn gives_programs_what_probes_see() {
    let output = ask(&report(true, "healthy"), &["-o", "json"]);

    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["well"], true);
    let tunnel = &answer["agents"][0]["answer"]["tunnels"][0];
    assert_eq!(tunnel["probes"]["roundTripMicroseconds"], 85_432);
    assert_eq!(tunnel["probes"]["pathMtu"], 1_420);
}

#[test]
fn takes_an_agent_that_knows_no_probes() {
    let old = report(true, "healthy").replace(r#""probes""#, r#""others""#);
    let old = old.replace(r#""encryption""#, r#""other""#);

    let output = ask(&old, &[]);

    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("connected  -\n"), "{text}");
}

/// Asks an agent that answers `report`, once.
fn ask(report: &str, arguments: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let directory = TempDir::new().unwrap();
    let context = directory.path().join("context.yaml");
    let text = format!("cluster: eu\nagents: [\"http://{address}\"]\n");
    fs::write(&context, text).unwrap();

    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut connection, _) = listener.accept().unwrap();
            let request = BufReader::new(&connection).lines();
            let end = request.map_while(Result::ok).find(String::is_empty);
            assert!(end.is_some());
            let length = report.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            connection.write_all(head.as_bytes()).unwrap();
            connection.write_all(report.as_bytes()).unwrap();
        });
        Command::new(env!("CARGO_BIN_EXE_meshctl"))
            .arg("--context")
            .arg(&context)
            .args(["encrypt", "status"])
            .args(arguments)
            .output()
            .unwrap()
    })
}

fn report(up: bool, health: &str) -> String {
    format!(
        r#"{{"node":"eu-node-1","cluster":"eu","version":"0.1.0","ready":true,
        "store":{{"connected":true,"since":1,"reason":""}},"clusters":[],
        "tunnels":[{{"cluster":"us","node":"us-node-1","publicKey":"b25l",
            "endpoint":"198.51.100.11:51871","allowedIps":["10.2.1.0/24"],
            "lastHandshakeUnixSeconds":1700000000,"receivedBytes":1,"sentBytes":2,"up":{up},
            "probes":{{"health":"{health}","since":1,"roundTripMicroseconds":85432,
                "roundTripP99Microseconds":91000,"lossPerMille":3,"pathMtu":1420}}}}],
        "encryption":{{"interface":"cilium_wg0","publicKey":"b3du","listenPort":51871,
            "nodeEncryption":"disabled"}},
        "services":3,"backends":9,"problems":[]}}"#
    )
}
