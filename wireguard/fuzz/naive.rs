//! What cutting a frame means, as plainly as it can be written: one packet at a time, every field
//! written and every checksum summed anew from all bytes that it covers.

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The packets that a frame stands for, or nothing if it makes no sense.
pub(crate) fn cut(header: &[u8], frame: &[u8]) -> Option<Vec<Vec<u8>>> {
    if header.len() != 10 && header.len() != 12 || frame.is_empty() {
        return None;
    }
    let number = |at: usize| usize::from(u16::from_ne_bytes([header[at], header[at + 1]]));
    let (hint, size, start, offset) = (number(2), number(4), number(6), number(8));
    if 3 < header[0] || frame.len() < hint {
        return None;
    }
    let pending = header[0] & 1 != 0;

    let protocol = match header[1] {
        0 if pending => return Some(vec![complete(frame, start, offset)?]),
        0 => return Some(vec![frame.to_vec()]),
        1 | 0x81 if frame[0] >> 4 == 4 => TCP,
        4 | 0x84 if frame[0] >> 4 == 6 => TCP,
        5 => UDP,
        _ => return None,
    };
    let transport = transport(frame)?;
    if transport.protocol != protocol || size == 0 {
        return None;
    }
    let checksum = if protocol == TCP { 16 } else { 6 };
    if pending && (start != transport.start || offset != checksum) {
        return None;
    }

    let headers = transport.start + transport_header(frame, &transport)?;
    let unchecked = protocol == UDP && !pending && read(frame, transport.start + 6) == 0;
    let count = (frame.len() - headers).div_ceil(size).max(1);
    let packets = (0..count).map(|index| {
        let start = headers + index * size;
        let end = frame.len().min(start + size);
        let mut packet = [&frame[..headers], &frame[start..end]].concat();
        if protocol == TCP {
            number_tcp(&mut packet[transport.start..], index, size, count);
        }
        if packet[0] >> 4 == 4 {
            let identification = read(frame, 4).wrapping_add(u16::try_from(index).unwrap_or(0));
            write(&mut packet, 4, identification);
        }
        mend_length(&mut packet);
        mend_checksums(&mut packet, &transport, !unchecked);
        packet
    });
    Some(packets.collect())
}

/// Which flow a packet belongs to, or nothing if it could be any.
pub(crate) fn flow(packet: &[u8]) -> Option<Vec<u8>> {
    let transport = transport(packet)?;
    let (addresses, plain) = match packet[0] >> 4 {
        4 => (12..20, transport.start == 20),
        _ => (8..40, transport.start == 40),
    };
    let unseen = packet[0] >> 4 == 6 && [44, 51].contains(&transport.protocol);
    if !plain || unseen {
        return None;
    }
    let mut flow = packet[addresses].to_vec();
    flow.push(transport.protocol);
    let smallest = match transport.protocol {
        TCP => 20,
        UDP => 8,
        _ => return Some(flow),
    };
    if packet.len() < transport.start + smallest {
        return None;
    }
    flow.extend(&packet[transport.start..transport.start + 4]);
    Some(flow)
}

/// Whether two packets differ in nothing that means something: in the two forms of a checksum that
/// is zero, or in the identification of what must not be fragmented.
pub(crate) fn say_the_same(one: &[u8], other: &[u8]) -> bool {
    if one == other {
        return true;
    }
    let masked = |packet: &[u8]| {
        let transport = transport(packet)?;
        let mut packet = packet.to_vec();
        if packet[0] >> 4 == 4 {
            write(&mut packet, 10, 0);
            if packet[6] & 0x40 != 0 {
                write(&mut packet, 4, 0);
            }
        }
        if transport.protocol == TCP {
            write(&mut packet, transport.start + 16, 0);
        }
        Some(packet)
    };
    is_genuine(one) && is_genuine(other) && masked(one) == masked(other)
}

/// Whether a frame's checksum, once completed, is right.
pub(crate) fn pending_is_right(frame: &[u8]) -> bool {
    let Some(transport) = transport(frame) else {
        return false;
    };
    let offset = if transport.protocol == TCP { 16 } else { 6 };
    complete(frame, transport.start, offset).is_some_and(|it| is_genuine(&it))
}

/// Makes a packet's lengths and checksums right, as far as it has any. A UDP checksum of 0 stays.
pub(crate) fn mend(packet: &mut [u8]) {
    mend_length(packet);
    let Some(transport) = transport(packet) else {
        return;
    };
    if transport_header(packet, &transport).is_some() {
        let checked = transport.protocol == TCP || read(packet, transport.start + 6) != 0;
        mend_checksums(packet, &transport, checked);
    }
}

/// Writes the packet's length into the headers of IP and of UDP.
pub(crate) fn mend_length(packet: &mut [u8]) {
    let Ok(length) = u16::try_from(packet.len()) else {
        return;
    };
    match packet.first().map(|it| it >> 4) {
        Some(4) if 20 <= length => write(packet, 2, length),
        Some(6) if 40 <= length => write(packet, 4, length - 40),
        _ => return,
    }
    if let Some(transport) = transport(packet)
        && let Ok(length) = u16::try_from(packet.len() - transport.start)
        && transport.protocol == UDP
        && 8 <= length
    {
        write(packet, transport.start + 4, length);
    }
}

struct Transport {
    protocol: u8,
    start: usize,
}

/// Finds what IP carries, if the packet is no fragment and as long as it says.
fn transport(packet: &[u8]) -> Option<Transport> {
    match packet.first()? >> 4 {
        4 if 20 <= packet.len() => {
            let start = usize::from(packet[0] & 15) * 4;
            let whole = usize::from(read(packet, 2)) == packet.len();
            let fragment = read(packet, 6) & 0b0011_1111_1111_1111 != 0;
            (whole && !fragment && 20 <= start && start <= packet.len()).then_some(Transport {
                protocol: packet[9],
                start,
            })
        }
        6 if 40 <= packet.len() => {
            if usize::from(read(packet, 4)) != packet.len() - 40 {
                return None;
            }
            let (mut protocol, mut start) = (packet[6], 40);
            while let 0 | 43 | 60 = protocol {
                let header = packet.get(start..start + 8)?;
                if protocol == 43 && header[3] != 0 {
                    return None;
                }
                protocol = header[0];
                start += 8 + 8 * usize::from(header[1]);
            }
            (start <= packet.len()).then_some(Transport { protocol, start })
        }
        _ => None,
    }
}

/// The length of the transport's header, if all of it is there.
fn transport_header(packet: &[u8], transport: &Transport) -> Option<usize> {
    let bytes = &packet[transport.start..];
    let length = match transport.protocol {
        TCP => usize::from(bytes.get(12)? >> 4) * 4,
        UDP => 8,
        _ => return None,
    };
    let smallest = if transport.protocol == TCP { 20 } else { 8 };
    (smallest <= length && length <= bytes.len()).then_some(length)
}

fn number_tcp(header: &mut [u8], index: usize, size: usize, count: usize) {
    let first = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let sequence = first.wrapping_add(u32::try_from(index * size).unwrap_or(0));
    header[4..8].copy_from_slice(&sequence.to_be_bytes());
    if index != 0 {
        header[13] &= !0x80;
    }
    if index != count - 1 {
        header[13] &= !0x09;
    }
}

fn mend_checksums(packet: &mut [u8], transport: &Transport, checked: bool) {
    if packet[0] >> 4 == 4 {
        write(packet, 10, 0);
        let checksum = !sum(&packet[..usize::from(packet[0] & 15) * 4]);
        write(packet, 10, checksum);
    }
    let place = transport.start + if transport.protocol == TCP { 16 } else { 6 };
    write(packet, place, 0);
    if !checked {
        return;
    }
    let checksum = !sum(&covered(packet, transport));
    let none = transport.protocol == UDP && checksum == 0;
    write(packet, place, if none { 0xffff } else { checksum });
}

fn is_genuine(packet: &[u8]) -> bool {
    let Some(transport) = transport(packet) else {
        return false;
    };
    let header = packet[0] >> 4 == 6 || sum(&packet[..usize::from(packet[0] & 15) * 4]) == 0xffff;
    header && sum(&covered(packet, &transport)) == 0xffff
}

/// The pseudo-header and all that follows IP's.
fn covered(packet: &[u8], transport: &Transport) -> Vec<u8> {
    let addresses = if packet[0] >> 4 == 4 { 12..20 } else { 8..40 };
    let bytes = &packet[transport.start..];
    let length = u32::try_from(bytes.len()).unwrap_or(0).to_be_bytes();
    let protocol = [0, 0, 0, transport.protocol];
    [&packet[addresses], &length, &protocol, bytes].concat()
}

fn complete(frame: &[u8], start: usize, offset: usize) -> Option<Vec<u8>> {
    frame.get(start + offset..start + offset + 2)?;
    let mut packet = frame.to_vec();
    let checksum = !sum(&frame[start..]);
    write(
        &mut packet,
        start + offset,
        if checksum == 0 { 0xffff } else { checksum },
    );
    Some(packet)
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) * 256 + u32::from(*pair.get(1).unwrap_or(&0));
        sum = sum % 0x1_0000 + sum / 0x1_0000;
    }
    u16::try_from(sum).unwrap_or(0)
}

fn read(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn write(bytes: &mut [u8], at: usize, number: u16) {
    bytes[at..at + 2].copy_from_slice(&number.to_be_bytes());
}
