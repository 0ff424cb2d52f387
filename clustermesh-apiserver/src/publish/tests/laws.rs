//! What holds whatever happens to the objects, and in whichever order.

use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

use super::*;

/// Documents of which each combination is a cluster; those with one name replace each other.
fn documents() -> Vec<String> {
    let mut documents = vec![
        namespace("clustermesh.cilium.io/global: 'false'"),
        namespace("causeway.io/export-to: beta"),
        namespace("note: x"),
        "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}".to_owned(),
        service("web", ""),
        service("web", "causeway.io/export-to: beta"),
        service("web", "causeway.io/export-to: 'gamma,beta'"),
        service("web", "service.cilium.io/shared: 'false'"),
        service("web", "service.cilium.io/affinity: x"),
        slice("web", 2),
        slice("web", 70),
        slice("web", 71),
        "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: {name: web, namespace: shop}}".to_owned(),
        "{apiVersion: v1, kind: Node, metadata: {name: node-1}, status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}}".to_owned(),
        "{apiVersion: cilium.io/v2, kind: CiliumNode, metadata: {name: node-1}, spec: {encryption: {key: 255}}}".to_owned(),
        "{apiVersion: cilium.io/v2alpha1, kind: CiliumEndpointSlice, metadata: {name: ces}, namespace: shop, \
         endpoints: [{name: web-1, id: 65999, networking: {addressing: [{ipv4: 10.0.1.1}, {ipv4: 10.0.1.2}]}}]}".to_owned(),
    ];
    for number in 1..5 {
        documents.push(pod(&format!("web-{number}"), &format!("10.0.0.{number}")));
        documents.push(pod(&format!("web-{number}"), &format!("10.0.2.{number}")));
        documents.push(format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumEndpoint, metadata: {{name: web-{number}, namespace: shop}}, \
             status: {{identity: {{id: {}}}, networking: {{addressing: [{{ipv4: 10.0.3.{number}}}]}}}}}}",
            65_536 + number
        ));
        documents.push(format!(
            "{{apiVersion: cilium.io/v2, kind: CiliumIdentity, metadata: {{name: '{}'}}, \
             security-labels: {{'k8s:io.kubernetes.pod.namespace': shop, 'k8s:n': a{number}}}}}",
            65_536 + number
        ));
    }
    documents
}

proptest! {
    #[test]
    fn arrives_at_the_same_records_by_any_way(
        steps in proptest::collection::vec((any::<Index>(), 0..4_u8), 1..60),
        batch in 1..5_usize,
    ) {
        let documents = documents();
        let options = Options { mcs_api: true, ..Options::default() };
        let mut publisher = Publisher::new(alpha(), options.clone());
        let mut objects = Objects::new();
        let mut told = Table::new();
        told.extend(publisher.table().clone());
        for steps in steps.chunks(batch) {
            let mut events = Vec::new();
            for (index, what) in steps {
                let parsed = manifest::parse(&documents[index.index(documents.len())]).objects;
                let (key, object) = parsed.into_iter().next().unwrap();
                if *what == 0 {
                    objects.remove(&key);
                    events.push(ObjectEvent::Deleted(key));
                } else {
                    objects.insert(key.clone(), Arc::clone(&object));
                    events.push(ObjectEvent::Applied(key, object));
                }
                if *what == 3 {
                    events.push(ObjectEvent::Restarted { kinds: ObjectKind::ALL.to_vec(), objects: objects.clone() });
                }
            }
            apply(&mut told, publisher.apply(events, NOW));
            prop_assert_eq!(&told, publisher.table());
        }
        apply(&mut told, publisher.collect(NOW + GRACE));
        prop_assert_eq!(&told, publisher.table());

        let mut fresh = Publisher::new(alpha(), options);
        fresh.apply(vec![ObjectEvent::Restarted { kinds: ObjectKind::ALL.to_vec(), objects }], NOW);
        prop_assert_eq!(publisher.table(), fresh.table());
        prop_assert_eq!(publisher.counts(), fresh.counts());
        prop_assert_eq!(publisher.problems().collect::<Vec<_>>(), fresh.problems().collect::<Vec<_>>());
    }

    #[test]
    fn never_drops_an_address_that_somebody_claims(
        pods in subsequence((1..7).collect::<Vec<_>>(), 2..6).prop_shuffle(),
        ends in subsequence((1..7).collect::<Vec<_>>(), 0..4).prop_shuffle(),
    ) {
        let mut publisher = publisher();
        let mut claimants = pods;
        for number in &claimants {
            publisher.apply(applied(&[pod(&format!("web-{number}"), "10.0.0.1")]), NOW);
        }
                for end in ends {
            let changes = publisher.apply(vec![ObjectEvent::Deleted(key("Pod", "shop", &format!("web-{end}")))], NOW);
            claimants.retain(|it| *it != end);
            match claimants.first() {
                Some(first) => {
                    prop_assert!(texts(&changes).iter().all(|it| it.starts_with('+')));
                    let record = value(&publisher, "cilium/state/ip/v1/default/10.0.0.1");
                    let owner = format!("\"web-{first}\"");
                    prop_assert!(record.contains(&owner), "{} {}", record, owner);
                }
                None => prop_assert!(keys(&publisher, "cilium/state/ip/").is_empty()),
            }
        }
    }
}

fn apply(table: &mut Table, changes: Changes) {
    for change in changes {
        match change {
            Change::Delete(key) => drop(table.remove(&key).expect("only what is there is deleted")),
            Change::Put(key, value) => drop(table.insert(key, value)),
        }
    }
}
