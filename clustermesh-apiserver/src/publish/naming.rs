//! Which clusters are named by which objects, to tell an operator of names that are nobody's.

use std::collections::{BTreeMap, BTreeSet};

use topology::id::ClusterName;

use crate::annotation;
use crate::objects::{Object, ObjectKey};

/// The objects that name each cluster in `causeway.io/export-to`.
#[derive(Debug, Default)]
pub(super) struct Naming {
    objects: BTreeMap<ClusterName, BTreeSet<ObjectKey>>,
}

impl Naming {
    pub(super) fn replace(
        &mut self,
        key: &ObjectKey,
        before: Option<&Object>,
        after: Option<&Object>,
    ) {
        let (before, after) = (named(before), named(after));
        for peer in before.difference(&after) {
            if let Some(objects) = self.objects.get_mut(peer) {
                objects.remove(key);
                if objects.is_empty() {
                    self.objects.remove(peer);
                }
            }
        }
        for peer in after {
            self.objects.entry(peer).or_default().insert(key.clone());
        }
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = (&ClusterName, &BTreeSet<ObjectKey>)> {
        self.objects.iter()
    }
}

fn named(object: Option<&Object>) -> BTreeSet<ClusterName> {
    let annotations = match object {
        Some(Object::Namespace(namespace)) => &namespace.annotations,
        Some(Object::Service(service)) => &service.metadata.annotations,
        _ => return BTreeSet::new(),
    };
    let named = annotation::export_to(annotations);
    named.and_then(Result::ok).unwrap_or_default()
}
