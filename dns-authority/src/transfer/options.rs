//! Who may take zones, who hears of changes, and who may make them, as the command line says it.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::IpNet;

use crate::wire::name::Folded;

/// The part of the command line about other servers.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(skip)]
pub struct Options {
    /// File of TSIG keys, as `tsig-keygen` writes them; nobody else may read it (mode 0600)
    #[arg(long, env = "CAUSEWAY_KEY_FILE", value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Address of the HTTP API in PowerDNS's manner, for ExternalDNS and other tools
    #[arg(
        long,
        env = "CAUSEWAY_API",
        value_name = "ADDR:PORT",
        requires = "api_key_file"
    )]
    pub api: Option<SocketAddr>,

    /// File with the key that API clients show as X-API-Key; nobody else may read it (mode 0600)
    #[arg(long, env = "CAUSEWAY_API_KEY_FILE", value_name = "FILE")]
    pub api_key_file: Option<PathBuf>,

    /// Who may take whole zones: addresses, or holders of a key; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_TRANSFER_TO",
        value_name = "PREFIX|key:NAME",
        value_delimiter = ','
    )]
    pub transfer_to: Vec<Grant>,

    /// A secondary that is told of every new version of a zone; may be repeated
    #[arg(long, env = "CAUSEWAY_NOTIFY", value_name = "ADDR[:PORT][,key:NAME]")]
    pub notify: Vec<Peer>,

    /// A name for the list of all zones of files, as a zone that secondaries can follow (RFC 9432)
    #[arg(long, env = "CAUSEWAY_CATALOG", value_name = "NAME", value_parser = zone)]
    pub catalog: Option<Folded>,

    /// A zone that is copied from a primary; may be repeated, also for several primaries of a zone
    #[arg(
        long,
        env = "CAUSEWAY_SECONDARY",
        value_name = "ZONE=ADDR[:PORT][,key:NAME]"
    )]
    pub secondary: Vec<Secondary>,

    /// A zone that holders of a key may change (RFC 2136), kept in --state-dir; may be repeated
    #[arg(
        long,
        env = "CAUSEWAY_UPDATE",
        value_name = "ZONE=key:NAME",
        value_delimiter = ','
    )]
    pub update: Vec<Updater>,
}

/// Whom something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grant {
    /// The key's name in lower case, as it travels.
    Key(Box<[u8]>),
    Prefix(IpNet),
}

/// Another server, and the key that both sign with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: SocketAddr,
    /// The key's name in lower case, as it travels.
    pub key: Option<Box<[u8]>>,
}

/// A zone, and a server that has it.
#[derive(Clone, Debug)]
pub struct Secondary {
    pub origin: Folded,
    pub primary: Peer,
}

/// Who may change a zone. Addresses can be forged: only a key allows that.
#[derive(Clone, Debug)]
pub struct Updater {
    pub origin: Folded,
    /// The key's name in lower case, as it travels.
    pub key: Box<[u8]>,
}

/// Where servers listen if nothing else is said.
const PORT: u16 = 53;

impl Options {
    /// The keys that are named, which the file must have.
    pub fn key_names(&self) -> impl Iterator<Item = &[u8]> {
        let grants = self.transfer_to.iter().filter_map(|it| match it {
            Grant::Key(name) => Some(&**name),
            Grant::Prefix(_) => None,
        });
        let peers = self.notify.iter().filter_map(|it| it.key.as_deref());
        let updaters = self.update.iter().map(|it| &*it.key);
        let primaries = self
            .secondary
            .iter()
            .filter_map(|it| it.primary.key.as_deref());
        grants.chain(peers).chain(updaters).chain(primaries)
    }

    /// The zones that are copied, each once with all of its primaries.
    pub fn copies(&self) -> Vec<(Folded, Vec<Peer>)> {
        let mut copies: Vec<(Folded, Vec<Peer>)> = Vec::new();
        for it in &self.secondary {
            let is_same = |known: &&mut (Folded, Vec<Peer>)| known.0.octets() == it.origin.octets();
            match copies.iter_mut().find(is_same) {
                Some((_, primaries)) => primaries.push(it.primary.clone()),
                None => copies.push((it.origin.clone(), vec![it.primary.clone()])),
            }
        }
        copies
    }

    /// Whether this client may take zones; `key` is the name of the one that it signed with.
    pub fn may_transfer(&self, client: IpAddr, key: Option<&[u8]>) -> bool {
        self.transfer_to.iter().any(|it| match it {
            Grant::Key(name) => key == Some(&**name),
            Grant::Prefix(prefix) => prefix.contains(&client),
        })
    }

    /// Whether the holder of this key may change the zone with this origin, in lower case.
    pub fn may_update(&self, origin: &[u8], key: Option<&[u8]>) -> bool {
        let mut updaters = self.update.iter();
        updaters.any(|it| it.origin.octets() == origin && key == Some(&*it.key))
    }
}

impl FromStr for Grant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("key:") {
            return Ok(Self::Key(key(name)?));
        }
        let prefix = text
            .parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        let prefix = prefix
            .map_err(|_| format!("`{text}` is neither a prefix such as 192.0.2.0/24 nor key:NAME"));
        Ok(Self::Prefix(prefix?))
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, key) = match text.split_once(',') {
            None => (text, None),
            Some((address, key)) => (address, Some(key)),
        };
        let socket = address.parse();
        let socket = socket.or_else(|_| address.parse().map(|it: IpAddr| (it, PORT).into()));
        let address = socket.map_err(|_| {
            format!("`{address}` is no address such as 192.0.2.1, 192.0.2.1:53 or [2001:db8::1]:53")
        })?;
        let key = key.map(|it| {
            let name = it.strip_prefix("key:");
            self::key(name.ok_or_else(|| format!("expected key:NAME and found `{it}`"))?)
        });
        Ok(Self {
            address,
            key: key.transpose()?,
        })
    }
}

impl FromStr for Secondary {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (origin, primary) = text.split_once('=').ok_or_else(|| {
            "expected ZONE=ADDR[:PORT][,key:NAME], such as example.com=192.0.2.1".to_owned()
        })?;
        Ok(Self {
            origin: zone(origin)?,
            primary: primary.parse()?,
        })
    }
}

impl FromStr for Updater {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected ZONE=key:NAME, such as example.com=key:operator".to_owned();
        let (origin, name) = text.split_once("=key:").ok_or_else(expected)?;
        Ok(Self {
            origin: zone(origin)?,
            key: key(name)?,
        })
    }
}

/// The name of a zone.
pub(crate) fn zone(text: &str) -> Result<Folded, String> {
    Folded::parse(text).map_err(|it| format!("`{text}` is not a domain name: {it}"))
}

fn key(name: &str) -> Result<Box<[u8]>, String> {
    let read = Folded::parse(name);
    let read = read.map_err(|it| format!("`{name}` is not the name of a key: {it}"))?;
    Ok(read.octets().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whom_it_is_about() {
        let peer = |text: &str| {
            text.parse::<Peer>()
                .map(|it| (it.address.to_string(), it.key))
        };
        assert_eq!(peer("192.0.2.1"), Ok(("192.0.2.1:53".to_owned(), None)));
        let key = Some(b"\x01k\0"[..].into());
        assert_eq!(
            peer("[2001:db8::1]:5353,key:K"),
            Ok(("[2001:db8::1]:5353".to_owned(), key))
        );
        assert!(peer("2001:db8::1").is_ok());
        for bad in ["", "host", "192.0.2.1,k", "192.0.2.1,key:", "192.0.2.1:x"] {
            assert!(peer(bad).is_err(), "{bad}");
        }
        for bad in ["z", "z=k", "=key:k", "z=key:", "a..b=key:k"] {
            assert!(bad.parse::<Updater>().is_err(), "{bad}");
        }
        assert!("300.0.0.0/8".parse::<Grant>().is_err());
    }

    #[test]
    fn allows_only_what_was_said() {
        let options = Options {
            transfer_to: ["192.0.2.0/24", "2001:db8::1", "key:copies"]
                .map(|it| it.parse().unwrap())
                .to_vec(),
            update: vec!["Z=key:Operator".parse().unwrap()],
            ..Options::default()
        };
        let may =
            |client: &str, key: Option<&[u8]>| options.may_transfer(client.parse().unwrap(), key);
        assert!(may("192.0.2.9", None) && may("2001:db8::1", None));
        assert!(may("198.51.100.1", Some(b"\x06copies\0")));
        assert!(!may("198.51.100.1", None) && !may("2001:db8::2", None));
        assert!(!may("198.51.100.1", Some(b"\x08operator\0")));

        assert!(options.may_update(b"\x01z\0", Some(b"\x08operator\0")));
        assert!(!options.may_update(b"\x01z\0", Some(b"\x06copies\0")));
        assert!(!options.may_update(b"\x01y\0", Some(b"\x08operator\0")));
        assert!(!options.may_update(b"\x01z\0", None));
        assert!(!Options::default().may_transfer("127.0.0.1".parse().unwrap(), None));
    }
}
