//! Packets of any lengths at any places: together they have to become what they become one by one.

use crate::cipher::{BATCH_MAX, Cipher, Span, TAG_BYTES};

/// Behind 32 bytes of key and 8 of counter: for each packet two bytes of length, one for the gap
/// before it, and one that says whether and where it is tampered with.
pub(crate) fn seal_and_open(bytes: &[u8]) {
    let Some((key, rest)) = bytes.split_first_chunk() else {
        return;
    };
    let Some((counter, rest)) = rest.split_first_chunk() else {
        return;
    };
    let cipher = Cipher::new(key);
    let wanted = rest.as_chunks().0;
    let wanted = &wanted[..wanted.len().min(BATCH_MAX)];
    let packets = packets(u64::from_le_bytes(*counter), wanted);
    let end = packets
        .last()
        .map_or(0, |it| it.start + it.length + TAG_BYTES);
    let text: Vec<u8> = key.iter().copied().cycle().take(end).collect();

    let mut together = text.clone();
    cipher.seal(&mut together, &packets);
    let mut apart = text.clone();
    for packet in packets.chunks(1) {
        cipher.seal(&mut apart, packet);
    }
    assert!(together == apart, "sealed otherwise");

    for (packet, [.., tampering]) in packets.iter().zip(wanted) {
        let place = usize::from(*tampering) * 11 % (packet.length + TAG_BYTES);
        together[packet.start + place] ^= tampering;
    }
    apart.copy_from_slice(&together);
    let genuine = cipher.open(&mut together, &packets);
    for (index, (packet, [.., tampering])) in packets.iter().zip(wanted).enumerate() {
        let is_genuine = genuine >> index & 1;
        assert_eq!(is_genuine, u64::from(*tampering == 0), "packet {index}");
        assert_eq!(cipher.open(&mut apart, &[*packet]), is_genuine);
        let place = packet.start..packet.start + packet.length;
        assert!(
            *tampering != 0 || together[place.clone()] == text[place],
            "packet {index} was opened otherwise"
        );
    }
}

fn packets(counter: u64, wanted: &[[u8; 4]]) -> Vec<Span> {
    let mut start = 0;
    let mut packets = Vec::new();
    for ([low, high, gap, _], index) in wanted.iter().zip(0..) {
        start += usize::from(*gap);
        let length = usize::from(u16::from_le_bytes([*low, *high])) % 4_096;
        packets.push(Span {
            start,
            length,
            counter: counter.wrapping_add(index),
        });
        start += length + TAG_BYTES;
    }
    packets
}
