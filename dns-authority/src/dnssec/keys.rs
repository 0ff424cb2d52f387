//! The keys of a zone: what each is for, how far it is on its way, and what the zone says of them.

use std::fmt;
use std::sync::Arc;

use super::algorithm::{Algorithm, Failed, PrivateKey};
use super::denial::Denial;
use super::records::{Digest, NSEC3_HEAD, Purpose, dnskey, ds, tag};
use crate::wire::kind;

mod file;

pub use file::Unreadable;

/// The keys of a zone.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The zone's name in lower case, as it travels.
    pub origin: Box<[u8]>,
    pub denial: Denial,
    pub keys: Vec<Key>,
}

/// A key, and how far it is on its way.
#[derive(Clone, Debug)]
pub struct Key {
    pub role: Role,
    pub stage: Stage,
    /// When it came to this stage, in seconds since 1970.
    pub since: u64,
    /// When it was made, in seconds since 1970.
    pub made: u64,
    pub pair: Arc<Pair>,
}

/// Both halves of a key, and what records say of it.
#[derive(Debug)]
pub struct Pair {
    pub private: PrivateKey,
    /// The data of its DNSKEY record.
    pub dnskey: Vec<u8>,
    pub tag: u16,
}

/// What a key signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Both,
    /// The zone's keys, of which the parent knows this one.
    Entry,
    /// All but the keys.
    Zone,
}

/// How far a key is.
///
/// ```text
/// Published ──(all caches have it)──▶ Submitted ──(the parent has it)──▶ Active ──(another is)──▶ Retired ──▶ gone
///     └───────────(of a zone key the parent knows nothing)─────────────────▲
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// In the zone, so that caches come to know it.
    Published,
    /// The parent is asked for it, by CDS and CDNSKEY records (RFC 7344).
    Submitted,
    Active,
    /// Another has taken its place; what it signed may be in caches until then, in seconds since 1970.
    Retired {
        until: u64,
    },
}

/// The records of one type at the zone's name that follow from its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    pub kind: u16,
    /// In seconds.
    pub ttl: u32,
    pub data: Vec<Vec<u8>>,
}

/// Of keys, in seconds: a new one is of use when those that were in caches without it have gone, so that
/// longer would make every step of a roll-over longer.
pub const KEYS_TTL: u32 = 3600;

impl Role {
    /// Whether the parent knows of it.
    pub fn is_entry(self) -> bool {
        matches!(self, Self::Both | Self::Entry)
    }

    pub fn signs_zone(self) -> bool {
        matches!(self, Self::Both | Self::Zone)
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Both | Self::Entry => Purpose::Entry,
            Self::Zone => Purpose::Zone,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Both => "csk",
            Self::Entry => "ksk",
            Self::Zone => "zsk",
        })
    }
}

impl Key {
    /// Another key.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn generate(algorithm: Algorithm, role: Role, now: u64) -> Result<Self, Failed> {
        let private = PrivateKey::generate(algorithm)?;
        Ok(Self {
            role,
            stage: Stage::Published,
            since: now,
            made: now,
            pair: Arc::new(Pair::new(private, role)),
        })
    }

    pub fn is_retired(&self) -> bool {
        matches!(self.stage, Stage::Retired { .. })
    }
}

impl Pair {
    fn new(private: PrivateKey, role: Role) -> Self {
        let dnskey = dnskey(role.purpose(), private.algorithm(), private.public());
        Self {
            tag: tag(&dnskey),
            private,
            dnskey,
        }
    }
}

impl Keys {
    /// The first keys of a zone: one for everything, or one that the parent knows and one that signs.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub fn generate(
        origin: &[u8],
        algorithm: Algorithm,
        is_split: bool,
        denial: Denial,
        now: u64,
    ) -> Result<Self, Failed> {
        let roles = if is_split {
            &[Role::Entry, Role::Zone][..]
        } else {
            &[Role::Both]
        };
        let mut keys = Vec::new();
        for role in roles {
            let mut key = Key::generate(algorithm, *role, now)?;
            // Nobody has ever seen another.
            if *role == Role::Zone {
                key.stage = Stage::Active;
            }
            keys.push(key);
        }
        Ok(Self {
            origin: origin.to_ascii_lowercase().into(),
            denial,
            keys,
        })
    }

    /// Those that sign the zone's own keys.
    pub fn entry(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().filter(|it| it.role.is_entry())
    }

    /// The one that signs everything else: the active one, or the first there is.
    pub fn signing(&self) -> Option<&Key> {
        let mut keys = self.keys.iter().filter(|it| it.role.signs_zone());
        let active = keys.clone().find(|it| it.stage == Stage::Active);
        active.or_else(|| keys.find(|it| !it.is_retired()))
    }

    /// The keys that the parent shall vouch for: the one that comes, or else the one that is.
    pub fn wanted_at_parent(&self) -> impl Iterator<Item = &Key> {
        let is_coming = self.entry().any(|it| it.stage == Stage::Submitted);
        let stage = if is_coming {
            Stage::Submitted
        } else {
            Stage::Active
        };
        self.entry().filter(move |it| it.stage == stage)
    }

    /// The data of the DS records for the parent.
    pub fn ds(&self, digest: Digest) -> Vec<Vec<u8>> {
        self.wanted_at_parent()
            .map(|it| ds(&self.origin, &it.pair.dnskey, digest))
            .collect()
    }

    /// What the zone says of its keys.
    pub fn sets(&self) -> Vec<KeySet> {
        let keys = self.keys.iter().map(|it| it.pair.dnskey.clone());
        let wanted = self.wanted_at_parent();
        let mut sets = vec![
            (kind::DNSKEY, keys.collect()),
            (kind::CDS, self.ds(Digest::Sha256)),
            (
                kind::CDNSKEY,
                wanted.map(|it| it.pair.dnskey.clone()).collect(),
            ),
        ];
        if self.denial == Denial::Nsec3 {
            sets.push((kind::NSEC3PARAM, vec![NSEC3_HEAD.to_vec()]));
        }
        sets.into_iter()
            .filter(|(_, data)| !data.is_empty())
            .map(|(kind, data)| KeySet {
                kind,
                ttl: KEYS_TTL,
                data,
            })
            .collect()
    }
}
