//! Joins the parts in which a store sends a large response of a watch, so that a revision stays whole.

use etcd_client::WatchResponse;
use etcd_client::proto::PbEvent;
use prost::Message as _;

use crate::store::Loss;

/// The parts so far of one response: a store sends them one after another.
#[derive(Debug)]
pub(super) struct Parts {
    /// Of all parts together.
    bytes_max: usize,
    bytes: usize,
    watch_id: i64,
    events: Vec<PbEvent>,
}

impl Parts {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            watch_id: 0,
            events: Vec::new(),
        }
    }

    /// The whole response, if `message` is all of it or its last part.
    pub(super) fn join(
        &mut self,
        mut message: WatchResponse,
    ) -> Result<Option<WatchResponse>, Loss> {
        let part = &mut message.0;
        if !part.fragment && self.events.is_empty() {
            return Ok(Some(message));
        }
        if !self.events.is_empty() && part.watch_id != self.watch_id {
            let problem = "the store sent another response among the parts of one";
            return Err(Loss::told(problem.to_owned()));
        }
        self.bytes += part.encoded_len();
        if self.bytes_max < self.bytes {
            let problem = format!(
                "the store sent a response of more than {} bytes",
                self.bytes_max
            );
            return Err(Loss::told(problem));
        }
        self.watch_id = part.watch_id;
        self.events.append(&mut part.events);
        if part.fragment {
            return Ok(None);
        }
        part.events = std::mem::take(&mut self.events);
        self.bytes = 0;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::{PbKeyValue, PbWatchResponse};

    use super::*;

    #[test]
    fn passes_on_what_is_whole_and_joins_what_is_not() {
        let mut parts = Parts::new(1_000);
        assert_eq!(join(&mut parts, part(1, "a", false)), Ok(Some("a".into())));
        assert_eq!(join(&mut parts, part(1, "ab", true)), Ok(None));
        assert_eq!(join(&mut parts, part(1, "c", true)), Ok(None));
        assert_eq!(
            join(&mut parts, part(1, "d", false)),
            Ok(Some("abcd".into()))
        );
        assert_eq!(join(&mut parts, part(2, "e", false)), Ok(Some("e".into())));
        assert_eq!(join(&mut parts, part(2, "", false)), Ok(Some("".into())));
    }

    #[test]
    fn refuses_what_no_store_should_send() {
        let mut parts = Parts::new(1_000);
        assert_eq!(join(&mut parts, part(1, "a", true)), Ok(None));
        let mixed = join(&mut parts, part(2, "b", false)).unwrap_err();
        assert!(mixed.contains("among the parts"), "{mixed}");

        let mut parts = Parts::new(1_000);
        let endless = (0..).find_map(|_| join(&mut parts, large()).err());
        assert!(endless.unwrap().contains("more than"));
    }

    /// The keys of what is whole now.
    fn join(parts: &mut Parts, message: PbWatchResponse) -> Result<Option<String>, String> {
        let joined = parts.join(WatchResponse(message));
        let joined = joined.map_err(|loss| loss.reason)?;
        let keys = |message: WatchResponse| {
            let keys = message.events().iter().filter_map(|it| it.kv());
            keys.map(|it| it.key_str().unwrap().to_owned()).collect()
        };
        Ok(joined.map(keys))
    }

    /// With one event for each letter.
    fn part(watch_id: i64, keys: &str, fragment: bool) -> PbWatchResponse {
        let events = keys.chars().map(|key| event(&key.to_string(), 0));
        PbWatchResponse {
            watch_id,
            fragment,
            events: events.collect(),
            ..PbWatchResponse::default()
        }
    }

    fn large() -> PbWatchResponse {
        PbWatchResponse {
            events: vec![event("a", 100)],
            ..part(1, "", true)
        }
    }

    fn event(key: &str, value_bytes: usize) -> PbEvent {
        PbEvent {
            kv: Some(PbKeyValue {
                key: key.into(),
                value: vec![b'x'; value_bytes],
                ..PbKeyValue::default()
            }),
            ..PbEvent::default()
        }
    }
}
