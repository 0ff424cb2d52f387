#![expect(
    clippy::disallowed_methods,
    reason = "a test needs some instant to start from"
)]

use std::net::SocketAddr;

use super::*;
use crate::check::{Endpoint, Method, Timing};

#[test]
fn probes_every_check_soon_and_then_once_per_interval() {
    let checks = many_targets(100);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);

    let mut counts = [0; 100];
    for tick in 0..100 {
        let now = at(start, tick * 100);
        for (id, _) in board.take_due(now.monotonic, 1000) {
            counts[id.index()] += 1;
            board.handle_outcome(id, Ok(()), now);
        }
        if tick == 5 {
            assert_eq!(counts, [1; 100]);
            assert!(!board.health().contains(&Health::Unknown));
        }
    }
    // Ten seconds, an interval of two less at most 5 % of jitter, but for the second probe.
    assert!(counts.iter().all(|it| (5..=6).contains(it)), "{counts:?}");
}

#[test]
fn never_probes_a_check_twice_at_once_and_keeps_to_the_limit() {
    let checks = checks(10);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
    let later = at(start, 60_000);

    let taken = board.take_due(later.monotonic, 4);
    assert_eq!(taken.len(), 4);
    let rest = board.take_due(later.monotonic, 100);
    assert_eq!(rest.len(), 6);
    assert_eq!(board.next_due(), None);
}

#[test]
fn tells_transitions_with_their_reason() {
    let checks = checks(1);
    let start = moment(7);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
    let id = CheckId::from_index(0);

    assert_eq!(
        board.handle_outcome(id, Ok(()), start).unwrap().health,
        Health::Healthy
    );
    assert_eq!(board.handle_outcome(id, Ok(()), at(start, 1)), None);
    let down = board
        .handle_outcome(id, Err("refused".to_owned()), at(start, 2))
        .unwrap();
    assert_eq!(
        (down.health, down.since, down.last_error),
        (Health::Unhealthy, 9, "refused")
    );
    assert_eq!(board.health(), [Health::Unhealthy]);
}

#[test]
fn keeps_what_it_knows_over_a_reload() {
    let start = moment(0);
    let mut board = Board::new(&checks(3), Board::default(), &Memory::default(), start);
    for (id, _) in board.take_due(at(start, 1000).monotonic, 3) {
        board.handle_outcome(id, Ok(()), start);
    }

    let board = Board::new(&checks(5), board, &Memory::default(), at(start, 1500));

    let (up, new) = (Health::Healthy, Health::Unknown);
    assert_eq!(board.health(), [up, up, up, new, new]);
}

#[test]
fn spreads_many_checks_over_the_interval_and_keeps_to_it() {
    let checks = many_targets(10_000);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);

    let mut last = vec![None; 10_000];
    let mut per_tick = Vec::new();
    for tick in 0..1_000 {
        let now = at(start, tick * 10);
        let taken = board.take_due(now.monotonic, usize::MAX);
        per_tick.push(taken.len());
        for (id, _) in taken {
            board.handle_outcome(id, Ok(()), now);
            // Two seconds; to 5 % and the ten milliseconds of this test's clock.
            if let Some(before) = last[id.index()].replace(tick * 10)
                && 2_500 < before
            {
                let gap = tick * 10 - before;
                assert!((1_890..=2_010).contains(&gap), "{gap} ms");
            }
        }
    }
    // From the third round on: 10,000 in two seconds are 50 in ten milliseconds.
    let busiest = per_tick[400..].iter().max().unwrap();
    assert!(*busiest < 200, "{busiest} at once");
}

#[test]
fn probes_one_machine_only_so_often_at_once() {
    let checks = checks(50);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
    let later = at(start, 1_000);

    let mut counts = [0; 50];
    let mut under_way = board.take_due(later.monotonic, 1_000);
    assert_eq!(under_way.len(), crowd::TARGET_PROBES_MAX);
    for _ in 0..50 {
        let (id, _) = under_way.pop().unwrap();
        counts[id.index()] += 1;
        board.handle_outcome(id, Ok(()), later);
        under_way.extend(board.take_due(later.monotonic, 1_000));
        assert!(under_way.len() <= crowd::TARGET_PROBES_MAX);
    }
    assert_eq!(counts, [1; 50]);
}

#[test]
fn tells_what_the_last_probes_were_like() {
    let checks = checks(1);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
    let id = CheckId::from_index(0);
    for (index, is_success) in [true, false, true].into_iter().enumerate() {
        let now = at(start, 2_000 * (index as u64 + 1));
        board.take_due(now.monotonic, 1);
        let outcome = is_success.then_some(()).ok_or_else(|| "refused".to_owned());
        board.handle_outcome(
            id,
            outcome,
            Moment {
                monotonic: now.monotonic + Duration::from_millis(3),
                ..now
            },
        );
    }

    let history = board.verdict(id, start.monotonic).history;
    assert_eq!(history.last().collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(history.took, Some(Duration::from_millis(3)));
    assert_eq!(
        (history.succeeded, history.failed, history.falls),
        (2, 1, 1)
    );
}

#[test]
fn holds_what_comes_and_goes() {
    let checks = checks(1);
    let start = moment(0);
    let mut board = Board::new(&checks, Board::default(), &Memory::default(), start);
    let id = CheckId::from_index(0);
    let mut is_up = true;
    let mut changes = 0;
    for second in 0..60 {
        let outcome = is_up.then_some(()).ok_or_else(|| "refused".to_owned());
        let changed = board.handle_outcome(id, outcome, at(start, second * 1_000));
        changes += usize::from(changed.is_some());
        is_up = !is_up;
    }

    // Up, and twice down and up; then down for good while it goes on so.
    assert_eq!(changes, 6);
    let last = at(start, 59_000).monotonic;
    assert_eq!(board.verdict(id, last).health, Health::Unhealthy);
}

/// Checks of as many machines.
fn many_targets(count: u16) -> Checks {
    let mut checks = Checks::default();
    for check in self::checks(count).iter() {
        let Endpoint::Address(address) = check.target else {
            unreachable!("they have addresses");
        };
        let [high, low] = address.port().to_be_bytes();
        let target = SocketAddr::from(([127, 1, high, low], 80)).into();
        let check = Check {
            target,
            ..Check::clone(check)
        };
        checks.intern(check);
    }
    checks
}

fn checks(count: u16) -> Checks {
    let mut checks = Checks::default();
    for port in 1..=count {
        let timing = Timing {
            interval: Duration::from_secs(2),
            timeout: Duration::from_secs(1),
            fall: 1,
            rise: 1,
        };
        let target = SocketAddr::from(([127, 0, 0, 1], port)).into();
        checks.intern(Check {
            target,
            method: Method::Tcp,
            timing,
            source: None,
        });
    }
    checks
}

fn moment(unix_milliseconds: u64) -> Moment {
    Moment {
        monotonic: Instant::now(),
        unix_milliseconds,
    }
}

fn at(start: Moment, milliseconds: u64) -> Moment {
    Moment {
        monotonic: start.monotonic + Duration::from_millis(milliseconds),
        unix_milliseconds: start.unix_milliseconds + milliseconds,
    }
}
