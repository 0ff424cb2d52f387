use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn a_network_gets_its_rate_and_no_more() {
    let mut world = World::new(100, 0);

    let first = world.ask("192.0.2.1", Tone::Yes, 1000, Duration::ZERO);
    assert_eq!(first, 100, "a burst of one second");
    // Neighbors share the budget.
    assert_eq!(world.ask("192.0.2.77", Tone::Yes, 10, Duration::ZERO), 0);
    assert_eq!(world.ask("192.0.3.1", Tone::Yes, 10, Duration::ZERO), 10);
    let later = world.ask("192.0.2.1", Tone::Yes, 2000, Duration::from_millis(1));
    assert!((198..=202).contains(&later), "{later} in two seconds");
    world.now += Duration::from_secs(1000);
    let again = world.ask("192.0.2.1", Tone::Yes, 1000, Duration::ZERO);
    assert_eq!(again, 100, "not more after a long time");
}

#[test]
fn networks_of_both_families_are_apart() {
    let mut world = World::new(5, 0);

    for client in [
        "2001:db8::1",
        "2001:db8:0:100::1",
        "0.0.0.1",
        "::1",
        "255.255.255.255",
    ] {
        assert_eq!(world.ask(client, Tone::Yes, 9, Duration::ZERO), 5);
    }
    let same = "2001:db8::ff:0:0:0:1";
    assert_eq!(world.ask(same, Tone::Yes, 9, Duration::ZERO), 0);
}

#[test]
fn noes_have_budgets_of_their_own() {
    for tone in [Tone::NoData, Tone::NoName, Tone::Error] {
        let mut world = World::new(100, 0);
        assert_eq!(world.ask("192.0.2.1", tone, 60, Duration::ZERO), 25);
        // What is left of the whole.
        assert_eq!(
            world.ask("192.0.2.1", Tone::Yes, 1000, Duration::ZERO),
            100 - 25
        );
    }
}

#[test]
fn some_answers_beyond_slip() {
    for (slip, expected) in [
        (0, [Verdict::Drop; 4]),
        (1, [Verdict::Slip; 4]),
        (
            2,
            [Verdict::Slip, Verdict::Drop, Verdict::Slip, Verdict::Drop],
        ),
    ] {
        let mut world = World::new(1, slip);
        world.ask("192.0.2.1", Tone::Yes, 1, Duration::ZERO);
        let verdicts = [0, 1, 2, 3].map(|entropy| {
            let client = "192.0.2.1".parse().unwrap();
            world.limiter.judge(client, Tone::Yes, world.now, entropy)
        });
        assert_eq!(verdicts, expected);
    }
}

#[test]
fn the_exempt_are_not_limited() {
    let mut world = World::new(1, 0);

    assert_eq!(world.ask("127.0.0.1", Tone::Yes, 50, Duration::ZERO), 50);
    assert_eq!(world.ask("128.0.0.1", Tone::Yes, 50, Duration::ZERO), 1);
}

#[test]
fn a_flood_from_everywhere_does_not_free_the_limited() {
    let mut world = World::new(50, 0);
    world.ask("192.0.2.1", Tone::Yes, 100, Duration::ZERO);

    let sent: usize = (0..100_000_u32)
        .map(|it| {
            let other = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + (it << 8)));
            world.limiter.judge(other, Tone::Yes, world.now, 0);
            let client = "192.0.2.1".parse().unwrap();
            usize::from(world.limiter.judge(client, Tone::Yes, world.now, 0) == Verdict::Send)
        })
        .sum();
    // Networks with less to their name give way first.
    assert_eq!(sent, 0);
}

proptest! {
    #[test]
    fn nobody_gets_more_than_the_rate(
        rate in 1..5000_u32,
        steps in prop::collection::vec(0..20_000_u64, 1..500),
    ) {
        let mut world = World::new(rate, 0);
        let start = world.now;
        let mut sent = 0;
        for step in steps {
            world.now += Duration::from_micros(step);
            sent += world.ask("192.0.2.1", Tone::Yes, 3, Duration::ZERO);
        }
        let seconds = world.now.duration_since(start).as_secs_f64() + 1.0;
        // The clock's ticks are a hair faster than microseconds, and costs are rounded down.
        let most = seconds * f64::from(rate) * 1.01 + 2.0;
        let sent = f64::from(u32::try_from(sent).unwrap());
        prop_assert!(sent <= most, "{sent} of {most}");
    }
}

struct World {
    limiter: Limiter,
    now: Instant,
}

impl World {
    fn new(per_second: u32, slip: u32) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any moment will do")]
        let now = Instant::now();
        let rates = Rates {
            per_second,
            slip,
            exempt: vec!["127.0.0.0/8".parse().unwrap()],
        };
        Self {
            limiter: Limiter::new(rates, 7, now),
            now,
        }
    }

    /// How many of `count` answers are sent, one after the other with `pause` after each.
    fn ask(&mut self, client: &str, tone: Tone, count: usize, pause: Duration) -> usize {
        let client = client.parse().unwrap();
        let sent = (0..count).filter(|_| {
            let verdict = self.limiter.judge(client, tone, self.now, 0);
            self.now += pause;
            verdict == Verdict::Send
        });
        sent.count()
    }
}
