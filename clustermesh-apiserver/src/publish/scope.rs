//! Decides which clusters may see what a namespace or a Service holds.
//!
//! A namespace decides over its identities, addresses, Services, slices and exports. A Service that
//! names peers decides over itself, its slices and its export instead, but not over the identities
//! and addresses of its pods: those are their namespace's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use topology::id::ClusterName;

use crate::annotation::{self, Annotations};
use crate::objects::Namespace;

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Scope {
    Everyone,
    Nobody,
    Peers(BTreeSet<ClusterName>),
}

impl Scope {
    pub(super) fn is_nobody(&self) -> bool {
        match self {
            Self::Nobody => true,
            Self::Everyone | Self::Peers(_) => false,
        }
    }

    pub(super) fn has_peer(&self, peer: &ClusterName) -> bool {
        match self {
            Self::Peers(peers) => peers.contains(peer),
            Self::Everyone | Self::Nobody => false,
        }
    }
}

/// The namespaces, as far as scopes depend on them.
#[derive(Debug)]
pub(super) struct Scoping {
    /// Of namespaces that say nothing, or of which there is no object.
    default: Scope,
    scopes: BTreeMap<Arc<str>, Scope>,
    problems: BTreeMap<Arc<str>, String>,
}

impl Scoping {
    pub(super) fn new(default_global: bool) -> Self {
        let default = match default_global {
            true => Scope::Everyone,
            false => Scope::Nobody,
        };
        Self {
            default,
            scopes: BTreeMap::new(),
            problems: BTreeMap::new(),
        }
    }

    /// Takes in a namespace, and tells whether its scope is another one now.
    pub(super) fn set(&mut self, name: &Arc<str>, namespace: Option<&Namespace>) -> bool {
        self.problems.remove(name);
        let before = self.scopes.remove(name);
        let after = namespace.and_then(|it| self.scope(name, &it.annotations));
        if let Some(after) = &after {
            self.scopes.insert(Arc::clone(name), after.clone());
        }
        before.as_ref().unwrap_or(&self.default) != after.as_ref().unwrap_or(&self.default)
    }

    pub(super) fn of_namespace(&self, name: &str) -> &Scope {
        self.scopes.get(name).unwrap_or(&self.default)
    }

    /// Who may see a Service of a namespace; an error names nobody.
    pub(super) fn of_service(
        &self,
        namespace: &str,
        annotations: &Annotations,
    ) -> Result<Scope, String> {
        let scope = self.of_namespace(namespace);
        match annotation::export_to(annotations) {
            Some(Ok(peers)) if !scope.is_nobody() => Ok(Scope::Peers(peers)),
            Some(Err(error)) => Err(format!("causeway.io/export-to: {error}")),
            Some(Ok(_)) | None => Ok(scope.clone()),
        }
    }

    /// What is wrong with the namespace's own annotations.
    pub(super) fn problem(&self, name: &str) -> Option<String> {
        self.problems.get(name).cloned()
    }

    /// `None` for the default.
    fn scope(&mut self, name: &Arc<str>, annotations: &Annotations) -> Option<Scope> {
        let is_global = annotation::is_global_namespace(annotations);
        if is_global == Some(false) {
            return Some(Scope::Nobody);
        }
        match annotation::export_to(annotations) {
            Some(Ok(peers)) => Some(Scope::Peers(peers)),
            Some(Err(error)) => {
                let problem = format!(
                    "Namespace {name} is exported to nobody: causeway.io/export-to: {error}"
                );
                self.problems.insert(Arc::clone(name), problem);
                Some(Scope::Nobody)
            }
            None => is_global.map(|_| Scope::Everyone),
        }
    }
}
