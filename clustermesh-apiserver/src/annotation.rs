//! Decides what the annotations of Cilium's users mean, under their present and their old names.

use std::collections::{BTreeMap, BTreeSet};

use topology::id::{ClusterName, InvalidId};
use topology::service::Affinity;

/// An object's annotations; Kubernetes leaves the map out when it is empty.
pub type Annotations = Option<BTreeMap<String, String>>;

/// Whether remote backends are merged in, and this cluster's are exported.
pub fn is_global_service(annotations: &Annotations) -> bool {
    is_true(annotations, GLOBAL_SERVICE).unwrap_or(false)
}

/// Whether a global service's backends are exported; they are unless it is denied.
pub fn is_shared_service(annotations: &Annotations) -> bool {
    is_true(annotations, SHARED_SERVICE).unwrap_or(true)
}

/// Which backends a global service prefers, or the value that is no affinity.
pub fn affinity(annotations: &Annotations) -> Result<Affinity, &str> {
    match value(annotations, AFFINITY) {
        None => Ok(Affinity::default()),
        Some(text) => Affinity::from_annotation(&text.to_lowercase()).ok_or(text),
    }
}

/// Whether anything in a namespace concerns the mesh; `None` where nobody says.
pub fn is_global_namespace(annotations: &Annotations) -> Option<bool> {
    is_true(annotations, &["clustermesh.cilium.io/global"])
}

/// The only clusters that a Service or a namespace is exported to; `None` where nobody is named.
pub fn export_to(annotations: &Annotations) -> Option<Result<BTreeSet<ClusterName>, InvalidId>> {
    let names = value(annotations, &["causeway.io/export-to"])?;
    let names = names.split(',').map(str::trim);
    Some(names.map(str::parse).collect())
}

/// A node's WireGuard key, in base64.
pub fn wireguard_public_key(annotations: &Annotations) -> Option<&str> {
    value(annotations, WIREGUARD_PUBLIC_KEY).filter(|it| !it.is_empty())
}

/// The present name first: it wins where both are set.
const GLOBAL_SERVICE: &[&str] = &["service.cilium.io/global", "io.cilium/global-service"];
const SHARED_SERVICE: &[&str] = &["service.cilium.io/shared", "io.cilium/shared-service"];
const AFFINITY: &[&str] = &["service.cilium.io/affinity", "io.cilium/service-affinity"];
pub(crate) const WIREGUARD_PUBLIC_KEY: &[&str] = &[
    "network.cilium.io/wg-pub-key",
    "io.cilium.network.wg-pub-key",
];

/// Anything but `true` means no, as upstream.
fn is_true(annotations: &Annotations, names: &[&str]) -> Option<bool> {
    value(annotations, names).map(|it| it.eq_ignore_ascii_case("true"))
}

fn value<'a>(annotations: &'a Annotations, names: &[&str]) -> Option<&'a str> {
    let annotations = annotations.as_ref()?;
    let mut values = names.iter().filter_map(|name| annotations.get(*name));
    values.next().map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_old_names_and_prefers_the_present_ones() {
        let old = annotated(&[("io.cilium/global-service", "True")]);
        assert!(is_global_service(&old));
        let both = annotated(&[
            ("io.cilium/global-service", "true"),
            ("service.cilium.io/global", "no"),
        ]);
        assert!(!is_global_service(&both));
        let unshared = annotated(&[("io.cilium/shared-service", "false")]);
        assert!(!is_shared_service(&unshared));
        let keyed = annotated(&[("io.cilium.network.wg-pub-key", "key=")]);
        assert_eq!(wireguard_public_key(&keyed), Some("key="));
    }

    #[test]
    fn has_upstreams_defaults() {
        assert!(!is_global_service(&None));
        assert!(is_shared_service(&None));
        assert_eq!(is_global_namespace(&None), None);
        assert_eq!(export_to(&None), None);
        assert_eq!(affinity(&None), Ok(Affinity::None));
        assert_eq!(wireguard_public_key(&None), None);
    }

    #[test]
    fn returns_a_value_that_is_no_affinity() {
        let affine = |value| annotated(&[("service.cilium.io/affinity", value)]);

        assert_eq!(affinity(&affine("Local")), Ok(Affinity::Local));
        assert_eq!(affinity(&affine("remote")), Ok(Affinity::Remote));
        assert_eq!(affinity(&affine("nearby")), Err("nearby"));
    }

    #[test]
    fn reads_the_names_of_peers() {
        let exported = |value| export_to(&annotated(&[("causeway.io/export-to", value)])).unwrap();

        let names = exported(" gamma,beta , gamma").unwrap();
        let names: Vec<&str> = names.iter().map(ClusterName::as_str).collect();
        assert_eq!(names, ["beta", "gamma"]);
        for bad in ["", "beta,", "Beta", "beta gamma"] {
            assert!(exported(bad).is_err(), "{bad:?}");
        }
    }

    fn annotated(annotations: &[(&str, &str)]) -> Annotations {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let annotations = annotations.iter().map(owned).collect();
        Some(annotations).filter(|it: &BTreeMap<_, _>| !it.is_empty())
    }
}
