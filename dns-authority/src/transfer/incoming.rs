//! Puts a zone together, or what changed in it, from the messages of a transfer (RFC 5936, RFC 1995).

use crate::journal::{Difference, Record, soa_serial};
use crate::serial;
use crate::store::{Builder, Value};
use crate::wire::name::Folded;
use crate::wire::whole::{Entry, Whole};
use crate::wire::{CLASS_IN, code, kind};
use crate::zone::Zone;

/// What a primary said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// There is nothing newer.
    Current,
    Steps(Vec<Difference>),
    Whole(Vec<Record>),
}

/// Why a transfer is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Useless {
    /// Maybe only to what changed: then the whole zone may be had.
    #[error("the primary answers {}", code::Shown(*.0))]
    Refused(u16),
    #[error("the primary sends {0}")]
    Wrong(&'static str),
    #[error("the zone is larger than 1 GiB")]
    TooLarge,
}

/// A transfer that is under way.
#[derive(Debug)]
pub struct Incoming<'a> {
    origin: &'a Folded,
    /// The serial of the copy that is there.
    have: Option<u32>,
    /// The serial that the transfer leads to.
    target: Option<u32>,
    form: Form,
    /// Of all records so far.
    bytes: usize,
}

#[derive(Debug)]
enum Form {
    /// Only the first record is there, and it is this.
    Unknown(Option<Record>),
    Whole(Vec<Record>),
    Steps {
        steps: Vec<Difference>,
        is_adding: bool,
    },
}

/// A copy must fit into memory.
const BYTES_MAX: usize = 1 << 30;

impl<'a> Incoming<'a> {
    /// `have` is the serial of the copy that is there, if what changed since was asked for.
    pub fn new(origin: &'a Folded, have: Option<u32>) -> Self {
        Self {
            origin,
            have,
            target: None,
            form: Form::Unknown(None),
            bytes: 0,
        }
    }

    /// Takes the next message; says what the transfer brought when it was the last.
    ///
    /// # Errors
    ///
    /// The transfer is of no use.
    pub fn take(&mut self, message: Whole) -> Result<Option<Fetched>, Useless> {
        if message.code != code::NO_ERROR {
            return Err(Useless::Refused(message.code));
        }
        let [answers, _, _] = message.sections;
        if answers.is_empty() {
            return Err(Useless::Wrong("a message without records"));
        }
        let count = answers.len();
        for (number, entry) in answers.into_iter().enumerate() {
            let record = self.checked(entry)?;
            if let Some(fetched) = self.record(record)? {
                return match number + 1 == count {
                    true => Ok(Some(fetched)),
                    false => Err(Useless::Wrong("records behind the end")),
                };
            }
        }
        let is_current = |it| self.have.is_some_and(|have| !serial::is_newer(it, have));
        if matches!(self.form, Form::Unknown(_)) && self.target.is_some_and(is_current) {
            return Ok(Some(Fetched::Current));
        }
        Ok(None)
    }

    fn checked(&mut self, entry: Entry) -> Result<Record, Useless> {
        let owner = Folded::read(&entry.owner).map_err(|_| Useless::Wrong("a bad name"))?;
        let mut suffixes = (0..=owner.labels()).map(|it| owner.suffix(it));
        if entry.class != CLASS_IN || !suffixes.any(|it| it == self.origin.octets()) {
            return Err(Useless::Wrong("records that are not the zone's"));
        }
        let record = Record {
            owner: entry.owner.into(),
            kind: entry.kind,
            ttl: entry.ttl,
            data: entry.data.into(),
        };
        self.bytes += record.wire_bytes();
        match BYTES_MAX < self.bytes {
            true => Err(Useless::TooLarge),
            false => Ok(record),
        }
    }

    fn record(&mut self, record: Record) -> Result<Option<Fetched>, Useless> {
        let serial = match record.kind {
            kind::SOA => soa_serial(&record.data),
            _ => None,
        };
        let Some(target) = self.target else {
            self.target = serial;
            self.form = Form::Unknown(Some(record));
            return match serial {
                Some(_) => Ok(None),
                None => Err(Useless::Wrong("something else before the SOA record")),
            };
        };
        match &mut self.form {
            Form::Unknown(first) => {
                let first: Vec<Record> = first.take().into_iter().collect();
                match serial {
                    Some(old) if old != target && self.have == Some(old) => {
                        let steps = vec![step(old, record)];
                        let is_adding = false;
                        self.form = Form::Steps { steps, is_adding };
                    }
                    Some(end) if end == target => return Ok(Some(Fetched::Whole(first))),
                    Some(_) => return Err(Useless::Wrong("changes of another version")),
                    None => self.form = Form::Whole(first.into_iter().chain([record]).collect()),
                }
            }
            Form::Whole(records) => match serial {
                None => records.push(record),
                Some(end) if end == target => {
                    return Ok(Some(Fetched::Whole(std::mem::take(records))));
                }
                Some(_) => return Err(Useless::Wrong("another version in the middle")),
            },
            Form::Steps { steps, is_adding } => {
                let last = steps.last_mut().expect("it begins with one");
                match serial {
                    None if *is_adding => last.added.push(record),
                    None => last.removed.push(record),
                    Some(new) if !*is_adding => {
                        last.to = new;
                        last.added.push(record);
                        *is_adding = true;
                    }
                    Some(end) if end == target && last.to == target => {
                        return Ok(Some(Fetched::Steps(std::mem::take(steps))));
                    }
                    Some(old) if old == last.to => {
                        steps.push(step(old, record));
                        *is_adding = false;
                    }
                    Some(_) => return Err(Useless::Wrong("changes that do not go on")),
                }
            }
        }
        Ok(None)
    }
}

fn step(from: u32, soa: Record) -> Difference {
    Difference {
        from,
        removed: vec![soa],
        ..Difference::default()
    }
}

/// The zone of these records.
///
/// # Errors
///
/// What does not go together.
pub fn zone(origin: &Folded, records: &[Record]) -> Result<Zone, String> {
    let mut builder = Builder::new(origin.octets());
    for it in records {
        builder.push(0, &it.owner, it.kind, it.ttl, Value::Data(&it.data));
    }
    let store = builder.finish().map_err(|it| it.to_string())?;
    Zone::new(origin.clone(), store, Vec::new()).map_err(|it| it.to_string())
}

#[cfg(test)]
mod tests;
