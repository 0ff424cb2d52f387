#[path = "../../fuzz/cipher.rs"]
mod entry;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// The longest text that each length is tried up to: more than one Ethernet packet.
const LONGEST: usize = 2_100;

/// RFC 8439, appendix A.1, test vector 2 and appendix A.2, test vector 2: their keystreams have
/// the nonces and counters that a packet has. The tags were computed with big integers.
#[test]
fn seals_as_the_standard_says() {
    check_vector(
        [0; 32],
        0,
        &[0; 64],
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
         29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
        "75c5180ef52d6921037a3d0af9f0dac8",
    );

    let mut key = [0; 32];
    key[31] = 1;
    check_vector(
        key,
        2 << 56,
        b"Any submission to the IETF intended by the Contributor for publication as all or part of \
          an IETF Internet-Draft or RFC and any statement made within the context of an IETF \
          activity is considered an \"IETF Contribution\". Such statements include oral statements \
          in IETF sessions, as well as written and electronic communications made at any time or \
          place, which are addressed to",
        "a3fbf07df3fa2fde4f376ca23e82737041605d9f4f4f57bd8cff2c1d4b7955ec2a97948bd3722915\
         c8f3d337f7d370050e9e96d647b7c39f56e031ca5eb6250d4042e02785ececfa4b4bb5e8ead0440e\
         20b6e8db09d881a7c6132f420e52795042bdfa7773d8a9051447b3291ce1411c680465552aa6c405\
         b7764d5e87bea85ad00f8449ed8f72d0d662ab052691ca66424bc86d2df80ea41f43abf937d3259d\
         c4b2d0dfb48a6c9139ddd7f76966e928e635553ba76c5c879d7b35d49eb2e62b0871cdac638939e2\
         5e8a1e0ef9d5280fa8ca328b351c3c765989cbcf3daa8b6ccc3aaf9f3979c92b3720fc88dc95ed84\
         a1be059c6499b9fda236e7e818b04b0bc39c1e876b193bfe5569753f88128cc08aaa9b63d1a16f80\
         ef2554d7189c411f5869ca52c5b83fa36ff216b9c1d30062bebcfd2dc5bce0911934fda79a86f6e6\
         98ced759c3ff9b6477338f3da4f9cd8514ea9982ccafb341b2384dd902f3d1ab7ac61dd29c6f21ba\
         5b862f3730e37cfdc4fd806c22f221",
        "1ebfdfc3a8776bc07c46a744daa9aa0d",
    );
}

#[test]
fn agrees_with_the_provider_at_every_length() {
    for length in 0..=LONGEST {
        check(&[3; 32], &[span(length % 7, length, 1)], length as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn agrees_with_the_provider_on_packets_of_any_lengths(
        key: [u8; 32],
        lengths in lengths(),
        gap in 0_usize..70,
        counter: u64,
        tampered: u64,
    ) {
        let mut start = gap;
        let mut packets = Vec::new();
        for (length, index) in lengths.into_iter().zip(0..) {
            packets.push(span(start, length, counter.wrapping_add(index)));
            start += length + TAG_BYTES + gap;
        }
        check(&key, &packets, tampered);
    }
}

/// Text whose every sealed bit is one makes the greatest numbers that the authenticator can meet.
#[test]
fn agrees_with_the_provider_on_the_greatest_numbers() {
    let packets = row(16, 1_424);
    for key in 0..100 {
        let provider = provider(&[key; 32]);
        let mut text = vec![0; end(&packets)];
        provider.seal(&mut text, &packets);
        for byte in &mut text {
            *byte = !*byte;
        }
        check_text(&[key; 32], &text, &packets, 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// The fuzz target's entry on bytes by chance.
    #[test]
    fn takes_any_packets(bytes in vec(any::<u8>(), 0..40 + 5 * BATCH_MAX)) {
        entry::seal_and_open(&bytes);
    }
}

#[test]
fn refuses_a_flipped_bit_wherever_it_is() {
    let packets = row(batch::WORTH, 77);
    for cipher in [provider(&[3; 32]), Cipher::new(&[3; 32])] {
        let mut sealed = random_bytes(end(&packets), 5);
        cipher.seal(&mut sealed, &packets);
        for (index, packet) in packets.iter().enumerate() {
            for bit in 0..(packet.length + TAG_BYTES) * 8 {
                let mut buffer = sealed.clone();
                buffer[packet.start + bit / 8] ^= 1 << (bit % 8);
                let expected = all(&packets) & !(1 << index);
                assert_eq!(cipher.open(&mut buffer, &packets), expected, "bit {bit}");
            }
        }
    }
}

#[test]
fn refuses_a_packet_under_another_counter() {
    let packets = row(16, 64);
    for cipher in [provider(&[3; 32]), Cipher::new(&[3; 32])] {
        let mut sealed = random_bytes(end(&packets), 5);
        cipher.seal(&mut sealed, &packets);
        for bit in 0..64 {
            let mut moved = packets.clone();
            moved[bit % 16].counter ^= 1 << bit;
            let expected = all(&packets) & !(1 << (bit % 16));
            assert_eq!(
                cipher.open(&mut sealed.clone(), &moved),
                expected,
                "bit {bit}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "beyond its buffer")]
fn refuses_a_packet_without_room_for_its_tag() {
    Cipher::new(&[0; 32]).seal(&mut [0; 31], &[span(0, 16, 0)]);
}

#[test]
#[should_panic(expected = "too many packets")]
fn refuses_more_packets_than_the_answer_has_bits() {
    Cipher::new(&[0; 32]).open(&mut [0; 16], &[span(0, 0, 0); BATCH_MAX + 1]);
}

#[test]
fn shows_no_key() {
    assert_eq!(format!("{:?}", Cipher::new(&[42; 32])), "Cipher { .. }");
}

fn check_vector(key: [u8; 32], counter: u64, text: &[u8], sealed: &str, tag: &str) {
    let mut buffer = text.to_vec();
    buffer.extend([0; TAG_BYTES]);
    let packets = [span(0, text.len(), counter)];
    let cipher = Cipher::new(&key);

    cipher.seal(&mut buffer, &packets);
    assert_eq!(hex::encode(&buffer), format!("{sealed}{tag}"));
    assert_eq!(cipher.open(&mut buffer, &packets), 1);
    assert_eq!(buffer[..text.len()], *text);
}

/// Seals and opens random text in every way there is.
fn check(key: &[u8; 32], packets: &[Span], tampered: u64) {
    check_text(key, &random_bytes(end(packets), 1), packets, tampered);
}

/// Seals `text` in every way and compares each byte of the buffer with what the provider makes of
/// it. Then flips a bit in each packet that has one in `tampered`, and opens.
fn check_text(key: &[u8; 32], text: &[u8], packets: &[Span], tampered: u64) {
    let mut sealed = text.to_vec();
    provider(key).seal(&mut sealed, packets);
    let mut broken = sealed.clone();
    let genuine = all(packets) & !tampered;
    for (index, packet) in packets.iter().enumerate() {
        if genuine >> index & 1 == 0 {
            let place = usize::try_from(tampered % 10_007).unwrap() % (packet.length + TAG_BYTES);
            broken[packet.start + place] ^= 1 << (index % 8);
        }
    }

    for (way, cipher) in ways(key) {
        let mut buffer = text.to_vec();
        cipher.seal(&mut buffer, packets);
        assert_eq!(first_difference(&buffer, &sealed), None, "sealed {way}");

        let mut buffer = broken.clone();
        assert_eq!(cipher.open(&mut buffer, packets), genuine, "opened {way}");
        for (index, packet) in packets.iter().enumerate() {
            let place = packet.start..packet.start + packet.length;
            let difference = first_difference(&buffer[place.clone()], &text[place]);
            if genuine >> index & 1 == 1 {
                assert_eq!(difference, None, "packet {index} opened {way}");
            } else if packet.length > 16 {
                assert_ne!(difference, None, "packet {index} is usable {way}");
            }
        }
    }
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    left.iter()
        .zip(right)
        .position(|(left, right)| left != right)
}

/// Each way to take packets that this processor has.
fn ways(key: &[u8; 32]) -> Vec<(&'static str, Cipher)> {
    let mut ways = vec![
        ("one by one", provider(key)),
        ("as it pays", Cipher::new(key)),
    ];
    let single = Single::new(key);
    if let Some(batch) = Batch::new(key) {
        let worth = 1;
        ways.push((
            "in batches",
            Cipher {
                single,
                batch: Some(batch),
                worth,
            },
        ));
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(narrow) = avx512::Avx512::narrow(key) {
        let single = Single::new(key);
        let batch = Some(Batch::Avx512(narrow));
        let worth = 1;
        ways.push((
            "narrowly",
            Cipher {
                single,
                batch,
                worth,
            },
        ));
    }
    ways
}

/// The reference.
fn provider(key: &[u8; 32]) -> Cipher {
    Cipher {
        batch: None,
        ..Cipher::new(key)
    }
}

/// Packets of one call: of one length, of one length but for the last, or of any lengths.
fn lengths() -> impl Strategy<Value = Vec<usize>> {
    let alike = (0..LONGEST, 1..=BATCH_MAX, 0..LONGEST).prop_map(|(length, count, last)| {
        let mut lengths = vec![length; count];
        lengths[count - 1] = last.min(length);
        lengths
    });
    prop_oneof![
        (0..LONGEST, 1..=BATCH_MAX).prop_map(|(length, count)| vec![length; count]),
        alike,
        vec(0..200_usize, 0..=BATCH_MAX),
        vec(0..LONGEST, 0..=BATCH_MAX),
    ]
}

/// Packets of one length behind each other.
fn row(count: usize, length: usize) -> Vec<Span> {
    (0..count)
        .map(|it| span(it * (length + TAG_BYTES), length, it as u64))
        .collect()
}

/// The answer when all packets are genuine.
fn all(packets: &[Span]) -> u64 {
    (0..packets.len()).fold(0, |all, it| all | 1 << it)
}

/// The length of a buffer that has them all.
fn end(packets: &[Span]) -> usize {
    let ends = packets.iter().map(|it| it.start + it.length + TAG_BYTES);
    ends.max().unwrap_or(0)
}

fn span(start: usize, length: usize, counter: u64) -> Span {
    Span {
        start,
        length,
        counter,
    }
}

/// Bytes without a pattern, the same for the same seed.
fn random_bytes(count: usize, seed: usize) -> Vec<u8> {
    use rand::{RngCore as _, SeedableRng as _};

    let mut bytes = vec![0; count];
    rand::rngs::SmallRng::seed_from_u64(seed as u64).fill_bytes(&mut bytes);
    bytes
}
