//! Names of the mesh's services, from a store that comes and goes.

use kvstore::store::{Link, Store};

use super::process::{Authority, eventually};
use super::zone;

#[tokio::test(flavor = "multi_thread")]
async fn services_of_the_mesh_have_names_which_outlive_the_store() {
    let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
    let server = kvstore::server::Server::bind(options).await.unwrap();
    let endpoint = format!("endpoints: ['http://{}']\n", server.address());
    let store = Store::Local(server.local());
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.serve(async { drop(ended.await) }));
    let service = r#"{"global":true,"shared":true,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{"http":{"Protocol":"TCP","Port":80}},"backends":{}}"#;
    let mut records = store.connect(&Link::default()).await.unwrap();
    records
        .put("causeway/state/services/v1/eu/shop/shop", service, None)
        .await
        .unwrap();
    records.put("causeway/synced/eu", "", None).await.unwrap();

    tokio::task::spawn_blocking(move || {
        let authority = Authority::start(&zone(""), &[("--etcd-config", &endpoint)]);
        let ask = || authority.dig(&["shop.shop.svc.clusterset.local", "A", "+short"]);
        eventually("the service has its name", || ask() == "10.111.0.10\n");
        let ports = authority.dig(&["_http._tcp.shop.shop.svc.clusterset.local", "SRV", "+short"]);
        assert_eq!(ports, "0 0 80 shop.shop.svc.clusterset.local.\n");

        end.send(()).unwrap();
        eventually("the store is seen to be gone", || {
            authority
                .get("/v1/status")
                .contains("the mesh's store does not answer")
        });
        assert_eq!(ask(), "10.111.0.10\n");
    })
    .await
    .unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_whole_yet_names_nothing() {
    let options = kvstore::server::Options::new("127.0.0.1:0".parse().unwrap(), "eu");
    let server = kvstore::server::Server::bind(options).await.unwrap();
    let endpoint = format!("endpoints: ['http://{}']\n", server.address());
    let store = Store::Local(server.local());
    let serving = tokio::spawn(server.serve(std::future::pending()));
    let mut records = store.connect(&Link::default()).await.unwrap();
    let service = r#"{"global":true,"shared":true,"affinity":"none","frontends":["10.111.0.10"],
        "ports":{},"backends":{}}"#;
    let key = "causeway/state/services/v1/eu/shop/shop";
    records.put(key, service, None).await.unwrap();

    let ask = |authority: &Authority, name: &str| {
        authority.dig(&[&format!("{name}.svc.clusterset.local"), "A"])
    };
    let authority = tokio::task::spawn_blocking(move || {
        // Ready although the store is not whole, because that may last.
        let authority = Authority::start(&zone(""), &[("--etcd-config", &endpoint)]);
        eventually("the store answers", || {
            authority.get("/v1/status").contains("\"connected\":true")
        });
        // That a service does not exist would be a lie, and kept by resolvers.
        let other = ask(&authority, "other.shop");
        assert!(other.contains("status: REFUSED"), "{other}");
        authority
    });
    let authority = authority.await.unwrap();

    records.put("causeway/synced/eu", "", None).await.unwrap();
    let known = tokio::task::spawn_blocking(move || {
        eventually("the service has its name", || {
            ask(&authority, "shop.shop").contains("10.111.0.10")
        });
        let other = ask(&authority, "other.shop");
        assert!(other.contains("status: NXDOMAIN"), "{other}");
    });
    known.await.unwrap();
    serving.abort();
}
