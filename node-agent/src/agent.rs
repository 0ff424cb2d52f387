//! A door: the agent's loop. One task owns everything that is believed, and makes every change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use daemon::{Clock, Process, ReadinessGuard};
use datapath_abi::ServiceKey;
use kvstore::config::EtcdConfig;
use kvstore::follower::{self, Follower, Update};
use kvstore::store::Store;
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use topology::health::Health;
use topology::id::ClusterName;
use topology::mesh::Mesh;
use topology::report::{Problem, StoreReport};
use tracing::info;
use wireguard::PublicKey;
use wireguard::uapi::Interface;

use crate::admin::{self, QUESTIONS_MAX, Question};
use crate::announce::Announcer;
use crate::config::{Config, Encryption, Membership};
use crate::cut_off::CutOff;
use crate::datapath::Datapath;
use crate::desired::{Desired, Identity};
use crate::device::{self, Seen, Wanted};
use crate::gate::{Gate, Knowledge};
use crate::key_file::KeyFile;
use crate::keys::Keys;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::netlink::Netlink;
use crate::place;
use crate::preshared::Shared;
use crate::secret_files::SecretFiles;
use crate::tables::Tables;
use probes::Probes;
use quantum::Agreements;
use reaches::Reaches;

mod cleanup;
mod effects;
mod keys;
mod observe;
mod probes;
mod quantum;
mod reaches;

/// Batches of the store's changes on their way to us; a full queue slows the reader, no more.
const UPDATES_MAX: usize = 64;

/// Changes that come this close together are written in one batch.
const COALESCE: Duration = Duration::from_millis(10);

/// How often the device, the network and the counters are looked at, and what failed is retried.
const TICK: Duration = Duration::from_secs(1);

/// How often the kernel's maps are read back, in case somebody else changed them.
const RESYNC_TICKS: u64 = 30;

/// Runs the agent until the process drains; everything it attached stays in force.
pub async fn run(config: Config, process: Process) -> anyhow::Result<()> {
    let Some(membership) = config.membership().filter(|_| !config.cleanup) else {
        return cleanup::run(&config).await;
    };
    let place = place::find(&config)?;
    let key_file = KeyFile::new(&config.encryption.wireguard_key);
    let kept = key_file.read()?;
    let store = Store::Etcd(EtcdConfig::read(&membership.etcd_config)?);
    let datapath = tokio::task::block_in_place(|| Datapath::open(&place))?;
    info!(
        cgroup = %place.cgroup.display(),
        interfaces = %place.interfaces.join(","),
        "the datapath is attached"
    );
    let rekey_after = config.encryption.wireguard_rekey_after;
    let opened = Opened {
        store,
        datapath,
        keys: Keys::new(kept, rekey_after, process.clock.now()),
        key_file,
    };
    start(config, membership, opened, process).await
}

/// What an agent cannot start without.
struct Opened {
    store: Store,
    datapath: Datapath,
    key_file: KeyFile,
    keys: Keys,
}

async fn start(
    config: Config,
    membership: Membership,
    opened: Opened,
    mut process: Process,
) -> anyhow::Result<()> {
    let store = opened.store;
    let Identity { cluster, .. } = &membership.identity;
    let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
    let (updates, updated) = mpsc::channel(UPDATES_MAX);
    let (wanted, wanted_by_device) = watch::channel(Wanted::default());
    let interface = Interface::served_by(config.backend, &config.wireguard);
    let (seen, seen_at_device) = watch::channel(device::look(&interface).await);

    let tables = opened.datapath.maps.read()?;
    let mut agent = Agent {
        mesh: Mesh::new(cluster.clone()),
        probes: Probes::spawn(
            &membership.identity,
            config.probes.probe_interval,
            process.clock,
        ),
        reaches: Reaches::new(store.clone(), &membership.identity.cluster),
        tunnel: config.wireguard.clone(),
        announcer: Announcer::spawn(store.clone(), &membership.identity),
        key_file: opened.key_file,
        keys: opened.keys,
        secret_files: SecretFiles::new(config.encryption.wireguard_psk.clone()),
        shared: None,
        agreements: Agreements::spawn(&config.encryption, process.clock),
        health: BTreeMap::new(),
        said: BTreeMap::new(),
        cut_off: CutOff::default(),
        memory: Memory::open(&config.encryption.state_dir),
        encryption: config.encryption,
        derived_with: Knowledge::Unread,
        identity: membership.identity,
        inherited: tables.services.keys().copied().collect(),
        tables,
        datapath: opened.datapath,
        netlink: Netlink::open()?,
        underlay: Vec::new(),
        gate: Gate::new(process.clock.now()),
        started: process.clock.now(),
        desired: Arc::default(),
        underived: true,
        wanted,
        seen: seen_at_device,
        store: StoreReport {
            reason: "not connected yet".to_owned(),
            ..StoreReport::default()
        },
        listed: false,
        problems: BTreeMap::new(),
        rejected: BTreeMap::new(),
        metrics: Metrics::register(&mut process.registry),
        unsynced: Some(
            process
                .readiness
                .guard("the mesh is read and written to the kernel"),
        ),
        clock: process.clock,
    };
    process.serve_admin(admin::routes(&questions));
    let options = follower::Options::default();
    tokio::spawn(Follower::new(store, prefixes(), options).run(updates));
    tokio::spawn(device::follow(interface, wanted_by_device, seen));

    agent
        .run(updated, asked, process.drain)
        .await
        .context("the agent cannot go on")
}

/// The own cluster's records, the mirrored ones of all others, and our own kinds for
/// agents; the canaries last.
fn prefixes() -> Vec<String> {
    [
        "cilium/cluster-config/",
        "cilium/state/",
        "cilium/cache/",
        "cilium/synced/",
        "causeway/state/",
        "causeway/synced/",
    ]
    .map(str::to_owned)
    .into()
}

/// Everything that wakes the agent.
enum Input {
    /// Agents agreed on a secret, or lost one.
    Agreed,
    Asked(Question),
    /// Changes have waited long enough for others to join them.
    Coalesced,
    Drain,
    /// The own cluster's gateways said something.
    Heard(Update),
    /// Probes saw something.
    Probed,
    /// The device was looked at, and is not as it was.
    Seen,
    Tick,
    Updated(Update),
}

/// Which part of the work a problem belongs to; a part's problems are replaced as a whole.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Area {
    Keys,
    Maps,
    Memory,
    Network,
    Secrets,
}

struct Agent {
    mesh: Mesh,
    identity: Identity,
    /// Name of the WireGuard interface.
    tunnel: String,
    announcer: Announcer,
    probes: Probes,
    reaches: Reaches,
    key_file: KeyFile,
    keys: Keys,
    secret_files: SecretFiles,
    /// The secrets of the own cluster with others, as last read; `None` where none are wanted.
    shared: Option<BTreeMap<ClusterName, Shared>>,
    agreements: Agreements,
    /// What the operator wants of it.
    encryption: Encryption,
    /// What probes say of tunnels, by the key of the other end.
    health: BTreeMap<PublicKey, Health>,
    /// Whether the other ends are ready for what this node sends from its own addresses.
    said: BTreeMap<PublicKey, bool>,
    cut_off: CutOff,
    /// What was protected when the mesh was last known.
    memory: Memory,
    datapath: Datapath,
    /// What the maps hold, as far as we know.
    tables: Tables,
    /// Services that an earlier agent left: they stay as they are until the mesh is known.
    inherited: BTreeSet<ServiceKey>,
    netlink: Netlink,
    /// Indexes of the underlay interfaces that carry our programs.
    underlay: Vec<Option<u32>>,
    gate: Gate,
    started: Instant,
    desired: Arc<Desired>,
    /// Whether what is believed changed since `desired` was derived from it.
    underived: bool,
    /// How much was known when `desired` was derived.
    derived_with: Knowledge,
    wanted: watch::Sender<Wanted>,
    seen: watch::Receiver<Seen>,
    store: StoreReport,
    /// Whether the store has been listed since the start.
    listed: bool,
    problems: BTreeMap<Area, BTreeSet<Problem>>,
    /// Records that were no valid record, with the reason.
    rejected: BTreeMap<String, String>,
    metrics: Metrics,
    /// Dropped once the kernel follows the mesh.
    unsynced: Option<ReadinessGuard>,
    clock: Clock,
}

impl Agent {
    async fn run(
        &mut self,
        mut updates: mpsc::Receiver<Update>,
        mut questions: mpsc::Receiver<Question>,
        mut drain: daemon::Drain,
    ) -> anyhow::Result<()> {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut tick = 0u64;
        let mut apply_at: Option<Instant> = None;
        loop {
            let due = apply_at.unwrap_or_else(|| self.clock.now() + TICK);
            let input = tokio::select! {
                () = drain.started() => Input::Drain,
                Some(update) = updates.recv() => Input::Updated(update),
                Some(question) = questions.recv() => Input::Asked(question),
                () = sleep_until(due.into()), if apply_at.is_some() => Input::Coalesced,
                () = self.probes.changed() => Input::Probed,
                () = self.agreements.changed() => Input::Agreed,
                Ok(()) = self.seen.changed() => Input::Seen,
                update = self.reaches.next() => Input::Heard(update),
                _ = ticks.tick() => Input::Tick,
            };
            match input {
                Input::Agreed => {
                    self.take_agreements();
                    apply_at.get_or_insert_with(|| self.clock.now() + COALESCE);
                }
                Input::Asked(question) => self.answer(question),
                Input::Coalesced => {
                    apply_at = None;
                    self.apply().await;
                }
                Input::Drain => return Ok(()),
                Input::Heard(update) => {
                    if self.hear(update) {
                        apply_at.get_or_insert_with(|| self.clock.now() + COALESCE);
                    }
                }
                Input::Probed => {
                    if self.take_sight() {
                        self.underived = true;
                        apply_at.get_or_insert_with(|| self.clock.now() + COALESCE);
                    }
                }
                Input::Seen => self.follow_agreements(),
                Input::Tick => {
                    self.read_secrets();
                    tick += 1;
                    if tick.is_multiple_of(RESYNC_TICKS) {
                        self.reread();
                    }
                    self.apply().await;
                    self.measure();
                }
                Input::Updated(update) => {
                    if self.observe(update) {
                        self.underived = true;
                        apply_at.get_or_insert_with(|| self.clock.now() + COALESCE);
                    }
                }
            }
        }
    }
}
