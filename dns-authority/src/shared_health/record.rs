//! How an authority's verdicts lie in the store: one record for each shard of the checks.
//!
//! A shard, and not a check, is what is written, so that many changes at once are few writes, and an
//! authority has as many keys as it ever will.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use topology::health::Health;

use super::Vantage;
use crate::check::Fingerprint;

/// Below it, each authority has its own name, and each of its shards a number.
pub const PREFIX: &str = "causeway/dns/health/v1/";

/// Few enough to list at once, and enough that one of 100,000 checks changes 30 KB.
pub const SHARDS: u8 = 64;

/// One that is longer is not ours: etcd takes no more in a request by default.
const RECORD_BYTES_MAX: usize = 1536 * 1024;

/// What one authority found of the checks of one shard. Those that it has no verdict on are not in
/// it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Chosen by chance when the process starts: tells two of the same name apart.
    pub process: u64,
    /// In order.
    pub up: Vec<Fingerprint>,
    /// In order.
    pub down: Vec<Fingerprint>,
}

/// The record as JSON. Numbers of 64 bits are text there: not every reader of JSON has such numbers.
#[derive(Deserialize, Serialize)]
struct Written {
    process: String,
    up: Vec<String>,
    down: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRecord {
    #[error("it is not of the form {{\"process\": …, \"up\": […], \"down\": […]}}")]
    Form,
    #[error("`causeway/dns/health/v1/AUTHORITY/SHARD` is how such keys look")]
    Key,
    #[error("it is longer than {RECORD_BYTES_MAX} bytes")]
    TooLong,
}

/// The shard that a check belongs to, less than [`SHARDS`].
pub fn shard(check: Fingerprint) -> u8 {
    u8::try_from(check.0 % u64::from(SHARDS)).expect("less than 64")
}

pub fn key(vantage: &Vantage, shard: u8) -> String {
    format!("{PREFIX}{vantage}/{shard}")
}

/// Whose record lies under `key`, and of which shard.
pub fn parse_key(key: &str) -> Result<(Vantage, u8), InvalidRecord> {
    let parts = key.strip_prefix(PREFIX).and_then(|it| it.split_once('/'));
    let (vantage, shard) = parts.ok_or(InvalidRecord::Key)?;
    let shard = shard.parse().ok().filter(|it| *it < SHARDS);
    Ok((
        vantage.parse().map_err(|_| InvalidRecord::Key)?,
        shard.ok_or(InvalidRecord::Key)?,
    ))
}

impl Record {
    /// Tells what is known of these checks.
    pub fn new(process: u64, verdicts: impl Iterator<Item = (Fingerprint, Health)>) -> Self {
        let mut record = Self {
            process,
            ..Self::default()
        };
        for (check, health) in verdicts {
            match health {
                Health::Healthy => record.up.push(check),
                Health::Unhealthy => record.down.push(check),
                Health::Unknown => (),
            }
        }
        record.up.sort_unstable();
        record.down.sort_unstable();
        record
    }

    pub fn of(&self, check: Fingerprint) -> Health {
        if self.down.binary_search(&check).is_ok() {
            Health::Unhealthy
        } else if self.up.binary_search(&check).is_ok() {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        let hex = |it: &Fingerprint| format!("{:016x}", it.0);
        let written = Written {
            process: format!("{:016x}", self.process),
            up: self.up.iter().map(hex).collect(),
            down: self.down.iter().map(hex).collect(),
        };
        serde_json::to_vec(&written).expect("lists of text are JSON")
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidRecord> {
        if bytes.len() > RECORD_BYTES_MAX {
            return Err(InvalidRecord::TooLong);
        }
        let form = |_| InvalidRecord::Form;
        let written: Written = serde_json::from_slice(bytes).map_err(|_| InvalidRecord::Form)?;
        let list = |texts: &[String]| {
            let numbers = texts.iter().map(|it| u64::from_str_radix(it, 16));
            let list: Result<Vec<_>, _> = numbers.map(|it| it.map(Fingerprint)).collect();
            let mut list = list.map_err(form)?;
            list.sort_unstable();
            Ok::<_, InvalidRecord>(list)
        };
        Ok(Self {
            process: u64::from_str_radix(&written.process, 16).map_err(form)?,
            up: list(&written.up)?,
            down: list(&written.down)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lies_in_the_store_like_this() {
        let record = Record {
            process: 7,
            up: vec![Fingerprint(1), Fingerprint(0xabc)],
            down: vec![Fingerprint(2)],
        };
        let text = r#"{"process":"0000000000000007","up":["0000000000000001","0000000000000abc"],"down":["0000000000000002"]}"#;

        assert_eq!(String::from_utf8(record.encode()).unwrap(), text);
        assert_eq!(Record::decode(text.as_bytes()), Ok(record));
        assert_eq!(Record::decode(b"{}"), Err(InvalidRecord::Form));
        let long = vec![b' '; RECORD_BYTES_MAX + 1];
        assert_eq!(Record::decode(&long), Err(InvalidRecord::TooLong));
    }

    #[test]
    fn keys_name_an_authority_and_a_shard() {
        let vantage: Vantage = "eu-1.example".parse().unwrap();
        assert_eq!(key(&vantage, 63), "causeway/dns/health/v1/eu-1.example/63");
        assert_eq!(parse_key(&key(&vantage, 63)), Ok((vantage, 63)));
        for bad in ["a", "a/", "a/64", "a/-1", "/1", "a/1/2", "ä/1"] {
            let key = format!("{PREFIX}{bad}");
            assert_eq!(parse_key(&key), Err(InvalidRecord::Key), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(process: u64, up: Vec<u64>, down: Vec<u64>) {
            let all = |it: Vec<u64>, health| it.into_iter().map(move |it| (Fingerprint(it), health));
            let verdicts = all(up, Health::Healthy).chain(all(down, Health::Unhealthy));
            let record = Record::new(process, verdicts);

            prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn takes_anything_for_what_it_is(bytes: Vec<u8>) {
            if let Ok(record) = Record::decode(&bytes) {
                prop_assert_eq!(Record::decode(&record.encode()), Ok(record));
            }
        }
    }
}
