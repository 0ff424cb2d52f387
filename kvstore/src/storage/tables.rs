//! Decides what stands in which table of the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, Table, TableDefinition, WriteTransaction,
};

use super::problem::Problem;
use super::{Identity, rows};
use crate::mvcc::{Change, Entry, Image};

/// Numbers and states by name.
pub(super) const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// Ids and granted seconds.
const LEASES: TableDefinition<'_, i64, i64> = TableDefinition::new("leases");
/// By revision and key.
const VERSIONS: TableDefinition<'_, (i64, &[u8]), &[u8]> = TableDefinition::new("versions");

pub(super) const FORMAT: &str = "format";
const CLUSTER: &str = "cluster";
const MEMBER: &str = "member";
const REVISION: &str = "revision";
const COMPACTED: &str = "compacted";
const ALARMS: &str = "alarms";
const AUTH: &str = "auth";

/// Raised by whoever changes what the tables mean.
pub(super) const FORMAT_VERSION: i64 = 1;

/// What a new store knows of itself.
pub(super) fn found(transaction: &WriteTransaction, revision: i64) -> Result<(), redb::Error> {
    let mut facts = transaction.open_table(FACTS)?;
    let identity = Identity::random();
    set(&mut facts, FORMAT, &FORMAT_VERSION.to_be_bytes())?;
    set(&mut facts, CLUSTER, &identity.cluster_id.to_be_bytes())?;
    set(&mut facts, MEMBER, &identity.member_id.to_be_bytes())?;
    set(&mut facts, REVISION, &revision.to_be_bytes())
}

pub(super) fn read(database: &Database) -> Result<(Identity, Image), Problem> {
    let facts = read_facts(database)?;
    match facts.number(FORMAT) {
        Some(FORMAT_VERSION) => (),
        Some(version) => return Err(Problem::Format(version)),
        None => return Err(Problem::Foreign),
    }

    let needed = |name| {
        let missing = || Problem::Damaged(format!("the {name} is missing"));
        facts.number(name).ok_or_else(missing)
    };
    let identity = Identity {
        cluster_id: needed(CLUSTER)?.unsigned_abs(),
        member_id: needed(MEMBER)?.unsigned_abs(),
    };
    let torn = || Problem::Damaged("a version of a key is torn".to_owned());
    let image = Image {
        alarms: rows::alarms(facts.get(ALARMS).unwrap_or_default()),
        auth_state: facts.get(AUTH).map(Arc::from),
        compacted_revision: needed(COMPACTED)?,
        entries: read_versions(database)?.ok_or_else(torn)?,
        leases: read_leases(database)?,
        revision: needed(REVISION)?,
    };
    Ok((identity, image))
}

struct Facts(BTreeMap<String, Vec<u8>>);

impl Facts {
    fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn number(&self, name: &str) -> Option<i64> {
        rows::number(self.get(name)?)
    }
}

fn read_facts(database: &Database) -> Result<Facts, redb::Error> {
    let mut facts = BTreeMap::new();
    for fact in database.begin_read()?.open_table(FACTS)?.iter()? {
        let (name, value) = fact?;
        facts.insert(name.value().to_owned(), value.value().to_vec());
    }
    Ok(Facts(facts))
}

fn read_leases(database: &Database) -> Result<Vec<(i64, i64)>, redb::Error> {
    let mut leases = Vec::new();
    for lease in database.begin_read()?.open_table(LEASES)?.iter()? {
        let (id, ttl_seconds) = lease?;
        leases.push((id.value(), ttl_seconds.value()));
    }
    Ok(leases)
}

/// In the order of history, or `None` if a row cannot be read.
fn read_versions(database: &Database) -> Result<Option<Vec<Arc<Entry>>>, redb::Error> {
    let mut entries: Vec<(u32, Arc<Entry>)> = Vec::new();
    for row in database.begin_read()?.open_table(VERSIONS)?.iter()? {
        let (key, row) = row?;
        let (revision, key) = key.value();
        let Some((place, entry)) = rows::decode(revision, key, row.value()) else {
            return Ok(None);
        };
        entries.push((place, Arc::new(entry)));
    }
    entries.sort_by_key(|(place, it)| (it.mod_revision, *place));
    Ok(Some(entries.into_iter().map(|(_, it)| it).collect()))
}

pub(super) fn write(transaction: &WriteTransaction, changes: &[Change]) -> Result<(), redb::Error> {
    let mut facts = transaction.open_table(FACTS)?;
    let mut leases = transaction.open_table(LEASES)?;
    let mut versions = transaction.open_table(VERSIONS)?;
    let (mut revision, mut place) = (None, 0);
    let mut compacted_revision = None;
    for change in changes {
        match change {
            Change::Alarms(alarms) => set(&mut facts, ALARMS, &rows::encode_alarms(*alarms))?,
            Change::AuthState(state) => set(&mut facts, AUTH, state)?,
            Change::Compacted(revision) => compacted_revision = Some(*revision),
            Change::Forgotten(entry) => {
                versions.remove((entry.mod_revision, &*entry.key))?;
            }
            Change::LeaseEnded(id) => {
                leases.remove(id)?;
            }
            Change::LeaseGranted { id, ttl_seconds } => {
                leases.insert(id, ttl_seconds)?;
            }
            Change::Written(entry) => {
                let is_same = revision == Some(entry.mod_revision);
                place = if is_same { place + 1 } else { 0 };
                revision = Some(entry.mod_revision);
                let row = rows::encode(place, entry);
                versions.insert((entry.mod_revision, &*entry.key), row.as_slice())?;
            }
        }
    }
    for (name, number) in [(REVISION, revision), (COMPACTED, compacted_revision)] {
        if let Some(number) = number {
            set(&mut facts, name, &number.to_be_bytes())?;
        }
    }
    Ok(())
}

pub(super) fn set(
    facts: &mut Table<'_, &'static str, &'static [u8]>,
    name: &str,
    value: &[u8],
) -> Result<(), redb::Error> {
    facts.insert(name, value)?;
    Ok(())
}
