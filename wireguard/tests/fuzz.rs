//! The fuzz targets' entries on mutated samples, so that every run of the tests exercises them.

#[path = "../fuzz/entries.rs"]
mod entries;

use lab::mutate;

const ROUNDS: usize = 20_000;

const TCP_CHECKSUM: u8 = 16;
const UDP_CHECKSUM: u8 = 6;

#[test]
fn cuts_any_frame() {
    for (kind, offset, packet) in samples() {
        let mut bytes = vec![2, 1, kind, 0, 0];
        bytes.extend(100_u16.to_ne_bytes());
        let start: u16 = if packet[0] >> 4 == 4 { 20 } else { 40 };
        bytes.extend(start.to_ne_bytes());
        bytes.extend(u16::from(offset).to_ne_bytes());
        bytes.extend(packet);
        mutate(&bytes, ROUNDS, entries::segment);
    }
}

#[test]
fn joins_any_packets() {
    let mut bytes = vec![7];
    for number in 0..4 {
        for (_, checksum, mut packet) in samples() {
            if checksum == TCP_CHECKSUM {
                let start = if packet[0] >> 4 == 4 { 20 } else { 40 };
                packet[start + 6] = number;
            }
            bytes.extend(u16::try_from(packet.len()).unwrap().to_be_bytes());
            bytes.extend(packet);
        }
    }
    mutate(&bytes, ROUNDS, entries::coalesce);
}

/// The kind of segmentation, the place of the checksum, and a packet with 256 bytes of payload.
fn samples() -> Vec<(u8, u8, Vec<u8>)> {
    let tcp = [
        0, 80, 1, 187, 0, 0, 0, 0, 7, 7, 7, 7, 0x50, 0x10, 4, 4, 0, 0, 0, 0,
    ];
    let udp = [0, 80, 1, 187, 0, 0, 1, 1];
    let mut v4 = [
        0x45, 0, 0, 0, 9, 9, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    let mut v6 = [0xfd; 40];
    v6[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, 6, 64]);

    let mut samples = Vec::new();
    let mut sample = |kind, offset, headers: [&[u8]; 2]| {
        let mut packet = headers.concat();
        packet.extend(0..=255);
        samples.push((kind, offset, packet));
    };
    sample(1, TCP_CHECKSUM, [&v4, &tcp]);
    sample(4, TCP_CHECKSUM, [&v6, &tcp]);
    v4[9] = 17;
    v6[6] = 17;
    sample(5, UDP_CHECKSUM, [&v4, &udp]);
    sample(5, UDP_CHECKSUM, [&v6, &udp]);
    samples
}
