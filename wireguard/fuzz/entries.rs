//! What is fed with bytes from outside: whatever they are, nothing may panic, and what comes out is
//! what a reference of one packet at a time makes of them.

use wireguard::offload::{Coalescer, Frame, Offloads, Segments, Span, VnetHeader};

#[path = "naive.rs"]
pub(crate) mod naive;

/// Behind a byte of choices, a header of 10 or 12 bytes and the frame that the kernel put behind it.
pub(crate) fn segment(bytes: &[u8]) {
    let [choices, rest @ ..] = bytes else {
        return;
    };
    let header_length = if choices & 1 == 0 { 10 } else { 12 };
    let (header, frame) = rest.split_at(header_length.min(rest.len()));
    let mut frame = frame.to_vec();
    if choices & 2 != 0 {
        naive::mend_length(&mut frame);
    }
    check_segments(header, &frame);
}

/// Cuts a frame both ways and compares every byte.
pub(crate) fn check_segments(header: &[u8], frame: &[u8]) {
    let expected = naive::cut(header, frame);
    let mut packet = frame.to_vec();
    let header = VnetHeader::parse(header);
    let segments = header.and_then(|it| Segments::of(&it, &mut packet));
    let (segments, expected) = match (segments, expected) {
        (Ok(segments), Some(expected)) => (segments, expected),
        (Err(_), None) => return,
        (segments, expected) => panic!("{segments:?} instead of {expected:02x?}"),
    };

    assert_eq!(segments.count(), expected.len());
    for (index, packet) in expected.iter().enumerate() {
        let mut out = vec![0xaa; segments.length(index) + 3];
        let length = segments.write(index, &mut out);

        assert_eq!(length, segments.length(index));
        assert_eq!(out[..length], packet[..], "packet {index}");
        assert_eq!(out[length..], [0xaa; 3], "wrote beyond packet {index}");
        assert!(length == segments.length(0) || index + 1 == expected.len());
        assert!(length <= segments.length(0));
    }
}

/// Behind a byte of choices, opened packets, each with its length in two bytes before it.
pub(crate) fn coalesce(bytes: &[u8]) {
    let [choices, ..] = bytes else {
        return;
    };
    let mut buffer = bytes.to_vec();
    let mut packets = Vec::new();
    let mut start = 1;
    while let Some([high, low]) = buffer.get(start..start + 2) {
        let length = usize::from(*high) << 8 | usize::from(*low);
        let length = length.min(buffer.len() - start - 2);
        packets.push(Span {
            start: start + 2,
            length,
        });
        if choices & 4 != 0 {
            naive::mend(&mut buffer[start + 2..start + 2 + length]);
        }
        start += 2 + length;
    }
    let offloads = Offloads {
        tcp: choices & 1 != 0,
        udp: choices & 2 != 0,
    };
    check_coalescing(&mut Coalescer::default(), &buffer, &packets, offloads);
}

/// Joins packets, cuts the frames again, and finds every packet in the order of its flow. Returns
/// how many packets each frame has.
pub(crate) fn check_coalescing(
    coalescer: &mut Coalescer,
    received: &[u8],
    packets: &[Span],
    offloads: Offloads,
) -> Vec<usize> {
    let mut buffer = received.to_vec();
    let mut counts = Vec::new();
    let mut delivered = Vec::new();
    for Frame { header, pieces } in coalescer.coalesce(&mut buffer, packets, offloads) {
        let frame: Vec<u8> = pieces
            .iter()
            .flat_map(|it| bytes(&buffer, *it))
            .copied()
            .collect();
        counts.push(pieces.len());
        assert!(frame.len() <= 65_535 || pieces.len() == 1);
        if header == VnetHeader::default() {
            assert_eq!(pieces.len(), 1);
            assert!(packets.contains(&pieces[0]));
            delivered.push(frame);
            continue;
        }

        assert!(1 < pieces.len());
        assert!(naive::pending_is_right(&frame), "the pseudo-header's sum");
        let cut = naive::cut(&header.encode(), &frame).expect("a frame that can be cut");
        assert_eq!(cut.len(), pieces.len());
        delivered.extend(cut);
    }

    let sent: Vec<Vec<u8>> = packets
        .iter()
        .map(|it| bytes(received, *it).to_vec())
        .collect();
    check_delivery(&sent, &delivered);
    counts
}

/// Every flow sees its packets, and those that might be its own, as they were sent.
fn check_delivery(sent: &[Vec<u8>], delivered: &[Vec<u8>]) {
    assert_eq!(sent.len(), delivered.len());
    let flows: Vec<Option<Vec<u8>>> = sent.iter().map(|it| naive::flow(it)).collect();
    for flow in &flows {
        let of_flow = |packet: &&Vec<u8>| {
            let its = naive::flow(packet);
            its.is_none() || its == *flow
        };
        let sent: Vec<_> = sent.iter().filter(of_flow).collect();
        let delivered: Vec<_> = delivered.iter().filter(of_flow).collect();
        assert_eq!(sent.len(), delivered.len());
        for (sent, delivered) in sent.iter().zip(delivered) {
            assert!(
                naive::say_the_same(sent, delivered),
                "{sent:02x?} became {delivered:02x?}"
            );
        }
    }
}

fn bytes(buffer: &[u8], span: Span) -> &[u8] {
    &buffer[span.start..span.start + span.length]
}
