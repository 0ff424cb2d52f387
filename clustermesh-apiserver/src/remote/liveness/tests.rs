//! What is decided of a remote, after which evidence.

use super::*;

#[test]
fn says_nothing_before_it_knows() {
    check(&[(0, "open")], None);
    check(&[(0, "open"), (4_999, "open")], None);
    check(&[(0, "open"), (5_000, "open")], Some((false, 5_000)));
    check(&[(0, "open"), (100, "for")], Some((true, 100)));
    check(&[(0, "against")], Some((false, 0)));
}

#[test]
fn lets_an_api_server_restart() {
    check(&[(0, "for"), (9_000, "open")], Some((true, 0)));
    check(
        &[(0, "for"), (9_000, "open"), (13_999, "open")],
        Some((true, 0)),
    );
    check(
        &[(0, "for"), (9_000, "open"), (14_000, "open")],
        Some((false, 14_000)),
    );
    check(
        &[
            (0, "for"),
            (9_000, "open"),
            (9_500, "for"),
            (14_000, "open"),
        ],
        Some((true, 0)),
    );
}

#[test]
fn believes_silence_at_once() {
    check(&[(0, "for"), (9_000, "against")], Some((false, 9_000)));
    check(
        &[(0, "for"), (9_000, "open"), (10_000, "against")],
        Some((false, 10_000)),
    );
}

#[test]
fn stays_lost_until_the_remote_is_read_again() {
    check(
        &[(0, "against"), (1_000, "open"), (1_200, "open")],
        Some((false, 0)),
    );
    check(
        &[(0, "against"), (1_000, "open"), (1_300, "for")],
        Some((true, 1_300)),
    );
}

#[test]
fn takes_a_loss_without_a_reason_for_a_loss() {
    let mut liveness = Liveness::new(0.into());
    liveness.weigh(Evidence::Answer, 0.into());
    liveness.weigh(Evidence::Away(String::new()), 1_000.into());
    liveness.weigh(Evidence::Away(String::new()), 6_000.into());

    assert!(!liveness.state().unwrap().connected);
}

#[test]
fn counts_spans_whatever_the_clock_says() {
    let at = |unix_milliseconds, uptime_milliseconds| Moment {
        unix_milliseconds,
        uptime_milliseconds,
    };
    let open = || Evidence::Away("a reason".to_owned());
    let mut liveness = Liveness::new(at(900_000, 0));
    liveness.weigh(Evidence::Answer, at(900_000, 0));
    liveness.weigh(open(), at(1_000, 1_000));
    assert!(liveness.state().unwrap().connected);
    liveness.weigh(open(), at(2_000_000, 5_999));
    assert!(liveness.state().unwrap().connected);

    liveness.weigh(open(), at(6_000, 6_000));
    let state = liveness.state().unwrap();
    assert_eq!(
        (state.connected, state.since_unix_milliseconds),
        (false, 6_000)
    );
}

#[test]
fn waits_for_one_that_comes_and_goes_to_stay() {
    let thrice = [
        (0, "for"),
        (1_000, "against"),
        (2_000, "for"),
        (3_000, "against"),
        (4_000, "for"),
        (5_000, "against"),
    ];
    let then = |more: &[(u64, &'static str)]| [&thrice[..], more].concat();

    check(&thrice[..5], Some((true, 4_000)));
    let lost = Some((false, 5_000));
    check(&then(&[(7_000, "for"), (11_999, "for")]), lost);
    let back = [(7_000, "for"), (12_000, "for")];
    check(&then(&back), Some((true, 12_000)));
    let again = [
        (7_000, "for"),
        (8_000, "open"),
        (9_000, "for"),
        (13_999, "for"),
    ];
    check(&then(&again), lost);
    check(&then(&[(66_000, "for")]), Some((true, 66_000)));
}

/// Weighs pieces of evidence at their times, and compares whether it is connected, since when.
#[track_caller]
fn check(evidence: &[(u64, &str)], expected: Option<(bool, u64)>) {
    let alone: Vec<_> = evidence
        .iter()
        .map(|(now, it)| (*now, *it, NOBODY))
        .collect();
    check_both(&alone, expected);
}

/// Which nodes reach the remote, do not, and have yet to find out.
type Nodes = (usize, usize, usize);

const REACHED: Nodes = (2, 1, 0);
const DIVIDED: Nodes = (1, 2, 0);
const UNREACHED_BY_ALL: Nodes = (0, 2, 1);
const UNDECIDED: Nodes = (0, 0, 2);
const NOBODY: Nodes = (0, 0, 0);

#[test]
fn weighs_the_link_and_the_data_plane_together() {
    let (kept, lost) = (Some((true, 0)), |at| Some((false, at)));
    for (evidence, nodes, at_once, after_grace) in [
        ("for", REACHED, kept, kept),
        ("for", DIVIDED, kept, kept),
        ("for", UNREACHED_BY_ALL, lost(1_000), lost(1_000)),
        ("for", UNDECIDED, kept, kept),
        ("for", NOBODY, kept, kept),
        ("open", REACHED, kept, kept),
        ("open", DIVIDED, kept, lost(6_000)),
        ("open", UNREACHED_BY_ALL, lost(1_000), lost(1_000)),
        ("open", UNDECIDED, kept, lost(6_000)),
        ("open", NOBODY, kept, lost(6_000)),
        ("against", REACHED, kept, kept),
        ("against", DIVIDED, lost(1_000), lost(1_000)),
        ("against", UNREACHED_BY_ALL, lost(1_000), lost(1_000)),
        ("against", UNDECIDED, kept, lost(6_000)),
        ("against", NOBODY, lost(1_000), lost(1_000)),
        ("refusal", REACHED, lost(1_000), lost(1_000)),
        ("refusal", NOBODY, lost(1_000), lost(1_000)),
    ] {
        let at = |now| (now, evidence, nodes);
        let connected = (0, "for", NOBODY);
        check_both(&[connected, at(1_000), at(5_999)], at_once);
        check_both(&[connected, at(1_000), at(6_000)], after_grace);
    }
}

#[test]
fn waits_for_the_link_before_it_keeps_what_only_the_data_plane_knows() {
    let reached = |now, link| (now, link, REACHED);
    check_both(&[reached(0, "open"), reached(4_999, "open")], None);
    check_both(&[reached(0, "against"), reached(4_999, "open")], None);
    let kept = [reached(0, "against"), reached(5_000, "against")];
    check_both(&kept, Some((true, 5_000)));
    check_both(&[reached(0, "open"), reached(9, "for")], Some((true, 9)));
}

#[test]
fn lets_agents_restart() {
    // One that is kept by the data plane alone, and one that is lost by it alone.
    for (link, nodes, connected) in [("against", REACHED, true), ("for", UNREACHED_BY_ALL, false)] {
        let before = [(0, "for", NOBODY), (1_000, link, nodes)];
        let since = if connected { 0 } else { 1_000 };
        for absent in [NOBODY, UNDECIDED] {
            let gone = [(31_000, link, absent), (60_000, link, absent)];
            let again = [(61_000, link, nodes)];
            check_both(&[&before[..], &gone].concat(), Some((connected, since)));
            let all = [&before[..], &gone, &again].concat();
            check_both(&all, Some((connected, since)));
        }
    }
}

#[test]
fn believes_the_link_again_when_agents_stay_away() {
    let kept = [(0, "for", NOBODY), (1_000, "against", REACHED)];
    let gone = [(2_000, "against", NOBODY), (302_000, "against", NOBODY)];
    check_both(&[&kept[..], &gone].concat(), Some((false, 302_000)));
    let lost = [(0, "for", NOBODY), (1_000, "for", UNREACHED_BY_ALL)];
    let gone = [(2_000, "for", NOBODY), (302_000, "for", NOBODY)];
    check_both(&[&lost[..], &gone].concat(), Some((true, 302_000)));
    // Once the link has answered, nobody's last word keeps it.
    let later = [
        (0, "for", REACHED),
        (1_000, "for", NOBODY),
        (2_000, "against", NOBODY),
    ];
    check_both(&later, Some((false, 2_000)));
}

#[test]
fn comes_back_by_the_data_plane_as_by_the_link() {
    let lost = (0, "against", NOBODY);
    check_both(&[lost, (900, "against", REACHED)], Some((true, 900)));
    let thrice = [
        (0, "for", REACHED),
        (1_000, "for", UNREACHED_BY_ALL),
        (2_000, "for", REACHED),
        (3_000, "for", UNREACHED_BY_ALL),
        (4_000, "for", REACHED),
        (5_000, "for", UNREACHED_BY_ALL),
        (7_000, "for", REACHED),
        (11_999, "for", REACHED),
    ];
    check_both(&thrice, Some((false, 5_000)));
    let back = [&thrice[..], &[(12_000, "for", REACHED)]].concat();
    check_both(&back, Some((true, 12_000)));
}

#[test]
fn says_who_decides_and_why() {
    let mut liveness = Liveness::new(0.into());
    let mut told = |evidence: Evidence, nodes: Nodes, now: u64| {
        liveness.hear_nodes(tally(nodes), now.into());
        liveness.weigh(evidence, now.into());
        let reason = liveness.state().unwrap().reason.clone();
        (liveness.decided_by(), reason)
    };
    let silence = || Evidence::Silence("no answer to a ping".to_owned());

    assert_eq!(told(Evidence::Answer, REACHED, 0).0, Witness::Etcd);
    let (witness, reason) = told(silence(), REACHED, 1_000);
    assert_eq!(witness, Witness::DataPlane);
    let expected = "its API server does not answer since 1970-01-01T00:00:01Z (no answer to a \
                    ping); 2 of 3 nodes reach its pods";
    assert_eq!(reason, expected);
    let (_, reason) = told(silence(), NOBODY, 2_000);
    let remembered = "2 of 3 nodes reached its pods when they last said so";
    assert!(reason.ends_with(remembered), "{reason}");
    let (witness, reason) = told(Evidence::Answer, UNREACHED_BY_ALL, 3_000);
    assert_eq!(
        (witness, &*reason),
        (
            Witness::DataPlane,
            "no node of ours reaches it through its tunnels"
        )
    );
    let (_, reason) = told(silence(), UNREACHED_BY_ALL, 4_000);
    let both = "no node of ours reaches it through its tunnels; its API server does not answer \
                either: no answer to a ping";
    assert_eq!(reason, both);
    let refusal = Evidence::Refusal("its id is 0".to_owned());
    let (witness, reason) = told(refusal, REACHED, 5_000);
    assert_eq!((witness, &*reason), (Witness::Etcd, "its id is 0"));
}

/// Like [`check`], with what the nodes say of the remote at each time.
#[track_caller]
fn check_both(evidence: &[(u64, &str, Nodes)], expected: Option<(bool, u64)>) {
    let mut liveness = Liveness::new(0.into());
    for (now, link, nodes) in evidence {
        let reason = "a reason".to_owned();
        let link = match *link {
            "for" => Evidence::Answer,
            "against" => Evidence::Silence(reason),
            "open" => Evidence::Away(reason),
            "refusal" => Evidence::Refusal(reason),
            it => panic!("{it}"),
        };
        liveness.hear_nodes(tally(*nodes), (*now).into());
        liveness.weigh(link, (*now).into());
    }

    let state = liveness.state();
    let found = state.map(|it| (it.connected, it.since_unix_milliseconds));
    assert_eq!(found, expected, "{evidence:?}");
}

fn tally((reaching, not_reaching, undecided): Nodes) -> Tally {
    Tally {
        reaching,
        not_reaching,
        undecided,
    }
}
