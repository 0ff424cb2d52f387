//! Splits a watch response that is too large for one message, if the watch agreed to it.

use etcd_client::proto::{PbEvent, PbWatchResponse};
use prost::Message as _;

/// The response in parts below `bytes_max`, but for single events that are larger. All parts except
/// the last are marked as fragments.
pub(super) fn split(mut response: PbWatchResponse, bytes_max: usize) -> Vec<PbWatchResponse> {
    if response.encoded_len() < bytes_max {
        return vec![response];
    }
    let events = std::mem::take(&mut response.events);
    let empty = PbWatchResponse {
        fragment: true,
        ..response
    };
    let overhead = empty.encoded_len();

    let mut parts: Vec<PbWatchResponse> = Vec::new();
    let mut bytes = usize::MAX;
    for event in events {
        let event_bytes = bytes_on_wire(&event);
        if bytes_max <= bytes.saturating_add(event_bytes) {
            parts.push(empty.clone());
            bytes = overhead;
        }
        bytes += event_bytes;
        if let Some(part) = parts.last_mut() {
            part.events.push(event);
        }
    }
    if let Some(last) = parts.last_mut() {
        last.fragment = false;
    }
    parts
}

/// With the field's tag and length.
fn bytes_on_wire(event: &PbEvent) -> usize {
    let bytes = event.encoded_len();
    1 + prost::length_delimiter_len(bytes) + bytes
}

#[cfg(test)]
mod tests {
    use etcd_client::proto::PbKeyValue;

    use super::*;

    #[test]
    fn fills_each_part_and_marks_all_but_the_last() {
        check(&[10, 10, 10], 1_000, &[3]);
        check(&[100; 10], 350, &[3, 3, 3, 1]);
        check(&[400, 10, 10, 400, 400], 350, &[1, 2, 1, 1]);
        check(&[400], 350, &[1]);
    }

    #[track_caller]
    fn check(sizes: &[usize], bytes_max: usize, expected: &[usize]) {
        let events: Vec<PbEvent> = sizes.iter().map(|size| event(*size)).collect();
        let response = PbWatchResponse {
            watch_id: 7,
            events: events.clone(),
            ..PbWatchResponse::default()
        };

        let parts = split(response, bytes_max);

        let lengths: Vec<usize> = parts.iter().map(|it| it.events.len()).collect();
        assert_eq!(lengths, expected);
        let last = parts.len() - 1;
        for (index, part) in parts.iter().enumerate() {
            assert_eq!((part.watch_id, part.fragment), (7, index < last));
            assert!(part.encoded_len() < bytes_max || part.events.len() == 1);
        }
        let joined: Vec<PbEvent> = parts.into_iter().flat_map(|it| it.events).collect();
        assert_eq!(joined, events);
    }

    fn event(value_bytes: usize) -> PbEvent {
        PbEvent {
            kv: Some(PbKeyValue {
                value: vec![b'x'; value_bytes],
                ..PbKeyValue::default()
            }),
            ..PbEvent::default()
        }
    }
}
