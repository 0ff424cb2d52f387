use hickory_proto::op::Message;
use hickory_proto::rr::rdata::{MX, NS, SOA};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable as _;
use proptest::prelude::*;

use super::*;
use crate::wire::query::{Received, read};

#[test]
fn writes_what_others_read() {
    let question = question("www.example.com.", 1);
    let query = query(&question);
    let options = Options {
        payload: 1232,
        dnssec_ok: true,
        subnet: Some(("192.0.2.0/24".parse().unwrap(), 22)),
        error: Some((3, "in doubt")),
        ..Options::default()
    };
    let mut buffer = b"what was there".to_vec();
    let mut reply = Reply::new(&mut buffer, &query, 512, Some(&options));
    let records = [
        (Section::Answer, "www.example.com.", "A", "192.0.2.1"),
        (Section::Authority, "EXAMPLE.com.", "NS", "ns.example.com."),
        (Section::Additional, "ns.example.com.", "A", "192.0.2.53"),
    ];
    for (section, owner, kind, text) in records {
        let data = RData::try_from_str(kind.parse().unwrap(), text).unwrap();
        put(&mut reply, section, &name(owner), 300, &data).unwrap();
    }
    reply.finish(16, true, false, Some(&options));

    let message = Message::from_vec(&buffer).unwrap();
    let metadata = &message.metadata;
    assert_eq!((metadata.id, metadata.authoritative), (7, true));
    assert_eq!(u16::from(message.metadata.response_code), 16);
    assert_eq!(message.queries[0].name().to_string(), "www.example.com.");
    let shown = |it: &Record| it.to_string();
    assert_eq!(
        message.answers.iter().map(shown).collect::<Vec<_>>(),
        ["www.example.com. 300 IN A 192.0.2.1"]
    );
    assert_eq!(
        message.authorities.iter().map(shown).collect::<Vec<_>>(),
        ["example.com. 300 IN NS ns.example.com."]
    );
    assert_eq!(
        message.additionals.iter().map(shown).collect::<Vec<_>>(),
        ["ns.example.com. 300 IN A 192.0.2.53"]
    );
    let edns = message.edns.unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, true));
    // Owner and server are pointers, and "ns" stands there once.
    assert_eq!(buffer.windows(3).filter(|it| *it == b"\x02ns").count(), 1);
    assert_eq!(buffer.windows(4).filter(|it| *it == b"\x03com").count(), 1);
}

#[test]
fn takes_back_what_does_not_fit() {
    let question = question("a.", 1);
    let query = query(&question);
    let mut buffer = Vec::new();
    // A header, a question of seven octets, one record of sixteen.
    let mut reply = Reply::new(&mut buffer, &query, 12 + 7 + 16 + 15, None);
    let data = RData::try_from_str(RecordType::A, "192.0.2.1").unwrap();
    assert_eq!(
        put(&mut reply, Section::Answer, &name("a."), 1, &data),
        Ok(())
    );
    assert_eq!(
        put(&mut reply, Section::Answer, &name("a."), 1, &data),
        Err(Full)
    );
    let mark = reply.mark();
    reply.back_to(mark);
    reply.finish(0, false, true, None);

    let message = Message::from_vec(&buffer).unwrap();
    assert_eq!(message.answers.len(), 1);
    assert!(message.metadata.truncation);
}

#[test]
fn pads_to_whole_blocks() {
    let question = question("a.", 1);
    let query = query(&question);
    for block in [128, 468] {
        let options = Options {
            padding_block: Some(block),
            name: Some(b"ns-1"),
            cookie: Some(&[1; 24]),
            patience: Some(100),
            ..Options::default()
        };
        let mut buffer = Vec::new();
        let reply = Reply::new(&mut buffer, &query, 4096, Some(&options));
        reply.finish(0, true, false, Some(&options));
        assert_eq!(buffer.len(), block);
        Message::from_vec(&buffer).unwrap();
    }
}

proptest! {
    /// Whatever the records: what was written is what is read, and no longer than allowed.
    #[test]
    fn reads_back_as_it_was_written(
        asked in any_name(),
        records in prop::collection::vec((any_name(), any_data(), 0..3_usize), 0..20),
        limit in 512..2_000_usize,
    ) {
        let question = wire_question(&asked, 255);
        let query = query(&question);
        let mut buffer = Vec::new();
        let mut reply = Reply::new(&mut buffer, &query, limit, None);
        let mut expected = [Vec::new(), Vec::new(), Vec::new()];
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let mut records = records;
        records.sort_by_key(|(.., section)| *section);
        for (owner, data, section) in records {
            if put(&mut reply, sections[section], &owner, 60, &data).is_ok() {
                expected[section].push((owner.to_lowercase(), data));
            }
        }
        reply.finish(0, true, false, None);

        prop_assert!(buffer.len() <= limit.max(12 + question.len()));
        let message = Message::from_vec(&buffer).unwrap();
        let read = [message.answers, message.authorities, message.additionals];
        for (read, expected) in read.into_iter().zip(expected) {
            let read: Vec<_> = read.into_iter().map(|it| (it.name.to_lowercase(), it.data)).collect();
            prop_assert_eq!(format!("{read:?}").to_lowercase(), format!("{expected:?}").to_lowercase());
        }
    }
}

/// Names that share their ends.
fn any_name() -> impl Strategy<Value = Name> {
    let label = prop_oneof!["[aB]", "[a-c]{1,3}", "com", "Example"];
    prop::collection::vec(label, 0..5)
        .prop_map(|labels| Name::from_labels(labels.iter().map(String::as_bytes)).unwrap())
}

fn any_data() -> impl Strategy<Value = RData> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|it| RData::A(std::net::Ipv4Addr::from(it).into())),
        any_name().prop_map(|it| RData::NS(NS(it))),
        (any::<u16>(), any_name()).prop_map(|(preference, it)| RData::MX(MX::new(preference, it))),
        (any_name(), any_name(), any::<u32>())
            .prop_map(|(a, b, serial)| RData::SOA(SOA::new(a, b, serial, 1, 2, 3, 4))),
    ]
}

fn put(
    reply: &mut Reply<'_>,
    section: Section,
    owner: &Name,
    ttl: u32,
    data: &RData,
) -> Result<(), Full> {
    let kind = u16::from(data.record_type());
    let data = uncompressed(data);
    reply.record(section, &wire(owner), (kind, ttl), &data)
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no other is made here")]
fn uncompressed(data: &RData) -> Vec<u8> {
    match data {
        RData::NS(it) => wire(&it.0),
        RData::MX(it) => [&it.preference.to_be_bytes()[..], &wire(&it.exchange)].concat(),
        RData::SOA(it) => {
            let numbers = [it.serial, 1, 2, 3, 4].map(u32::to_be_bytes).concat();
            [wire(&it.mname), wire(&it.rname), numbers].concat()
        }
        RData::A(it) => it.0.octets().to_vec(),
        other => panic!("{other:?}"),
    }
}

fn query(question: &[u8]) -> Query<'_> {
    let Received::Query(query) = read(question) else {
        panic!("no query: {question:?}");
    };
    query
}

fn question(text: &str, kind: u16) -> Vec<u8> {
    wire_question(&name(text), kind)
}

fn wire_question(name: &Name, kind: u16) -> Vec<u8> {
    let head = [0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    [&head[..], &wire(name), &kind.to_be_bytes(), &[0, 1]].concat()
}

fn wire(name: &Name) -> Vec<u8> {
    name.to_bytes().unwrap()
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}
