//! The labels behind an identity.

use std::collections::BTreeMap;
use std::fmt;

/// The label that names the cluster of an identity.
pub const CLUSTER_LABEL: &str = "io.cilium.k8s.policy.cluster";

/// Labels by key without source, which is the order in which upstream writes them.
///
/// Values are not escaped upstream: one that contains `;` is written as it is, and falls apart when
/// read back.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Labels(BTreeMap<String, Label>);

#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct Label {
    source: String,
    value: String,
}

impl Labels {
    pub fn insert(&mut self, source: &str, key: &str, value: &str) {
        let label = Label {
            source: source.to_owned(),
            value: value.to_owned(),
        };
        self.0.insert(key.to_owned(), label);
    }

    /// Reads `source:key=value;…`. Anything is a label string; what has no `:` has no source.
    pub fn parse(text: &str) -> Self {
        let mut labels = Self::default();
        for label in text.split(';').filter(|it| !it.is_empty()) {
            let (name, value) = label.split_once('=').unwrap_or((label, ""));
            let (source, key) = name.split_once(':').unwrap_or(("", name));
            labels.insert(source, key, value);
        }
        labels
    }

    pub fn value(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|it| &*it.value)
    }

    /// The cluster whose policy names this identity.
    pub fn cluster(&self) -> Option<&str> {
        self.value(CLUSTER_LABEL)
    }
}

/// `source:key=value;` for each label, always with a trailing `;`.
impl fmt::Display for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, label) in &self.0 {
            // Without one, what stands before a colon in the key would be read as the source.
            if !label.source.is_empty() || key.contains(':') {
                write!(formatter, "{}:", label.source)?;
            }
            write!(formatter, "{key}={};", label.value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorts_by_key_and_not_by_source() {
        let mut labels = Labels::default();
        labels.insert("k8s", "b", "2");
        labels.insert("z", "a", "1");

        assert_eq!(labels.to_string(), "z:a=1;k8s:b=2;");
    }

    #[test]
    fn reads_what_it_writes() {
        let text = "k8s:app=web;k8s:io.cilium.k8s.policy.cluster=alpha;";
        let labels = Labels::parse(text);

        assert_eq!(labels.to_string(), text);
        assert_eq!(labels.cluster(), Some("alpha"));
    }

    #[test]
    fn keeps_colons_of_a_key_without_a_source() {
        for text in [":a:b=1;", "::=;", "a=1;", "k8s:a:b=1;"] {
            let labels = Labels::parse(text);
            assert_eq!(Labels::parse(&labels.to_string()), labels, "{text}");
        }
    }
}
