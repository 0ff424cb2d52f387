//! Keys as text: what lies in a zone's file of keys.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Key, Keys, Pair, Role, Stage};
use crate::dnssec::algorithm::{Algorithm, Failed, PrivateKey};
use crate::dnssec::denial::Denial;
use crate::wire::name::Shown;

/// A text that holds no keys of the zone; says why, and nothing of the keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// Twice as many as a zone has at once in the middle of roll-overs: a file with more is none of ours.
const KEYS_MAX: usize = 8;

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    zone: String,
    denial: String,
    keys: Vec<Entry>,
}

/// A key; times are in seconds since 1970.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    algorithm: String,
    role: RoleName,
    stage: StageName,
    since: u64,
    /// Of retired keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    made: u64,
    public: String,
    secret: String,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum RoleName {
    Csk,
    Ksk,
    Zsk,
}

#[derive(Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum StageName {
    Published,
    Submitted,
    Active,
    Retired,
}

impl Keys {
    /// # Errors
    ///
    /// There is no memory for it.
    pub fn to_text(&self) -> Result<Zeroizing<String>, Failed> {
        let keys: Result<Vec<Entry>, Failed> = self.keys.iter().map(Entry::new).collect();
        let file = File {
            zone: Shown(&self.origin).to_string(),
            denial: self.denial.to_string(),
            keys: keys?,
        };
        let text = serde_json::to_string_pretty(&file).map_err(|_| Failed)?;
        Ok(Zeroizing::new(text + "\n"))
    }

    /// Reads the keys of the zone at `origin`.
    ///
    /// # Errors
    ///
    /// They are another zone's, or none that could sign.
    pub fn from_text(origin: &[u8], text: &str) -> Result<Self, Unreadable> {
        let unreadable = |why: String| Unreadable(why);
        // What the library says of a mistake may quote what it found.
        let file: File = serde_json::from_str(text).map_err(|it| {
            let (line, column) = (it.line(), it.column());
            unreadable(format!(
                "line {line}, column {column}: this is no file of keys"
            ))
        })?;
        let zone = Shown(origin).to_string();
        if !file.zone.eq_ignore_ascii_case(&zone) {
            return Err(unreadable(format!(
                "the keys are of {}, not of {zone}",
                file.zone
            )));
        }
        if KEYS_MAX < file.keys.len() {
            return Err(unreadable(format!("more than {KEYS_MAX} keys")));
        }
        let denial: Denial = file.denial.parse().map_err(unreadable)?;
        let keys: Result<Vec<Key>, String> = file.keys.into_iter().map(Entry::key).collect();
        let keys = Self {
            origin: origin.to_ascii_lowercase().into(),
            denial,
            keys: keys.map_err(unreadable)?,
        };
        let has_entry = keys.entry().any(|it| !it.is_retired());
        if !has_entry || keys.signing().is_none() {
            return Err(unreadable(
                "no key signs the zone, or none its keys: restore the file from a copy, or remove it with the DS records at the parent".to_owned(),
            ));
        }
        Ok(keys)
    }
}

impl Entry {
    fn new(key: &Key) -> Result<Self, Failed> {
        let private = &key.pair.private;
        let (stage, until) = match key.stage {
            Stage::Published => (StageName::Published, None),
            Stage::Submitted => (StageName::Submitted, None),
            Stage::Active => (StageName::Active, None),
            Stage::Retired { until } => (StageName::Retired, Some(until)),
        };
        Ok(Self {
            algorithm: private.algorithm().to_string(),
            role: match key.role {
                Role::Both => RoleName::Csk,
                Role::Entry => RoleName::Ksk,
                Role::Zone => RoleName::Zsk,
            },
            stage,
            since: key.since,
            until,
            made: key.made,
            public: BASE64_STANDARD.encode(private.public()),
            secret: BASE64_STANDARD.encode(&*private.secret()?),
        })
    }

    fn key(mut self) -> Result<Key, String> {
        let secret = BASE64_STANDARD.decode(&self.secret).map(Zeroizing::new);
        self.secret.zeroize();
        let algorithm: Algorithm = self.algorithm.parse()?;
        let public = BASE64_STANDARD.decode(&self.public);
        let (Ok(secret), Ok(public)) = (secret, public) else {
            return Err("a key is not in base 64".to_owned());
        };
        let private = PrivateKey::new(algorithm, &secret, &public).map_err(|it| it.to_string())?;
        let role = match self.role {
            RoleName::Csk => Role::Both,
            RoleName::Ksk => Role::Entry,
            RoleName::Zsk => Role::Zone,
        };
        Ok(Key {
            role,
            stage: match self.stage {
                StageName::Published => Stage::Published,
                StageName::Submitted => Stage::Submitted,
                StageName::Active => Stage::Active,
                StageName::Retired => Stage::Retired {
                    until: self
                        .until
                        .ok_or("a retired key does not say until when it stays")?,
                },
            },
            since: self.since,
            made: self.made,
            pair: Arc::new(Pair::new(private, role)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &[u8] = b"\x07example\x00";

    #[test]
    fn reads_what_it_writes() {
        for (algorithm, is_split) in [(Algorithm::EcdsaP256, false), (Algorithm::Ed25519, true)] {
            let mut keys = generate(algorithm, is_split);
            keys.keys[0].stage = Stage::Retired { until: 7 };
            keys.keys
                .push(Key::generate(algorithm, Role::Both, 9).unwrap());
            let text = keys.to_text().unwrap();

            let read = Keys::from_text(b"\x07Example\x00", &text).unwrap();

            assert_eq!(read.to_text().unwrap(), text);
            assert_eq!(read.sets(), keys.sets());
        }
    }

    #[test]
    fn refuses_what_could_not_sign_and_tells_no_secret() {
        let text = generate(Algorithm::Ed25519, false).to_text().unwrap();
        let error = |text: &str| Keys::from_text(ORIGIN, text).unwrap_err().to_string();

        assert_eq!(
            Keys::from_text(b"\x05other\x00", &text).map(|_| ()),
            Err(Unreadable(
                "the keys are of example., not of other.".to_owned()
            ))
        );
        let secret = text.split("\"secret\": \"").nth(1).unwrap();
        let cut = text.replace(&secret[..secret.find('"').unwrap()], "5ec4e7");
        assert!(!error(&cut).contains("5ec4e7"), "{}", error(&cut));
        let misplaced = text.replace("\"secret\": \"", "\"role\": \"");
        assert!(!error(&misplaced).contains(&secret[..8]));
        assert!(error(&text.replace("published", "retired")).contains("until when"));
        assert!(error("{}").starts_with("line 1"));
        assert!(error(r#"{"zone":"example.","denial":"nsec","keys":[]}"#).contains("no key signs"));
    }

    fn generate(algorithm: Algorithm, is_split: bool) -> Keys {
        Keys::generate(ORIGIN, algorithm, is_split, Denial::Nsec3, 5).unwrap()
    }
}
