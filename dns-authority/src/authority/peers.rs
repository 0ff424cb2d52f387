//! Starts what has to do with other servers: copies of their zones, copies of ours, and changes.

use std::path::Path;
use std::sync::Arc;

use anyhow::bail;
use arc_swap::ArcSwap;
use daemon::{Clock, bind};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::answer::World;
use crate::api::{self, Api, ApiKey};
use crate::keeper::{Histories, Keeper};
use crate::load;
use crate::transfer::desk::{Clerk, Desk, Request};
use crate::transfer::fetch::{Fetcher, Follower, Followers};
use crate::transfer::notify::{self, Serials};
use crate::transfer::options::{Options, Peer};
use crate::tsig::{Key, Keys};
use crate::wire::name::Folded;
use crate::zone::Zones;

/// What is known of other servers before anything is served.
pub(super) struct Peers {
    options: Options,
    keys: Keys,
    /// Each zone that is copied with its primaries, and when one of them vouched for it last.
    copies: Vec<(Folded, Vec<Peer>, Option<u64>)>,
    histories: Arc<ArcSwap<Histories>>,
    /// Where the API is served, and its key.
    api: Option<(TcpListener, ApiKey)>,
}

/// What they work with.
pub(super) struct Means {
    pub(super) world: Arc<ArcSwap<World>>,
    pub(super) serials: watch::Receiver<Serials>,
    pub(super) requests: mpsc::Sender<Request>,
    pub(super) clock: Clock,
}

impl Peers {
    /// Reads keys, and the copies of an earlier life.
    pub(super) async fn read(
        options: Options,
        zones: &Zones,
        state_dir: Option<&Path>,
    ) -> anyhow::Result<(Self, Keeper)> {
        let keys = load::keys(&options)?;
        let mut keeper = Keeper::new(load::journals(state_dir)?);
        if !options.transfer_to.is_empty() {
            keeper.mind_serials();
        }
        if let Some(origin) = &options.catalog {
            if zones.0.contains_key(origin.octets()) {
                bail!("zone {origin:?} has both --zone and --catalog; remove one");
            }
            keeper.list_at(origin.clone());
        }
        let mut copies = Vec::new();
        for (origin, primaries) in options.copies() {
            if zones.0.contains_key(origin.octets()) {
                bail!("zone {origin:?} has both --zone and --secondary; remove one");
            }
            let confirmed = keeper.follow(&origin);
            copies.push((origin, primaries, confirmed));
        }
        let api = match (options.api, &options.api_key_file) {
            (Some(address), Some(file)) => {
                let key = load::api_key(file)?;
                let listener = bind::tcp(address, "--api").await?;
                let address = listener.local_addr()?;
                info!(api = %address, "serves the API");
                Some((listener, key))
            }
            _ => None,
        };
        let peers = Self {
            options,
            keys,
            copies,
            histories: keeper.histories(),
            api,
        };
        Ok((peers, keeper))
    }

    /// Follows primaries, tells secondaries, and opens the desk for those who ask.
    pub(super) fn start(self, means: &Means) -> Desk {
        let followers: Followers = self
            .copies
            .iter()
            .map(|(origin, primaries, confirmed)| {
                let follower = self.follow(origin, primaries, *confirmed, means);
                (origin.octets().into(), follower)
            })
            .collect();
        for peer in &self.options.notify {
            let (serials, clock) = (means.serials.clone(), means.clock);
            tokio::spawn(notify::run(peer.clone(), self.key(peer), serials, clock));
        }
        if let Some((listener, key)) = self.api {
            let api = Api {
                world: Arc::clone(&means.world),
                requests: means.requests.clone(),
                key,
            };
            tokio::spawn(api::serve(listener, api));
        }
        Desk::open(Clerk {
            followers: Arc::new(followers),
            options: Arc::new(self.options),
            keys: Arc::new(self.keys),
            world: Arc::clone(&means.world),
            histories: self.histories,
            requests: means.requests.clone(),
            clock: means.clock,
        })
    }

    fn follow(
        &self,
        origin: &Folded,
        primaries: &[Peer],
        confirmed: Option<u64>,
        means: &Means,
    ) -> Follower {
        let follower = Follower {
            wake: Arc::default(),
            primaries: primaries.into(),
        };
        let fetcher = Fetcher {
            origin: origin.clone(),
            primaries: Arc::clone(&follower.primaries),
            keys: primaries.iter().map(|it| self.key(it)).collect(),
            wake: Arc::clone(&follower.wake),
            world: Arc::clone(&means.world),
            requests: means.requests.clone(),
            clock: means.clock,
        };
        tokio::spawn(fetcher.run(confirmed));
        follower
    }

    fn key(&self, peer: &Peer) -> Option<Arc<Key>> {
        self.keys.find(peer.key.as_deref()?).cloned()
    }
}
