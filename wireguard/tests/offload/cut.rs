//! One frame becomes the packets that a network card would have sent.

use proptest::prelude::*;
use wireguard::offload::{PendingChecksum, Segments, VnetHeader};

use crate::entries::{check_segments, naive};
use crate::header;
use crate::sender::{ACK, CWR, FIN, Kind, PSH, Sender};

#[test]
fn cuts_a_tcp_frame_into_numbered_segments() {
    let mut sender = Sender::new(Kind::TcpV4, 1);
    let mut frame = sender.packet(250, |it| it[33] = ACK | PSH | FIN | CWR);
    let identification = u16::from_be_bytes([frame[4], frame[5]]);
    let sequence = u32::from_be_bytes(frame[24..28].try_into().unwrap());
    let header = header(Kind::TcpV4, 100);
    check_segments(&header.encode(), &frame);

    let segments = Segments::of(&header, &mut frame).unwrap();
    let mut out = [0; 1500];
    for (index, payload, flags) in [(0, 100, ACK | CWR), (1, 100, ACK), (2, 50, ACK | PSH | FIN)] {
        assert_eq!(segments.write(index, &mut out), 52 + payload);
        let number = u16::try_from(index).unwrap();
        let before = u32::from(number) * 100;
        assert_eq!(out[4..6], (identification + number).to_be_bytes());
        assert_eq!(out[24..28], (sequence + before).to_be_bytes());
        assert_eq!(out[33], flags);
    }
    assert_eq!(segments.count(), 3);
}

#[test]
fn a_datagram_without_checksum_stays_without_unless_one_is_pending() {
    for (pending, zero) in [(false, true), (true, false)] {
        let mut sender = Sender::new(Kind::UdpV4, 1);
        let mut frame = sender.packet(300, |it| it[26..28].fill(0));
        let mut header = header(Kind::UdpV4, 128);
        header.checksum = header.checksum.filter(|_| pending);
        check_segments(&header.encode(), &frame);

        let segments = Segments::of(&header, &mut frame).unwrap();
        for index in 0..3 {
            let mut out = [0; 1500];
            segments.write(index, &mut out);
            assert_eq!(out[26..28] == [0, 0], zero, "pending: {pending}");
        }
    }
}

#[test]
fn completes_the_one_checksum_of_a_packet_that_is_not_cut() {
    for kind in Kind::ALL {
        let packet = Sender::new(kind, 1).packet(333, |_| ());
        let mut frame = packet.clone();
        let pending = header(kind, 1).checksum.unwrap();
        let place = usize::from(pending.start + pending.offset);
        // Senders leave the sum of the pseudo-header there.
        let sum = pseudo_header(&packet, pending.start.into());
        frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
        let header = VnetHeader {
            checksum: Some(pending),
            ..VnetHeader::default()
        };

        let mut out = vec![0; packet.len()];
        Segments::of(&header, &mut frame)
            .unwrap()
            .write(0, &mut out);
        assert_eq!(out, packet, "{kind:?}");
    }
}

#[test]
fn passes_packets_that_ask_for_nothing_as_they_are() {
    for packet in [&[0x45][..], &[0; 1], &[0xff; 65_535]] {
        check_segments(&[0; 10], packet);
        let mut frame = packet.to_vec();
        let mut out = vec![0; packet.len()];
        let segments = Segments::of(&VnetHeader::default(), &mut frame).unwrap();
        assert_eq!(segments.write(0, &mut out), packet.len());
        assert_eq!(out, packet);
    }
}

#[test]
fn refuses_frames_that_contradict_their_header() {
    let frame = Sender::new(Kind::TcpV4, 1).packet(300, |_| ());
    let usual = header(Kind::TcpV4, 100);
    let refusal = |header: VnetHeader, frame: &[u8]| {
        check_segments(&header.encode(), frame);
        let refused = Segments::of(&header, &mut frame.to_vec()).map(drop);
        refused.unwrap_err().to_string()
    };
    let of_kind = |kind| refusal(header(kind, 100), &frame);
    let pending = |start, offset| Some(PendingChecksum { start, offset });

    assert_eq!(refusal(usual, &[]), "malformed frame: no packet");
    let hint = VnetHeader {
        headers_length: 353,
        ..usual
    };
    assert_eq!(
        refusal(hint, &frame),
        "malformed frame: headers longer than the packet"
    );
    assert_eq!(
        of_kind(Kind::TcpV6),
        "malformed frame: segmentation for the other version of IP"
    );
    assert_eq!(
        of_kind(Kind::UdpV4),
        "malformed frame: segmentation for another protocol"
    );
    let elsewhere = VnetHeader {
        checksum: pending(20, 6),
        ..usual
    };
    assert_eq!(
        refusal(elsewhere, &frame),
        "malformed frame: checksum at another place"
    );
    let one = VnetHeader { gso: None, ..usual };
    for (start, offset) in [(353, 0), (u16::MAX, u16::MAX), (352, 0), (336, 15)] {
        let header = VnetHeader {
            checksum: pending(start, offset),
            ..one
        };
        assert!(refusal(header, &frame).contains("behind the packet"));
    }
    assert_eq!(
        refusal(usual, &frame[..351]),
        "malformed frame: length of the IPv4 packet"
    );
    for (offset, length, expected) in [
        (0x40, 300, "malformed frame: length of the TCP header"),
        (0xf0, 39, "malformed frame: transport header cut off"),
        (0x50, 32, "malformed frame: TCP header cut off"),
    ] {
        let mut frame = frame[..length].to_vec();
        if let Some(it) = frame.get_mut(32) {
            *it = offset;
        }
        naive::mend_length(&mut frame);
        let header = VnetHeader {
            headers_length: 0,
            ..usual
        };
        assert_eq!(refusal(header, &frame), expected);
    }
}

proptest! {
    #[test]
    fn cuts_as_one_packet_at_a_time(
        kind in prop::sample::select(&Kind::ALL[..]),
        payload in prop_oneof![0..3000_usize, 0..65_400_usize],
        size in prop_oneof![1..1500_u16, 1300..1500_u16, 1..=u16::MAX],
        flags in any::<u8>(),
        numbers in any::<[u8; 6]>(),
        options in 0..11_u8,
        pending in any::<bool>(),
    ) {
        let mut sender = Sender::new(kind, 3);
        let mut frame = sender.packet(payload, |it| {
            if kind.is_v4() {
                it[4..6].copy_from_slice(&numbers[..2]);
            }
            let transport = if kind.is_v4() { 20 } else { 40 };
            if kind.is_tcp() {
                it[transport + 13] = flags;
                it[transport + 4..transport + 8].copy_from_slice(&numbers[2..]);
            }
        });
        let mut header = header(kind, size);
        let more = lengthen(&mut frame, usize::from(options) * 4);
        header.checksum = header.checksum.filter(|_| pending).map(|it| PendingChecksum {
            start: it.start + more,
            ..it
        });
        header.headers_length = 0;
        prop_assume!(9 < size || payload < 3000);
        naive::mend_length(&mut frame);
        prop_assert!(naive::cut(&header.encode(), &frame).is_some());
        check_segments(&header.encode(), &frame);
    }

    #[test]
    fn cutting_never_panics(
        header in prop::collection::vec(any::<u8>(), 10..=12),
        known in (0..4_u8, 0..6_u8),
        mut frame in prop::collection::vec(any::<u8>(), 0..200),
        version in prop::sample::select(vec![0x45_u8, 0x46, 0x60]),
    ) {
        check_segments(&header, &frame);
        let mut header = header;
        (header[0], header[1]) = known;
        header[2..4].fill(0);
        if let Some(first) = frame.first_mut() {
            *first = version;
        }
        naive::mend_length(&mut frame);
        check_segments(&header, &frame);
    }
}

/// Inserts options into IPv4's header, or a header of destination options behind IPv6's; returns how
/// many bytes.
fn lengthen(frame: &mut Vec<u8>, options: usize) -> u16 {
    if options == 0 {
        return 0;
    }
    let more = if frame[0] >> 4 == 4 {
        frame[0] += u8::try_from(options / 4).unwrap();
        frame.splice(20..20, vec![1; options]);
        options
    } else {
        let units = options / 4;
        let mut header = vec![0; units * 8];
        header[0] = frame[6];
        header[1] = u8::try_from(units - 1).unwrap();
        frame[6] = 60;
        frame.splice(40..40, header);
        units * 8
    };
    u16::try_from(more).unwrap()
}

fn pseudo_header(packet: &[u8], start: usize) -> u16 {
    let addresses = if start == 20 { 12..20 } else { 8..40 };
    let protocol = u16::from(packet[if start == 20 { 9 } else { 6 }]);
    let length = u16::try_from(packet.len() - start).unwrap();
    let words = packet[addresses]
        .chunks(2)
        .map(|it| u16::from_be_bytes([it[0], it[1]]));
    let sum: u32 = words.chain([protocol, length]).map(u32::from).sum();
    u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap()
}
