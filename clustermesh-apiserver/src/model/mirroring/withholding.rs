//! Decides which services of lost remotes our store does not show for the time being.
//!
//! Nodes, identities and addresses always stay: what still gets through must be known.

use std::collections::BTreeSet;
use std::sync::Arc;

use topology::id::ClusterName;
use topology::record::Kind;

use super::{Effect, Mirroring, Part, Peering, write};
use crate::moment::Moment;

/// Where the services of a cluster are mirrored, before its name.
const SERVICES: &str = "cilium/cache/services/v1/";

impl Mirroring {
    /// Withholds and restores as the remotes' liveness has it. `own_serves` tells whether our own
    /// cluster has backends of the service `NAMESPACE/NAME`.
    pub(in crate::model) fn withhold_lost(
        &mut self,
        own_serves: impl Fn(&str) -> bool,
        now: Moment,
        effects: &mut Vec<Effect>,
    ) {
        let is_asked = self.policy.withdraws_lost_services || self.policy.cache_ttl.is_some();
        if !is_asked {
            return;
        }
        for peering in self.peerings.values_mut() {
            let is_lost = peering.forget_at.is_none()
                && peering.remote.state().is_some_and(|it| !it.connected);
            let since = peering.lost_since.unwrap_or(now.uptime_milliseconds);
            peering.lost_since = is_lost.then_some(since);
        }
        let names: Vec<ClusterName> = self.peerings.keys().cloned().collect();
        for name in names {
            let withheld = self.withheld(&name, &own_serves, now);
            let Some(peering) = self.peerings.get_mut(&name) else {
                continue;
            };
            let changes = peering.remote.withhold(withheld);
            if peering.is_shown {
                write(Part::Remote(name), changes, effects);
            }
        }
    }

    /// The mirrored keys of a remote that are not shown now.
    fn withheld(
        &self,
        name: &ClusterName,
        own_serves: impl Fn(&str) -> bool,
        now: Moment,
    ) -> BTreeSet<Arc<str>> {
        let Some((peering, since)) = self
            .peerings
            .get(name)
            .and_then(|it| Some((it, it.lost_since?)))
        else {
            return BTreeSet::new();
        };
        let records = peering.remote.records();
        let ttl = self.policy.cache_ttl;
        if ttl.is_some_and(|it| since + it <= now.uptime_milliseconds) {
            let kinds = [Kind::EndpointSlices, Kind::ServiceExports, Kind::Services];
            let tables = kinds.into_iter().filter_map(|it| records.get(it));
            return tables.flat_map(|it| it.keys().cloned()).collect();
        }
        let services = records.get(Kind::Services);
        let services = services.filter(|_| self.policy.withdraws_lost_services);
        let keys = services.into_iter().flat_map(|it| it.keys());
        let offered_elsewhere = keys.filter(|key| {
            let service = key.strip_prefix(SERVICES).and_then(|it| it.split_once('/'));
            service.is_some_and(|(_, it)| own_serves(it) || self.is_served_beside(name, it))
        });
        offered_elsewhere.cloned().collect()
    }

    /// Whether a remote that is not lost has backends of the service.
    fn is_served_beside(&self, name: &ClusterName, service: &str) -> bool {
        let others = self.peerings.iter().filter(|(other, _)| *other != name);
        let mut living = others.filter(|(_, it)| it.is_believed_alive());
        living.any(|(other, it)| {
            let key = format!("{SERVICES}{other}/{service}");
            it.remote.records().is_serving(&key)
        })
    }
}

impl Peering {
    fn is_believed_alive(&self) -> bool {
        self.is_shown && self.forget_at.is_none() && self.remote.is_connected()
    }
}
