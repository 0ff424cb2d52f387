//! Makes the records of a cluster as it would publish them: the load on a mirror.

use std::net::Ipv4Addr;

use topology::id::{ClusterId, ClusterName, MeshSize, NumericIdentity};
use topology::record::{Capabilities, ClusterConfig, Key, Kind, Record};

/// How large a cluster is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) nodes: u32,
    pub(crate) identities: u32,
    pub(crate) endpoints: u32,
    pub(crate) services: u32,
}

impl Size {
    /// Without the cluster-config and the canaries.
    pub(crate) fn records(self) -> u32 {
        self.nodes + self.identities + self.endpoints + self.services
    }
}

/// A cluster whose records can be made.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: ClusterName,
    pub(crate) id: ClusterId,
}

impl Cluster {
    /// Cluster number `id` of a mesh: `c001` and so on.
    ///
    /// # Panics
    ///
    /// If `id` is no cluster's.
    pub(crate) fn numbered(id: u32) -> Self {
        Self {
            name: format!("c{id:03}").parse().expect("a letter and digits"),
            id: id.try_into().expect("callers stay within a mesh"),
        }
    }

    /// Everything that the cluster publishes, canaries last.
    pub(crate) fn records(&self, size: Size) -> impl Iterator<Item = (String, Vec<u8>)> {
        let nodes = (0..size.nodes).map(|it| self.node(it));
        let identities = (0..size.identities).map(|it| self.identity(it));
        let endpoints = (0..size.endpoints).map(move |it| self.endpoint(it, size, 0));
        let services = (0..size.services).map(|it| self.service(it));
        let canaries = Kind::ALL.map(|kind| {
            let key = Key::Synced(self.name.clone(), kind).published();
            (key, b"2026-01-01T00:00:00Z".to_vec())
        });
        let records = nodes.chain(identities).chain(endpoints).chain(services);
        [self.config()].into_iter().chain(records).chain(canaries)
    }

    /// An endpoint's address, in a version of its own.
    pub(crate) fn endpoint(&self, number: u32, size: Size, version: u32) -> (String, Vec<u8>) {
        let identity = self.first_identity() + number % size.identities.max(1);
        let [.., third, fourth] = number.to_be_bytes();
        let node = (number % size.nodes.max(1)).to_be_bytes();
        let second = number.to_be_bytes()[1];
        let address = Ipv4Addr::new(10, second, third, fourth);
        let value = format!(
            r#"{{"IP":"{address}","Mask":null,"HostIP":"192.168.{}.{}","ID":{identity},"Key":0,"Metadata":"","K8sNamespace":"shop-{}","K8sPodName":"web-{number}-{version}","K8sServiceAccount":"default"}}"#,
            node[2],
            node[3],
            number % 100,
        );
        let key = Key::Ip(self.name.clone(), std::net::IpAddr::V4(address).into()).published();
        (key, value.into_bytes())
    }

    fn config(&self) -> (String, Vec<u8>) {
        let config = ClusterConfig {
            id: self.id,
            capabilities: Capabilities {
                synced_canaries: true,
                cached: false,
                max_connected_clusters: 255,
                service_exports_enabled: Some(false),
                endpoint_slices_export_mode: "services-and-endpointslices".to_owned(),
            },
        };
        let key = Key::ClusterConfig(self.name.clone()).published();
        (key, Record::ClusterConfig(config).encode())
    }

    fn node(&self, number: u32) -> (String, Vec<u8>) {
        let [.., high, low] = number.to_be_bytes();
        let (name, id) = (&self.name, self.id);
        let value = format!(
            r#"{{"Name":"node-{number}","Cluster":"{name}","IPAddresses":[{{"Type":"InternalIP","IP":"192.168.{high}.{low}"}},{{"Type":"CiliumInternalIP","IP":"10.255.{high}.{low}"}}],"IPv4AllocCIDR":{{"IP":"10.{high}.{low}.0","Mask":"////AA=="}},"IPv4SecondaryAllocCIDRs":null,"IPv6AllocCIDR":null,"IPv6SecondaryAllocCIDRs":null,"IPv4HealthIP":"","IPv6HealthIP":"","IPv4IngressIP":"","IPv6IngressIP":"","ClusterID":{id},"Source":"custom-resource","EncryptionKey":0,"Labels":{{"kubernetes.io/hostname":"node-{number}"}},"Annotations":null,"WireguardPubKey":"","BootID":""}}"#,
        );
        (
            format!("cilium/state/nodes/v1/{name}/node-{number}"),
            value.into_bytes(),
        )
    }

    fn identity(&self, number: u32) -> (String, Vec<u8>) {
        let namespace = number % 100;
        let labels = format!(
            "k8s:app=web-{number};k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name=shop-{namespace};k8s:io.cilium.k8s.policy.cluster={};k8s:io.cilium.k8s.policy.serviceaccount=default;k8s:io.kubernetes.pod.namespace=shop-{namespace};",
            self.name
        );
        let identity = NumericIdentity(self.first_identity() + number);
        let key = Key::Identity(self.name.clone(), identity).published();
        (key, labels.into_bytes())
    }

    fn service(&self, number: u32) -> (String, Vec<u8>) {
        let [.., high, low] = number.to_be_bytes();
        let (name, id) = (&self.name, self.id);
        let backends: Vec<String> = (0..10)
            .map(|it| {
                format!(r#""10.{it}.{high}.{low}":{{"http":{{"Protocol":"TCP","Port":8080}}}}"#)
            })
            .collect();
        let value = format!(
            r#"{{"cluster":"{name}","namespace":"shop","name":"svc-{number}","frontends":{{"10.96.{high}.{low}":{{"http":{{"Protocol":"TCP","Port":80}}}}}},"backends":{{{}}},"labels":{{}},"selector":{{"app":"web"}},"includeExternal":true,"shared":true,"clusterID":{id}}}"#,
            backends.join(",")
        );
        (
            format!("cilium/state/services/v1/{name}/shop/svc-{number}"),
            value.into_bytes(),
        )
    }

    /// Below it are the reserved ones.
    fn first_identity(&self) -> u32 {
        *self.id.identity_range(MeshSize::default()).start() + 256
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn makes_what_a_mirror_accepts() {
        let size = Size {
            nodes: 300,
            identities: 300,
            endpoints: 70_000,
            services: 300,
        };
        let cluster = Cluster::numbered(7);

        let config = ClusterConfig {
            id: cluster.id,
            capabilities: Capabilities::default(),
        };

        let mut keys = BTreeSet::new();
        for (key, value) in cluster.records(size) {
            let parsed = Key::parse(&key, &cluster.name).unwrap().unwrap();
            Record::decode(&parsed, &value, Some(&config)).unwrap();
            assert_eq!(parsed.published(), key);
            keys.insert(key);
        }
        assert_eq!(keys.len(), size.records() as usize + 1 + Kind::ALL.len());
    }
}
