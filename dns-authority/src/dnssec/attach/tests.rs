use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use hickory_proto::dnssec::Verifier as _;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_proto::op::Message;
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};
use proptest::prelude::*;

use crate::answer::World;
use crate::check::Checks;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::denial::Denial;
use crate::dnssec::keys::Keys;
use crate::dnssec::signer::Desk;
use crate::geo::Atlas;
use crate::guard::Guard;
use crate::message::{Transport, handle};
use crate::plan::Compiler;
use crate::wire::name::Folded;
use crate::zone::{Zone, Zones, zone};

const NOW: u64 = 1_800_000_000;

const TEXT: &str = "
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 30
@ NS ns
ns A 127.0.0.1
a A 192.0.2.1
a AAAA 2001:db8::1
*.b TXT \"wild\"
*.b A 192.0.2.2
c.a.a CNAME B
b.c CNAME x.b
c NS ns
c DS 7 13 2 aa
b.a NS ns
d DNAME a
e LUA A \"pickrandom({'192.0.2.1', '192.0.2.2'})\"
e A 192.0.2.3
f LUA A \"all({'192.0.2.1', '192.0.2.2', '192.0.2.1'})\"
";

proptest! {
    /// All that a zone answers for has a signature that others take for good: but for the servers of its
    /// parts and their addresses, and for the aliases that follow from a DNAME.
    #[test]
    fn signs_all_that_it_answers_for(
        denial in prop_oneof![Just(Denial::Compact), Just(Denial::Nsec), Just(Denial::Nsec3)],
        labels in prop::collection::vec(prop::sample::select(&["a", "B", "c", "D", "e", "f", "*", "ns"][..]), 0..4),
        kind in prop::sample::select(&[1_u16, 2, 5, 6, 15, 16, 28, 39, 43, 46, 47, 48, 50, 51, 59, 60, 255][..]),
        entropy in any::<u64>(),
    ) {
        let keys = keys(denial);
        let answer = ask(&world(Some(&keys)), &labels, kind, entropy);
        let answer = Message::from_vec(&answer).unwrap();

        prop_assert!(!answer.metadata.authentic_data);
        let is_referral = !answer.metadata.authoritative;
        prop_assert!(is_referral || !answer.answers.is_empty() || 2 < answer.authorities.len(), "{:?}", answer);
        for section in [&answer.answers, &answer.authorities] {
            for (index, record) in section.iter().enumerate() {
                let owner = record.name.to_string().to_ascii_lowercase();
                let is_of_others = record.record_type() == RecordType::NS && owner != "z.";
                let follows_dname = record.record_type() == RecordType::CNAME
                    && section[..index].iter().any(|it| it.record_type() == RecordType::DNAME && it.name.zone_of(&record.name));
                let is_signed = signatures(section, record).any(|it| verify(&keys, it, record, section));
                let is_exempt = is_of_others || follows_dname || record.record_type() == RecordType::RRSIG;
                prop_assert_eq!(is_signed, !is_exempt, "{:?} in {:?}", record, section);
            }
        }
    }

    #[test]
    fn changes_nothing_for_who_does_not_ask(
        labels in prop::collection::vec(prop::sample::select(&["a", "b", "c", "d", "f"][..]), 0..3),
        kind in prop::sample::select(&[1_u16, 5, 16, 43, 46, 47][..]),
    ) {
        let query = query(&labels, kind, false);
        let ask = |world: &World| {
            let mut answer = Vec::new();
            let resolver = Ipv4Addr::LOCALHOST.into();
            handle(world, &guard(), &query, resolver, Transport::Tcp, 7, &mut answer).unwrap();
            answer
        };
        prop_assert_eq!(ask(&world(Some(&keys(Denial::Compact)))), ask(&world(None)));
    }
}

/// Prints what signing costs: `cargo test --release -p dns-authority -- --ignored --nocapture cost`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn shows_the_cost_of_signatures() {
    const ROUNDS: u32 = 20_000;
    let run = |what: &str, world: &World, mut labels: Box<dyn FnMut(u32) -> String>| {
        let mut answer = Vec::new();
        let queries: Vec<Vec<u8>> = (0..ROUNDS)
            .map(|it| query(&[&labels(it)], 1, true))
            .collect();
        let guard = guard();
        let start = Instant::now();
        for query in &queries {
            let resolver = Ipv4Addr::LOCALHOST.into();
            handle(
                world,
                &guard,
                query,
                resolver,
                Transport::Udp,
                7,
                &mut answer,
            )
            .unwrap();
        }
        println!("{what}: {:?} each", start.elapsed() / ROUNDS);
    };
    run("unsigned", &world(None), Box::new(|_| "a".to_owned()));
    for algorithm in [Algorithm::EcdsaP256, Algorithm::Ed25519] {
        let keys = Keys::generate(b"\x01z\x00", algorithm, false, Denial::Compact, NOW).unwrap();
        let world = world(Some(&keys));
        run(
            &format!("{algorithm}, cached"),
            &world,
            Box::new(|_| "a".to_owned()),
        );
        run(
            &format!("{algorithm}, cold"),
            &world,
            Box::new(|it| format!("gone{it}")),
        );
    }
}

fn keys(denial: Denial) -> Keys {
    Keys::generate(b"\x01z\x00", Algorithm::Ed25519, false, denial, NOW).unwrap()
}

fn world(keys: Option<&Keys>) -> World {
    let mut compiler = Compiler {
        atlas: &Atlas::default(),
        checks: Checks::default(),
    };
    let plain: Zone = zone(&Folded::parse("z.").unwrap(), TEXT, &mut compiler).unwrap();
    let mut zones = Zones::default();
    let signed = keys.map(|it| plain.signed(it, Arc::new(Desk::new(NOW))).unwrap());
    zones.insert(Arc::new(signed.unwrap_or(plain)));
    World {
        zones: Arc::new(zones),
        ..World::default()
    }
}

/// Which lets everything pass.
fn guard() -> Guard<'static> {
    Guard::open(daemon::Clock.now())
}

fn ask(world: &World, labels: &[&str], kind: u16, entropy: u64) -> Vec<u8> {
    let mut answer = Vec::new();
    let query = query(labels, kind, true);
    let resolver = Ipv4Addr::LOCALHOST.into();
    handle(
        world,
        &guard(),
        &query,
        resolver,
        Transport::Tcp,
        entropy,
        &mut answer,
    )
    .unwrap();
    answer
}

fn query(labels: &[&str], kind: u16, wants_proof: bool) -> Vec<u8> {
    let mut query = b"\x12\x34\x00\x00\x00\x01\x00\x00\x00\x00\x00\x01".to_vec();
    for label in labels {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend_from_slice(label.as_bytes());
    }
    query.extend(b"\x01z\x00");
    query.extend(kind.to_be_bytes());
    query.extend(b"\x00\x01\x00\x00\x29\x04\xd0\x00\x00");
    query.extend([u8::from(wants_proof) << 7, 0, 0, 0]);
    query
}

fn signatures<'r>(section: &'r [Record], record: &Record) -> impl Iterator<Item = &'r RRSIG> {
    let (name, kind) = (record.name.clone(), record.record_type());
    section.iter().filter_map(move |it| {
        let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = &it.data else {
            return None;
        };
        let is_of_it = it.name == name && rrsig.input().type_covered == kind;
        is_of_it.then_some(rrsig)
    })
}

fn verify(keys: &Keys, rrsig: &RRSIG, record: &Record, section: &[Record]) -> bool {
    let data = &keys.keys[0].pair.dnskey;
    let public = hickory_proto::dnssec::PublicKeyBuf::new(
        data[4..].to_vec(),
        hickory_proto::dnssec::Algorithm::ED25519,
    );
    let dnskey = DNSKEY::with_flags(257, public);
    dnskey
        .verify_rrsig(&record.name, DNSClass::IN, rrsig, section.iter())
        .is_ok()
}
