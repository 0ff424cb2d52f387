//! Reads and writes requests. A request is read whole before any of it counts, so a mistake in its
//! last line leaves the device as it was.

use std::fmt::Write as _;
use std::str::FromStr;

use ipnet::IpNet;

use super::{AllowedIpChange, Errno, PROTOCOL_VERSION, PeerUpdate, Setting, Update};
use crate::{KeyError, PresharedKey, PrivateKey, PublicKey};

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    Get,
    Set(Update),
}

/// Why a request is refused, and where. Values are left out: they may be secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct RequestError {
    /// Counted from 1.
    pub line: usize,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("expected `get=1` or `set=1`")]
    Operation,
    #[error("expected `key=value`")]
    NotAssignment,
    #[error("unknown or misplaced key `{0}`")]
    Key(String),
    #[error("bad value for `{0}`")]
    Value(&'static str),
}

/// Longest key that an error quotes; anything longer is not a misspelling.
const QUOTED_KEY_CHARACTERS_MAX: usize = 40;

impl RequestError {
    pub fn errno(&self) -> Errno {
        match self.problem {
            Problem::Operation | Problem::NotAssignment => Errno::Protocol,
            Problem::Key(_) | Problem::Value(_) => Errno::Invalid,
        }
    }
}

impl FromStr for Request {
    type Err = RequestError;

    /// Reads the lines of one request, with or without the empty line that ends it.
    fn from_str(text: &str) -> Result<Self, RequestError> {
        let lines = text.strip_suffix("\n\n").unwrap_or(text);
        let mut lines = lines.lines().zip(1..);

        let at = |line| move |problem| RequestError { line, problem };
        match lines.next() {
            Some(("get=1", _)) => match lines.next() {
                None => Ok(Self::Get),
                Some((_, line)) => Err(at(line)(Problem::Operation)),
            },
            Some(("set=1", _)) => {
                let mut update = Update::default();
                for (text, line) in lines {
                    read_line(&mut update, text).map_err(at(line))?;
                }
                Ok(Self::Set(update))
            }
            Some(_) | None => Err(at(1)(Problem::Operation)),
        }
    }
}

fn read_line(update: &mut Update, line: &str) -> Result<(), Problem> {
    let (key, value) = line.split_once('=').ok_or(Problem::NotAssignment)?;
    if key == "public_key" {
        let public_key = PublicKey::from_hex(value).map_err(|_| Problem::Value("public_key"))?;
        update.peers.push(PeerUpdate::new(public_key));
        return Ok(());
    }
    match update.peers.last_mut() {
        None => read_device_line(update, key, value),
        Some(peer) => read_peer_line(peer, key, value),
    }
}

fn read_device_line(update: &mut Update, key: &str, value: &str) -> Result<(), Problem> {
    match key {
        "fwmark" => update.fwmark = Some(fwmark(value)?),
        "listen_port" => update.listen_port = Some(number("listen_port", value)?),
        "private_key" => {
            update.private_key = Some(setting("private_key", value, PrivateKey::from_hex)?);
        }
        "replace_peers" => update.replace_peers = yes("replace_peers", value)?,
        _ => return Err(unknown(key)),
    }
    Ok(())
}

fn read_peer_line(peer: &mut PeerUpdate, key: &str, value: &str) -> Result<(), Problem> {
    match key {
        "allowed_ip" => peer.allowed_ips.push(allowed_ip(value)?),
        "endpoint" => peer.endpoint = Some(parsed("endpoint", value)?),
        "persistent_keepalive_interval" => {
            let seconds = number("persistent_keepalive_interval", value)?;
            peer.persistent_keepalive_seconds = Some(seconds);
        }
        "preshared_key" => {
            peer.preshared_key = Some(setting("preshared_key", value, PresharedKey::from_hex)?);
        }
        "protocol_version" => {
            if number::<u8>("protocol_version", value)? != PROTOCOL_VERSION {
                return Err(Problem::Value("protocol_version"));
            }
        }
        "remove" => peer.remove = yes("remove", value)?,
        "replace_allowed_ips" => peer.replace_allowed_ips = yes("replace_allowed_ips", value)?,
        "update_only" => peer.update_only = yes("update_only", value)?,
        _ => return Err(unknown(key)),
    }
    Ok(())
}

fn unknown(key: &str) -> Problem {
    Problem::Key(key.chars().take(QUOTED_KEY_CHARACTERS_MAX).collect())
}

fn parsed<T: FromStr>(key: &'static str, value: &str) -> Result<T, Problem> {
    value.parse().map_err(|_| Problem::Value(key))
}

/// A decimal number in digits only: Rust's own parser would also take a plus sign.
fn number<T: FromStr>(key: &'static str, value: &str) -> Result<T, Problem> {
    if !value.bytes().all(|it| it.is_ascii_digit()) {
        return Err(Problem::Value(key));
    }
    parsed(key, value)
}

/// Decimal, as the protocol has it, or hexadecimal with a prefix, as people write marks.
fn fwmark(value: &str) -> Result<u32, Problem> {
    match value.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).map_err(|_| Problem::Value("fwmark")),
        None => number("fwmark", value),
    }
}

fn yes(key: &'static str, value: &str) -> Result<bool, Problem> {
    match value {
        "true" => Ok(true),
        _ => Err(Problem::Value(key)),
    }
}

/// A key, where 32 zero bytes stand for none.
fn setting<T>(
    key: &'static str,
    value: &str,
    read: impl Fn(&str) -> Result<T, KeyError>,
) -> Result<Setting<T>, Problem> {
    let secret = read(value).map_err(|_| Problem::Value(key))?;
    if value.bytes().all(|it| it == b'0') {
        return Ok(Setting::Clear);
    }
    Ok(Setting::To(secret))
}

/// A prefix, whose host bits do not matter; a minus sign before it takes it away.
fn allowed_ip(value: &str) -> Result<AllowedIpChange, Problem> {
    let (prefix, removed) = match value.strip_prefix('-') {
        Some(prefix) => (prefix, true),
        None => (value, false),
    };
    let prefix = parsed::<IpNet>("allowed_ip", prefix)?.trunc();
    Ok(if removed {
        AllowedIpChange::Remove(prefix)
    } else {
        AllowedIpChange::Add(prefix)
    })
}

/// Writes a request, including the empty line that ends it.
pub(super) fn render(request: &Request) -> String {
    let mut text = String::new();
    let lines = match request {
        Request::Get => vec!["get=1".to_owned()],
        Request::Set(update) => update_lines(update),
    };
    for line in lines {
        writeln!(text, "{line}").expect("writing to a string succeeds");
    }
    text.push('\n');
    text
}

fn update_lines(update: &Update) -> Vec<String> {
    let mut lines = vec!["set=1".to_owned()];
    if let Some(it) = &update.private_key {
        lines.push(format!(
            "private_key={}",
            hex_or_zeros(it, PrivateKey::to_hex)
        ));
    }
    if let Some(it) = update.listen_port {
        lines.push(format!("listen_port={it}"));
    }
    if let Some(it) = update.fwmark {
        lines.push(format!("fwmark={it}"));
    }
    if update.replace_peers {
        lines.push("replace_peers=true".to_owned());
    }
    for peer in &update.peers {
        push_peer_lines(&mut lines, peer);
    }
    lines
}

fn push_peer_lines(lines: &mut Vec<String>, peer: &PeerUpdate) {
    lines.push(format!("public_key={}", peer.public_key.to_hex()));
    for (key, wanted) in [("remove", peer.remove), ("update_only", peer.update_only)] {
        if wanted {
            lines.push(format!("{key}=true"));
        }
    }
    if let Some(it) = &peer.preshared_key {
        lines.push(format!(
            "preshared_key={}",
            hex_or_zeros(it, PresharedKey::to_hex)
        ));
    }
    if let Some(it) = peer.endpoint {
        lines.push(format!("endpoint={it}"));
    }
    if let Some(it) = peer.persistent_keepalive_seconds {
        lines.push(format!("persistent_keepalive_interval={it}"));
    }
    if peer.replace_allowed_ips {
        lines.push("replace_allowed_ips=true".to_owned());
    }
    for change in &peer.allowed_ips {
        lines.push(match change {
            AllowedIpChange::Add(prefix) => format!("allowed_ip={prefix}"),
            AllowedIpChange::Remove(prefix) => format!("allowed_ip=-{prefix}"),
        });
    }
}

fn hex_or_zeros<T>(setting: &Setting<T>, to_hex: impl Fn(&T) -> String) -> String {
    match setting {
        Setting::Clear => "0".repeat(64),
        Setting::To(secret) => to_hex(secret),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_wg_sends() {
        let key = "ab".repeat(32);
        let text = format!(
            "set=1\nprivate_key={zeros}\nlisten_port=51871\nfwmark=0\npublic_key={key}\n\
             preshared_key={key}\nendpoint=[2001:db8::1]:7\npersistent_keepalive_interval=25\n\
             replace_allowed_ips=true\nallowed_ip=10.1.2.3/24\nallowed_ip=-::/0\n\
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
                    endpoint: Some("[2001:db8::1]:7".parse().unwrap()),
                    persistent_keepalive_seconds: Some(25),
                    replace_allowed_ips: true,
                    allowed_ips: vec![
                        AllowedIpChange::Add("10.1.2.0/24".parse().unwrap()),
                        AllowedIpChange::Remove("::/0".parse().unwrap()),
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
        check("get=1\nx=1", 2, -71, "expected `get=1` or `set=1`");
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
        check_peer("allowed_ip=1.2.3.4", "bad value for `allowed_ip`");
        check_peer("protocol_version=2", "bad value for `protocol_version`");
        check_peer(
            "persistent_keepalive_interval=65536",
            "bad value for `persistent_keepalive_interval`",
        );
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
        let values = (
            prop::option::of(setting(PresharedKey::from)),
            // A flow label is the one part of an address that the text has no place for.
            prop::option::of(any::<(std::net::IpAddr, u16)>().prop_map(Into::into)),
            any::<Option<u16>>(),
            prop::collection::vec(allowed_ip_change(), 0..4),
        );
        (any::<[u8; 32]>(), flags, values).prop_map(
            |(key, (remove, update_only, replace_allowed_ips), values)| {
                let (preshared_key, endpoint, persistent_keepalive_seconds, allowed_ips) = values;
                PeerUpdate {
                    public_key: key.into(),
                    remove,
                    update_only,
                    preshared_key,
                    endpoint,
                    persistent_keepalive_seconds,
                    replace_allowed_ips,
                    allowed_ips,
                }
            },
        )
    }

    fn setting<T: std::fmt::Debug>(
        key: impl Fn([u8; 32]) -> T,
    ) -> impl Strategy<Value = Setting<T>> {
        prop::option::of(any::<[u8; 32]>()).prop_map(move |bytes| match bytes {
            None => Setting::Clear,
            Some(bytes) => Setting::To(key(bytes)),
        })
    }

    fn allowed_ip_change() -> impl Strategy<Value = AllowedIpChange> {
        (any::<std::net::IpAddr>(), any::<u8>(), any::<bool>()).prop_map(|(ip, length, add)| {
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let prefix = IpNet::new(ip, length % (longest + 1)).unwrap().trunc();
            if add {
                AllowedIpChange::Add(prefix)
            } else {
                AllowedIpChange::Remove(prefix)
            }
        })
    }

    /// Lines that are nearly right.
    fn line() -> impl Strategy<Value = String> {
        let keys = "set|get|public_key|private_key|endpoint|allowed_ip|listen_port|errno|";
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
}
