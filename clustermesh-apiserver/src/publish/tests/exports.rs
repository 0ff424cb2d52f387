//! Services that are offered to all clusters by their name.

use super::*;

#[test]
fn exports_services_by_name_when_they_exist() {
    let mut publisher = exporting();

    publisher.apply(applied(&[export("")]), NOW);
    assert_eq!(keys(&publisher, "cilium/state/"), [""; 0]);
    let problem = publisher.problems().next().unwrap();
    assert!(
        problem.contains("there is no Service of that name"),
        "{problem}"
    );

    publisher.apply(
        applied(&[service("web", "causeway.io/export-to: beta")]),
        NOW,
    );
    let key = "causeway/export/beta/cilium/state/serviceexports/v1/alpha/shop/web";
    assert!(value(&publisher, key).contains(r#""type":"ClusterSetIP""#));
    assert_eq!(publisher.problems().count(), 0);
}

#[test]
fn dates_an_export_from_when_it_was_seen_first() {
    const HOUR: u64 = 3_600_000;
    let mut publisher = exporting();
    publisher.apply(applied(&[service("web", ""), export("")]), HOUR);
    assert_eq!(since(&publisher), "1970-01-01T01:00:00Z");
    publisher.apply(applied(&[service("web", "a: b"), export("")]), 2 * HOUR);
    assert_eq!(since(&publisher), "1970-01-01T01:00:00Z", "it is no other");

    let created = "creationTimestamp: 1970-01-01T00:30:00Z";
    publisher.apply(applied(&[export(created)]), 3 * HOUR);
    assert_eq!(since(&publisher), "1970-01-01T00:30:00Z");

    let gone = ObjectEvent::Deleted(key("ServiceExport", "shop", "web"));
    publisher.apply(vec![gone], 4 * HOUR);
    publisher.apply(applied(&[export("")]), 5 * HOUR);
    assert_eq!(since(&publisher), "1970-01-01T05:00:00Z", "it is another");
}

#[test]
fn dates_an_export_from_before_a_restart() {
    let after_restart = |remembered: &str| {
        let mut publisher = exporting();
        let exports = vec![(ObjectName::new("shop", "web"), remembered.to_owned())];
        let remembered = Remembered {
            exports,
            ..Remembered::default()
        };
        publisher.remember(remembered, NOW);
        publisher.apply(applied(&[service("web", ""), export("")]), NOW);
        since(&publisher)
    };

    assert_eq!(
        after_restart("1970-01-01T00:00:07Z"),
        "1970-01-01T00:00:07Z"
    );
    assert_eq!(
        after_restart("9999-12-31T23:59:59Z"),
        "1970-01-01T00:16:40Z"
    );
}

fn exporting() -> Publisher {
    let options = Options {
        mcs_api: true,
        ..Options::default()
    };
    Publisher::new(alpha(), options)
}

fn export(metadata: &str) -> String {
    format!(
        "{{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, \
         metadata: {{name: web, namespace: shop, {metadata}}}}}"
    )
}

fn since(publisher: &Publisher) -> String {
    let record = value(publisher, "cilium/state/serviceexports/v1/alpha/shop/web");
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    record["exportCreationTimestamp"]
        .as_str()
        .unwrap()
        .to_owned()
}
