//! Puts together the services of a peer that publishes the backends of large ones one by one.
//!
//! What a former list said counts until the peer vouches for its services again: a peer that restarts
//! writes its parts one after the other, and takes no backend from us meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use topology::id::ServiceName;
use topology::record::{ClusterService, ServiceBackend};

#[derive(Debug, Default)]
pub(super) struct Joins {
    joins: BTreeMap<ServiceName, Join>,
    changed: BTreeSet<ServiceName>,
    /// Whether any of them is of former times.
    has_former: bool,
    /// Backends of their own since the last list began.
    backend_count: usize,
}

#[derive(Debug, Default)]
struct Join {
    present: Parts,
    /// What was said before the list that is not vouched for yet.
    former: Parts,
}

#[derive(Debug, Default)]
struct Parts {
    service: Option<Box<ClusterService>>,
    backends: BTreeMap<IpAddr, ServiceBackend>,
}

impl Joins {
    pub(super) fn put_service(&mut self, name: &ServiceName, service: Box<ClusterService>) {
        self.change(name).service = Some(service);
    }

    pub(super) fn put_backend(
        &mut self,
        name: &ServiceName,
        address: IpAddr,
        backend: ServiceBackend,
    ) {
        let before = self.change(name).backends.insert(address, backend);
        self.backend_count += usize::from(before.is_none());
    }

    pub(super) fn delete_service(&mut self, name: &ServiceName) {
        self.change(name).service = None;
        if let Some(join) = self.joins.get_mut(name) {
            join.former = Parts::default();
        }
    }

    pub(super) fn delete_backend(&mut self, name: &ServiceName, address: IpAddr) {
        let before = self.change(name).backends.remove(&address);
        self.backend_count -= usize::from(before.is_some());
        if let Some(join) = self.joins.get_mut(name) {
            join.former.backends.remove(&address);
        }
    }

    pub(super) fn has_service(&self, name: &ServiceName) -> bool {
        let join = self.joins.get(name);
        join.is_some_and(|it| it.present.service.is_some())
    }

    pub(super) fn has_backend(&self, name: &ServiceName, address: IpAddr) -> bool {
        let join = self.joins.get(name);
        join.is_some_and(|it| it.present.backends.contains_key(&address))
    }

    /// A list begins: what is known so far is of former times.
    pub(super) fn begin_list(&mut self) {
        self.backend_count = 0;
        self.has_former = true;
        for join in self.joins.values_mut() {
            let present = std::mem::take(&mut join.present);
            if let Some(mut service) = present.service {
                join.former.backends.extend(service.take_backends());
                join.former.service = Some(service);
            }
            join.former.backends.extend(present.backends);
        }
    }

    /// The peer has written all that it has: what is of former times only is gone.
    pub(super) fn forget_former(&mut self) {
        if !std::mem::take(&mut self.has_former) {
            return;
        }
        for (name, join) in &mut self.joins {
            let former = std::mem::take(&mut join.former);
            if former.service.is_some() || !former.backends.is_empty() {
                self.changed.insert(name.clone());
            }
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.joins.is_empty()
    }

    pub(super) fn backend_count(&self) -> usize {
        self.backend_count
    }

    /// The services that changed since, whole; `None` for one that does not exist.
    pub(super) fn take_changed(&mut self) -> Vec<(ServiceName, Option<Box<ClusterService>>)> {
        let mut services = Vec::new();
        for name in std::mem::take(&mut self.changed) {
            let whole = self.joins.get(&name).and_then(Join::whole);
            if self.joins.get(&name).is_some_and(Join::is_empty) {
                self.joins.remove(&name);
            }
            services.push((name, whole));
        }
        services
    }

    fn change(&mut self, name: &ServiceName) -> &mut Parts {
        self.changed.insert(name.clone());
        &mut self.joins.entry(name.clone()).or_default().present
    }
}

impl Join {
    fn whole(&self) -> Option<Box<ClusterService>> {
        let services = [&self.present.service, &self.former.service];
        let mut whole = services.into_iter().flatten().next()?.clone();
        if !whole.backends.is_empty() {
            // Published in one piece: what stands beside it is left of the time when it was not.
            return Some(whole);
        }
        for (address, backend) in &self.present.backends {
            whole.insert_backend(*address, backend.clone());
        }
        for (address, backend) in &self.former.backends {
            if !whole.backends.contains_key(address) {
                whole.insert_backend(*address, backend.clone());
            }
        }
        Some(whole)
    }

    fn is_empty(&self) -> bool {
        let is_empty = |it: &Parts| it.service.is_none() && it.backends.is_empty();
        is_empty(&self.present) && is_empty(&self.former)
    }
}

#[cfg(test)]
mod tests {
    use topology::record::Record;

    use super::*;

    #[test]
    fn is_byte_for_byte_what_was_taken_apart() {
        let whole = service(&["10.0.0.1", "10.0.0.2", "fd00::1"]);
        let mut joins = Joins::default();

        take_apart(&mut joins, &whole);

        let expected = Record::Service(Box::new(whole)).encode();
        let joined = joins.take_changed().remove(0).1.unwrap();
        assert_eq!(Record::Service(joined).encode(), expected);
        assert!(joins.take_changed().is_empty());
    }

    #[test]
    fn changes_one_backend_and_keeps_the_others() {
        let mut joins = Joins::default();
        take_apart(&mut joins, &service(&["10.0.0.1", "10.0.0.2"]));
        check(&mut joins, Some("10.0.0.1 10.0.0.2"));

        joins.delete_backend(&name(), "10.0.0.1".parse().unwrap());
        check(&mut joins, Some("10.0.0.2"));
        joins.delete_service(&name());
        check(&mut joins, None);
    }

    #[test]
    fn takes_no_backend_from_us_before_the_peer_vouches_for_all() {
        let mut joins = Joins::default();
        take_apart(&mut joins, &service(&["10.0.0.1", "10.0.0.2"]));
        joins.take_changed();

        joins.begin_list();
        joins.put_service(&name(), Box::new(service(&[])));
        check(&mut joins, Some("10.0.0.1 10.0.0.2"));
        let ports = ServiceBackend {
            ports: BTreeMap::new(),
            hostname: None,
            zone: None,
        };
        joins.put_backend(&name(), "10.0.0.3".parse().unwrap(), ports);
        check(&mut joins, Some("10.0.0.1 10.0.0.2 10.0.0.3"));

        joins.forget_former();
        check(&mut joins, Some("10.0.0.3"));
    }

    #[test]
    fn believes_a_service_in_one_piece_and_not_what_is_left_of_its_parts() {
        let mut joins = Joins::default();
        take_apart(&mut joins, &service(&["10.0.0.1", "10.0.0.2"]));
        check(&mut joins, Some("10.0.0.1 10.0.0.2"));

        joins.put_service(&name(), Box::new(service(&["10.0.0.2"])));
        check(&mut joins, Some("10.0.0.2"));
        joins.begin_list();
        joins.put_service(&name(), Box::new(service(&["10.0.0.3"])));
        check(&mut joins, Some("10.0.0.3"));
    }

    fn take_apart(joins: &mut Joins, whole: &ClusterService) {
        let mut service = whole.clone();
        for (address, backend) in service.take_backends() {
            joins.put_backend(&name(), address, backend);
        }
        joins.put_service(&name(), Box::new(service));
    }

    fn service(backends: &[&str]) -> ClusterService {
        let ports = r#"{"":{"Protocol":"TCP","Port":80}}"#;
        let all = backends.iter().map(|it| format!(r#""{it}":{ports}"#));
        let all = all.collect::<Vec<_>>().join(",");
        let names = backends.iter().map(|it| format!(r#""{it}":"web""#));
        let names = names.collect::<Vec<_>>().join(",");
        let text = format!(
            r#"{{"cluster":"eu","namespace":"shop","name":"web","backends":{{{all}}},"hostnames":{{{names}}},"clusterID":1}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[track_caller]
    fn check(joins: &mut Joins, expected: Option<&str>) {
        let (_, whole) = joins.take_changed().remove(0);
        let backends = whole.map(|it| {
            let backends = it.backends.keys().map(ToString::to_string);
            backends.collect::<Vec<_>>().join(" ")
        });
        assert_eq!(backends.as_deref(), expected);
    }

    fn name() -> ServiceName {
        "shop/web".parse().unwrap()
    }
}
