//! What follows from what agents say.

use std::fmt::Write as _;

use super::*;

const NODE_1: &str = "causeway/agents/reach/v1/eu/node-1";
const NODE_2: &str = "causeway/agents/reach/v1/eu/node-2";
const END: &str = "causeway/agents/tunnel/v1/eu/node-1";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn counts_what_nodes_say_of_a_remote() {
    // Each with what both nodes say then: reaching, not reaching, undecided.
    check("1:+", (1, 0, 0));
    check("1:+ 2:+", (2, 0, 0));
    check("1:+ 2:-", (1, 1, 0));
    check("1:+ 1:- 2:-", (0, 2, 0));
    check("1:? 2:+", (1, 0, 1));
    check("1:+ 1:0 2:+", (1, 0, 0));
    check("1:+ 1:0", (0, 0, 0));
}

#[test]
fn takes_no_answer_for_an_end_only_where_there_was_one() {
    // `x` is unhealthy without an answer ever.
    check("1:x", (0, 0, 1));
    check("1:? 1:x", (0, 0, 1));
    check("1:+ 1:x", (0, 1, 0));
    check("1:- 1:x", (0, 1, 0));
    check("1:x 1:+", (1, 0, 0));
}

#[test]
fn keeps_the_word_of_a_node_that_begins_anew() {
    check("1:+ 1:?", (1, 0, 0));
    check("1:- 1:? 1:x", (0, 1, 0));
    // Its lease ended in between.
    check("1:- 1:0 1:? 1:x", (0, 0, 1));
}

#[test]
fn believes_a_list_and_drops_what_it_lacks() {
    let mut agents = agents();
    agents.apply(Update::Changed(vec![
        put(NODE_1, &reach("+")),
        put(END, &end(KEY)),
    ]));
    agents.apply(Update::Connected { cluster_id: 1 });

    let news = agents.apply(Update::Listed(vec![stored(NODE_2, reach("-").as_bytes())]));

    assert_eq!(news.remotes, BTreeSet::from([us()]));
    assert_eq!(news.ends, [("node-1".parse().unwrap(), None)]);
    assert_eq!(counts(&agents), (0, 1, 0));
    let again = agents.apply(Update::Listed(vec![stored(NODE_2, reach("-").as_bytes())]));
    assert!(again.remotes.is_empty() && again.ends.is_empty());
}

#[test]
fn keeps_what_was_good_when_a_record_is_not() {
    let mut agents = agents();
    agents.apply(Update::Changed(vec![
        put(NODE_1, &reach("+")),
        put(END, &end(KEY)),
    ]));
    let large = format!("{}{}", reach("-"), " ".repeat(AGENT_RECORD_BYTES_MAX));

    for (key, value) in [
        (NODE_1, "{"),
        (NODE_1, r#"{"clusters":{"US":{}}}"#),
        (NODE_1, &large),
        (END, &end("key")),
        ("causeway/agents/reach/v1/us/node-1", &reach("-")),
        ("causeway/agents/reach/v1/eu/", &reach("-")),
    ] {
        let news = agents.apply(Update::Changed(vec![put(key, value)]));
        assert!(news.remotes.is_empty() && news.ends.is_empty(), "{key}");
    }

    assert_eq!(counts(&agents), (1, 0, 0));
    let expected = BTreeMap::from([
        ("malformed-key", 1),
        ("mismatch", 1),
        ("no-json", 2),
        ("no-tunnel", 1),
        ("too-large", 1),
    ]);
    assert_eq!(agents.rejections.counts, expected);
    let problem = agents.problem().unwrap().what;
    assert!(
        problem.starts_with("6 records of node agents were dropped"),
        "{problem}"
    );
    // What a later version writes is none of our business.
    let later = put("causeway/agents/later/v1/eu/node-1", "{");
    agents.apply(Update::Changed(vec![later]));
    assert_eq!(agents.rejections.counts, expected);
}

#[test]
fn listens_to_so_many_nodes_and_no_more() {
    let mut agents = agents();
    let nodes = (0..=AGENT_NODES_MAX).map(|it| {
        let mut key = String::new();
        write!(key, "causeway/agents/reach/v1/eu/n{it}").unwrap();
        put(&key, &reach("+"))
    });
    agents.apply(Update::Changed(nodes.collect()));
    assert_eq!(counts(&agents), (AGENT_NODES_MAX, 0, 0));
    assert_eq!(agents.rejections.counts["too-many"], 1);

    let known = put("causeway/agents/reach/v1/eu/n0", &reach("-"));
    agents.apply(Update::Changed(vec![known]));
    assert_eq!(counts(&agents), (AGENT_NODES_MAX - 1, 1, 0));
}

/// Applies words such as `1:+`, a node and what it says, and compares the tally.
#[track_caller]
fn check(words: &str, expected: (usize, usize, usize)) {
    let mut agents = agents();
    for word in words.split(' ') {
        let (node, said) = word.split_once(':').unwrap();
        let key = if node == "1" { NODE_1 } else { NODE_2 };
        let change = match said {
            "0" => Change::Delete {
                key: key.to_owned(),
                mod_revision: 1,
            },
            said => put(key, &reach(said)),
        };
        agents.apply(Update::Changed(vec![change]));
    }
    assert_eq!(counts(&agents), expected, "{words}");
}

fn agents() -> Agents {
    Agents::new("eu".parse().unwrap())
}

fn us() -> ClusterName {
    "us".parse().unwrap()
}

fn counts(agents: &Agents) -> (usize, usize, usize) {
    let tally = agents.tally(&us());
    (tally.reaching, tally.not_reaching, tally.undecided)
}

fn reach(said: &str) -> String {
    let (health, round_trip) = match said {
        "+" => ("healthy", r#","roundTripMicroseconds":900"#),
        "-" => ("unhealthy", r#","roundTripMicroseconds":900"#),
        "x" => ("unhealthy", ""),
        "?" => ("unknown", ""),
        it => panic!("{it}"),
    };
    format!(
        r#"{{"clusters":{{"us":{{"health":"{health}","sinceUnixMilliseconds":1{round_trip}}}}}}}"#
    )
}

fn end(key: &str) -> String {
    format!(r#"{{"publicKey":"{key}"}}"#)
}

fn put(key: &str, value: &str) -> Change {
    Change::Put(stored(key, value.as_bytes()))
}

fn stored(key: &str, value: &[u8]) -> Stored {
    Stored {
        key: key.to_owned(),
        value: value.to_owned(),
        mod_revision: 1,
    }
}
