use hickory_proto::dnssec::Verifier as _;
use hickory_proto::dnssec::rdata::{DNSKEY, DNSSECRData, DS, RRSIG};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::{BinDecoder, Restrict};
use proptest::prelude::*;

use super::*;
use crate::dnssec::algorithm::Algorithm;
use crate::dnssec::records::{Digest, ds};

const NOW: u64 = 1_800_000_000;
const ORIGIN: &[u8] = b"\x04zone\x04test\x00";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Another's code checks what we sign.
    #[test]
    fn signs_what_others_verify(
        algorithm in prop_oneof![Just(Algorithm::EcdsaP256), Just(Algorithm::Ed25519)],
        owner in "[a-zA-Z]{1,8}",
        set in set(),
        ttl in 0_u32..100_000,
        is_wildcard in any::<bool>(),
    ) {
        let (kind, data) = set;
        let keys = keys(algorithm, false);
        let signer = Signer::new(&keys, Arc::new(Desk::new(NOW))).unwrap();
        let asked = Name::from_ascii(format!("{owner}.zone.test.")).unwrap();
        let owner = if is_wildcard { "*".to_owned() } else { owner.to_lowercase() };
        let owner = [&[u8::try_from(owner.len()).unwrap()], owner.as_bytes(), ORIGIN].concat();

        let rrsig = sign(&signer, (&owner, kind, ttl), &data).remove(0);

        let records: Vec<Record> = data
            .iter()
            .map(|it| Record::from_rdata(asked.clone(), ttl, read(kind, it)))
            .collect();
        let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = read(kind::RRSIG, &rrsig) else {
            panic!("it is one");
        };
        let key = &keys.keys[0].pair;
        let RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) = read(kind::DNSKEY, &key.dnskey) else {
            panic!("it is one");
        };
        prop_assert_eq!(verify(&dnskey, &asked, &rrsig, &records), Ok(()));
        prop_assert_eq!(dnskey.calculate_key_tag().unwrap(), key.tag);

        prop_assert!(verify(&dnskey, &asked, &rrsig, &records[1..]).is_err());
    }
}

#[test]
fn digests_keys_as_others_do() {
    let keys = keys(Algorithm::EcdsaP256, false);
    let origin = Name::from_ascii("Zone.test.").unwrap();
    let data = &keys.keys[0].pair.dnskey;
    let RData::DNSSEC(DNSSECRData::DNSKEY(dnskey)) = read(kind::DNSKEY, data) else {
        panic!("it is one");
    };
    for digest in [Digest::Sha256, Digest::Sha384] {
        let ours = ds(ORIGIN, data, digest);
        let RData::DNSSEC(DNSSECRData::DS(theirs)) = read(kind::DS, &ours) else {
            panic!("it is one");
        };
        let theirs: DS = theirs;
        assert!(theirs.covers(&origin, &dnskey).unwrap(), "{digest:?}");
    }
}

#[test]
fn signs_each_set_once_until_its_signature_is_old() {
    let desk = Arc::new(Desk::new(NOW));
    let signer = Signer::new(&keys(Algorithm::EcdsaP256, false), Arc::clone(&desk)).unwrap();
    let signed = |ttl| sign(&signer, (ORIGIN, 1, ttl), &[vec![192, 0, 2, 1]]);
    let first = signed(60);
    assert_eq!(signed(60), first);
    assert_ne!(signed(61), first);

    for (now, is_same) in [
        (NOW + USE - JITTER - 1, true),
        (NOW - BACKDATE, true),
        (NOW - BACKDATE - 1, false),
        (NOW + USE, false),
    ] {
        desk.tell(now);
        assert_eq!(signed(60) == first, is_same, "{now}");
        desk.tell(NOW);
    }
}

#[test]
fn gives_every_key_its_work() {
    let keys = keys(Algorithm::Ed25519, true);
    let signer = Signer::new(&keys, Arc::new(Desk::new(NOW))).unwrap();
    let tags = |kind: u16| -> Vec<u16> {
        let signed = sign(&signer, (ORIGIN, kind, 60), &[vec![1, 2, 3, 4]]);
        let tag = |it: &Arc<[u8]>| u16::from_be_bytes([it[16], it[17]]);
        signed.iter().map(tag).collect()
    };
    let [entry, zone] = [0, 1].map(|it| keys.keys[it].pair.tag);
    assert_eq!(tags(kind::DNSKEY), [entry]);
    assert_eq!(tags(kind::CDS), [entry]);
    assert_eq!(tags(1), [zone]);
}

#[test]
fn leaves_the_places_of_lasting_sets_to_them() {
    let desk = Arc::new(Desk::new(NOW));
    let signer = Signer::new(&keys(Algorithm::Ed25519, false), Arc::clone(&desk)).unwrap();
    let mut records = Records::default();
    records.push(1, &[192, 0, 2, 1]);
    signer
        .sign((ORIGIN, 1, 60), &mut records, Origin::Passing, |_| ())
        .unwrap();
    assert_eq!((desk.lasting.len(), desk.passing.len()), (0, 1));
}

/// Sets of some types, whose names have letters of both cases.
fn set() -> impl Strategy<Value = (u16, Vec<Vec<u8>>)> {
    // All of one length: the other code orders by labels what is to be ordered by octets.
    let name = "[a-z]{7}".prop_map(|it| {
        let mut name = [&[7], it.as_bytes(), &[0]].concat();
        name[2..5].make_ascii_uppercase();
        name
    });
    let of = |kind: u16, data: BoxedStrategy<Vec<u8>>| {
        let most = if [5, 6].contains(&kind) { 2 } else { 5 };
        prop::collection::btree_set(data, 1..most)
            .prop_map(move |it| (kind, it.into_iter().collect()))
    };
    let address = prop::collection::vec(any::<u8>(), 4);
    let text =
        "[a-z]{0,20}".prop_map(|it| [&[u8::try_from(it.len()).unwrap()], it.as_bytes()].concat());
    let exchange = (0_u8..3, name.clone()).prop_map(|(it, name)| [&[0, it], &name[..]].concat());
    let server =
        (0_u8..3, name.clone()).prop_map(|(it, name)| [&[0, 1, 0, it, 0, 53], &name[..]].concat());
    prop_oneof![
        of(1, address.boxed()),
        of(2, name.clone().boxed()),
        of(5, name.boxed()),
        of(15, exchange.boxed()),
        of(16, text.boxed()),
        of(33, server.boxed()),
    ]
}

fn keys(algorithm: Algorithm, is_split: bool) -> Keys {
    Keys::generate(ORIGIN, algorithm, is_split, Denial::Compact, NOW).unwrap()
}

fn sign(signer: &Signer, set: (&[u8], u16, u32), data: &[Vec<u8>]) -> Vec<Arc<[u8]>> {
    let mut records = Records::default();
    data.iter().for_each(|it| records.push(set.1, it));
    let mut signed = Vec::new();
    signer
        .sign(set, &mut records, Origin::Lasting, |it| signed.push(it))
        .unwrap();
    signed
}

fn read(kind: u16, data: &[u8]) -> RData {
    let length = u16::try_from(data.len()).unwrap();
    let mut decoder = BinDecoder::new(data);
    RData::read(&mut decoder, RecordType::from(kind), Restrict::new(length)).unwrap()
}

fn verify(key: &DNSKEY, name: &Name, rrsig: &RRSIG, records: &[Record]) -> Result<(), String> {
    let verified = key.verify_rrsig(name, DNSClass::IN, rrsig, records.iter());
    verified.map_err(|it| it.to_string())
}
