//! What the load client writes down about each request: one JSON object per line.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// One request or query, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Record {
    /// When it was sent, in microseconds since 1970.
    pub at_microseconds: u64,
    /// From then until the answer or the failure.
    pub duration_microseconds: u64,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A web server answered with status 200.
    Served(Server),
    /// A name server answered without an error; the addresses are in order.
    Resolved {
        addresses: Vec<Ipv4Addr>,
        ttl_seconds: Option<u32>,
    },
    /// There was no such answer in time; the text says what there was.
    Failed(String),
}

/// Who a server is, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub struct Server {
    pub region: String,
    pub node: String,
    pub pod: String,
}

impl Record {
    /// The region that served the request, if it was a request and served.
    pub fn region(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Served(server) => Some(&server.region),
            Outcome::Resolved { .. } | Outcome::Failed(_) => None,
        }
    }

    pub fn failed(&self) -> bool {
        matches!(self.outcome, Outcome::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_and_comes_back_whole() {
        let server = Server {
            region: "eu".into(),
            node: "eu-node-1".into(),
            pod: "a\nb".into(),
        };
        let addresses = vec![Ipv4Addr::new(192, 0, 2, 11)];
        for outcome in [
            Outcome::Served(server),
            Outcome::Resolved {
                addresses,
                ttl_seconds: Some(5),
            },
            Outcome::Failed("timeout".to_owned()),
        ] {
            let record = Record {
                at_microseconds: 1,
                duration_microseconds: 2,
                outcome,
            };
            let line = serde_json::to_string(&record).unwrap();

            assert!(!line.contains('\n'));
            assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
        }
    }
}
