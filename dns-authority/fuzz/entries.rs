//! What is fed with bytes from outside: whatever they are, nothing may panic, and what clients and their
//! neighbors are promised must hold.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};

use daemon::Clock;
use dns_authority::answer::World;
use dns_authority::config::ZoneSource;
use dns_authority::cookie::{Secret, Secrets};
use dns_authority::geo::Atlas;
use dns_authority::guard::{Guard, Treatment};
use dns_authority::limit::{Limiter, Rates};
use dns_authority::load::Library;
use dns_authority::message::{Transport, handle};
use dns_authority::wire::name::Folded;
use dns_authority::wire::query::{HEADER_BYTES, Received, read};
use hickory_proto::op::Message;

/// An octet that says how a message comes, and the message.
pub(crate) fn dns_request(bytes: &[u8]) {
    let Some((how, query)) = bytes.split_first() else {
        return;
    };
    let transport = match how % 5 {
        0 => Transport::Https,
        1 => Transport::Quic,
        2 => Transport::Tcp,
        3 => Transport::Tls,
        _ => Transport::Udp,
    };
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, *how));
    let secrets = Secrets::new(Secret::new([9; 16]));
    let limiter = spent(client);
    let guard = Guard {
        secrets: Some(&secrets),
        limiter: (how & 0x80 != 0).then_some(&limiter),
        name: b"the server",
        patience: 100,
        unix_seconds: 1_800_000_000,
        ..Guard::open(Clock.now())
    };

    let mut answer = Vec::new();
    let handled = handle(world(), &guard, query, client, transport, 0, &mut answer);

    let is_query = HEADER_BYTES <= query.len() && query[2] & 0x80 == 0;
    assert_eq!(handled.is_some(), is_query, "answers go to queries");
    if handled.is_none() || answer.is_empty() {
        assert!(answer.is_empty());
        return;
    }
    let treatment = handled.map(|it| it.treatment);
    assert!(
        answer.len() <= longest(query, transport),
        "{}",
        answer.len()
    );
    assert_eq!(answer[..2], query[..2], "the client knows it by its number");
    assert_ne!(answer[2] & 0x80, 0, "it is an answer");
    if let Received::Query(read) = read(query) {
        let question = &query[HEADER_BYTES..HEADER_BYTES + read.question.len()];
        assert_eq!(&answer[HEADER_BYTES..][..question.len()], question);
        Message::from_vec(&answer).expect("others can read it");
    }
    if treatment != Some(Treatment::Answered) {
        // At least the shortest query that has an EDNS record, and a cookie in it.
        assert!(
            2 * answer.len() <= 3 * query.len().max(40),
            "no gain in asking for others"
        );
    }
}

/// How long the answer may be.
fn longest(query: &[u8], transport: Transport) -> usize {
    if transport != Transport::Udp {
        return usize::from(u16::MAX);
    }
    match read(query) {
        Received::Query(query) => query
            .edns
            .map_or(512, |it| it.payload.clamp(512, 1232).into()),
        Received::Malformed(_) | Received::Nothing | Received::Other(_) => HEADER_BYTES,
    }
}

/// A limiter that has nothing left for `client`.
fn spent(client: IpAddr) -> Limiter {
    use dns_authority::limit::Tone;

    let rates = Rates {
        per_second: 1,
        slip: 1,
        exempt: Vec::new(),
    };
    let now = Clock.now();
    let limiter = Limiter::new(rates, 3, now);
    for tone in [Tone::Yes, Tone::NoData, Tone::NoName, Tone::Error] {
        limiter.judge(client, tone, now, 0);
    }
    limiter
}

/// A zone with something of everything.
fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let file = std::env::temp_dir().join(format!("dns-request-{}.zone", std::process::id()));
        fs::write(&file, include_str!("sample.zone")).expect("a place for a file");
        let atlas = Atlas::default();
        let source = ZoneSource {
            origin: Folded::parse("example.test").expect("a name"),
            file: file.clone(),
        };
        let (_, loaded) = Library::open(&[source], &atlas).expect("a zone");
        fs::remove_file(&file).expect("it is there");
        World {
            zones: Arc::new(loaded.zones),
            ..World::default()
        }
    })
}
