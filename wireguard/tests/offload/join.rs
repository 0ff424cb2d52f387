//! Packets of one flow become one frame, and nothing else does.

use proptest::prelude::*;
use wireguard::offload::{Coalescer, Offloads, Span};

use crate::entries::{check_coalescing, naive};
use crate::header;
use crate::sender::{ACK, CWR, FIN, Kind, PSH, Sender};

#[test]
fn joins_a_batch_of_one_flow_into_one_frame() {
    for kind in Kind::ALL {
        let mut sender = Sender::new(kind, 1);
        let mut packets: Vec<_> = (0..45).map(|_| sender.packet(1368, |_| ())).collect();
        packets.push(sender.packet(7, |_| ()));

        assert_eq!(joined(&packets), [46], "{kind:?}");
    }
}

#[test]
fn says_all_that_the_kernel_needs_to_cut_the_frame_again() {
    let mut sender = Sender::new(Kind::TcpV6, 1);
    let packets: Vec<_> = (0..3).map(|_| sender.packet(1000, |_| ())).collect();
    let (mut buffer, spans) = laid_out(&packets);

    let mut coalescer = Coalescer::default();
    let mut frames = coalescer.coalesce(&mut buffer, &spans, BOTH);
    let frame = frames.next().unwrap();
    assert_eq!(frame.header, header(Kind::TcpV6, 1000));
    assert_eq!(frame.pieces[0], spans[0]);
    let payload = |it: Span| Span {
        start: it.start + 72,
        length: 1000,
    };
    assert_eq!(frame.pieces[1..], [payload(spans[1]), payload(spans[2])]);
    assert_eq!(frames.len(), 0);
}

#[test]
fn joins_flows_that_are_interleaved() {
    for (flows, expected) in [(8, vec![6; 8]), (9, vec![1; 54])] {
        let mut senders: Vec<_> = (0..flows)
            .map(|it| Sender::new(Kind::ALL[usize::from(it) % 4], it))
            .collect();
        let packets: Vec<_> = (0..6)
            .flat_map(|_| {
                senders
                    .iter_mut()
                    .map(|it| it.packet(500, |_| ()))
                    .collect::<Vec<_>>()
            })
            .collect();

        assert_eq!(joined(&packets), expected, "{flows} flows");
    }
}

#[test]
fn a_frame_ends_where_its_packets_could_not_be_told_apart() {
    for kind in Kind::ALL {
        // A shorter packet can only be the last, a longer one only the first.
        check(kind, &[9, 9, 5, 9, 9], |_, _| (), &[3, 2]);
        check(kind, &[5, 9, 9], |_, _| (), &[1, 2]);
        // Hop limit or traffic class.
        let hops = if kind.is_v4() { 8 } else { 7 };
        check(
            kind,
            &[9; 5],
            |at, it| it[hops] -= u8::from(2 < at),
            &[3, 2],
        );
        check(
            kind,
            &[9; 5],
            |at, it| it[1] ^= u8::from(at == 2) << 4,
            &[2, 1, 2],
        );
        // A payload of nothing would be lost.
        check(kind, &[9, 9, 0, 9, 9], |_, _| (), &[2, 1, 2]);
    }
    // Without identification of fragments, any goes; with it, only the next.
    let identification = |at: usize, it: &mut [u8]| it[5] ^= u8::from(at == 2) << 7;
    check(Kind::TcpV4, &[9; 5], identification, &[5]);
    let fragmentable = |at: usize, it: &mut [u8]| {
        it[6] = 0;
        identification(at, it);
    };
    check(Kind::UdpV4, &[9; 5], fragmentable, &[2, 1, 2]);
}

#[test]
fn only_plain_segments_of_tcp_are_joined() {
    for (kind, tcp) in [(Kind::TcpV4, 20), (Kind::TcpV6, 40)] {
        let at_2 = |change: &dyn Fn(&mut [u8])| {
            let packets = packets(kind, &[9; 5], |at, it| {
                if at == 2 {
                    change(&mut it[tcp..]);
                }
            });
            joined(&packets)
        };
        assert_eq!(at_2(&|it| it[13] |= PSH), [3, 2]);
        assert_eq!(at_2(&|it| it[13] |= FIN), [2, 1, 2]);
        assert_eq!(at_2(&|it| it[13] |= CWR), [2, 1, 2]);
        assert_eq!(at_2(&|it| it[13] &= !ACK), [2, 1, 2]);
        assert_eq!(at_2(&|it| it[19] = 1), [2, 1, 2], "urgent");
        assert_eq!(at_2(&|it| it[12] |= 1), [2, 1, 2], "accurate ECN");
        assert_eq!(at_2(&|it| it[27] ^= 1), [2, 1, 2], "timestamp");
        assert_eq!(at_2(&|it| it[22] = 5), [2, 1, 2], "another option");
        assert_eq!(
            at_2(&|it| it[12] = 0x50),
            [2, 1, 2],
            "options that are payload"
        );
        assert_eq!(at_2(&|it| it[11] ^= 1), [2, 1, 2], "acknowledged");
        assert_eq!(at_2(&|it| it[15] ^= 1), [2, 1, 2], "window");
        assert_eq!(at_2(&|it| it[7] ^= 1), [2, 1, 2], "sequence");
    }
}

#[test]
fn a_packet_with_a_wrong_checksum_goes_alone_and_unchanged() {
    for kind in Kind::ALL {
        for at in 0..4 {
            let mut packets = packets(kind, &[100; 4], |_, _| ());
            let last = packets[at].last_mut().unwrap();
            *last ^= 1;

            let expected: &[usize] = match at {
                0 => &[1, 3],
                1 => &[1, 1, 2],
                2 => &[2, 1, 1],
                _ => &[3, 1],
            };
            assert_eq!(joined(&packets), expected, "{kind:?}, packet {at}");
        }
    }
    let mut packets = packets(Kind::UdpV4, &[100; 3], |_, _| ());
    packets[1][10] ^= 1;
    assert_eq!(joined(&packets), [1, 1, 1], "the checksum of IPv4's header");
}

#[test]
fn datagrams_without_checksum_are_never_joined() {
    let without = packets(Kind::UdpV4, &[9; 4], |_, it| it[26..28].fill(0));
    assert_eq!(joined(&without), [1; 4]);

    for (kind, udp) in [(Kind::UdpV4, 20), (Kind::UdpV6, 40)] {
        // A sum of zero is written as its other form, lest it say that there is none.
        let mut sender = Sender::new(kind, 1);
        let mut zero = sender.packet(100, |it| it[udp + 8..udp + 10].fill(0));
        zero.copy_within(udp + 6..udp + 8, udp + 8);
        naive::mend(&mut zero);
        assert_eq!(zero[udp + 6..udp + 8], [0xff; 2]);
        assert_eq!(joined(&vec![zero.clone(); 4]), [4], "{kind:?}");

        zero[udp + 6..udp + 8].fill(0);
        assert_eq!(joined(&vec![zero; 4]), [1; 4], "{kind:?}");
    }
}

#[test]
fn what_may_be_of_any_flow_ends_all_of_them() {
    let between = |kind, change: &dyn Fn(&mut [u8])| {
        let mut packets = packets(Kind::TcpV4, &[9; 4], |_, _| ());
        packets.insert(2, Sender::new(kind, 7).packet(100, |it| change(it)));
        joined(&packets)
    };
    assert_eq!(between(Kind::UdpV4, &|_| ()), [4, 1]);
    assert_eq!(between(Kind::UdpV4, &|it| it[9] = 1), [4, 1], "ICMP");
    assert_eq!(
        between(Kind::UdpV4, &|it| it[6] = 0x20),
        [2, 1, 2],
        "a fragment"
    );
    assert_eq!(
        between(Kind::UdpV4, &|it| it[0] = 0x46),
        [2, 1, 2],
        "options"
    );
    assert_eq!(between(Kind::UdpV4, &|it| it[0] = 0), [2, 1, 2], "no IP");
    for header in [0, 43, 44, 51, 60] {
        assert_eq!(between(Kind::UdpV6, &|it| it[6] = header), [2, 1, 2]);
    }
}

#[test]
fn joins_only_what_the_interface_takes() {
    let mut packets = packets(Kind::TcpV4, &[9; 3], |_, _| ());
    packets.extend(self::packets(Kind::UdpV6, &[9; 3], |_, _| ()));
    let (buffer, spans) = laid_out(&packets);
    let mut coalescer = Coalescer::default();
    for (tcp, udp, expected) in [
        (false, false, &[1; 6][..]),
        (true, false, &[3, 1, 1, 1]),
        (false, true, &[1, 1, 1, 3]),
        (true, true, &[3, 3]),
    ] {
        let offloads = Offloads { tcp, udp };
        assert_eq!(
            check_coalescing(&mut coalescer, &buffer, &spans, offloads),
            expected
        );
    }
}

#[test]
fn frames_stay_within_their_limits() {
    // 52 bytes of headers leave room for 46 times 1400 bytes, and one short of 65,484.
    check(Kind::TcpV4, &[1400; 48], |_, _| (), &[46, 2]);
    let mut lengths = [1400; 47];
    lengths[46] = 1083;
    check(Kind::TcpV4, &lengths, |_, _| (), &[47]);
    lengths[46] = 1084;
    check(Kind::TcpV4, &lengths, |_, _| (), &[46, 1]);
    check(Kind::UdpV6, &[100; 70], |_, _| (), &[64, 6]);
}

proptest! {
    #[test]
    fn joined_frames_are_cut_into_what_was_received(
        sent in prop::collection::vec((0..12_u8, 0..24_u8, 0..4_usize), 0..130),
    ) {
        let mut senders: Vec<_> = (0..12)
            .map(|it| Sender::new(Kind::ALL[usize::from(it) % 4], it))
            .collect();
        let packets: Vec<_> = sent
            .iter()
            .map(|(flow, odd, length)| {
                let sender = &mut senders[usize::from(*flow)];
                sender.odd_packet([1400, 1400, 1400, 90][*length], *odd)
            })
            .collect();
        joined(&packets);
    }

    #[test]
    fn joining_never_panics(
        packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..90), 0..20),
        version in prop::sample::select(vec![0x45_u8, 0x60]),
        protocol in prop::sample::select(vec![6_u8, 17]),
    ) {
        joined(&packets);
        let mut packets = packets;
        for packet in packets.iter_mut().filter(|it| 10 <= it.len()) {
            packet[0] = version;
            packet[if version == 0x45 { 9 } else { 6 }] = protocol;
            if version == 0x45 {
                packet[6..8].fill(0);
            }
            naive::mend(packet);
        }
        joined(&packets);
    }
}

const BOTH: Offloads = Offloads {
    tcp: true,
    udp: true,
};

/// Sends packets with payloads of these lengths, changed by `change`, and compares how many packets
/// each frame has.
#[track_caller]
fn check(kind: Kind, lengths: &[usize], change: impl Fn(usize, &mut [u8]), expected: &[usize]) {
    assert_eq!(
        joined(&packets(kind, lengths, change)),
        expected,
        "{kind:?}"
    );
}

fn packets(kind: Kind, lengths: &[usize], change: impl Fn(usize, &mut [u8])) -> Vec<Vec<u8>> {
    let mut sender = Sender::new(kind, 1);
    let numbered = lengths.iter().enumerate();
    numbered
        .map(|(at, length)| sender.packet(*length, |it| change(at, it)))
        .collect()
}

/// How many packets each frame has, in a coalescer that has seen a batch before.
fn joined(packets: &[Vec<u8>]) -> Vec<usize> {
    let (buffer, spans) = laid_out(packets);
    let mut coalescer = Coalescer::default();
    check_coalescing(&mut coalescer, &buffer, &spans[..spans.len() / 2], BOTH);
    check_coalescing(&mut coalescer, &buffer, &spans, BOTH)
}

/// Packets in one buffer, with something between them, as datagrams have.
fn laid_out(packets: &[Vec<u8>]) -> (Vec<u8>, Vec<Span>) {
    let mut buffer = Vec::new();
    let mut spans = Vec::new();
    for packet in packets {
        buffer.extend([0xcc; 16]);
        spans.push(Span {
            start: buffer.len(),
            length: packet.len(),
        });
        buffer.extend(packet);
        buffer.extend([0xdd; 17]);
    }
    (buffer, spans)
}
