//! Texts that clients send, right and wrong.

use proptest::prelude::*;

use super::*;

#[test]
fn reads_what_wg_sends() {
    let key = "ab".repeat(32);
    let text = format!(
        "set=1\nprivate_key={zeros}\nlisten_port=51871\nfwmark=0\npublic_key={key}\n\
         preshared_key={key}\nalternate_preshared_key=none\nendpoint=[2001:db8::1]:7\npersistent_keepalive_interval=25\n\
         successor_of={zeros}\nreplace_allowed_ips=true\nallowed_ip=10.1.2.3/24\nallowed_ip=-::/0\n\
         shared_allowed_ip=10.2.3.4/16\naccepted_ip=fd00::7/64\n\
         public_key={key}\nremove=true\n\n",
        zeros = "0".repeat(64),
    );
    let key = PublicKey::from([0xab; 32]);

    let expected = Update {
        private_key: Some(Setting::Clear),
        listen_port: Some(51_871),
        fwmark: Some(0),
        replace_peers: false,
        peers: vec![
            PeerUpdate {
                preshared_key: Some(Setting::To([0xab; 32].into())),
                alternate_preshared_key: Some(Setting::To(PresharedKey::none())),
                endpoint: Some("[2001:db8::1]:7".parse().unwrap()),
                persistent_keepalive_seconds: Some(25),
                successor_of: Some(Setting::Clear),
                replace_allowed_ips: true,
                allowed_ips: vec![
                    AllowedIpChange::Add("10.1.2.0/24".parse().unwrap()),
                    AllowedIpChange::Remove("::/0".parse().unwrap()),
                    AllowedIpChange::Share("10.2.0.0/16".parse().unwrap()),
                    AllowedIpChange::Accept("fd00::/64".parse().unwrap()),
                ],
                ..PeerUpdate::new(key)
            },
            PeerUpdate::removal(key),
        ],
    };
    assert_eq!(text.parse(), Ok(Request::Set(expected)));
    assert_eq!("get=1\n\n".parse(), Ok(Request::Get));
}

#[test]
fn refuses_mistakes_and_says_where() {
    check("", 1, -71, "expected `get=1` or `set=1`");
    check("get=2", 1, -71, "expected `get=1` or `set=1`");
    check("get=1\nx=1", 2, -22, "unknown or misplaced key `x`");
    check("set=1\nlisten_port", 2, -71, "expected `key=value`");
    check("set=1\n\nlisten_port=1", 2, -71, "expected `key=value`");
    check(
        "set=1\nlisten_port=65536",
        2,
        -22,
        "bad value for `listen_port`",
    );
    check(
        "set=1\nlisten_port=+5",
        2,
        -22,
        "bad value for `listen_port`",
    );
    check("set=1\nlisten_port=", 2, -22, "bad value for `listen_port`");
    check(
        "set=1\nreplace_peers=false",
        2,
        -22,
        "bad value for `replace_peers`",
    );
    check(
        "set=1\nprivate_key=00",
        2,
        -22,
        "bad value for `private_key`",
    );
    check("set=1\npublic_key=xy", 2, -22, "bad value for `public_key`");
    check(
        "set=1\nendpoint=1.2.3.4:5",
        2,
        -22,
        "unknown or misplaced key `endpoint`",
    );
    check_peer("fwmark=1", "unknown or misplaced key `fwmark`");
    check_peer("endpoint=1.2.3.4", "bad value for `endpoint`");
    check_peer("endpoint=host:1", "bad value for `endpoint`");
    check_peer("allowed_ip=1.2.3.4/33", "bad value for `allowed_ip`");
    check_peer("allowed_ip=010.0.0.0/8", "bad value for `allowed_ip`");
    check_peer("allowed_ip=1.2.3.4", "bad value for `allowed_ip`");
    check_peer("allowed_ip=--::/0", "bad value for `allowed_ip`");
    check_peer("accepted_ip=-::/0", "bad value for `accepted_ip`");
    check_peer("accepted_ip=", "bad value for `accepted_ip`");
    check_peer(
        "shared_allowed_ip=-::/0",
        "bad value for `shared_allowed_ip`",
    );
    check_peer(
        "shared_allowed_ip=010.0.0.0/8",
        "bad value for `shared_allowed_ip`",
    );
    check_peer("successor_of=true", "bad value for `successor_of`");
    check_peer(
        "alternate_preshared_key=any",
        "bad value for `alternate_preshared_key`",
    );
    let version = format!("set=1\npublic_key={}\nprotocol_version=2", "ab".repeat(32));
    check(&version, 3, -96, "only protocol version 1 is known");
    check("set=1\nfwmark=0x1", 2, -22, "bad value for `fwmark`");
    check_peer(
        "persistent_keepalive_interval=65536",
        "bad value for `persistent_keepalive_interval`",
    );
}

#[test]
fn an_endpoint_on_a_link_names_the_link() {
    let zone = |name: &str| (name == "eth7").then_some(7);
    for (text, expected) in [
        ("[fe80::1%eth7]:5", Some(7)),
        ("[fe80::1%3]:5", Some(3)),
        ("[fe80::1]:5", Some(0)),
        ("[fe80::1%lo]:5", None),
        ("[fe80::1%eth7]", None),
        ("fe80::1%eth7:5", None),
    ] {
        let text = format!("set=1\npublic_key={}\nendpoint={text}\n\n", "ab".repeat(32));
        let endpoint = match Request::read(&text, &zone) {
            Ok(Request::Set(update)) => update.peers[0].endpoint,
            _ => None,
        };
        let found = endpoint.map(|it| match it {
            SocketAddr::V6(it) => it.scope_id(),
            SocketAddr::V4(_) => unreachable!("{it}"),
        });
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn keeps_secrets_out_of_errors() {
    let secret = "5ec4e7".repeat(10);
    let text = format!("set=1\nprivate_key={secret}");

    let error = text.parse::<Request>().unwrap_err();

    assert!(!format!("{error} {error:?}").contains("5ec4e7"));
}

proptest! {
    #[test]
    fn reads_back_what_it_writes(update in update()) {
        let request = Request::Set(update);
        prop_assert_eq!(render(&request).parse(), Ok(request));
    }

    #[test]
    fn takes_any_text_without_a_panic(lines in prop::collection::vec(line(), 0..8)) {
        let _ = lines.join("\n").parse::<Request>();
    }
}

#[track_caller]
fn check(text: &str, line: usize, errno: i32, problem: &str) {
    let error = text.parse::<Request>().expect_err(text);

    assert_eq!(error.to_string(), format!("line {line}: {problem}"));
    assert_eq!(error.errno().code(), errno);
}

/// The same for a line about a peer.
#[track_caller]
fn check_peer(line: &str, problem: &str) {
    let text = format!("set=1\npublic_key={}\n{line}", "ab".repeat(32));
    check(&text, 3, -22, problem);
}

fn update() -> impl Strategy<Value = Update> {
    (
        prop::option::of(setting(PrivateKey::from)),
        any::<Option<u16>>(),
        any::<Option<u32>>(),
        any::<bool>(),
        prop::collection::vec(peer_update(), 0..4),
    )
        .prop_map(
            |(private_key, listen_port, fwmark, replace_peers, peers)| Update {
                private_key,
                listen_port,
                fwmark,
                replace_peers,
                peers,
            },
        )
}

fn peer_update() -> impl Strategy<Value = PeerUpdate> {
    let flags = (any::<bool>(), any::<bool>(), any::<bool>());
    let alternate = prop_oneof![
        setting(PresharedKey::from),
        Just(Setting::To(PresharedKey::none())),
    ];
    let values = (
        (
            prop::option::of(setting(PresharedKey::from)),
            prop::option::of(alternate),
        ),
        // A flow label is the one part of an address that the text has no place for.
        prop::option::of(any::<(std::net::IpAddr, u16)>().prop_map(Into::into)),
        any::<Option<u16>>(),
        prop::option::of(setting(PublicKey::from)),
        prop::collection::vec(allowed_ip_change(), 0..4),
    );
    (any::<[u8; 32]>(), flags, values).prop_map(
        |(key, (remove, update_only, replace_allowed_ips), values)| {
            let (
                (preshared_key, alternate_preshared_key),
                endpoint,
                persistent_keepalive_seconds,
                ..,
            ) = values;
            let (.., successor_of, allowed_ips) = values;
            PeerUpdate {
                public_key: key.into(),
                remove,
                update_only,
                preshared_key,
                alternate_preshared_key,
                endpoint,
                persistent_keepalive_seconds,
                successor_of,
                replace_allowed_ips,
                allowed_ips,
            }
        },
    )
}

fn setting<T: std::fmt::Debug>(key: impl Fn([u8; 32]) -> T) -> impl Strategy<Value = Setting<T>> {
    prop::option::of(any::<[u8; 32]>()).prop_map(move |bytes| match bytes {
        None => Setting::Clear,
        Some(bytes) => Setting::To(key(bytes)),
    })
}

fn allowed_ip_change() -> impl Strategy<Value = AllowedIpChange> {
    let prefix = (any::<std::net::IpAddr>(), any::<u8>()).prop_map(|(ip, length)| {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        IpNet::new(ip, length % (longest + 1)).unwrap().trunc()
    });
    let kinds = [
        AllowedIpChange::Add,
        AllowedIpChange::Share,
        AllowedIpChange::Accept,
        AllowedIpChange::Remove,
    ];
    (prop::sample::select(kinds.to_vec()), prefix).prop_map(|(kind, prefix)| kind(prefix))
}

/// Lines that are nearly right.
fn line() -> impl Strategy<Value = String> {
    let keys = "set|get|public_key|private_key|endpoint|allowed_ip|shared_allowed_ip|accepted_ip|listen_port|";
    let values = "1|true|-|[0-9a-f]{64}|[0-9.:/\\[\\]%-]{0,20}|\\PC{0,20}";
    (
        proptest::string::string_regex(keys).unwrap(),
        proptest::string::string_regex(values).unwrap(),
        any::<bool>(),
    )
        .prop_map(|(key, value, assigned)| {
            let sign = if assigned { "=" } else { "" };
            format!("{key}{sign}{value}")
        })
}
