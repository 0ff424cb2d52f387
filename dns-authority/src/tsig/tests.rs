use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// A query for the SOA of example.test, and its answer, as dnspython signs them.
const SIGNED: [(Algorithm, &str, &str); 4] = [
    (
        Algorithm::Sha1,
        concat!(
            "123401000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000002f09686d61632d736861310000006553f100012c0014205af1d010be67c310d84d65c776b14ae1",
            "aa6b2d123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000002f09686d61632d736861310000006553f100012c00148645c4946e25f5c1e7e024e1497ef7c9be",
            "839da3123400000000",
        ),
    ),
    (
        Algorithm::Sha256,
        concat!(
            "123401000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000003d0b686d61632d7368613235360000006553f100012c0020e05fc8835fd8bb0658d419c68e5587",
            "a213f167c56dc903f1ed2bcb414d375ace123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000003d0b686d61632d7368613235360000006553f100012c0020708324ebe0f79553f43a15698aa236",
            "bc6890d6833943e56a6d6bdcf4551b9661123400000000",
        ),
    ),
    (
        Algorithm::Sha384,
        concat!(
            "123401000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000004d0b686d61632d7368613338340000006553f100012c0030dcbb298a78510ae7844b7c85d4f3aa",
            "2b9d972bcb257291ab82d714d8d9b2ef7ed90ed25ab53b42ca131242ece1c95c5c123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000004d0b686d61632d7368613338340000006553f100012c0030b2c4db604f1949d714c8c19f58944c",
            "babe81116c56634be98feec87cd96055bfc2c81c383b4924a47ca232936d6a301b123400000000",
        ),
    ),
    (
        Algorithm::Sha512,
        concat!(
            "123401000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000005d0b686d61632d7368613531320000006553f100012c0040324721ac93f7102384d2395304964e",
            "178f887697eb3ea76ba4271731d9110ae6888163a29fe2c95a23e500426289fd428496fda6b0ed8531e9a484b87461b3",
            "5b123400000000",
        ),
        concat!(
            "123481000001000000000001076578616d706c6504746573740000060001087472616e73666572076578616d706c6500",
            "00fa00ff00000000005d0b686d61632d7368613531320000006553f100012c00409001e615c9db28867af2f478912915",
            "6cb6d44c588861a21906f0dfb814e729c7673f6cfdfd5732f69fba16411bd2600f93dc26510728a987f3eb879f3b97ca",
            "a4123400000000",
        ),
    ),
];

fn key(algorithm: Algorithm) -> Key {
    Key::new(b"\x08Transfer\x07Example\0", algorithm, SECRET)
}

fn at(message: &[u8]) -> usize {
    whole(message).unwrap()
}

fn whole(message: &[u8]) -> Option<usize> {
    crate::wire::whole::read(message).unwrap().signature
}

#[test]
fn agrees_with_another_implementation() {
    for (algorithm, request, answer) in SIGNED {
        let (request, answer) = (hex::decode(request).unwrap(), hex::decode(answer).unwrap());
        let keys = Keys::new([key(algorithm)]);

        let mut conversation = keys.check(&request, at(&request), NOW).unwrap();
        assert_eq!(conversation.error(), 0);
        let mut ours = stripped(&answer, at(&answer));
        conversation.sign(&mut ours, NOW);
        assert_eq!(ours, answer, "{algorithm:?}");

        let key = Arc::new(key(algorithm));
        let mut ours = stripped(&request, at(&request));
        let before = ours.len();
        let mut conversation = Conversation::asking(&key, &mut ours, NOW);
        assert_eq!(ours, request, "{algorithm:?}");
        assert!(ours.len() - before <= conversation.record_bytes());
        assert_eq!(conversation.hear(&answer, Some(at(&answer)), NOW), Ok(()));
        assert!(conversation.is_complete());
    }
}

#[test]
fn tells_who_has_another_key_another_secret_or_another_time() {
    let (algorithm, request, _) = SIGNED[1];
    let request = hex::decode(request).unwrap();
    let check = |key: Key, now| Keys::new([key]).check(&request, at(&request), now);
    let error = |it| match it {
        Err(Refusal::Unproven { error, .. }) => error,
        other => panic!("{other:?}"),
    };

    assert_eq!(
        error(check(Key::new(b"\x01x\0", algorithm, SECRET), NOW)),
        BAD_KEY
    );
    assert_eq!(error(check(key(Algorithm::Sha512), NOW)), BAD_KEY);
    let other = Key::new(b"\x08transfer\x07example\0", algorithm, b"another");
    assert_eq!(error(check(other, NOW)), BAD_SIGNATURE);
    for (now, expected) in [
        (NOW + 300, 0),
        (NOW + 301, BAD_TIME),
        (NOW - 300, 0),
        (NOW - 301, BAD_TIME),
    ] {
        assert_eq!(
            check(key(algorithm), now).unwrap().error(),
            expected,
            "{now}"
        );
    }
}

#[test]
fn a_client_whose_clock_is_wrong_learns_the_time() {
    let shared = Arc::new(key(Algorithm::Sha256));
    let mut request = query();
    let mut client = Conversation::asking(&shared, &mut request, 5);
    let keys = Keys::new([key(Algorithm::Sha256)]);
    let mut server = keys.check(&request, at(&request), NOW).unwrap();
    let mut response = query();
    server.sign(&mut response, NOW);

    let heard = client.hear(&response, whole(&response), 5);
    assert_eq!(heard, Err(Unbelievable::Untimely));
    assert!(response.ends_with(&[0, 18, 0, 6, 0, 0, 0x65, 0x53, 0xf1, 0]));
}

#[test]
fn truncated_macs_are_refused_by_their_length() {
    let (algorithm, request, _) = SIGNED[1];
    let request = hex::decode(request).unwrap();
    let check = |length: usize| {
        let at = at(&request);
        let mac_at = request.len() - 6 - 32;
        let mut short = request.clone();
        short.drain(mac_at + length..mac_at + 32);
        let shorter = u8::try_from(32 - length).unwrap();
        short[mac_at - 1] -= shorter;
        // The length of the whole record's data: behind name, type, class and time to live.
        let data_at = at + key(algorithm).name().len() + 8;
        short[data_at + 1] -= shorter;
        Keys::new([key(algorithm)])
            .check(&short, at, NOW)
            .map(|it| it.error())
    };
    assert_eq!(check(32), Ok(0));
    assert_eq!(check(31), Ok(BAD_TRUNCATION));
    assert_eq!(check(16), Ok(BAD_TRUNCATION));
    assert_eq!(check(15), Err(Refusal::Malformed));
    assert_eq!(check(0), Err(Refusal::Malformed));
}

#[test]
fn a_stream_goes_on_without_signatures_for_99_messages_and_no_longer() {
    for (unsigned, expected) in [(99, Ok(())), (100, Err(Unbelievable::Unsigned))] {
        let shared = Arc::new(key(Algorithm::Sha256));
        let mut request = query();
        let mut client = Conversation::asking(&shared, &mut request, NOW);
        let keys = Keys::new([key(Algorithm::Sha256)]);
        let mut server = keys.check(&request, at(&request), NOW).unwrap();
        let mut first = query();
        server.sign(&mut first, NOW);
        assert_eq!(client.hear(&first, whole(&first), NOW), Ok(()));
        let heard = (0..unsigned).try_for_each(|_| {
            server.pass(&query());
            client.hear(&query(), None, NOW)
        });
        assert_eq!(heard, expected);
        assert!(!client.is_complete());
        if heard.is_ok() {
            let mut last = query();
            server.sign(&mut last, NOW);
            assert_eq!(client.hear(&last, whole(&last), NOW), Ok(()));
            assert!(client.is_complete());
        }
    }
}

#[test]
fn nothing_shows_a_secret() {
    let keys = Keys::new([Key::new(
        b"\x01x\0",
        Algorithm::Sha256,
        b"hidden hidden hidden",
    )]);
    let shown = format!("{keys:?}");
    assert!(
        shown.contains("hmac-sha256") && !shown.contains("hidden"),
        "{shown}"
    );
}

fn query() -> Vec<u8> {
    let (_, request, _) = SIGNED[1];
    let request = hex::decode(request).unwrap();
    stripped(&request, at(&request))
}

proptest! {
    #[test]
    fn a_stream_is_believed_whole_and_in_order_or_not_at_all(
        signed in prop::collection::vec(any::<bool>(), 1..150),
        spoilt in any::<prop::sample::Index>(),
        spoil: bool,
    ) {
        let shared = Arc::new(key(Algorithm::Sha256));
        let mut request = query();
        let mut client = Conversation::asking(&shared, &mut request, NOW);
        let keys = Keys::new([key(Algorithm::Sha256)]);
        let mut server = keys.check(&request, at(&request), NOW).unwrap();

        let spoilt = spoilt.index(signed.len());
        let (mut is_fine, mut unsigned) = (true, 0);
        for (number, is_signed) in signed.iter().enumerate() {
            let is_signed = *is_signed || number == 0 || number + 1 == signed.len();
            let mut message = query();
            message[1] = u8::try_from(number).unwrap();
            if is_signed {
                server.sign(&mut message, NOW);
                unsigned = 0;
            } else {
                server.pass(&message);
                unsigned += 1;
            }
            let signature = whole(&message);
            if spoil && number == spoilt {
                // A flag, which is the same to a reader.
                message[3] ^= 1;
            }
            is_fine &= client.hear(&message, signature, NOW).is_ok();
            if !is_fine { break; }
        }
        prop_assert_eq!(is_fine && client.is_complete(), !spoil && unsigned <= 99);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 12..120), at in 0..120_usize) {
        let keys = Keys::new([key(Algorithm::Sha256)]);
        let _ = keys.check(&bytes, at.min(bytes.len()), NOW);
    }
}

impl Conversation {
    /// Lets a message pass without a signature, as some servers do.
    fn pass(&mut self, message: &[u8]) {
        self.unsigned.extend_from_slice(message);
    }
}
