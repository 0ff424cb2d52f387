//! Names the places a process can run in: a host, or a pod on a host.

use std::fmt;

/// A host of the lab, or a pod on one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    host: String,
    pod: Option<String>,
}

impl Place {
    pub fn host(host: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            pod: None,
        }
    }

    pub fn pod(host: impl Into<String>, pod: impl Into<String>) -> Self {
        Self {
            host: host.into(),
            pod: Some(pod.into()),
        }
    }

    /// The host, which for a pod is its node.
    pub fn host_name(&self) -> &str {
        &self.host
    }

    /// The name of the network namespace, `cw-HOST` or `cw-HOST-POD`.
    pub fn namespace(&self) -> String {
        format!("cw-{}", self.file_stem())
    }

    /// The place as one component of a path.
    pub(crate) fn file_stem(&self) -> String {
        match &self.pod {
            None => self.host.clone(),
            Some(pod) => format!("{}-{pod}", self.host),
        }
    }
}

/// `HOST` or `HOST/POD`: also the path of its cgroup below the lab's, and the first argument of the
/// script that enters it.
impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.pod {
            None => formatter.write_str(&self.host),
            Some(pod) => write!(formatter, "{}/{pod}", self.host),
        }
    }
}
