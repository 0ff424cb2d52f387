//! Decides whether what clients saw of a key can have happened in one order that respects time.
//!
//! The search of Wing and Gong, with the memory of Lowe: try every operation that may come next, undo
//! what leads nowhere, and never look twice at the same set of operations in the same state.

use std::collections::BTreeSet;

/// What a client asked of a key. Every value is written once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Request {
    /// Writes the second value if the first is there (`None`: no key).
    CompareAndPut(Option<u64>, u64),
    Delete,
    Get,
    Put(u64),
}

/// What it was told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reply {
    pub(crate) succeeded: bool,
    /// The value that was there before, or is there.
    pub(crate) value: Option<u64>,
    /// What reading tells beside the value.
    pub(crate) version: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Operation {
    pub(crate) request: Request,
    /// When it was sent, on a clock that all clients share.
    pub(crate) sent: u64,
    /// When the reply came, and what it was; nobody knows whether the others took effect.
    pub(crate) reply: Option<(u64, Reply)>,
}

/// The key: its value and version.
#[derive(Clone, Copy, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
struct State {
    value: Option<u64>,
    version: i64,
}

type Done = Vec<u64>;

/// `history` is in the order of `sent`.
pub(crate) fn is_linearizable(history: &[Operation]) -> bool {
    let mut seen: BTreeSet<(Done, State)> = BTreeSet::new();
    let mut open = vec![(vec![0; history.len().div_ceil(64)], State::default())];
    while let Some((done, state)) = open.pop() {
        if !seen.insert((done.clone(), state)) {
            continue;
        }
        let rest = || (0..history.len()).filter(|it| !is_done(&done, *it));
        let replies = rest().filter_map(|it| history[it].reply.map(|(at, _)| at));
        // What was sent after some reply came cannot have happened before that one.
        let Some(first_reply) = replies.min() else {
            return true;
        };
        for index in rest().take_while(|it| history[*it].sent < first_reply) {
            let (next, reply) = run(state, history[index].request);
            let fits = history[index].reply.is_none_or(|(_, seen)| seen == reply);
            if fits {
                let mut done = done.clone();
                done[index / 64] |= 1 << (index % 64);
                open.push((done, next));
            }
        }
    }
    false
}

fn is_done(done: &Done, index: usize) -> bool {
    done[index / 64] & (1 << (index % 64)) != 0
}

fn run(state: State, request: Request) -> (State, Reply) {
    let written = |value| State {
        value: Some(value),
        version: state.version + 1,
    };
    let reply = |succeeded, version| Reply {
        succeeded,
        value: state.value,
        version,
    };
    match request {
        Request::CompareAndPut(expected, value) if state.value == expected => {
            (written(value), reply(true, None))
        }
        Request::CompareAndPut(..) => (state, reply(false, Some(state.version))),
        Request::Delete => (State::default(), reply(state.value.is_some(), None)),
        Request::Get => (state, reply(true, Some(state.version))),
        Request::Put(value) => (written(value), reply(true, None)),
    }
}

#[test]
fn accepts_what_some_order_explains() {
    // A read beside a write may see either.
    assert!(check("put1 0-9, get- 1-2, get1 3-4"));
    assert!(check("put1 0-9, get1 1-2, get1 3-4"));
    // A write without a reply may count, now or later, or not.
    assert!(check("put1 0-?, get- 1-2, get1 3-4"));
    assert!(check("put1 0-?, get- 1-2, get- 3-4"));
    assert!(check("put1 0-1, put2 2-5, put3 3-4, get2 6-7"));
}

#[test]
fn rejects_what_no_order_explains() {
    assert!(!check("put1 0-1, get- 2-3"), "a lost write");
    assert!(!check("put1 0-9, get1 1-2, get- 3-4"), "back in time");
    assert!(!check("put1 0-1, put2 2-3, get1 4-5"), "a stale read");
    assert!(!check("get1 0-1, put1 2-3"), "out of the future");
    assert!(!check("put1 0-?, get1 1-2, get- 3-4"), "taken back");
}

/// Reads operations such as `put1 0-9`, sent at 0 and answered at 9; `get-` saw nothing.
fn check(text: &str) -> bool {
    let operations: Vec<Operation> = text
        .split(", ")
        .map(|it| {
            let (what, times) = it.split_once(' ').unwrap();
            let (sent, replied) = times.split_once('-').unwrap();
            let (verb, value) = what.split_at(3);
            let value: Option<u64> = value.parse().ok();
            let (request, reply) = match verb {
                "put" => (Request::Put(value.unwrap()), None),
                _ => (Request::Get, Some(value)),
            };
            Operation {
                request,
                sent: sent.parse().unwrap(),
                reply: replied.parse().ok().map(|at| {
                    let reply = Reply {
                        succeeded: true,
                        value: reply.flatten(),
                        version: None,
                    };
                    (at, reply)
                }),
            }
        })
        .collect();
    // Versions, and what was there before a write, are whatever fits.
    (0..1 << (2 * operations.len())).any(|choice: usize| {
        let mut fitting = operations.clone();
        for (index, operation) in fitting.iter_mut().enumerate() {
            let choice = (choice >> (2 * index)) & 3;
            if let Some((_, reply)) = &mut operation.reply {
                if operation.request == Request::Get {
                    reply.version = Some(i64::try_from(choice).unwrap());
                } else {
                    reply.value = Some(choice as u64).filter(|it| *it != 0);
                }
            }
        }
        is_linearizable(&fitting)
    })
}
