//! Reads the packets of a capture file as tcpdump writes it (the classic pcap format, version 2.4).

use std::io::{ErrorKind, Read};

/// A reader of one capture, in the order in which the packets were seen.
#[derive(Debug)]
pub struct Reader<R> {
    source: R,
    /// Whether the writer's byte order is the other one than little-endian.
    big_endian: bool,
    /// Where in a packet the IP header begins.
    ip_offset: usize,
    failed: bool,
}

/// Why a capture cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum BadCapture {
    #[error("not a capture file")]
    Format,
    #[error("packets of an unknown kind ({0})")]
    LinkType(u32),
    #[error("a packet of {0} bytes")]
    Length(u32),
    #[error("cannot read the capture")]
    Read(#[source] std::io::Error),
}

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

/// The largest packet that tcpdump writes.
const LONGEST: u32 = 262_144;

/// An Ethernet header; link types are assigned by the format's registry.
const ETHERNET: (u32, usize) = (1, 14);

/// No header at all, under each of its numbers.
const RAW: [(u32, usize); 3] = [(12, 0), (14, 0), (101, 0)];

impl<R: Read> Reader<R> {
    /// Reads the header of a capture.
    ///
    /// # Errors
    ///
    /// If it is none, or one of another kind than Ethernet or bare IP.
    pub fn new(mut source: R) -> Result<Self, BadCapture> {
        let mut header = [0; 24];
        source
            .read_exact(&mut header)
            .map_err(|_| BadCapture::Format)?;
        let magic = word(&header, 0, false);
        let big_endian = match magic {
            MICROSECONDS | NANOSECONDS => false,
            _ if [MICROSECONDS, NANOSECONDS].contains(&magic.swap_bytes()) => true,
            _ => return Err(BadCapture::Format),
        };
        let link_type = word(&header, 20, big_endian);
        let known = RAW
            .into_iter()
            .chain([ETHERNET])
            .find(|(it, _)| *it == link_type);
        let (_, ip_offset) = known.ok_or(BadCapture::LinkType(link_type))?;
        Ok(Self {
            source,
            big_endian,
            ip_offset,
            failed: false,
        })
    }

    fn read_packet(&mut self) -> Result<Option<Vec<u8>>, BadCapture> {
        let mut header = [0; 16];
        match self.source.read_exact(&mut header) {
            // A writer that was stopped may leave half a packet.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(BadCapture::Read)?,
        }
        let length = word(&header, 8, self.big_endian);
        if LONGEST < length {
            return Err(BadCapture::Length(length));
        }
        let mut packet = Vec::new();
        let mut rest = self.source.by_ref().take(u64::from(length));
        rest.read_to_end(&mut packet).map_err(BadCapture::Read)?;
        // Frames too short for their header carry no IP.
        let payload = packet.split_off(self.ip_offset.min(packet.len()));
        Ok(Some(payload))
    }
}

/// The packets from their IP header on. Frames that carry something else are among them.
impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Vec<u8>, BadCapture>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let packet = self.read_packet();
        self.failed = packet.is_err();
        packet.transpose()
    }
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let bytes = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_packets_in_either_byte_order_and_stops_at_half_a_packet() {
        for big_endian in [false, true] {
            let mut file = capture(101, big_endian, &[b"first", b"second"]);
            assert_eq!(packets(&file), ["first", "second"]);

            file.truncate(file.len() - b"second".len() - 1);
            assert_eq!(packets(&file), ["first"]);
        }
    }

    #[test]
    fn skips_the_ethernet_header() {
        let file = capture(1, false, &[b"EthernetHeaderpacket", b"short"]);

        assert_eq!(packets(&file), ["packet", ""]);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let unknown = capture(113, false, &[]);

        assert!(matches!(
            Reader::new(&unknown[..]),
            Err(BadCapture::LinkType(113))
        ));
        assert!(matches!(Reader::new(&b"text"[..]), Err(BadCapture::Format)));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic_or_run_for_ever(bytes: Vec<u8>, cut in 0_usize..200) {
            let _any = Reader::new(&bytes[..]).map(Iterator::count);
            let mut file = capture(101, false, &[&bytes]);
            file.truncate(cut.max(24));
            file.extend(&bytes);
            let _any = Reader::new(&file[..]).map(Iterator::count);
        }
    }

    fn packets(file: &[u8]) -> Vec<String> {
        let packets = Reader::new(file).unwrap();
        packets
            .map(|it| String::from_utf8(it.unwrap()).unwrap())
            .collect()
    }

    fn capture(link_type: u32, big_endian: bool, packets: &[&[u8]]) -> Vec<u8> {
        let order = |it: u32| {
            if big_endian {
                it.to_be_bytes()
            } else {
                it.to_le_bytes()
            }
        };
        let mut file = Vec::new();
        for word in [MICROSECONDS, 0x0004_0002, 0, 0, LONGEST, link_type] {
            file.extend(order(word));
        }
        for packet in packets {
            let length = u32::try_from(packet.len()).unwrap();
            for word in [0, 0, length, length] {
                file.extend(order(word));
            }
            file.extend(*packet);
        }
        file
    }
}
