//! How drains lie in the store, where all authorities find them, and on disk.

use std::collections::BTreeMap;

use kvstore::follower::{Change, Record, Update};
use serde_json::Error;
use thiserror::Error as ThisError;

use super::{Drain, Drains, InvalidSubject, Subject};

/// Below it, each subject has a key. They are on no lease: a drain outlives who began it.
pub const PREFIX: &str = "causeway/dns/drain/v1/";

#[derive(Debug, ThisError)]
pub enum InvalidDrain {
    #[error(
        "it is not of the form {{\"fromPerMille\": …, \"toPerMille\": …, \"begin\": …, \"overMilliseconds\": …}}"
    )]
    Form,
    #[error(transparent)]
    Subject(#[from] InvalidSubject),
}

pub fn key(subject: &Subject) -> String {
    format!("{PREFIX}{subject}")
}

impl Drain {
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers are JSON")
    }
}

impl Drains {
    /// Takes in what the store says below [`PREFIX`]. Returns whether anything may have changed, and
    /// the keys that make no sense.
    pub fn handle(&mut self, update: &Update) -> (bool, Vec<(String, InvalidDrain)>) {
        let mut rejected = Vec::new();
        let mut put = |drains: &mut Self, record: &Record| {
            let Some(subject) = record.key.strip_prefix(PREFIX) else {
                return false;
            };
            match read(subject, &record.value) {
                Ok((subject, drain)) => drains.insert(subject, drain),
                Err(error) => rejected.push((record.key.clone(), error)),
            }
            true
        };
        let is_news = match update {
            Update::Connected { .. } | Update::Lost { .. } | Update::Page(_) => false,
            Update::Listed(records) => {
                self.clear();
                for record in records {
                    put(self, record);
                }
                true
            }
            Update::Changed(changes) => changes.iter().fold(false, |is_news, change| {
                is_news
                    | match change {
                        Change::Put(record) => put(self, record),
                        Change::Delete { key, .. } => self.forget(key),
                    }
            }),
        };
        (is_news, rejected)
    }

    fn forget(&mut self, key: &str) -> bool {
        let subject = key.strip_prefix(PREFIX).and_then(|it| it.parse().ok());
        subject.is_some_and(|subject| {
            self.remove(&subject);
            true
        })
    }

    pub fn to_json(&self) -> String {
        let drains: BTreeMap<String, Drain> = self
            .iter()
            .map(|(subject, it)| (subject.to_string(), *it))
            .collect();
        serde_json::to_string_pretty(&drains).expect("maps with text as keys are JSON")
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    pub fn from_json(text: &str) -> Result<Self, Error> {
        let read: BTreeMap<String, Drain> = serde_json::from_str(text)?;
        let mut drains = Self::default();
        for (subject, drain) in read {
            if let Ok(subject) = subject.parse() {
                drains.insert(subject, drain);
            }
        }
        Ok(drains)
    }
}

fn read(subject: &str, value: &[u8]) -> Result<(Subject, Drain), InvalidDrain> {
    let drain = serde_json::from_slice(value).map_err(|_| InvalidDrain::Form)?;
    Ok((subject.parse()?, drain))
}
