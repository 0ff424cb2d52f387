use std::net::Ipv4Addr;
use std::time::Duration;

use topology::health::Health;

use super::*;
use world::{A, ADDRESSES, B, Refuses, World, milliseconds, tag, world_peer};

mod world;

#[test]
fn measures_the_way_to_a_healthy_node() {
    let mut world = World::new();
    world.link.delay = milliseconds(10);

    world.run(60_000);

    let report = world.report();
    assert_eq!(report.health, Health::Healthy);
    assert_eq!(report.since, 20, "with the first answer");
    assert_eq!(report.round_trip_microseconds, Some(20_000));
    assert_eq!(report.round_trip_p99_microseconds, Some(20_000));
    assert_eq!(report.loss_per_mille, 0);
    assert_eq!(report.path_mtu, Some(1420));
}

#[test]
fn calls_a_node_dead_within_a_second_of_its_last_answer_and_back_soon_after() {
    for moment in 0..40 {
        let mut world = World::new();
        world.link.delay = milliseconds(5);
        world.run(30_000 + moment * 17);

        world.link.cut = true;
        let dead_after = world.until(Health::Unhealthy);
        assert!(dead_after <= milliseconds(1_000), "{dead_after:?}");

        world.run(7_000);
        world.link.cut = false;
        let back_after = world.until(Health::Healthy);
        assert!(back_after <= milliseconds(700), "{back_after:?}");
    }
}

#[test]
fn stands_loss_reordering_and_duplicates() {
    let mut world = World::new();
    world.link.delay = milliseconds(20);
    world.link.delay_varies_by = milliseconds(200);
    world.link.duplicates_per_cent = 50;
    world.run(600_000);
    let report = world.report();
    assert_eq!((report.health, world.transitions()), (Health::Healthy, 1));
    assert_eq!(report.loss_per_mille, 0, "late is not lost");

    world.link.loss_per_cent = 10;
    world.run(600_000);
    // 190 is what both ways lose together; the window is a sample of 100.
    let loss = world.report().loss_per_mille;
    assert!((80..320).contains(&loss), "{loss}");
}

#[test]
fn stands_a_path_that_becomes_much_longer_at_once() {
    let mut world = World::new();
    world.link.delay = milliseconds(1);
    world.run(60_000);

    world.link.delay = milliseconds(280);
    world.run(60_000);

    assert_eq!(
        (world.report().health, world.transitions()),
        (Health::Healthy, 1)
    );
    assert_eq!(world.report().round_trip_microseconds, Some(560_000));
    assert_eq!(world.report().loss_per_mille, 0);
}

#[test]
fn takes_no_answer_to_an_earlier_life() {
    let mut world = World::new();
    world.link.delay = milliseconds(400);
    world.run(500);
    world.restart(A);

    world.run(500);
    assert_eq!(world.report().health, Health::Unknown);
    world.run(1_000);
    assert_eq!(world.report().round_trip_microseconds, Some(800_000));
}

#[test]
fn excuses_an_agent_that_is_away_while_its_kernel_answers() {
    let mut world = World::new();
    world.run(60_000);

    world.away = Some(Refuses(true));
    world.run(60_000);
    assert_eq!(
        (world.report().health, world.transitions()),
        (Health::Healthy, 1)
    );

    world.away = Some(Refuses(false));
    world.run(5_000);
    assert_eq!(world.report().health, Health::Unhealthy);

    world.away = None;
    world.restart(B);
    world.run(5_000);
    assert_eq!(world.report().health, Health::Healthy);
}

#[test]
fn excuses_who_never_answers_as_long_as_the_tunnel_has_a_session() {
    let mut world = World::new();
    world.away = Some(Refuses(false));
    world.run(60_000);
    assert_eq!(world.report().health, Health::Unknown);
    assert_eq!(world.report().loss_per_mille, 1_000);

    world.has_session = false;
    world.retarget();
    world.run(5_000);
    assert_eq!(world.report().health, Health::Unhealthy);

    world.has_session = true;
    world.retarget();
    world.run(60_000);
    assert_eq!(world.report().health, Health::Unknown, "it carries again");
}

#[test]
fn is_answered_by_nobody_but_the_node_it_asks() {
    let mut world = World::new();
    let mut request = Vec::new();
    let right = Message {
        kind: Kind::Request,
        from: tag("eu", "a"),
        to: tag("us", "b"),
        sequence: 1,
        sent_microseconds: 0,
        is_ready: false,
        size: 100,
    };
    for (message, from, answered) in [
        (right, ADDRESSES[A], true),
        (right, [10, 1, 1, 2].into(), false),
        (
            Message {
                to: tag("us", "c"),
                ..right
            },
            ADDRESSES[A],
            false,
        ),
        (
            Message {
                from: tag("eu", "c"),
                ..right
            },
            ADDRESSES[A],
            false,
        ),
        (
            Message {
                kind: Kind::Answer,
                ..right
            },
            ADDRESSES[A],
            false,
        ),
    ] {
        message.write(&mut request);
        let now = world.now;
        let answer = world.probers[B].handle_datagram(from, &request, now);
        assert_eq!(answer.is_some(), answered, "{message:?} from {from}");
        assert!(answer.is_none_or(|it| it.to == from && it.message.size == message.size));
    }
}

#[test]
fn answers_a_flood_with_a_trickle() {
    let mut world = World::new();
    let mut request = Vec::new();
    let mut answers = 0;
    for sequence in 0..100_000 {
        let message = Message {
            kind: Kind::Request,
            from: tag("eu", "a"),
            to: tag("us", "b"),
            sequence,
            sent_microseconds: 0,
            is_ready: false,
            size: 1_392,
        };
        message.write(&mut request);
        world.now.instant += Duration::from_micros(100);
        let now = world.now;
        let answer = world.probers[B].handle_datagram(ADDRESSES[A], &request, now);
        answers += u32::from(answer.is_some());
    }
    assert!((900..=1_100).contains(&answers), "{answers} in 10 s");
}

#[test]
fn finds_a_path_that_shrinks_without_calling_the_node_dead() {
    let mut world = World::new();
    world.link.delay = milliseconds(2);
    world.run(10_000);

    world.link.mtu_bytes = 1_371;
    world.run(10_000);
    assert_eq!(world.report().path_mtu.map(|it| it <= 1_371), Some(true));
    world.run(30_000);
    assert_eq!(world.report().path_mtu, Some(1_371));
    assert_eq!(world.transitions(), 1);
    assert_eq!(world.report().loss_per_mille, 0, "only small ones count");

    world.link.cut = true;
    world.run(60_000);
    assert_eq!(
        world.report().path_mtu,
        Some(1_371),
        "silence tells no size"
    );
}

#[test]
fn probes_nodes_of_ipv6_and_knows_how_large_their_headers_are() {
    let mut world = World::with_ipv6_only();
    world.link.mtu_bytes = 1_371;
    world.run(60_000);
    assert_eq!(world.report().health, Health::Healthy);
    assert_eq!(world.report().path_mtu, Some(1_371));

    world.away = Some(Refuses(true));
    world.run(60_000);
    assert_eq!(world.report().health, Health::Healthy, "its kernel answers");

    world.link.cut = true;
    let dead_after = world.until(Health::Unhealthy);
    assert!(dead_after <= milliseconds(4_000), "{dead_after:?}");
}

#[test]
fn tells_at_once_who_is_ready() {
    let mut world = World::new();
    let said = |world: &World, side: usize| world.probers[side].said().into_values().next();
    assert_eq!(said(&world, A), None);
    world.run(1_000);
    assert_eq!(
        (said(&world, A), said(&world, B)),
        (Some(false), Some(false))
    );

    for ready in [[true, false], [true, true], [false, true]] {
        let before = world.transitions();
        world.is_ready = ready;
        world.retarget();
        world.run(400);
        assert_eq!(said(&world, A), Some(ready[B]));
        assert_eq!(said(&world, B), Some(ready[A]));
        assert_eq!(world.transitions() - before, u64::from(ready == [true; 2]));
    }

    world.away = Some(Refuses(true));
    world.run(60_000);
    assert_eq!(
        said(&world, A),
        Some(true),
        "an agent that is away takes nothing back"
    );
}

#[test]
fn probes_many_nodes_less_often_and_never_more_than_the_most() {
    let mut world = World::new();
    let peer = |index: u32| {
        let node = format!("node-{index}").parse().unwrap();
        let peer = Peer {
            node,
            ..world_peer(B, true)
        };
        (Ipv4Addr::from(0x0a03_0000 + index).into(), peer)
    };
    let peers: BTreeMap<_, _> = (0..20_000).map(peer).collect();
    let now = world.now;
    world.probers[A].retarget(&peers, 1_420, now);
    assert_eq!(world.probers[A].reports().len(), TARGETS_MAX);

    let mut sent = 0;
    for _ in 0..60_000 / 50 {
        world.advance(milliseconds(50));
        let now = world.now;
        world.probers[A].handle_timeout(now);
        sent += std::iter::from_fn(|| world.probers[A].poll_transmit()).count();
    }
    let most = 60 * PROBES_PER_SECOND_MAX as usize;
    assert!(
        (most / 2..=most * 11 / 10).contains(&sent),
        "{sent} where {most} are the most"
    );
}

#[test]
fn notices_every_outage_of_two_days_and_nothing_else() {
    let mut world = World::new();
    world.link.delay = milliseconds(15);
    world.link.delay_varies_by = milliseconds(20);
    for hour in 1..=48 {
        world.run(3_590_000);
        assert_eq!(world.report().health, Health::Healthy, "hour {hour}");
        world.link.cut = true;
        world.run(10_000);
        assert_eq!(world.report().health, Health::Unhealthy, "hour {hour}");
        world.link.cut = false;
    }
    world.run(10_000);
    assert_eq!(world.transitions(), 1 + 2 * 48);
    assert_eq!(world.report().path_mtu, Some(1_420));
}
