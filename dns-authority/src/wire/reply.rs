//! Writes answers: names are written once and pointed at after that (RFC 1035 section 4.1.4), and
//! nothing is written that does not fit.

use super::edns::{
    OPTION_COOKIE, OPTION_ERROR, OPTION_NAME, OPTION_PADDING, OPTION_PATIENCE, OPTION_SUBNET,
};
use super::query::{HEADER_BYTES, Header, Query};
use super::{CLASS_IN, kind, name};
use std::net::IpAddr;

use ipnet::IpNet;

/// The parts of a message after its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer = 1,
    Authority = 2,
    Additional = 3,
}

/// There is no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is full")]
pub struct Full;

/// An answer that is being written.
///
/// It begins as header and question; records follow in the order of their sections.
#[derive(Debug)]
pub struct Reply<'a> {
    buffer: &'a mut Vec<u8>,
    /// Of octets, what goes to EDNS taken off.
    limit: usize,
    counts: [u16; 4],
    places: Places,
}

/// What is said with EDNS. The length of an answer to a client that said nothing of it is 512 octets at
/// most, and it has none of this.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// Octets that we take over UDP.
    pub payload: u16,
    /// Comes back as it was asked for (RFC 3225 section 3).
    pub dnssec_ok: bool,
    /// Whom the client asked for, and for how many leading bits of that the answer holds.
    pub subnet: Option<(IpNet, u8)>,
    pub cookie: Option<&'a [u8]>,
    /// The server's name.
    pub name: Option<&'a [u8]>,
    /// Why the answer is what it is (RFC 8914).
    pub error: Option<(u16, &'a str)>,
    /// Tenths of a second that a connection may idle.
    pub patience: Option<u16>,
    /// The answer's length becomes a multiple of so many octets (RFC 8467), if it fits.
    pub padding_block: Option<usize>,
}

/// An OPT record without options: root, type, class, time to live, length.
const OPT_BYTES: usize = 11;
const OPTION_HEAD_BYTES: usize = 4;

impl<'a> Reply<'a> {
    /// Begins the answer to `query` in `buffer`, whose old content is dropped: at most `limit` octets,
    /// `options` included.
    pub fn new(
        buffer: &'a mut Vec<u8>,
        query: &Query<'_>,
        limit: usize,
        options: Option<&Options<'_>>,
    ) -> Self {
        buffer.clear();
        write_header(buffer, query.header);
        buffer.extend_from_slice(query.question);
        let mut places = Places::default();
        places.add_name(HEADER_BYTES, query.name.octets());
        Self {
            buffer,
            limit: limit.saturating_sub(options.map_or(0, Options::length)),
            counts: [1, 0, 0, 0],
            places,
        }
    }

    /// Writes a record of class IN; `owner` and names in `data` are in full, as they travel.
    ///
    /// # Errors
    ///
    /// It does not fit, and nothing was written.
    pub fn record(
        &mut self,
        section: Section,
        owner: &[u8],
        (kind, ttl): (u16, u32),
        data: &[u8],
    ) -> Result<(), Full> {
        let start = self.buffer.len();
        let places = self.places.count;
        self.name(owner);
        self.buffer.extend(kind.to_be_bytes());
        self.buffer.extend(CLASS_IN.to_be_bytes());
        self.buffer.extend(ttl.to_be_bytes());
        let length_at = self.buffer.len();
        self.buffer.extend([0; 2]);
        self.data(kind, data);
        if self.limit < self.buffer.len() {
            self.buffer.truncate(start);
            self.places.count = places;
            return Err(Full);
        }
        let length = self.buffer.len() - length_at - 2;
        let length = u16::try_from(length).expect("data is at most 65,535 octets");
        self.buffer[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        self.counts[section as usize] += 1;
        Ok(())
    }

    /// Where the message ends now, to go [`back_to`](Self::back_to).
    pub fn mark(&self) -> Mark {
        Mark {
            length: self.buffer.len(),
            counts: self.counts,
            places: self.places.count,
        }
    }

    /// Takes back what was written since.
    pub fn back_to(&mut self, mark: Mark) {
        self.buffer.truncate(mark.length);
        self.counts = mark.counts;
        self.places.count = mark.places;
    }

    /// Ends the message. A client that is told of a truncation comes back over TCP.
    pub fn finish(
        mut self,
        code: u16,
        authoritative: bool,
        truncated: bool,
        options: Option<&Options<'_>>,
    ) {
        let [code_high, code_low] = (code << 4).to_be_bytes();
        if let Some(options) = options {
            self.counts[Section::Additional as usize] += 1;
            options.write(code_high, self.buffer);
        }
        self.buffer[2] |= u8::from(authoritative) << 2 | u8::from(truncated) << 1;
        self.buffer[3] |= code_low >> 4;
        for (at, count) in [4, 6, 8, 10].into_iter().zip(self.counts) {
            self.buffer[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Only the types that every resolver has known since RFC 1035 have names that may point back (RFC 3597
    /// section 4).
    fn data(&mut self, kind: u16, data: &[u8]) {
        match kind {
            kind::NS | kind::CNAME | kind::PTR => self.name(data),
            kind::MX => {
                let (preference, exchange) = data.split_at(2);
                self.buffer.extend_from_slice(preference);
                self.name(exchange);
            }
            kind::SOA => {
                let (primary, rest) = data.split_at(name::length(data));
                let (mailbox, numbers) = rest.split_at(name::length(rest));
                self.name(primary);
                self.name(mailbox);
                self.buffer.extend_from_slice(numbers);
            }
            _ => self.buffer.extend_from_slice(data),
        }
    }

    /// Writes a name, its end as a pointer if it was written before.
    fn name(&mut self, name: &[u8]) {
        let start = self.buffer.len();
        let mut at = 0;
        while name[at] != 0 {
            if let Some(place) = self.places.find(self.buffer, &name[at..]) {
                self.buffer.extend_from_slice(&name[..at]);
                self.places.add_labels(start, name, at);
                self.buffer.extend((POINTER | place).to_be_bytes());
                return;
            }
            at += 1 + usize::from(name[at]);
        }
        self.buffer.extend_from_slice(name);
        self.places.add_labels(start, name, at);
    }
}

/// A moment of a message.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: usize,
    counts: [u16; 4],
    places: usize,
}

/// Writes a message that is only a header, for what could not be read as far as the question, or is not
/// served.
pub fn refuse(buffer: &mut Vec<u8>, header: Header, code: u16) {
    buffer.clear();
    write_header(buffer, header);
    buffer[3] |= code.to_be_bytes()[1] & 0xf;
}

fn write_header(buffer: &mut Vec<u8>, header: Header) {
    let first = 0x80 | header.operation << 3 | u8::from(header.recursion_desired);
    let second = u8::from(header.checking_disabled) << 4;
    buffer.extend(header.id);
    buffer.extend([first, second]);
    buffer.resize(HEADER_BYTES, 0);
}

/// The first two bits of a pointer, and the rest of it is where to.
const POINTER: u16 = 0xc000;
const POINTED_MAX: usize = 0x3fff;

/// Names that a message has, for pointers to them: the most there are in any but the largest answers.
const PLACES_MAX: usize = 48;

/// Where names begin, and how long they are in full.
#[derive(Debug)]
struct Places {
    places: [(u16, u8); PLACES_MAX],
    count: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            places: [(0, 0); PLACES_MAX],
            count: 0,
        }
    }
}

impl Places {
    /// Remembers a whole name that was written at `start`, and all that it ends with.
    fn add_name(&mut self, start: usize, name: &[u8]) {
        self.add_labels(start, name, name.len() - 1);
    }

    /// The same for the labels of `name` that begin before `end`: what follows is known already.
    fn add_labels(&mut self, start: usize, name: &[u8], end: usize) {
        let mut at = 0;
        while at < end && self.count < PLACES_MAX && start + at <= POINTED_MAX {
            let place = u16::try_from(start + at).expect("at most POINTED_MAX");
            let length = u8::try_from(name.len() - at).expect("names have at most 255 octets");
            self.places[self.count] = (place, length);
            self.count += 1;
            at += 1 + usize::from(name[at]);
        }
    }

    fn find(&self, message: &[u8], name: &[u8]) -> Option<u16> {
        let known = self.places[..self.count].iter();
        let mut known = known.filter(|(_, length)| usize::from(*length) == name.len());
        known
            .find(|(place, _)| is_same(message, usize::from(*place), name))
            .map(|(place, _)| *place)
    }
}

/// Whether the name at `at`, which we wrote, is `name`, without regard to case.
fn is_same(message: &[u8], mut at: usize, name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        let length = message[at];
        if length >= 0xc0 {
            at = usize::from(u16::from_be_bytes([length, message[at + 1]]) & !POINTER);
            continue;
        }
        let end = 1 + usize::from(length);
        let is_same = rest
            .get(..end)
            .is_some_and(|it| it.eq_ignore_ascii_case(&message[at..at + end]));
        if !is_same || length == 0 {
            return is_same;
        }
        rest = &rest[end..];
        at += end;
    }
}

impl Options<'_> {
    /// How many octets they take, without padding, which gives way.
    fn length(&self) -> usize {
        let option = |it: Option<usize>| it.map_or(0, |it| OPTION_HEAD_BYTES + it);
        OPT_BYTES
            + option(self.subnet.map(|(it, _)| 4 + prefix_octets(it)))
            + option(self.cookie.map(<[u8]>::len))
            + option(self.name.map(<[u8]>::len))
            + option(self.error.map(|(_, text)| 2 + text.len()))
            + option(self.patience.map(|_| 2))
    }

    fn write(&self, code_high: u8, buffer: &mut Vec<u8>) {
        buffer.push(0);
        buffer.extend(kind::OPT.to_be_bytes());
        buffer.extend(self.payload.to_be_bytes());
        buffer.extend([code_high, 0, u8::from(self.dnssec_ok) << 7, 0]);
        let length_at = buffer.len();
        buffer.extend([0; 2]);
        if let Some((subnet, scope)) = self.subnet {
            let (family, octets) = match subnet.addr() {
                IpAddr::V4(it) => (1_u8, it.to_ipv6_mapped().octets()),
                IpAddr::V6(it) => (2, it.octets()),
            };
            let from = if family == 1 { 12 } else { 0 };
            let octets = &octets[from..from + prefix_octets(subnet)];
            let head = [0, family, subnet.prefix_len(), scope];
            option(buffer, OPTION_SUBNET, &[&head, octets]);
        }
        if let Some(cookie) = self.cookie {
            option(buffer, OPTION_COOKIE, &[cookie]);
        }
        if let Some(name) = self.name {
            option(buffer, OPTION_NAME, &[name]);
        }
        if let Some((code, text)) = self.error {
            option(
                buffer,
                OPTION_ERROR,
                &[&code.to_be_bytes(), text.as_bytes()],
            );
        }
        if let Some(patience) = self.patience {
            option(buffer, OPTION_PATIENCE, &[&patience.to_be_bytes()]);
        }
        if let Some(block) = self.padding_block {
            let length = (buffer.len() + OPTION_HEAD_BYTES).next_multiple_of(block);
            let length = length.min(usize::from(u16::MAX));
            let zeros = length.saturating_sub(buffer.len() + OPTION_HEAD_BYTES);
            option(buffer, OPTION_PADDING, &[&vec![0; zeros]]);
        }
        let length = u16::try_from(buffer.len() - length_at - 2).expect("options are short");
        buffer[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
    }
}

fn prefix_octets(network: IpNet) -> usize {
    usize::from(network.prefix_len().div_ceil(8))
}

fn option(buffer: &mut Vec<u8>, code: u16, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|it| it.len()).sum();
    let length = u16::try_from(length).expect("an option is shorter than the message");
    buffer.extend(code.to_be_bytes());
    buffer.extend(length.to_be_bytes());
    parts.iter().for_each(|it| buffer.extend_from_slice(it));
}

#[cfg(test)]
mod tests;
