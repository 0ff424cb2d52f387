//! Decides when a packet leaves a link: after the link's delay, no faster than its rate, or never.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How the internet treats packets from one region to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Conditions {
    /// From the moment a packet has been sent until it arrives, one way.
    pub delay: Duration,
    /// The probability that a packet is lost, from 0 to 1.
    pub loss: f64,
    /// How fast packets are sent, in bytes per second; `None` is at once.
    pub rate: Option<u64>,
}

impl Conditions {
    /// A link that only takes time.
    pub const fn delayed(delay: Duration) -> Self {
        Self {
            delay,
            loss: 0.0,
            rate: None,
        }
    }
}

/// A perfect link.
impl Default for Conditions {
    fn default() -> Self {
        Self::delayed(Duration::ZERO)
    }
}

/// One direction between two regions, with the packets on their way.
///
/// Packets never overtake each other: with a shorter delay, later packets arrive right behind the
/// earlier ones.
#[derive(Debug)]
pub(crate) struct Path<P> {
    conditions: Conditions,
    /// When the sender has finished with everything so far.
    idle_at: Option<Instant>,
    /// With the time of arrival, unless one in front arrives later.
    on_the_way: VecDeque<(Instant, P)>,
}

/// Why a packet will not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    /// By chance.
    Lost,
    /// Too much is waiting for the sender, or on its way.
    Overflow,
}

/// How long packets may wait for a slow sender: the buffer of a usual router.
const LONGEST_WAIT: Duration = Duration::from_millis(200);

/// How many packets may be on their way: 2 Gb/s with a delay of 200 ms, in packets of 1500 bytes.
const MOST_ON_THE_WAY: usize = 32_768;

impl<P> Path<P> {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            idle_at: None,
            on_the_way: VecDeque::new(),
        }
    }

    /// Changes the treatment of packets that are sent from now on.
    pub(crate) fn set_conditions(&mut self, conditions: Conditions) {
        self.conditions = conditions;
        self.idle_at = None;
    }

    /// Sends a packet of `length` bytes, or gives it back with the reason. `chance` is a random
    /// number from 0 up to but not including 1.
    pub(crate) fn send(
        &mut self,
        now: Instant,
        length: usize,
        chance: f64,
        packet: P,
    ) -> Result<(), (Dropped, P)> {
        if chance < self.conditions.loss {
            return Err((Dropped::Lost, packet));
        }
        let start = self.idle_at.map_or(now, |it| it.max(now));
        if LONGEST_WAIT < start - now || MOST_ON_THE_WAY <= self.on_the_way.len() {
            return Err((Dropped::Overflow, packet));
        }

        let sent = start + self.time_to_send(length);
        self.idle_at = Some(sent);
        self.on_the_way
            .push_back((sent + self.conditions.delay, packet));
        Ok(())
    }

    /// The next packet that has arrived by `now`.
    pub(crate) fn arrive(&mut self, now: Instant) -> Option<P> {
        let (due, _) = self.on_the_way.front()?;
        if now < *due {
            return None;
        }
        self.on_the_way.pop_front().map(|(_, packet)| packet)
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(due, _)| *due)
    }

    fn time_to_send(&self, length: usize) -> Duration {
        let Some(rate) = self.conditions.rate else {
            return Duration::ZERO;
        };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        Duration::from_nanos(length.saturating_mul(1_000_000_000) / rate.max(1))
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_arrives_after_the_delay_and_not_before() {
        let now = Instant::now();
        let mut path = Path::new(Conditions::delayed(Duration::from_millis(45)));

        path.send(now, 1_500, 0.5, 'a').unwrap();

        assert_eq!(path.next_arrival(), Some(now + Duration::from_millis(45)));
        assert_eq!(path.arrive(now + Duration::from_millis(44)), None);
        assert_eq!(path.arrive(now + Duration::from_millis(45)), Some('a'));
        assert_eq!(path.next_arrival(), None);
    }

    #[test]
    fn everything_is_lost_with_certainty_one_and_nothing_with_zero() {
        let now = Instant::now();
        let lossy = Conditions {
            loss: 1.0,
            ..Conditions::default()
        };

        let lost = Path::new(lossy).send(now, 1, 0.999_999, ());
        assert_eq!(lost, Err((Dropped::Lost, ())));
        let kept = Path::new(Conditions::default()).send(now, 1, 0.0, ());
        assert_eq!(kept, Ok(()));
    }

    #[test]
    fn a_full_link_drops_the_newest_packet() {
        let now = Instant::now();
        let mut path = Path::new(Conditions::delayed(Duration::from_secs(1)));
        for _ in 0..MOST_ON_THE_WAY {
            path.send(now, 1, 0.0, ()).unwrap();
        }

        assert_eq!(path.send(now, 1, 0.0, ()), Err((Dropped::Overflow, ())));
    }

    proptest! {
        #[test]
        fn packets_keep_their_order_whatever_happens_to_the_delay(
            steps in proptest::collection::vec((0_u64..50, 0_u64..100), 1..100),
        ) {
            let mut now = Instant::now();
            let mut path = Path::new(Conditions::default());
            let mut arrived = Vec::new();
            for (number, (pause, delay)) in steps.iter().enumerate() {
                now += Duration::from_millis(*pause);
                path.set_conditions(Conditions::delayed(Duration::from_millis(*delay)));
                path.send(now, 1_500, 0.5, number).unwrap();
                arrived.extend(std::iter::from_fn(|| path.arrive(now)));
            }
            now += Duration::from_secs(1);
            arrived.extend(std::iter::from_fn(|| path.arrive(now)));

            prop_assert_eq!(arrived, (0..steps.len()).collect::<Vec<_>>());
        }

        #[test]
        fn no_more_than_the_rate_arrives(
            lengths in proptest::collection::vec(20_usize..1_500, 1..200),
            pauses in proptest::collection::vec(0_u64..5, 200),
            rate in 10_000_u64..10_000_000,
        ) {
            let start = Instant::now();
            let mut now = start;
            let conditions = Conditions { rate: Some(rate), ..Conditions::default() };
            let mut path = Path::new(conditions);
            for (length, pause) in lengths.iter().zip(pauses) {
                now += Duration::from_millis(pause);
                let _full = path.send(now, *length, 0.5, *length);
            }

            let mut bytes = 0;
            while let Some(due) = path.next_arrival() {
                bytes += path.arrive(due).unwrap();
                let allowed = (due - start).as_secs_f64() * rate as f64;
                // A nanosecond per packet is lost to rounding.
                prop_assert!(bytes as f64 <= allowed * 1.001 + 1.0, "{bytes} > {allowed}");
            }
        }
    }
}
