//! JSON with the spelling of Go's `encoding/json`, which every peer's dumps are compared with.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ipnet::IpNet;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Compact JSON in declaration order; `<`, `>`, `&`, U+2028 and U+2029 are escaped.
///
/// Outside strings none of these can stand in JSON, so replacing them in the text is exact.
pub(super) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let text = serde_json::to_string(value).expect("records have string keys and no failing parts");
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            _ => escaped.push(character),
        }
    }
    escaped.into_bytes()
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// `net.IP`: text, and empty text for none.
pub(super) mod optional_address {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer>(
        address: &Option<IpAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => address.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IpAddr>, D::Error> {
        match Option::<String>::deserialize(deserializer)?.as_deref() {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(D::Error::custom),
        }
    }
}

/// `*net.IPNet`: `{"IP": text, "Mask": base64}`, or null for none.
pub(super) mod optional_prefix {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer>(
        prefix: &Option<IpNet>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        prefix.map(MaskedPrefix::from).serialize(serializer)
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<IpNet>, D::Error> {
        Option::<MaskedPrefix>::deserialize(deserializer)?
            .map(|it| it.try_into().map_err(D::Error::custom))
            .transpose()
    }
}

/// `[]*net.IPNet`: null when empty.
pub(super) mod prefixes {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer>(
        prefixes: &[IpNet],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let masked = prefixes.iter().copied().map(MaskedPrefix::from);
        match prefixes {
            [] => serializer.serialize_none(),
            _ => serializer.collect_seq(masked),
        }
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<IpNet>, D::Error> {
        let masked = Option::<Vec<MaskedPrefix>>::deserialize(deserializer)?.unwrap_or_default();
        let prefixes = masked.into_iter().map(IpNet::try_from);
        prefixes.collect::<Result<_, _>>().map_err(D::Error::custom)
    }
}

/// A map or slice whose nil value is null, and whose empty value is written as nil.
pub(super) mod null_when_empty {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer, T: Serialize + Default + PartialEq>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        if *value == T::default() {
            serializer.serialize_none()
        } else {
            value.serialize(serializer)
        }
    }

    pub(in crate::record) fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: Deserialize<'de> + Default,
    {
        Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
    }
}

/// A map with addresses as keys: sorted by their text, as Go sorts, and tolerant of null.
pub(super) mod by_address {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer, V: Serialize>(
        map: &BTreeMap<IpAddr, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let by_text: BTreeMap<String, &V> = map
            .iter()
            .map(|(key, value)| (key.to_string(), value))
            .collect();
        by_text.serialize(serializer)
    }

    pub(in crate::record) fn deserialize<'de, D, V>(
        deserializer: D,
    ) -> Result<BTreeMap<IpAddr, V>, D::Error>
    where
        D: Deserializer<'de>,
        V: Deserialize<'de>,
    {
        Ok(Option::deserialize(deserializer)?.unwrap_or_default())
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
struct MaskedPrefix {
    #[serde(rename = "IP")]
    address: IpAddr,
    /// The netmask's bytes, most significant first.
    mask: String,
}

impl From<IpNet> for MaskedPrefix {
    fn from(prefix: IpNet) -> Self {
        let mask = match prefix.netmask() {
            IpAddr::V4(mask) => STANDARD.encode(mask.octets()),
            IpAddr::V6(mask) => STANDARD.encode(mask.octets()),
        };
        Self {
            address: prefix.addr(),
            mask,
        }
    }
}

impl TryFrom<MaskedPrefix> for IpNet {
    type Error = InvalidMask;

    fn try_from(masked: MaskedPrefix) -> Result<Self, InvalidMask> {
        let invalid = || InvalidMask {
            mask: masked.mask.clone(),
        };
        let bytes = STANDARD.decode(&masked.mask).map_err(|_| invalid())?;
        let mask = if let Ok(octets) = <[u8; 4]>::try_from(&*bytes) {
            IpAddr::from(octets)
        } else if let Ok(octets) = <[u8; 16]>::try_from(&*bytes) {
            IpAddr::from(octets)
        } else {
            return Err(invalid());
        };
        Self::with_netmask(masked.address, mask).map_err(|_| invalid())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{mask:?} is not a base64 netmask of the address's family")]
struct InvalidMask {
    mask: String,
}

/// `[]byte` that is null when nil: an address's netmask, which endpoints never carry.
pub(super) mod optional_mask {
    use super::*;

    pub(in crate::record) fn serialize<S: Serializer>(
        mask: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        mask.as_ref()
            .map(|it| STANDARD.encode(it))
            .serialize(serializer)
    }

    pub(in crate::record) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|it| STANDARD.decode(it).map_err(D::Error::custom))
            .transpose()
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}
