//! Decides how an object of Kubernetes becomes one of the mesh: the one way in for every source.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::de::DeserializeOwned;

use super::{Object, ObjectKey, ObjectKind, ObjectName};

/// An object as Kubernetes spells it.
pub trait Raw: DeserializeOwned {
    const KIND: ObjectKind;

    fn name(&self) -> Option<&str>;

    fn namespace(&self) -> Option<&str>;

    fn into_object(self) -> Object;
}

/// An object that nobody can refer to.
#[derive(Debug, thiserror::Error)]
#[error("metadata.name is missing")]
pub struct Nameless;

/// Cuts an object down to what the mesh needs.
pub fn read<T: Raw>(raw: T) -> Result<(ObjectKey, Object), Nameless> {
    let name = raw.name().filter(|it| !it.is_empty()).ok_or(Nameless)?;
    let namespace = match raw.namespace() {
        _ if !T::KIND.is_namespaced() => "",
        None | Some("") => "default",
        Some(namespace) => namespace,
    };
    let key = ObjectKey {
        kind: T::KIND,
        name: ObjectName::new(namespace, name),
    };
    Ok((key, raw.into_object()))
}

/// Implements [`Raw`] for a type with a full `ObjectMeta`.
macro_rules! raw {
    ($type:ty, $kind:ident, $convert:expr) => {
        impl crate::objects::Raw for $type {
            const KIND: crate::objects::ObjectKind = crate::objects::ObjectKind::$kind;

            fn name(&self) -> Option<&str> {
                crate::objects::raw::name(&self.metadata)
            }

            fn namespace(&self) -> Option<&str> {
                crate::objects::raw::namespace(&self.metadata)
            }

            fn into_object(self) -> crate::objects::Object {
                $convert(self)
            }
        }
    };
}
pub(super) use raw;

pub(super) fn name(metadata: &impl Metadata) -> Option<&str> {
    metadata.name()
}

pub(super) fn namespace(metadata: &impl Metadata) -> Option<&str> {
    metadata.namespace()
}

/// Where an object's name stands.
pub(super) trait Metadata {
    fn name(&self) -> Option<&str>;
    fn namespace(&self) -> Option<&str>;
}

impl Metadata for ObjectMeta {
    fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }
}
