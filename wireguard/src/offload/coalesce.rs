//! Decides which opened packets go to the interface as one frame.
//!
//! Packets of one flow that follow each other in every respect are joined, so that cutting the frame
//! gives them back. Flows may be interleaved; within each, the order stays. A packet that could
//! belong to any flow ends what was begun of all.

use std::num::NonZeroU16;

use super::checksum::Sum;
use super::flow::{Data, Flow, Seen};
use super::ip::{self, Version, field, put};
use super::{Gso, GsoKind, PendingChecksum, VnetHeader};

/// Where bytes lie in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub length: usize,
}

/// Kinds of frames that the interface takes; what it does not take goes packet by packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offloads {
    pub tcp: bool,
    pub udp: bool,
}

/// What is written to the interface at once: the header, then every piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub header: VnetHeader,
    /// One whole packet, then the payloads of those joined to it.
    pub pieces: &'a [Span],
}

/// Joins packets, one batch after the other in the same memory.
#[derive(Debug, Default)]
pub struct Coalescer {
    /// Of the current batch, each with its packets as a list in `next`.
    frames: Vec<Joined>,
    /// For each packet, the one behind it in its frame.
    next: Vec<Option<usize>>,
    /// The pieces of all frames, frame by frame.
    pieces: Vec<Span>,
    open: Vec<Group>,
}

/// A frame, complete or in the making.
#[derive(Clone, Copy, Debug)]
struct Joined {
    header: VnetHeader,
    first: usize,
    /// Where its pieces end; they start where those of the frame before end.
    pieces_end: usize,
}

/// A frame in the making.
#[derive(Clone, Copy, Debug)]
struct Group {
    data: Data,
    /// Where the first packet lies.
    span: Span,
    frame: usize,
    last: usize,
    count: usize,
    payload_length: usize,
    /// The last packet says that what was sent is to be delivered.
    push: bool,
    /// The first packet's checksum is only looked at once there is a second.
    genuine: bool,
}

/// Flows whose packets may be interleaved in a batch. With more, the one longest without a packet is
/// done, which costs speed and nothing else.
const OPEN_MAX: usize = 8;

/// What IPv4 can give as a packet's length, and the interface takes in one frame.
const FRAME_BYTES_MAX: usize = 65_535;

impl Coalescer {
    /// Packets that one frame may stand for. The kernel joins no more datagrams either
    /// (`UDP_GRO_CNT_MAX`), and whoever writes a frame gathers as many pieces.
    pub const PACKETS_MAX: usize = 64;

    /// Sorts the `packets` in `buffer` into frames, each at the place of its first packet.
    ///
    /// A packet's length is what its IP header says, without padding. Packets that go alone are not
    /// changed; the first of several gets the headers of their frame.
    pub fn coalesce<'a>(
        &'a mut self,
        buffer: &mut [u8],
        packets: &[Span],
        offloads: Offloads,
    ) -> impl ExactSizeIterator<Item = Frame<'a>> + use<'a> {
        self.frames.clear();
        self.open.clear();
        self.next.clear();
        self.next.resize(packets.len(), None);
        for (index, span) in packets.iter().enumerate() {
            self.take(buffer, *span, index, offloads);
        }
        self.finish_all(buffer);
        self.gather(packets);
        self.iter()
    }

    fn take(&mut self, buffer: &mut [u8], span: Span, index: usize, offloads: Offloads) {
        match Seen::of(span.of(buffer), offloads) {
            Seen::Data(data) => self.join(buffer, span, index, data),
            Seen::Alone(flow) => {
                self.finish_flow(flow, buffer);
                self.start(index);
            }
            Seen::Unrelated => {
                self.start(index);
            }
            Seen::Unclear => {
                self.finish_all(buffer);
                self.start(index);
            }
        }
    }

    /// Adds a packet to the frame of its flow, or starts a new one.
    fn join(&mut self, buffer: &mut [u8], span: Span, index: usize, data: Data) {
        let at = self.open.iter().position(|it| it.data.flow == data.flow);
        let Some(group) = at.map(|at| &mut self.open[at]) else {
            return self.begin(buffer, span, index, data);
        };
        if !group.continues_with(&data) || !group.is_genuine(buffer) {
            self.finish_flow(data.flow, buffer);
            return self.begin(buffer, span, index, data);
        }
        if !data.is_genuine(span.of(buffer)) {
            self.finish_flow(data.flow, buffer);
            self.start(index);
            return;
        }

        self.next[group.last] = Some(index);
        group.last = index;
        group.count += 1;
        group.payload_length += data.payload_length;
        group.push = data.push;
        if group.is_full(&data) {
            self.finish_flow(data.flow, buffer);
        }
    }

    /// Starts a frame that others may join.
    fn begin(&mut self, buffer: &mut [u8], span: Span, index: usize, data: Data) {
        let frame = self.start(index);
        if data.push {
            return;
        }
        if self.open.len() == OPEN_MAX {
            let oldest = self.open.iter().enumerate().min_by_key(|(_, it)| it.last);
            let oldest = oldest.map_or(0, |(at, _)| at);
            let group = self.open.swap_remove(oldest);
            self.finish(group, buffer);
        }
        self.open.push(Group {
            data,
            span,
            frame,
            last: index,
            count: 1,
            payload_length: data.payload_length,
            push: false,
            genuine: false,
        });
    }

    /// Starts a frame and returns its number.
    fn start(&mut self, first: usize) -> usize {
        self.frames.push(Joined {
            header: VnetHeader::default(),
            first,
            pieces_end: 0,
        });
        self.frames.len() - 1
    }

    fn finish_flow(&mut self, flow: Flow, buffer: &mut [u8]) {
        if let Some(at) = self.open.iter().position(|it| it.data.flow == flow) {
            let group = self.open.swap_remove(at);
            self.finish(group, buffer);
        }
    }

    fn finish_all(&mut self, buffer: &mut [u8]) {
        while let Some(group) = self.open.pop() {
            self.finish(group, buffer);
        }
    }

    fn finish(&mut self, group: Group, buffer: &mut [u8]) {
        if 1 < group.count {
            self.frames[group.frame].header = group.head(&mut buffer[group.span.start..]);
        }
    }

    /// Lays the pieces of every frame side by side.
    fn gather(&mut self, packets: &[Span]) {
        self.pieces.clear();
        for frame in &mut self.frames {
            self.pieces.push(packets[frame.first]);
            let headers_length = usize::from(frame.header.headers_length);
            let mut next = self.next[frame.first];
            while let Some(index) = next {
                self.pieces.push(packets[index].behind(headers_length));
                next = self.next[index];
            }
            frame.pieces_end = self.pieces.len();
        }
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = Frame<'_>> {
        let mut start = 0;
        self.frames.iter().map(move |it| {
            let pieces = &self.pieces[start..it.pieces_end];
            start = it.pieces_end;
            Frame {
                header: it.header,
                pieces,
            }
        })
    }
}

impl Group {
    fn continues_with(&self, data: &Data) -> bool {
        let length = self.data.headers_length + self.payload_length + data.payload_length;
        length <= FRAME_BYTES_MAX && data.follows(&self.data, self.count, self.payload_length)
    }

    /// Whether the first packet, to which others are about to be joined, is what was sent.
    fn is_genuine(&mut self, buffer: &[u8]) -> bool {
        self.genuine = self.genuine || self.data.is_genuine(self.span.of(buffer));
        self.genuine
    }

    /// Whether nothing can follow `last`, which was just joined.
    fn is_full(&self, last: &Data) -> bool {
        self.count == Coalescer::PACKETS_MAX
            || last.push
            || last.payload_length < self.data.payload_length
    }

    /// Turns the first packet's headers into those of the frame.
    fn head(&self, packet: &mut [u8]) -> VnetHeader {
        let layout = self.data.layout;
        let start = layout.transport_start;
        let length = self.data.headers_length + self.payload_length;
        match layout.version {
            Version::V4 => {
                put(packet, 2, field(length).to_be_bytes());
                put(packet, 10, [0; 2]);
                let checksum = Sum::of(&packet[..start]).checksum();
                put(packet, 10, checksum);
            }
            Version::V6 => put(packet, 4, field(length - start).to_be_bytes()),
        }

        let transport_length = field(length - start);
        let (kind, checksum_offset) = match (layout.protocol, layout.version) {
            (ip::UDP, _) => (GsoKind::Udp, ip::UDP_CHECKSUM),
            (_, Version::V4) => (GsoKind::TcpV4, ip::TCP_CHECKSUM),
            (_, Version::V6) => (GsoKind::TcpV6, ip::TCP_CHECKSUM),
        };
        if layout.protocol == ip::UDP {
            put(packet, start + 4, transport_length.to_be_bytes());
        }
        if self.push {
            self.data.set_push(packet);
        }
        let pseudo_header = layout.pseudo_header(packet);
        let pending = pseudo_header.plus(Sum::number(transport_length)).folded();
        put(packet, start + checksum_offset, pending);
        VnetHeader {
            checksum: Some(PendingChecksum {
                start: field(start),
                offset: field(checksum_offset),
            }),
            gso: NonZeroU16::new(field(self.data.payload_length)).map(|size| Gso {
                kind,
                size,
                congestion_reduced: false,
            }),
            headers_length: field(self.data.headers_length),
        }
    }
}

impl Span {
    /// The bytes in `buffer`: none if they lie outside.
    fn of(self, buffer: &[u8]) -> &[u8] {
        let bytes = buffer.get(self.start..).unwrap_or_default();
        bytes.get(..self.length).unwrap_or_default()
    }

    fn behind(self, length: usize) -> Self {
        Self {
            start: self.start + length,
            length: self.length - length,
        }
    }
}
