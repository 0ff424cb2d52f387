//! The HTTP API as ExternalDNS and tools for PowerDNS use it.

use std::process::Command;

use lab::free_address;
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::process::{Authority, eventually};
use crate::{GRANTS, SECRET, start};

const KEY: &str = "a-key-of-some-length-0123";

/// An authority with an API.
struct Api {
    authority: Authority,
    port: u16,
}

impl Api {
    fn start(flags: &[(&str, &str)]) -> Self {
        let port = free_address().port();
        let address = format!("127.0.0.1:{port}");
        let own = [("--api", &*address), ("--api-key-file", KEY)];
        Self {
            authority: start(7, &[&own[..], flags].concat()),
            port,
        }
    }

    /// The status and the body.
    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        self.ask_with(KEY, method, path, body.map(Value::to_string).as_deref())
    }

    fn ask_with(&self, key: &str, method: &str, path: &str, body: Option<&str>) -> (u16, Value) {
        let mut command = Command::new("curl");
        command.args(["-s", "-m", "20", "-w", "\n%{http_code}", "-X", method]);
        command.args(["-H", &format!("X-API-Key: {key}")]);
        command.args(body.map(|it| ["-d", it]).iter().flatten());
        let output = command
            .arg(format!(
                "http://127.0.0.1:{}/api/v1/servers{path}",
                self.port
            ))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (
            status.parse().unwrap(),
            serde_json::from_str(body).unwrap_or_default(),
        )
    }

    fn patch(&self, set: &Value) -> (u16, Value) {
        let body = json!({ "rrsets": [set] });
        self.ask("PATCH", "/localhost/zones/example.test.", Some(&body))
    }

    fn dig(&self, name: &str, kind: &str) -> String {
        self.authority.dig(&["+short", name, kind])
    }
}

#[test]
fn does_what_external_dns_wants() {
    let state = tempfile::tempdir().unwrap();
    let api = Api::start(&[("--state-dir", state.path().to_str().unwrap())]);
    let (status, zones) = api.ask("GET", "/localhost/zones", None);
    assert_eq!(
        (status, &zones[0]["name"], &zones[0]["id"]),
        (200, &json!("example.test."), &json!("example.test."))
    );
    assert_eq!(zones[0]["serial"], 7);

    // It sends the zone with the sets that are to change, the fields that it does not know as nothing.
    let body = json!({
        "id": "example.test.", "name": "example.test.", "type": "Zone", "kind": "Native",
        "url": "/api/v1/servers/localhost/zones/example.test.",
        "rrsets": [
            { "name": "app.example.test.", "type": "A", "ttl": 300, "changetype": "REPLACE",
              "records": [{ "content": "192.0.2.7", "disabled": false, "set-ptr": false },
                          { "content": "192.0.2.8", "disabled": false, "set-ptr": false }] },
            { "name": "cdn.example.test.", "type": "ALIAS", "ttl": 300, "changetype": "REPLACE",
              "records": [{ "content": "edge.other.test.", "disabled": false }] },
            { "name": "a-app.example.test.", "type": "TXT", "ttl": 300, "changetype": "REPLACE",
              "records": [{ "content": "\"heritage=external-dns,external-dns/owner=me\"" }] },
        ],
    });
    assert_eq!(
        api.ask("PATCH", "/localhost/zones/example.test.", Some(&body))
            .0,
        204
    );
    assert_eq!(api.dig("app.example.test", "A"), "192.0.2.7\n192.0.2.8\n");
    assert_eq!(api.dig("cdn.example.test", "CNAME"), "edge.other.test.\n");
    assert_eq!(
        api.dig("a-app.example.test", "TXT"),
        "\"heritage=external-dns,external-dns/owner=me\"\n"
    );

    let (status, zone) = api.ask("GET", "/localhost/zones/example.test.", None);
    assert_eq!((status, &zone["serial"]), (200, &json!(8)));
    let sets = zone["rrsets"].as_array().unwrap();
    let set = |name: &str, kind: &str| {
        let set = sets
            .iter()
            .find(|it| it["name"] == name && it["type"] == kind)
            .unwrap();
        set["records"].clone()
    };
    let record = |content: &str| json!({ "content": content, "disabled": false });
    assert_eq!(
        set("app.example.test.", "A"),
        json!([record("192.0.2.7"), record("192.0.2.8")])
    );
    assert_eq!(
        set("a-app.example.test.", "TXT"),
        json!([record("\"heritage=external-dns,external-dns/owner=me\"")])
    );
    assert_eq!(
        set("mail.example.test.", "MX"),
        json!([record("10 www.example.test.")])
    );
    let lua = set("near.example.test.", "LUA");
    assert!(
        lua[0]["content"]
            .as_str()
            .unwrap()
            .starts_with("A \"pickrandom"),
        "{lua}"
    );

    let gone = json!({ "name": "app.example.test.", "type": "A", "changetype": "DELETE" });
    assert_eq!(api.patch(&gone).0, 204);
    assert_eq!(api.dig("app.example.test", "A"), "");
    let (_, found) = api.ask("GET", "/localhost/search-data?q=cdn*&max=5", None);
    assert_eq!(found[0]["content"], "edge.other.test.");
}

#[test]
fn says_what_is_wrong_and_changes_nothing() {
    let api = Api::start(&[]);
    assert_eq!(
        api.ask_with("wrong-key-of-some-length", "GET", "/localhost/zones", None)
            .0,
        401
    );
    assert_eq!(api.ask("GET", "/localhost/zones/other.test.", None).0, 404);
    assert_eq!(api.ask("GET", "/localhost/nothing", None).0, 404);
    assert_eq!(api.ask("DELETE", "/localhost/zones", None).0, 405);
    let path = "/localhost/zones/example.test.";
    assert_eq!(
        api.ask_with(KEY, "PATCH", path, Some("{\"rrsets\": [")).0,
        400
    );

    let check = |name: &str, kind: &str, content: &str, expected: &str| {
        let records = [json!({ "content": content })];
        let set = json!({ "name": name, "type": kind, "ttl": 60, "changetype": "REPLACE", "records": records });
        let (status, body) = api.patch(&set);
        let error = body["error"].as_str().unwrap();
        assert_eq!(status, 422, "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check("x.other.test.", "A", "192.0.2.1", "out of zone");
    check("x.example.test", "A", "192.0.2.1", "not absolute");
    check("x.example.test.", "A", "192.0.2.300", "192.0.2.300");
    check("x.example.test.", "NOTATYPE", "x", "Unknown type");
    check(
        "www.example.test.",
        "CNAME",
        "x.example.test.",
        "Conflicts with pre-existing RRset",
    );
    check("near.example.test.", "A", "192.0.2.1", "REFUSED");
    check("x.example.test.", "LUA", "A \"x\"", "zone's file");
    let (_, zone) = api.ask("GET", path, None);
    assert_eq!(zone["serial"], 7);
}

#[test]
fn secondaries_hear_of_what_the_api_changes() {
    let port = free_address().port();
    let notify = format!("127.0.0.1:{port},key:copies");
    let api = Api::start(&[&GRANTS[..], &[("--notify", &*notify)]].concat());
    let peer = Peer::knot(port, api.authority.port(), SECRET);
    eventually("the copy is there", || {
        peer.dig(&["+short", "www.example.test"]) == "192.0.2.1\n"
    });
    let records = [json!({ "content": "192.0.2.7" })];
    let set = json!({ "name": "new.example.test.", "type": "A", "ttl": 60, "changetype": "REPLACE", "records": records });
    assert_eq!(api.patch(&set).0, 204);
    eventually("the copy has it", || {
        peer.dig(&["+short", "new.example.test"]) == "192.0.2.7\n"
    });
}
