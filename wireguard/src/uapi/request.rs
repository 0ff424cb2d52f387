//! Reads and writes requests. A request is read whole before any of it counts, so a mistake in its
//! last line leaves the device as it was.

use std::fmt::Write as _;
use std::net::SocketAddr;
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

/// Finds the number of a network interface by its name.
pub type Zone<'a> = &'a dyn Fn(&str) -> Option<u32>;

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
    #[error("only protocol version {PROTOCOL_VERSION} is known")]
    Version,
}

/// Longest key that an error quotes; anything longer is not a misspelling.
const QUOTED_KEY_CHARACTERS_MAX: usize = 40;

/// What stands in place of an alternate secret for a response without any.
pub(super) const NO_SECRET: &str = "none";

impl RequestError {
    pub fn errno(&self) -> Errno {
        match self.problem {
            Problem::Operation | Problem::NotAssignment => Errno::Protocol,
            Problem::Key(_) | Problem::Value(_) => Errno::Invalid,
            Problem::Version => Errno::ProtocolVersion,
        }
    }
}

impl Request {
    /// Reads the lines of one request, with or without the empty line that ends it.
    ///
    /// `zone` finds the number of the network interface that an endpoint of IPv6 names as its zone.
    pub fn read(text: &str, zone: Zone<'_>) -> Result<Self, RequestError> {
        let lines = text.strip_suffix("\n\n").unwrap_or(text);
        let mut lines = lines.lines().zip(1..);

        let at = |line| move |problem| RequestError { line, problem };
        match lines.next() {
            Some(("get=1", _)) => match lines.next() {
                None => Ok(Self::Get),
                Some((text, line)) => Err(at(line)(misplaced(text))),
            },
            Some(("set=1", _)) => {
                let mut update = Update::default();
                for (text, line) in lines {
                    read_line(&mut update, text, zone).map_err(at(line))?;
                }
                Ok(Self::Set(update))
            }
            Some(_) | None => Err(at(1)(Problem::Operation)),
        }
    }
}

impl FromStr for Request {
    type Err = RequestError;

    /// The same where no network interface has a name.
    fn from_str(text: &str) -> Result<Self, RequestError> {
        Self::read(text, &|_| None)
    }
}

fn read_line(update: &mut Update, line: &str, zone: Zone<'_>) -> Result<(), Problem> {
    let (key, value) = line.split_once('=').ok_or(Problem::NotAssignment)?;
    if key == "public_key" {
        let public_key = PublicKey::from_hex(value).map_err(|_| Problem::Value("public_key"))?;
        update.peers.push(PeerUpdate::new(public_key));
        return Ok(());
    }
    match update.peers.last_mut() {
        None => read_device_line(update, key, value),
        Some(peer) if key == "endpoint" => {
            peer.endpoint = Some(endpoint(value, zone)?);
            Ok(())
        }
        Some(peer) => read_peer_line(peer, key, value),
    }
}

fn read_device_line(update: &mut Update, key: &str, value: &str) -> Result<(), Problem> {
    match key {
        "fwmark" => update.fwmark = Some(number("fwmark", value)?),
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
        "accepted_ip" => {
            let prefix = prefix("accepted_ip", value)?;
            peer.allowed_ips.push(AllowedIpChange::Accept(prefix));
        }
        "allowed_ip" => peer.allowed_ips.push(allowed_ip(value)?),
        "alternate_preshared_key" => peer.alternate_preshared_key = Some(alternate(value)?),
        "persistent_keepalive_interval" => {
            let seconds = number("persistent_keepalive_interval", value)?;
            peer.persistent_keepalive_seconds = Some(seconds);
        }
        "preshared_key" => {
            peer.preshared_key = Some(setting("preshared_key", value, PresharedKey::from_hex)?);
        }
        "protocol_version" => {
            if number::<u8>("protocol_version", value)? != PROTOCOL_VERSION {
                return Err(Problem::Version);
            }
        }
        "remove" => peer.remove = yes("remove", value)?,
        "replace_allowed_ips" => peer.replace_allowed_ips = yes("replace_allowed_ips", value)?,
        "shared_allowed_ip" => {
            let prefix = prefix("shared_allowed_ip", value)?;
            peer.allowed_ips.push(AllowedIpChange::Share(prefix));
        }
        "successor_of" => {
            peer.successor_of = Some(setting("successor_of", value, PublicKey::from_hex)?);
        }
        "update_only" => peer.update_only = yes("update_only", value)?,
        _ => return Err(unknown(key)),
    }
    Ok(())
}

fn unknown(key: &str) -> Problem {
    Problem::Key(key.chars().take(QUOTED_KEY_CHARACTERS_MAX).collect())
}

fn misplaced(line: &str) -> Problem {
    let key = line.split_once('=').map(|(key, _)| unknown(key));
    key.unwrap_or(Problem::NotAssignment)
}

/// An address and a port; that of a link has the link's number or name behind a percent sign.
fn endpoint(value: &str, zone: Zone<'_>) -> Result<SocketAddr, Problem> {
    let endpoint = parsed("endpoint", value);
    let Some((start, rest)) = value.split_once('%') else {
        return endpoint;
    };
    let named = || {
        let (name, port) = rest.split_once(']')?;
        parsed("endpoint", &format!("{start}%{}]{port}", zone(name)?)).ok()
    };
    endpoint.or_else(|problem| named().ok_or(problem))
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

fn alternate(value: &str) -> Result<Setting<PresharedKey>, Problem> {
    if value == NO_SECRET {
        return Ok(Setting::To(PresharedKey::none()));
    }
    setting("alternate_preshared_key", value, PresharedKey::from_hex)
}

/// A prefix to route to the peer; a minus sign before it takes it away.
fn allowed_ip(value: &str) -> Result<AllowedIpChange, Problem> {
    Ok(match value.strip_prefix('-') {
        Some(removed) => AllowedIpChange::Remove(prefix("allowed_ip", removed)?),
        None => AllowedIpChange::Add(prefix("allowed_ip", value)?),
    })
}

/// A prefix, whose host bits do not matter. Stricter than the parser of prefixes, which takes zeros
/// before an address's numbers; to others those are octal.
fn prefix(key: &'static str, text: &str) -> Result<IpNet, Problem> {
    let prefix = || {
        let (address, length) = text.split_once('/')?;
        let length = number(key, length).ok()?;
        IpNet::new(address.parse().ok()?, length).ok()
    };
    let prefix = prefix().ok_or(Problem::Value(key))?;
    Ok(prefix.trunc())
}

/// Writes a request, including the empty line that ends it.
pub(crate) fn render(request: &Request) -> String {
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
    if let Some(it) = &peer.alternate_preshared_key {
        let alternate = hex_or_zeros(it, alternate_text);
        lines.push(format!("alternate_preshared_key={alternate}"));
    }
    if let Some(it) = peer.endpoint {
        lines.push(format!("endpoint={it}"));
    }
    if let Some(it) = peer.persistent_keepalive_seconds {
        lines.push(format!("persistent_keepalive_interval={it}"));
    }
    if let Some(it) = &peer.successor_of {
        let predecessor = hex_or_zeros(it, |it| it.to_hex());
        lines.push(format!("successor_of={predecessor}"));
    }
    if peer.replace_allowed_ips {
        lines.push("replace_allowed_ips=true".to_owned());
    }
    for change in &peer.allowed_ips {
        lines.push(match change {
            AllowedIpChange::Add(prefix) => format!("allowed_ip={prefix}"),
            AllowedIpChange::Share(prefix) => format!("shared_allowed_ip={prefix}"),
            AllowedIpChange::Accept(prefix) => format!("accepted_ip={prefix}"),
            AllowedIpChange::Remove(prefix) => format!("allowed_ip=-{prefix}"),
        });
    }
}

/// An alternate secret, as it is written in requests and in descriptions.
pub(super) fn alternate_text(key: &PresharedKey) -> String {
    if key.is_none() {
        return NO_SECRET.to_owned();
    }
    key.to_hex()
}

fn hex_or_zeros<T>(setting: &Setting<T>, to_hex: impl Fn(&T) -> String) -> String {
    match setting {
        Setting::Clear => "0".repeat(64),
        Setting::To(secret) => to_hex(secret),
    }
}

#[cfg(test)]
mod tests;
