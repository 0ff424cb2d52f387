//! Regions that leave the answers, and return.

use serde_json::Value;

use super::process::{Authority, eventually};
use super::sharing::Shared;
use super::{OVERRIDES, zone};

#[test]
fn a_region_is_drained_and_stays_so_over_a_restart() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().to_str().unwrap();
    let flags = [("--state-dir", directory), ("--geo-overrides", OVERRIDES)];
    let start = || Authority::start(&zone(LUA), &flags);
    let authority = start();
    assert_eq!(ask(&authority), BOTH);

    let told = order(&authority, "subject=frankfurt");
    assert_eq!(ask(&authority), "198.51.100.1");
    assert_eq!(
        (&told["perMille"], &told["records"]),
        (&0.into(), &1.into())
    );
    assert_eq!(told["names"], serde_json::json!(["shop.example.test."]));
    // Kept for as long as the record's TTL says.
    let lasts = told["expires"].as_u64().unwrap() - told["end"].as_u64().unwrap();
    assert_eq!(lasts, 300_000);
    let explained = authority.get("/v1/explain/dns?name=shop.example.test&from=10.1.7.7");
    assert!(explained.contains("it is being drained"), "{explained}");

    let refused = order(&authority, "subject=Paris")["error"].to_string();
    assert!(
        refused.contains("there are the regions Ashburn, Frankfurt"),
        "{refused}"
    );
    let refused = order(&authority, "subject=Paris&undo=true")["error"].to_string();
    assert!(refused.contains("Paris is not being drained"), "{refused}");

    assert_eq!(authority.stop(), 0);
    let authority = start();
    assert_eq!(ask(&authority), "198.51.100.1");
    order(&authority, "subject=frankfurt&undo=true");
    assert_eq!(ask(&authority), BOTH);
}

#[test]
fn a_drain_moves_at_its_pace_and_everywhere() {
    let store = Shared::start();
    let start = |name| {
        let flags = [
            ("--vantage", name),
            ("--etcd-config", &*store.config),
            ("--geo-overrides", OVERRIDES),
        ];
        Authority::start(&zone(LUA), &flags)
    };
    let (one, two) = (start("one"), start("two"));
    let scale = |it: &Authority| {
        let health: Value = serde_json::from_str(&it.get("/v1/dns/health")).unwrap();
        health["drains"][0]["perMille"].as_u64()
    };

    order(&one, "subject=192.0.2.0/24&overMilliseconds=2000");
    assert_eq!(
        store.keys("causeway/dns/drain/"),
        ["causeway/dns/drain/v1/192.0.2.0/24"]
    );
    eventually("the other moves too", || {
        scale(&two).is_some_and(|it| it < 1000)
    });
    let is_drained = |it: &Authority| scale(it) == Some(0) && ask(it) == "198.51.100.1";
    eventually("both are there", || is_drained(&one) && is_drained(&two));
    // Who comes later finds it so.
    let three = start("three");
    eventually("a third is there as well", || is_drained(&three));

    order(&two, "subject=192.0.2.0/24&undo=true&overMilliseconds=1000");
    eventually("it is back, and forgotten", || {
        let is_back = |it: &Authority| scale(it).is_none() && ask(it) == BOTH;
        is_back(&one) && is_back(&two) && store.keys("causeway/dns/drain/").is_empty()
    });
}

#[test]
fn answers_are_kept_for_less_after_a_change() {
    let (first, _second) = super::target::Target::pair("shop.test");
    let lua = format!(
        "shop 300 LUA A \"ifportup({}, {{'127.0.0.11'}}, {{interval=1}})\"\n",
        first.port()
    );
    let ttl = |flags: &[(&str, &str)]| {
        let authority = Authority::start(&zone(&lua), flags);
        let answer = authority.dig(&["shop.example.test", "A", "+noall", "+answer"]);
        answer.split_whitespace().nth(1).unwrap().to_owned()
    };

    assert_eq!(ttl(&[]), "300");
    assert_eq!(ttl(&[("--ttl-min", "7")]), "7");
    assert_eq!(ttl(&[("--ttl-max", "3600")]), "300");
}

const LUA: &str = "shop 300 LUA A \"all({'192.0.2.1', '198.51.100.1'})\"\n";
const BOTH: &str = "192.0.2.1 198.51.100.1";

fn ask(authority: &Authority) -> String {
    let answer = authority.dig(&["shop.example.test", "A", "+short"]);
    let mut lines: Vec<&str> = answer.lines().collect();
    lines.sort_unstable();
    lines.join(" ")
}

fn order(authority: &Authority, query: &str) -> Value {
    let told = authority.post(&format!("/v1/dns/drain?{query}"));
    serde_json::from_str(&told).unwrap()
}
