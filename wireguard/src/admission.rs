//! Decides which handshake messages are worth the cost of a handshake.
//!
//! While few come, all do. Above a rate, senders must prove their address with a cookie, and each
//! address has a rate of its own. The other messages of a tunnel are never held back by this.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::cookie::{Baker, Cookie, MacKeys};

/// Handshakes per second, over all sources, above which senders must prove their address: a tenth
/// of what one processor can do.
const HANDSHAKES_PER_SECOND: u32 = 500;

/// For so long after the rate was exceeded it counts as exceeded, in milliseconds.
const ALARM_MILLISECONDS: u64 = 1_000;

/// What one proven address may do per second, and at once: the kernel's limits.
const PER_SOURCE_PER_SECOND: u64 = 20;
const PER_SOURCE_BURST: u64 = 5;

/// Sources remembered at a time. When there are more, none is admitted until one has rested: an
/// address that was proven with a cookie is not cheap to come by.
const SOURCES_MAX: usize = 1 << 16;

const SECOND_MILLISECONDS: u64 = 1_000;

pub(crate) struct Admission {
    baker: Baker,
    /// The second that is counted, and what came in it.
    second: u64,
    count: u32,
    alarm_until_milliseconds: u64,
    /// When each source's allowance will be full again.
    sources: BTreeMap<IpAddr, u64>,
}

/// What to do with a handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit,
    /// The sender does not know our key, or its address has had its share.
    Drop,
    /// Send this cookie, and let the sender try again.
    Prove(Cookie),
}

impl Admission {
    pub(crate) fn new(now_milliseconds: u64) -> Self {
        Self {
            baker: Baker::new(now_milliseconds),
            second: 0,
            count: 0,
            alarm_until_milliseconds: 0,
            sources: BTreeMap::new(),
        }
    }

    /// `message` is an initiation or a response; `keys` are our own.
    pub(crate) fn judge(
        &mut self,
        keys: &MacKeys,
        message: &[u8],
        source: SocketAddr,
        now_milliseconds: u64,
    ) -> Verdict {
        if !keys.knows_us(message) {
            return Verdict::Drop;
        }
        if !self.is_alarmed(now_milliseconds) {
            return Verdict::Admit;
        }
        if !self.baker.proves(message, source, now_milliseconds) {
            return Verdict::Prove(self.baker.bake(source, now_milliseconds));
        }
        if self.has_allowance(source.ip(), now_milliseconds) {
            Verdict::Admit
        } else {
            Verdict::Drop
        }
    }

    /// Counts a message, and says whether there are too many.
    fn is_alarmed(&mut self, now_milliseconds: u64) -> bool {
        let second = now_milliseconds / SECOND_MILLISECONDS;
        if self.second != second {
            self.second = second;
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if HANDSHAKES_PER_SECOND < self.count {
            self.alarm_until_milliseconds = now_milliseconds + ALARM_MILLISECONDS;
        }
        now_milliseconds < self.alarm_until_milliseconds
    }

    fn has_allowance(&mut self, source: IpAddr, now_milliseconds: u64) -> bool {
        let source = network(source);
        if !self.sources.contains_key(&source) && SOURCES_MAX <= self.sources.len() {
            self.sources.retain(|_, full| now_milliseconds < *full);
            if SOURCES_MAX <= self.sources.len() {
                return false;
            }
        }
        let cost = SECOND_MILLISECONDS / PER_SOURCE_PER_SECOND;
        let full = self.sources.entry(source).or_insert(now_milliseconds);
        let after = (*full).max(now_milliseconds) + cost;
        let is_allowed = after <= now_milliseconds + cost * PER_SOURCE_BURST;
        if is_allowed {
            *full = after;
        }
        is_allowed
    }
}

/// What one customer of a network has: an address of IPv4, 64 bits of IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PrivateKey;
    use crate::message::INITIATION_BYTES;

    #[test]
    fn admits_everybody_while_it_is_quiet() {
        let (keys, message) = signed();
        let mut admission = Admission::new(0);

        for _ in 0..HANDSHAKES_PER_SECOND {
            assert_eq!(
                admission.judge(&keys, &message, source(1), 0),
                Verdict::Admit
            );
        }
    }

    #[test]
    fn asks_for_proof_when_there_are_many_and_calms_down() {
        let (keys, mut message) = signed();
        let mut admission = alarmed(&keys, &message);
        let Verdict::Prove(cookie) = admission.judge(&keys, &message, source(1), 0) else {
            panic!("no cookie");
        };

        keys.sign(&mut message, Some(&cookie));
        assert_eq!(
            admission.judge(&keys, &message, source(1), 0),
            Verdict::Admit
        );
        assert!(matches!(
            admission.judge(&keys, &message, source(2), 0),
            Verdict::Prove(_)
        ));
        let (_, unproven) = (&keys, signed_for(&keys));
        assert_eq!(
            admission.judge(&keys, &unproven, source(3), ALARM_MILLISECONDS),
            Verdict::Admit
        );
    }

    #[test]
    fn gives_each_proven_address_its_share() {
        let (keys, mut message) = signed();
        let mut admission = alarmed(&keys, &message);
        let Verdict::Prove(cookie) = admission.judge(&keys, &message, source(1), 0) else {
            panic!("no cookie");
        };
        keys.sign(&mut message, Some(&cookie));

        let admitted =
            (0..20).filter(|_| admission.judge(&keys, &message, source(1), 0) == Verdict::Admit);
        assert_eq!(admitted.count() as u64, PER_SOURCE_BURST);
        let later = SECOND_MILLISECONDS / PER_SOURCE_PER_SECOND;
        assert_eq!(
            admission.judge(&keys, &message, source(1), later),
            Verdict::Admit
        );
    }

    #[test]
    fn passes_over_who_does_not_know_us() {
        let (keys, _) = signed();

        let verdict = Admission::new(0).judge(&keys, &[1; INITIATION_BYTES], source(1), 0);
        assert_eq!(verdict, Verdict::Drop);
    }

    fn alarmed(keys: &MacKeys, message: &[u8]) -> Admission {
        let mut admission = Admission::new(0);
        for _ in 0..=HANDSHAKES_PER_SECOND {
            admission.judge(keys, message, source(9), 0);
        }
        admission
    }

    fn signed() -> (MacKeys, [u8; INITIATION_BYTES]) {
        let keys = MacKeys::of(&PrivateKey::generate().public_key());
        let message = signed_for(&keys);
        (keys, message)
    }

    fn signed_for(keys: &MacKeys) -> [u8; INITIATION_BYTES] {
        let mut message = [1; INITIATION_BYTES];
        keys.sign(&mut message, None);
        message
    }

    fn source(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }
}
