//! Shows how what is held of a remote cluster differs from what it publishes.

use topology::id::ClusterName;
use topology::report::{DiffReport, Keys};

use crate::status::{Asked, Outcome};
use crate::table::Tone;

pub(super) fn text(found: &[Asked<DiffReport>], peer: &ClusterName, colours: bool) -> String {
    let texts: Vec<String> = found
        .iter()
        .map(|it| match &it.outcome {
            Outcome::Answer(report) => {
                format!(
                    "API server {}\n{}",
                    it.endpoint,
                    difference(report, peer, colours)
                )
            }
            Outcome::Error(error) => format!(
                "API server {}\n  {}\n",
                it.endpoint,
                Tone::Bad.paint(error, colours)
            ),
        })
        .collect();
    texts.join("\n")
}

fn difference(report: &DiffReport, peer: &ClusterName, colours: bool) -> String {
    let verdict = match report.is_equal() {
        true => Tone::Good.paint("the same", colours),
        false => Tone::Bad.paint("they differ", colours),
    };
    let mut text = format!(
        "  cluster {peer} publishes {} records, {} are held: {verdict}\n",
        report.published, report.held
    );
    for (what, keys) in [
        ("missing", &report.missing),
        ("stale", &report.stale),
        ("different", &report.different),
    ] {
        text.push_str(&list(what, keys, colours));
    }
    if report.refused.total() > 0 {
        text.push_str(&format!(
            "  beside them {} records break the contract, at last {}\n",
            report.refused.total(),
            report.refused.last
        ));
    }
    text
}

fn list(what: &str, keys: &Keys, colours: bool) -> String {
    if keys.count == 0 {
        return String::new();
    }
    let heading = Tone::Bad.paint(&format!("{what} {}", keys.count), colours);
    let mut text = format!("  {heading}\n");
    for key in &keys.first {
        text.push_str(&format!("    {key}\n"));
    }
    match keys.count - keys.first.len().min(keys.count) {
        0 => text,
        more => text + &format!("    and {more} more\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use topology::report::ViolationReport;

    use crate::status::tests::answered;

    use super::*;

    #[test]
    fn shows_what_differs() {
        let report = DiffReport {
            published: 3,
            held: 2,
            missing: Keys {
                count: 12,
                first: vec!["cilium/cache/nodes/v1/us/us-node-1".to_owned()],
            },
            refused: ViolationReport {
                by_reason: BTreeMap::from([("mismatch".to_owned(), 2)]),
                last: "cilium/state/nodes/v1/us/a: its name is b".to_owned(),
            },
            ..DiffReport::default()
        };
        let peer = "us".parse().unwrap();

        let text = text(&[answered("http://192.0.2.10:9962", report)], &peer, false);

        assert_eq!(
            text,
            "\
API server http://192.0.2.10:9962
  cluster us publishes 3 records, 2 are held: they differ
  missing 12
    cilium/cache/nodes/v1/us/us-node-1
    and 11 more
  beside them 2 records break the contract, at last cilium/state/nodes/v1/us/a: its name is b
"
        );
    }
}
