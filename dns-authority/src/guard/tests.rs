use std::net::IpAddr;

use super::*;
use crate::answer::World;
use crate::cookie::Secret;
use crate::limit::Rates;
use crate::message::{Handled, handle};
use crate::wire::query::HEADER_BYTES;

const COOKIE: u16 = 10;
const PATIENCE: u16 = 11;
const PADDING: u16 = 12;
const NAME: u16 = 3;

#[test]
fn cookies_prove_who_comes_back() {
    let mut scene = Scene::new(1);
    let first = scene.ask(Transport::Udp, &[(COOKIE, b"01234567")]);
    let cookie = first.option(COOKIE).unwrap();
    assert_eq!((cookie.len(), &cookie[..8]), (24, &b"01234567"[..]));

    // The budget is spent now.
    for _ in 0..3 {
        let again = scene.ask(Transport::Udp, &[(COOKIE, b"01234567")]);
        assert_eq!(again.handled.treatment, Treatment::CookieWanted);
        assert_eq!(again.handled.code, code::BAD_COOKIE);
        assert_eq!(again.option(COOKIE).unwrap().len(), 24);
        assert!(!again.is_truncated());
    }
    let proven = scene.ask(Transport::Udp, &[(COOKIE, &cookie)]);
    assert_eq!(proven.handled.treatment, Treatment::Answered);
    scene.client = "198.51.100.1".parse().unwrap();
    scene.ask(Transport::Udp, &[]);
    let stolen = scene.ask(Transport::Udp, &[(COOKIE, &cookie)]);
    assert_eq!(stolen.handled.treatment, Treatment::CookieWanted);
}

#[test]
fn who_asks_too_much_is_sent_to_tcp() {
    let mut scene = Scene::new(1);
    scene.ask(Transport::Udp, &[]);
    let slipped = scene.ask(Transport::Udp, &[]);
    assert_eq!(slipped.handled.treatment, Treatment::Slipped);
    assert!(slipped.is_truncated());
    assert!(slipped.bytes.len() <= slipped.query_bytes);

    for transport in [
        Transport::Https,
        Transport::Quic,
        Transport::Tcp,
        Transport::Tls,
    ] {
        let answered = scene.ask(transport, &[]);
        assert_eq!(answered.handled.treatment, Treatment::Answered);
    }
}

#[test]
fn who_cannot_spell_is_limited_as_well() {
    let mut scene = Scene::new(1);
    scene.slip = 0;
    let noise = [0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff];
    let treatments = [(); 3].map(|()| {
        let handled = scene.send(Transport::Udp, &noise).0.unwrap();
        handled.treatment
    });
    let expected = [Treatment::Answered, Treatment::Dropped, Treatment::Dropped];
    assert_eq!(treatments, expected);
}

#[test]
fn the_name_is_told_to_those_who_ask() {
    let mut scene = Scene::new(0);
    let named = scene.ask(Transport::Udp, &[(NAME, b"")]);
    assert_eq!(named.option(NAME).as_deref(), Some(&b"fra-1"[..]));
    assert_eq!(scene.ask(Transport::Udp, &[]).option(NAME), None);
}

#[test]
fn the_patience_is_told_over_connections_of_dns() {
    for (transport, expected) in [
        (Transport::Https, None),
        (Transport::Quic, None),
        (Transport::Tcp, Some([0, 100])),
        (Transport::Tls, Some([0, 100])),
        (Transport::Udp, None),
    ] {
        let told = Scene::new(0).ask(transport, &[(PATIENCE, b"")]);
        let told = told.option(PATIENCE);
        assert_eq!(told, expected.map(Vec::from), "{transport:?}");
        assert_eq!(Scene::new(0).ask(transport, &[]).option(PATIENCE), None);
    }
}

#[test]
fn encrypted_answers_to_padded_queries_have_one_of_few_lengths() {
    for (transport, is_padded) in [
        (Transport::Https, true),
        (Transport::Quic, true),
        (Transport::Tcp, false),
        (Transport::Tls, true),
        (Transport::Udp, false),
    ] {
        let padded = Scene::new(0).ask(transport, &[(PADDING, &[0; 40])]);
        assert_eq!(padded.bytes.len() == 468, is_padded, "{transport:?}");
        let plain = Scene::new(0).ask(transport, &[]);
        assert_eq!(plain.option(PADDING), None, "{transport:?}");
    }
}

/// A server without zones, and a client of it.
struct Scene {
    per_second: u32,
    slip: u32,
    limiter: Option<Limiter>,
    client: IpAddr,
    now: Instant,
}

struct Told {
    handled: Handled,
    bytes: Vec<u8>,
    query_bytes: usize,
}

impl Scene {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            slip: 1,
            limiter: None,
            client: "192.0.2.1".parse().unwrap(),
            now: daemon::Clock.now(),
        }
    }

    /// Asks with the options.
    fn ask(&mut self, transport: Transport, options: &[(u16, &[u8])]) -> Told {
        let mut query = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        query.extend(b"\x07example\x04test\0\0\x01\0\x01");
        query.extend(b"\0\0\x29\x04\xd0\0\0\0\0");
        let mut data = Vec::new();
        for (code, value) in options {
            data.extend(code.to_be_bytes());
            data.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
            data.extend_from_slice(value);
        }
        query.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        query.append(&mut data);
        let (handled, bytes) = self.send(transport, &query);
        Told {
            handled: handled.unwrap(),
            bytes,
            query_bytes: query.len(),
        }
    }

    fn send(&mut self, transport: Transport, query: &[u8]) -> (Option<Handled>, Vec<u8>) {
        let rates = Rates {
            per_second: self.per_second,
            slip: self.slip,
            exempt: Vec::new(),
        };
        let is_limited = self.per_second != 0;
        let now = self.now;
        let limiter = self
            .limiter
            .get_or_insert_with(|| Limiter::new(rates, 1, now));
        let secrets = Secrets::new(Secret::new([7; 16]));
        let guard = Guard {
            now: self.now,
            unix_seconds: 1_800_000_000,
            secrets: Some(&secrets),
            limiter: is_limited.then_some(&*limiter),
            name: b"fra-1",
            patience: 100,
        };
        let mut bytes = Vec::new();
        let world = World::default();
        let handled = handle(&world, &guard, query, self.client, transport, 0, &mut bytes);
        (handled, bytes)
    }
}

impl Told {
    fn is_truncated(&self) -> bool {
        self.bytes[2] & 2 != 0
    }

    /// The value of an option of the answer, whose OPT record is its last.
    fn option(&self, code: u16) -> Option<Vec<u8>> {
        let question = HEADER_BYTES + b"\x07example\x04test\0\0\x01\0\x01".len();
        let mut rest = &self.bytes[question + 11..];
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let [code_high, code_low, high, low] = *head;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (value, after) = after.split_at(length);
            if u16::from_be_bytes([code_high, code_low]) == code {
                return Some(value.to_vec());
            }
            rest = after;
        }
        None
    }
}
