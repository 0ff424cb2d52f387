//! Reads keys: the other direction of their spelling.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    AGENTS, CONFIG, DELTA, Key, Kind, OWN_CAPABILITIES, OWN_STATE, OWN_SYNCED, PULSE, SYNCED,
};
use crate::id::{ClusterName, InvalidId, NumericIdentity, ServiceName};

/// `Err(None)` where no [`InvalidId`] says what is wrong.
pub(super) fn parse(text: &str, owner: &ClusterName) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(cluster) = text.strip_prefix(CONFIG) {
        return Ok(Some(Key::ClusterConfig(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(SYNCED) {
        return parse_canary(rest);
    }
    if let Some(cluster) = text.strip_prefix(OWN_SYNCED) {
        return Ok(Some(Key::OwnSynced(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(OWN_STATE) {
        return parse_own(rest);
    }
    if let Some(rest) = text.strip_prefix(AGENTS) {
        return parse_agents(rest);
    }
    if let Some(cluster) = text.strip_prefix(OWN_CAPABILITIES) {
        return Ok(Some(Key::OwnCapabilities(cluster.parse()?)));
    }
    if let Some(cluster) = text.strip_prefix(PULSE) {
        return Ok(Some(Key::Pulse(cluster.parse()?)));
    }
    if let Some(rest) = text.strip_prefix(DELTA) {
        return parse_delta(rest);
    }
    if let Some(rest) = text.strip_prefix("cilium/state/") {
        return parse_published(rest, owner);
    }
    if let Some(rest) = text.strip_prefix("cilium/cache/") {
        return parse_mirrored(rest);
    }
    Ok(None)
}

fn parse_canary(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let (cluster, prefix) = split(rest)?;
    let kind = prefix
        .strip_prefix("cilium/state/")
        .or_else(|| prefix.strip_prefix("cilium/cache/"))
        .and_then(|it| it.strip_suffix("/v1"))
        .and_then(Kind::parse);
    match kind {
        Some(kind) => Ok(Some(Key::Synced(cluster.parse()?, kind))),
        None => Ok(None),
    }
}

fn parse_own(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(cluster) = rest.strip_prefix("peers/v1/") {
        return Ok(Some(Key::Peer(cluster.parse()?)));
    }
    if let Some(rest) = rest.strip_prefix("services/v1/") {
        let (cluster, service) = split(rest)?;
        return Ok(Some(Key::LocalService(cluster.parse()?, service.parse()?)));
    }
    Ok(None)
}

fn parse_agents(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(rest) = rest.strip_prefix("reach/v1/") {
        let (cluster, node) = split(rest)?;
        return Ok(Some(Key::Reach(cluster.parse()?, node.parse()?)));
    }
    if let Some(rest) = rest.strip_prefix("tunnel/v1/") {
        let (cluster, node) = split(rest)?;
        return Ok(Some(Key::TunnelEnd(cluster.parse()?, node.parse()?)));
    }
    Ok(None)
}

fn parse_delta(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let Some(rest) = rest.strip_prefix("services/v1/") else {
        return Ok(None);
    };
    let (cluster, rest) = split(rest)?;
    let cluster = cluster.parse()?;
    let (namespace, rest) = split(rest)?;
    let Some((name, address)) = rest.split_once('/') else {
        let service = ServiceName::new(namespace, rest)?;
        return Ok(Some(Key::DeltaService(cluster, service)));
    };
    let service = ServiceName::new(namespace, name)?;
    let address = address.parse().map_err(|_| None)?;
    Ok(Some(Key::DeltaBackend(cluster, service, address)))
}

fn parse_published(rest: &str, owner: &ClusterName) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(number) = rest.strip_prefix("identities/v1/id/") {
        return Ok(Some(Key::Identity(owner.clone(), identity(number)?)));
    }
    if let Some(prefix) = rest.strip_prefix("ip/v1/default/") {
        return Ok(Some(Key::Ip(owner.clone(), parse_prefix(prefix)?)));
    }
    if rest.starts_with("identities/") || rest.starts_with("ip/") {
        return Ok(None); // What writers of the kvstore mode keep beside the records.
    }
    parse_named(rest)
}

fn parse_mirrored(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    if let Some(rest) = rest.strip_prefix("identities/v1/") {
        let (cluster, id) = split(rest)?;
        let Some(number) = id.strip_prefix("id/") else {
            return Ok(None);
        };
        return Ok(Some(Key::Identity(cluster.parse()?, identity(number)?)));
    }
    if let Some(rest) = rest.strip_prefix("ip/v1/") {
        let (cluster, prefix) = split(rest)?;
        return Ok(Some(Key::Ip(cluster.parse()?, parse_prefix(prefix)?)));
    }
    parse_named(rest)
}

/// The kinds whose keys name their cluster in either tree.
fn parse_named(rest: &str) -> Result<Option<Key>, Option<InvalidId>> {
    let (kind, rest) = split(rest)?;
    let (Some(kind), Some(rest)) = (Kind::parse(kind), rest.strip_prefix("v1/")) else {
        return Ok(None);
    };
    let (cluster, name) = split(rest)?;
    let cluster = cluster.parse()?;
    Ok(Some(match kind {
        Kind::EndpointSlices => Key::EndpointSlice(cluster, name.parse()?),
        Kind::Nodes => Key::Node(cluster, name.parse()?),
        Kind::ServiceExports => Key::ServiceExport(cluster, name.parse()?),
        Kind::Services => Key::Service(cluster, name.parse()?),
        Kind::Identities | Kind::Ip => return Ok(None),
    }))
}

fn split(text: &str) -> Result<(&str, &str), Option<InvalidId>> {
    text.split_once('/').ok_or(None)
}

fn identity(text: &str) -> Result<NumericIdentity, Option<InvalidId>> {
    text.parse()
        .map(NumericIdentity)
        .map_err(|it| Some(InvalidId::NotANumber(it)))
}

fn parse_prefix(text: &str) -> Result<IpNet, Option<InvalidId>> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    text.parse().map_err(|_| None)
}
