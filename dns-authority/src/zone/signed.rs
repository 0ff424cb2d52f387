//! A zone that signs what it says, and says by which keys.

use std::sync::Arc;

use super::Zone;
use crate::dnssec::keys::Keys;
use crate::dnssec::signer::{Desk, Signer};
use crate::store::NewSet;
use crate::wire::kind;

impl Zone {
    /// The zone, signed with these keys, which are of its name. Keys that its file has beside them stay:
    /// they are those of other providers that sign the same zone (RFC 8901).
    ///
    /// # Errors
    ///
    /// What is at the zone's name does not go together with keys.
    pub fn signed(&self, keys: &Keys, desk: Arc<Desk>) -> Result<Self, String> {
        let node = self.node(&self.origin).expect("made with it");
        let mut sets: Vec<NewSet> = node
            .sets()
            .filter(|it| ![kind::CDS, kind::CDNSKEY, kind::NSEC3PARAM].contains(&it.kind))
            .map(|it| NewSet {
                kind: it.kind,
                ttl: it.ttl,
                data: it.data().map(<[u8]>::to_vec).collect(),
                plans: it
                    .plans()
                    .map(|it| u32::try_from(it).expect("as it was kept"))
                    .collect(),
            })
            .collect();
        for of_keys in keys.sets() {
            let known = sets.iter_mut().find(|it| it.kind == of_keys.kind);
            match known {
                Some(known) => known.data.extend(of_keys.data),
                None => sets.push(NewSet {
                    kind: of_keys.kind,
                    ttl: of_keys.ttl,
                    data: of_keys.data,
                    plans: Vec::new(),
                }),
            }
        }
        let changes = [(node.owner().to_vec(), sets)];
        Ok(Self {
            store: self.store.with(self.origin(), &changes)?,
            signer: Signer::new(keys, desk).map(Arc::new),
            ..self.clone()
        })
    }

    /// What signs the zone, if anything does.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_deref()
    }

    /// How long caches keep any of it, at most, in seconds.
    pub fn ttl_max(&self) -> u32 {
        let ttls = self.nodes().flat_map(|node| node.sets().map(|it| it.ttl));
        ttls.max().unwrap_or_default()
    }
}
