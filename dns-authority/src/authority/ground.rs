//! Reads what is to be known before anything is served.

use std::sync::Arc;

use anyhow::Context as _;
use daemon::Clock;
use kvstore::store::Store;

use super::draining::Draining;
use super::peers::Peers;
use super::save::Saver;
use super::share::Share;
use super::signing::Signing;
use super::state::State;
use super::verdicts::Verdicts;
use crate::config::Config;
use crate::load::{Library, Places};
use crate::metrics::Metrics;
use crate::shared_health::Vantage;

/// Everything that is known before anything is served.
pub(super) struct Ground {
    pub(super) state: State,
    pub(super) places: Places,
    pub(super) peers: Peers,
    pub(super) saver: Saver,
    pub(super) share: Option<Share>,
}

impl Ground {
    /// Reads what `config` names, and what an earlier life knew.
    pub(super) async fn lay(
        config: &Config,
        store: Option<Store>,
        metrics: &Metrics,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let (places, atlas) = Places::open(config)?;
        let atlas = Arc::new(atlas);
        let (library, loaded) = Library::open(&config.zones, &atlas)?;
        let (saver, memory) = Saver::open(config.state_dir.as_deref(), clock)?;
        let vantage = vantage(config)?;
        let mut verdicts = Verdicts::new(&vantage, rand::random(), memory);
        let share = store.map(|store| {
            verdicts.share(clock.unix_milliseconds());
            Share::spawn(store, &vantage)
        });
        // Where there is a store, it says what is drained, once it answers.
        let draining = Draining::new(saver.drains()?);
        let (options, state_dir) = (config.transfer.clone(), config.state_dir.as_deref());
        let (peers, keeper) = Peers::read(options, &loaded.zones, state_dir).await?;
        let now = clock.unix_milliseconds() / 1000;
        let signing = Signing::open(config.signing.clone(), &loaded.zones, now)?;
        let mut state = State::new(
            (library, keeper),
            atlas,
            verdicts,
            draining,
            metrics.clone(),
            clock,
        );
        state.follows_mesh = config.etcd_config.is_some();
        state.bounds = config.ttl_bounds();
        state.sign(signing);
        state.load(loaded);
        Ok(Self {
            state,
            places,
            peers,
            saver,
            share,
        })
    }
}

/// The name that other authorities know this one by.
fn vantage(config: &Config) -> anyhow::Result<Vantage> {
    match &config.vantage {
        Some(name) => Ok(name.clone()),
        None => {
            let name = rustix::system::uname();
            let name = name.nodename().to_string_lossy();
            name.parse()
                .context("cannot go by the host's name; give --vantage")
        }
    }
}
