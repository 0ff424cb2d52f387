//! Cuts what a client sends into requests. A request ends with an empty line; what ends before is
//! none, as half of one must not be applied.

use zeroize::Zeroizing;

/// The longest request in bytes, enough for 100 000 peers with several prefixes each.
pub(super) const REQUEST_BYTES_MAX: usize = 64 << 20;

/// Most requests fit into it at once.
const CAPACITY_INITIAL: usize = 16 << 10;

const END: &[u8] = b"\n\n";

/// What came in and was not taken yet. It may hold keys, so it is overwritten when it is done with.
pub(super) struct Requests {
    received: Zeroizing<Vec<u8>>,
    /// How much of `received` is known to hold no end of a request.
    searched: usize,
}

/// A request that is longer than any that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

impl Requests {
    pub(super) fn new() -> Self {
        Self {
            received: Zeroizing::new(Vec::with_capacity(CAPACITY_INITIAL)),
            searched: 0,
        }
    }

    /// Whether a request has begun and not ended.
    pub(super) fn is_amid(&self) -> bool {
        !self.received.is_empty()
    }

    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        let length = self.received.len() + bytes.len();
        if REQUEST_BYTES_MAX < length {
            return Err(TooLong);
        }
        if self.received.capacity() < length {
            // A vector that grew by itself would leave its old bytes behind.
            let mut larger = Vec::with_capacity(length.next_power_of_two());
            larger.extend_from_slice(&self.received);
            self.received = Zeroizing::new(larger);
        }
        self.received.extend_from_slice(bytes);
        Ok(())
    }

    /// The next request that is there whole, with the empty line at its end.
    ///
    /// What is no text is no request either; it keeps its place as question marks.
    pub(super) fn next(&mut self) -> Option<Zeroizing<String>> {
        let unknown = &self.received[self.searched..];
        let Some(end) = unknown.windows(END.len()).position(|it| it == END) else {
            // The last byte may be the first of an end.
            self.searched = self.received.len().saturating_sub(END.len() - 1);
            return None;
        };
        let end = self.searched + end + END.len();
        let text = String::from_utf8_lossy(&self.received[..end]).into_owned();
        self.received.drain(..end);
        self.searched = 0;
        Some(Zeroizing::new(text))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests_come_whole_however_they_are_cut() {
        let texts = ["get=1\n\n", "\n\n", "set=1\nlisten_port=7\n\n", "get=1\n\n"];
        let all = texts.concat();
        for size in 1..=all.len() {
            let mut requests = Requests::new();
            let mut found = Vec::new();
            for piece in all.as_bytes().chunks(size) {
                requests.take(piece).unwrap();
                while let Some(request) = requests.next() {
                    found.push(request.to_string());
                }
            }
            assert_eq!(found, texts, "{size}");
            assert!(!requests.is_amid());
        }
    }

    #[test]
    fn half_a_request_is_none_and_an_endless_one_is_refused() {
        let mut requests = Requests::new();
        requests.take(b"set=1\nreplace_peers=true\n").unwrap();
        assert!(requests.next().is_none());
        assert!(requests.is_amid());

        let line = vec![b'x'; REQUEST_BYTES_MAX / 2];
        requests.take(&line).unwrap();
        assert_eq!(requests.take(&line), Err(TooLong));
    }

    proptest! {
        #[test]
        fn takes_any_bytes_without_a_panic(
            pieces in prop::collection::vec(prop::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..8), 0..8),
        ) {
            let mut requests = Requests::new();
            for piece in pieces {
                requests.take(&piece).unwrap();
                while let Some(request) = requests.next() {
                    prop_assert!(request.ends_with("\n\n"));
                }
            }
        }
    }
}
