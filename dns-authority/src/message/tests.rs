use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;

use super::*;
use crate::check::Checks;
use crate::geo::Atlas;
use crate::plan::Compiler;
use crate::wire::name::Folded;
use crate::zone::{Zones, zone};

#[test]
fn answers_with_the_letters_of_the_question() {
    let response = ask(&query("wWw.ExAmPlE.", RecordType::A), Transport::Udp).unwrap();

    assert_eq!(response.metadata.id, 0x1234);
    assert!(response.metadata.authoritative && response.metadata.recursion_desired);
    assert_eq!(response.queries[0].name.to_string(), "wWw.ExAmPlE.");
    assert_eq!(response.answers[0].name.to_string(), "wWw.ExAmPlE.");
    assert_eq!(response.answers[0].data.to_string(), "192.0.2.2");
    assert!(response.edns.is_none());
}

#[test]
fn truncates_what_does_not_fit_and_says_so() {
    let mut query = query("big.example.", RecordType::TXT);
    let truncated = ask(&query, Transport::Udp).unwrap();
    assert!(truncated.metadata.truncation && truncated.answers.is_empty());

    let whole = ask(&query, Transport::Tcp).unwrap();
    assert!(!whole.metadata.truncation);
    assert_eq!(whole.answers.len(), 8);

    let mut edns = Edns::new();
    edns.set_max_payload(65_000);
    query.set_edns(edns);
    let truncated = ask(&query, Transport::Udp).unwrap();
    assert!(truncated.metadata.truncation);
    assert_eq!(truncated.edns.unwrap().max_payload(), 1232);
}

#[test]
fn returns_the_client_subnet_with_a_scope() {
    let response = ask(&with_subnet("10.2.0.0", 24), Transport::Udp).unwrap();
    let edns = response.edns.unwrap();
    let Some(EdnsOption::Subnet(subnet)) = edns.option(EdnsCode::Subnet) else {
        panic!("no subnet in {edns:?}");
    };

    assert_eq!((subnet.source_prefix(), subnet.scope_prefix()), (24, 0));
}

#[test]
fn refuses_what_it_does_not_do() {
    check_code(query("example.com.", RecordType::A), ResponseCode::Refused);
    check_code(query("example.", RecordType::AXFR), ResponseCode::Refused);
    check_code(with_subnet("10.2.1.0", 23), ResponseCode::FormErr);

    let mut chaos = query("version.bind.", RecordType::TXT);
    chaos.queries[0].query_class = DNSClass::CH;
    check_code(chaos, ResponseCode::Refused);

    let mut update = query("example.", RecordType::SOA);
    update.metadata.op_code = OpCode::Update;
    check_code(update, ResponseCode::NotImp);

    let mut two = query("example.", RecordType::SOA);
    two.add_query(Query::query(Name::root(), RecordType::A));
    check_code(two, ResponseCode::FormErr);

    let mut edns = Edns::new();
    edns.set_version(1);
    let mut newer = query("example.", RecordType::SOA);
    newer.set_edns(edns);
    check_code(newer, ResponseCode::BADVERS);
}

#[test]
fn answers_garbage_after_a_header_and_ignores_the_rest() {
    let mut response = Vec::new();
    let mut handle = |bytes: &[u8]| {
        let handled = handle(
            &world(),
            &open(),
            bytes,
            RESOLVER,
            Transport::Udp,
            0,
            &mut response,
        );
        handled.map(|it| (it.code, response.clone()))
    };

    assert_eq!(handle(b""), None);
    assert_eq!(handle(&[0; 11]), None);
    let (code, bytes) = handle(&[0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xff]).unwrap();
    assert_eq!(code, code::FORMAT_ERROR);
    assert_eq!(bytes, [0xab, 0xcd, 0x81, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // A response: answering it would let two servers talk for ever.
    assert_eq!(handle(&[0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0]), None);
}

proptest! {
    #[test]
    fn never_panics_and_never_answers_more_than_allowed(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut response = Vec::new();
        let _ = handle(&world(), &open(), &bytes, RESOLVER, Transport::Udp, 0, &mut response);
        prop_assert!(response.len() <= 1232);
    }

    #[test]
    fn survives_every_change_of_a_good_query(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
    ) {
        let mut bytes = with_subnet("10.2.0.0", 24).to_vec().unwrap();
        for (index, value) in changes {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        bytes.truncate(length.index(bytes.len()) + 1);
        let mut response = Vec::new();
        let _ = handle(&world(), &open(), &bytes, RESOLVER, Transport::Udp, 0, &mut response);
        prop_assert!(response.len() <= 1232);
    }
}

const RESOLVER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1));

fn open() -> Guard<'static> {
    Guard::open(daemon::Clock.now())
}

#[track_caller]
fn check_code(query: Message, expected: ResponseCode) {
    let response = ask(&query, Transport::Udp).unwrap();
    // By number: BADVERS and BADSIG are both 16.
    assert_eq!(
        u16::from(response.metadata.response_code),
        u16::from(expected)
    );
    assert!(response.answers.is_empty());
}

fn ask(query: &Message, transport: Transport) -> Option<Message> {
    let mut response = Vec::new();
    let bytes = query.to_vec().unwrap();
    handle(
        &world(),
        &open(),
        &bytes,
        RESOLVER,
        transport,
        0,
        &mut response,
    )?;
    Some(Message::from_vec(&response).unwrap())
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

fn with_subnet(address: &str, length: u8) -> Message {
    let mut edns = Edns::new();
    let option = ClientSubnet::new(address.parse().unwrap(), length, 0);
    edns.options_mut().insert(EdnsOption::Subnet(option));
    let mut message = query("www.example.", RecordType::A);
    message.set_edns(edns);
    message
}

fn world() -> World {
    let mut text =
        "$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\nwww A 192.0.2.2\n".to_owned();
    for letter in 'a'..='h' {
        text += &format!("big TXT {}\n", letter.to_string().repeat(200));
    }
    let atlas = Atlas::default();
    let mut compiler = Compiler {
        atlas: &atlas,
        checks: Checks::default(),
    };
    let mut zones = Zones::default();
    let origin = Folded::parse("example.").unwrap();
    zones.insert(Arc::new(zone(&origin, &text, &mut compiler).unwrap()));
    World {
        zones: Arc::new(zones),
        ..World::default()
    }
}
