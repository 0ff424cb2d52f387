//! Two nodes, their devices, and a network between them that loses, repeats and reorders, while agents
//! are killed: at no moment may the two have secrets with which no session could begin.

use std::net::Ipv4Addr;

use super::*;

const RENEWAL_OF_TEST: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(100);

#[test]
fn two_nodes_agree_and_renew() {
    let mut world = World::new(1);
    world.go_on(50);
    world.check_established();
    let first = world.ends[0].device.main.clone();
    assert_eq!(world.ends[0].device.alternate, None);
    assert_eq!(world.ends[1].device.alternate, None);

    world.go_on(1_300);
    world.check_established();
    assert_ne!(world.ends[0].device.main, first);
    assert_eq!(world.ends[0].exchanger.agreements(), 2);
    assert_eq!(world.ends[1].exchanger.agreements(), 2);
}

#[test]
fn whatever_is_lost_or_killed_there_is_a_common_secret() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..3_000 {
            world.loss_percent = 30;
            world.restart_percent = 1;
            world.step();
        }
        world.loss_percent = 0;
        world.restart_percent = 0;
        world.go_on(700);
        world.check_established();
    }
}

#[test]
fn who_lost_everything_finds_back() {
    for end in [0, 1] {
        let mut world = World::new(7);
        world.go_on(50);
        world.check_established();

        world.is_strict = false;
        world.ends[end].device = Device::default();
        world.ends[1 - end].device.session = None;
        world.restart(end);
        world.go_on(10);
        assert!(world.is_cut_off(), "the two have nothing in common");
        world.go_on(400);
        world.check_established();
        world.is_strict = true;
        world.go_on(100);
    }
}

#[test]
fn a_cut_costs_no_more_than_itself() {
    let mut world = World::new(3);
    world.go_on(50);
    for end in [0, 1] {
        world.is_cut = true;
        world.go_on(90 + end * 60);
        world.is_cut = false;
        world.go_on(200);
        world.check_established();
    }
}

#[test]
fn who_does_not_speak_it_is_unsupported() {
    let mut world = World::new(3);
    world.is_mute = true;
    world.go_on(400);

    for end in &world.ends {
        let report = end.exchanger.reports(world.now).into_values().next();
        assert_eq!(report.unwrap().state, PostQuantum::Unsupported);
        assert_eq!(end.device.main, PresharedKey::none());
    }
    world.is_mute = false;
    world.go_on(800);
    world.check_established();
}

#[test]
fn a_device_without_alternates_keeps_what_it_had() {
    for plain in [0, 1] {
        let mut world = World::new(3);
        world.ends[plain].device.is_plain = true;
        world.go_on(600);

        assert_eq!(world.ends[plain].device.main, PresharedKey::none());
        let states = [0, 1].map(|it: usize| world.state(it));
        assert_eq!(states[plain], PostQuantum::Unsupported);
    }
}

#[test]
fn different_files_agree_on_nothing_and_say_so() {
    let mut world = World::new(3);
    let [old, new] = [4, 5].map(|it| PresharedKey::from([it; 32]));
    world.ends[0].files = vec![old.clone()];
    world.ends[1].files = vec![new.clone()];
    world.go_on(200);
    for end in &world.ends {
        let report = end.exchanger.reports(world.now).into_values().next();
        assert!(report.unwrap().differs);
    }

    world.ends[1].files = vec![new.clone(), old.clone()];
    world.go_on(300);
    world.check_established();
    let before = world.ends[0].device.main.clone();
    world.ends[0].files = vec![new, old];
    world.go_on(100);
    world.check_established();
    assert_ne!(
        world.ends[0].device.main, before,
        "the new content is in it"
    );
    let report = world.ends[0]
        .exchanger
        .reports(world.now)
        .into_values()
        .next();
    assert!(!report.unwrap().differs);
}

#[test]
fn another_key_wants_another_secret() {
    let mut world = World::new(3);
    world.go_on(50);
    let before = world.ends[0].device.main.clone();

    world.ends[0].is_changing = true;
    world.ends[1].is_changing = true;
    world.go_on(50);
    assert_eq!(world.ends[0].device.main, before);
    // Now the other one is the lesser.
    world.keys[0] = PublicKey::from([3; 32]);
    for end in &mut world.ends {
        end.is_changing = false;
    }
    world.go_on(100);

    world.check_established();
    assert_ne!(world.ends[0].device.main, before);
}

const SEEDS: u64 = 60;

struct World {
    ends: [End; 2],
    keys: [PublicKey; 2],
    now: Instant,
    under_way: Vec<(usize, Vec<u8>)>,
    loss_percent: u64,
    restart_percent: u64,
    /// Nothing passes at all.
    is_cut: bool,
    /// Messages do not, but all else.
    is_mute: bool,
    is_strict: bool,
    seed: u64,
    random: u64,
}

struct End {
    exchanger: Exchanger,
    device: Device,
    files: Vec<PresharedKey>,
    is_changing: bool,
    silent_steps: u32,
}

#[derive(Clone)]
struct Device {
    main: PresharedKey,
    alternate: Option<PresharedKey>,
    session: Option<PresharedKey>,
    is_plain: bool,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            main: PresharedKey::none(),
            alternate: None,
            session: None,
            is_plain: false,
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let end = || End {
            exchanger: Exchanger::new(RENEWAL_OF_TEST),
            device: Device::default(),
            files: vec![PresharedKey::none()],
            is_changing: false,
            silent_steps: 0,
        };
        Self {
            ends: [end(), end()],
            keys: [1, 2].map(|it| PublicKey::from([it; 32])),
            now: daemon::Clock.now(),
            under_way: Vec::new(),
            loss_percent: 0,
            restart_percent: 0,
            is_cut: false,
            is_mute: false,
            is_strict: true,
            seed,
            random: seed * 7 + 1,
        }
    }

    fn go_on(&mut self, steps: usize) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Everything that may happen, in any order.
    fn step(&mut self) {
        self.now += STEP;
        for _ in 0..12 {
            let end = self.below(2);
            match self.below(8) {
                0 => self.shake_hands(end),
                1 => self.obey(end),
                2 if self.below(100) < self.restart_percent => self.restart(end),
                3 | 4 => self.deliver(),
                _ => self.look(end),
            }
            self.check_common();
        }
    }

    /// An agent that starts anew; the device goes on.
    fn restart(&mut self, end: usize) {
        self.ends[end].exchanger = Exchanger::new(RENEWAL_OF_TEST);
    }

    fn look(&mut self, end: usize) {
        let view = self.view(end);
        let now = self.now;
        let exchanger = &mut self.ends[end].exchanger;
        exchanger.see(&[(ADDRESSES[1 - end], view)].into(), now);
        exchanger.handle_timeout(now);
        self.send(end);
    }

    fn send(&mut self, end: usize) {
        while let Some(transmit) = self.ends[end].exchanger.poll_transmit() {
            assert_eq!(transmit.to, ADDRESSES[1 - end]);
            let copies = if 0 < self.loss_percent {
                self.below(3)
            } else {
                1
            };
            for _ in 0..copies {
                self.under_way.push((1 - end, transmit.payload.clone()));
            }
        }
    }

    fn deliver(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = match self.loss_percent {
            0 => 0,
            _ => self.below(self.under_way.len()),
        };
        let (to, payload) = self.under_way.remove(at);
        let is_lost = self.below(100) < self.loss_percent;
        if self.is_cut || self.is_mute || is_lost {
            return;
        }
        let view = self.view(to);
        let now = self.now;
        let exchanger = &mut self.ends[to].exchanger;
        exchanger.see(&[(ADDRESSES[1 - to], view)].into(), now);
        exchanger.handle_datagram(ADDRESSES[1 - to], &payload, now);
        self.send(to);
    }

    /// The device does what the agent says.
    fn obey(&mut self, end: usize) {
        let orders = self.ends[end].exchanger.orders().into_values().next();
        let Some(orders) = orders else {
            return;
        };
        let resolved = orders.resolve(&BASES);
        let device = &mut self.ends[end].device;
        device.main = resolved.main;
        device.alternate = resolved.alternate.filter(|_| !device.is_plain);
    }

    /// One begins; what the other answers with must be known to it.
    fn shake_hands(&mut self, from: usize) {
        if self.is_cut {
            for end in &mut self.ends {
                end.silent_steps += 1;
            }
            return;
        }
        let answer = self.ends[1 - from].device.main.clone();
        let device = &self.ends[from].device;
        let fits = answer == device.main || Some(&answer) == device.alternate.as_ref();
        for end in &mut self.ends {
            if fits {
                end.device.session = Some(answer.clone());
            }
            let is_silent = end.device.session.is_none() || self.is_strict && !fits;
            end.silent_steps = if is_silent { end.silent_steps + 1 } else { 0 };
        }
    }

    fn view(&self, end: usize) -> View {
        let device = &self.ends[end].device;
        View {
            node: ("us".parse().unwrap(), "node-1".parse().unwrap()),
            own_key: self.keys[end],
            key: self.keys[1 - end],
            bases: BASES.clone(),
            files: self.ends[end].files.clone(),
            held: Some(Resolved {
                main: device.main.clone(),
                alternate: device.alternate.clone(),
            }),
            is_in_use: device.session.as_ref() == Some(&device.main) && !device.main.is_none(),
            is_changing: self.ends[end].is_changing,
            is_silent: 10 < self.ends[end].silent_steps || device.session.is_none(),
        }
    }

    /// Whoever begins a handshake, the other's answer is known to it.
    fn check_common(&self) {
        if self.is_strict && !self.is_cut && self.ends.iter().all(|it| !it.device.is_plain) {
            let [one, other] = [0, 1].map(|it| &self.ends[it].device);
            for (from, to) in [(one, other), (other, one)] {
                let fits = from.main == to.main || from.alternate.as_ref() == Some(&to.main);
                assert!(fits, "seed {}", self.seed);
            }
        }
    }

    fn is_cut_off(&self) -> bool {
        let [one, other] = [0, 1].map(|it| &self.ends[it].device);
        let fits = |from: &Device, to: &Device| from.alternate.as_ref() == Some(&to.main);
        one.main != other.main && !fits(one, other) && !fits(other, one)
    }

    fn check_established(&self) {
        for end in [0, 1] {
            assert_eq!(self.state(end), PostQuantum::Established, "at {end}");
        }
        let [one, other] = [0, 1].map(|it| &self.ends[it].device);
        assert_eq!(one.main, other.main);
        assert!(!one.main.is_none());
    }

    fn state(&self, end: usize) -> PostQuantum {
        let reports = self.ends[end].exchanger.reports(self.now);
        reports.into_values().next().unwrap().state
    }

    /// Always the same for the same seed.
    fn below<T: TryInto<u64> + TryFrom<u64>>(&mut self, bound: T) -> T {
        let bound: u64 = bound.try_into().ok().unwrap();
        let mixed = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random = mixed;
        let mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        T::try_from((mixed ^ mixed >> 31) % bound).ok().unwrap()
    }
}

const ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(10, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(10, 2, 1, 1)),
];

static BASES: std::sync::LazyLock<Bases> = std::sync::LazyLock::new(|| Bases {
    current: PresharedKey::none(),
    former: None,
});
