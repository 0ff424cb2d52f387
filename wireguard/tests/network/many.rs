//! So many prefixes and peers that no single read or write of `wg` has them all.

use std::fmt::Write as _;
use std::fs;

use wireguard::PrivateKey;

use super::namespace::run;
use super::pair::{End, Family, Pair};

#[test]
fn one_peer_with_a_hundred_thousand_prefixes() {
    let Pair { east, .. } = Pair::new(Family::V4);
    let mut text = interface();
    push_peer(&mut text);
    for high in 1..=255 {
        for low in 0..=255 {
            writeln!(
                text,
                "AllowedIPs = {high}.{low}.0.0/16, {high:x}::{low:x}/128"
            )
            .unwrap();
        }
    }
    set_configuration(&east, &text);

    let shown = run("wg", &["show", &east.interface, "allowed-ips"]);
    assert_eq!(shown.split_whitespace().count(), 1 + 2 * 255 * 256);
    assert!(shown.contains("ff::ff/128") && shown.contains("255.255.0.0/16"));
}

#[test]
fn many_peers_with_many_prefixes() {
    let Pair { east, .. } = Pair::new(Family::V4);
    let mut text = interface();
    for high in 1..=40 {
        push_peer(&mut text);
        for low in 1..=52 {
            writeln!(text, "AllowedIPs = {high}.{low}.0.0/16").unwrap();
        }
    }
    set_configuration(&east, &text);

    let shown = run("wg", &["show", &east.interface, "allowed-ips"]);
    assert_eq!(shown.lines().count(), 40);
    for line in shown.lines() {
        assert_eq!(line.split_whitespace().count(), 1 + 52, "{line}");
    }
}

#[test]
fn peers_without_a_prefix_before_one_that_has_some() {
    let Pair { east, .. } = Pair::new(Family::V4);
    let mut text = interface();
    for _ in 0..30 {
        push_peer(&mut text);
    }
    text.push_str("AllowedIPs = 255.2.3.4/32, abcd::255/128\n");
    set_configuration(&east, &text);

    let shown = run("wg", &["showconf", &east.interface]);
    assert_eq!(shown.matches("[Peer]").count(), 30);
    assert!(
        shown.contains("255.2.3.4/32, abcd::255/128")
            || shown.contains("abcd::255/128, 255.2.3.4/32")
    );
    let mut nobody = east.command("wg");
    let shown = nobody.args(["show", "cwnobody"]).output().unwrap();
    assert!(!shown.status.success());
}

fn interface() -> String {
    let key = PrivateKey::generate().to_base64();
    format!("[Interface]\nPrivateKey = {key}\n")
}

fn push_peer(text: &mut String) {
    let key = PrivateKey::generate().public_key();
    writeln!(text, "[Peer]\nPublicKey = {key}").unwrap();
}

fn set_configuration(end: &End, text: &str) {
    let file = std::env::temp_dir().join(format!("{}.conf", end.name));
    fs::write(&file, text).unwrap();
    run("wg", &["setconf", &end.interface, file.to_str().unwrap()]);
    fs::remove_file(&file).unwrap();
}
