//! Reads queries from the wire and writes answers to it.

use std::net::IpAddr;

use crate::answer::{Answer, Client, Row, World, answer};
use crate::cookie::Cookie;
use crate::dnssec::attach::attach;
use crate::guard::{Guard, Treatment, tone};
use crate::limit::Tone;
use crate::wire::edns::Edns;
use crate::wire::query::{OPERATION_NOTIFY, OPERATION_UPDATE, Query, Received, read};
use crate::wire::reply::{Full, Options, Reply, Section, refuse};
use crate::wire::{CLASS_IN, code, kind};

/// How a query came, hence how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Https,
    Quic,
    Tcp,
    Tls,
    Udp,
}

/// What became of a query, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// `None` if the query could not be read that far.
    pub kind: Option<u16>,
    pub code: u16,
    pub treatment: Treatment,
    /// A LUA record could not be answered: its script failed, or what it computed was nothing.
    pub record_failed: bool,
    /// It is no plain query, and refused as if nobody took such: a transfer, an update, a notification, or
    /// something signed.
    pub is_errand: bool,
}

/// Answers are this long at most over UDP, whatever the client allows, so that they travel
/// unfragmented (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1232;
/// What every client takes without saying so (RFC 1035 section 2.3.4).
const UDP_BYTES_MIN: u16 = 512;
/// Encrypted answers have a multiple of so many octets if their queries were padded (RFC 8467 section 4.1).
const PADDING_BLOCK: usize = 468;

/// Answers the query `bytes` of `resolver`, and puts the answer into `response`, whose old content
/// is dropped. `None` if there is nothing to answer: not a query, or too short to be anything.
pub fn handle(
    world: &World,
    guard: &Guard<'_>,
    bytes: &[u8],
    resolver: IpAddr,
    transport: Transport,
    entropy: u64,
    response: &mut Vec<u8>,
) -> Option<Handled> {
    response.clear();
    let (header, code) = match read(bytes) {
        Received::Nothing => return None,
        Received::Query(query) => {
            let client = Client {
                subnet: query.edns.and_then(|it| it.subnet),
                header: query.header.into(),
                dnssec_ok: query.edns.is_some_and(|it| it.dnssec_ok),
                payload_bytes: query.edns.map_or(0, |it| it.payload),
                is_tcp: transport == Transport::Tcp,
                ..Client::at(resolver)
            };
            let mut answer = match refusal(&query) {
                Some(code) => Answer::new(code),
                None => answer(world, &query.name, query.kind, client, entropy),
            };
            if query.edns.is_some_and(|it| it.dnssec_ok) {
                attach(&query, &mut answer);
            }
            let visit = Visit {
                guard,
                resolver,
                transport,
                entropy,
            };
            return Some(visit.respond(&query, &answer, response));
        }
        Received::Other(header) => (header, code::NOT_IMPLEMENTED),
        Received::Malformed(header) => (header, code::FORMAT_ERROR),
    };
    let is_errand = [OPERATION_NOTIFY, OPERATION_UPDATE].contains(&header.operation);
    let treatment = guard.treat(resolver, transport, None, Tone::Error, entropy);
    if treatment != Treatment::Dropped {
        refuse(response, header, code);
    }
    Some(Handled {
        kind: None,
        code,
        treatment,
        record_failed: false,
        is_errand,
    })
}

/// Whether a query wants more than an answer to a question.
fn is_errand(query: &Query<'_>) -> bool {
    query.signature.is_some() || [kind::AXFR, kind::IXFR].contains(&query.kind)
}

/// Why a question that was understood is not looked up.
fn refusal(query: &Query<'_>) -> Option<u16> {
    if query.edns.is_some_and(|it| it.version != 0) {
        return Some(code::BAD_VERSION);
    }
    match query.kind {
        _ if query.class != CLASS_IN => Some(code::REFUSED),
        kind::AXFR | kind::IXFR => Some(code::REFUSED),
        kind::NXNAME | kind::OPT | kind::SIG | kind::TSIG => Some(code::FORMAT_ERROR),
        _ => None,
    }
}

/// Who asks, and over what.
#[derive(Clone, Copy, Debug)]
struct Visit<'a> {
    guard: &'a Guard<'a>,
    resolver: IpAddr,
    transport: Transport,
    entropy: u64,
}

impl Visit<'_> {
    fn respond(&self, query: &Query<'_>, answer: &Answer<'_>, response: &mut Vec<u8>) -> Handled {
        let (resolver, entropy) = (self.resolver, self.entropy);
        let (standing, cookie) = self.guard.cookie(query.edns.as_ref(), resolver).unzip();
        let tone = tone(answer);
        let treatment = self
            .guard
            .treat(resolver, self.transport, standing, tone, entropy);
        let code = match treatment {
            Treatment::CookieWanted => code::BAD_COOKIE,
            Treatment::Answered | Treatment::Dropped | Treatment::Slipped => answer.code,
        };
        match treatment {
            Treatment::Answered => self.write(query, answer, cookie.as_ref(), response),
            Treatment::CookieWanted | Treatment::Slipped => {
                self.write_nothing(query, code, cookie.as_ref(), response);
            }
            Treatment::Dropped => (),
        }
        Handled {
            kind: Some(query.kind),
            code,
            treatment,
            record_failed: answer.record_failed(),
            is_errand: is_errand(query),
        }
    }

    fn write(
        &self,
        query: &Query<'_>,
        answer: &Answer<'_>,
        cookie: Option<&Cookie>,
        response: &mut Vec<u8>,
    ) {
        let options = query.edns.map(|it| self.options(&it, answer, cookie));
        let options = options.as_ref();
        let limit = limit(query.edns.as_ref(), self.transport);
        let mut reply = Reply::new(response, query, limit.into(), options);
        let empty = reply.mark();
        let sections = [
            (Section::Answer, &answer.answers),
            (Section::Authority, &answer.authorities),
        ];
        let mut sections = sections.into_iter();
        let is_whole = sections.all(|(section, rows)| rows_fit(&mut reply, query, section, rows));
        if !is_whole {
            // A client that could mistake a part for the whole answer gets none of it.
            reply.back_to(empty);
            return reply.finish(answer.code, answer.authoritative, true, options);
        }
        // Additional records are a courtesy, and go first when space is short.
        let mark = reply.mark();
        let is_whole = rows_fit(&mut reply, query, Section::Additional, &answer.additionals);
        if !is_whole {
            reply.back_to(mark);
        }
        // Without the addresses of its servers, a part that is delegated may be out of reach (RFC 9471).
        let is_truncated = !is_whole && !answer.authoritative;
        reply.finish(answer.code, answer.authoritative, is_truncated, options);
    }

    /// Sends the client back, with hardly more octets than it sent: it may be somebody else.
    fn write_nothing(
        &self,
        query: &Query<'_>,
        code: u16,
        cookie: Option<&Cookie>,
        response: &mut Vec<u8>,
    ) {
        let options = query.edns.map(|it| Options {
            payload: UDP_BYTES_MAX,
            dnssec_ok: it.dnssec_ok,
            cookie: cookie.map(Cookie::as_slice),
            ..Options::default()
        });
        let options = options.as_ref();
        let limit = limit(query.edns.as_ref(), self.transport);
        let reply = Reply::new(response, query, limit.into(), options);
        reply.finish(code, false, code != code::BAD_COOKIE, options);
    }

    fn options<'a>(
        &'a self,
        asked: &Edns<'_>,
        answer: &Answer<'_>,
        cookie: Option<&'a Cookie>,
    ) -> Options<'a> {
        // "Forget me" is answered with a scope of 0, whatever the answer depends on.
        let scope = |prefix_length: u8| if prefix_length == 0 { 0 } else { answer.scope };
        let tells_name = asked.wants_name && !self.guard.name.is_empty();
        let tells_patience = asked.wants_patience && self.transport.is_lasting();
        let pads = asked.is_padded && self.transport.is_encrypted();
        Options {
            payload: UDP_BYTES_MAX,
            dnssec_ok: asked.dnssec_ok,
            subnet: asked.subnet.map(|it| (it, scope(it.prefix_len()))),
            cookie: cookie.map(Cookie::as_slice),
            name: tells_name.then_some(self.guard.name),
            error: answer.remark.map(|it| (it.number, it.text)),
            patience: tells_patience.then_some(self.guard.patience),
            padding_block: pads.then_some(PADDING_BLOCK),
        }
    }
}

impl Transport {
    /// As metrics have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    /// Whether messages may come that are no plain queries: an exchange over the others has one answer.
    pub fn has_errands(self) -> bool {
        match self {
            Self::Tcp | Self::Tls | Self::Udp => true,
            Self::Https | Self::Quic => false,
        }
    }

    fn is_encrypted(self) -> bool {
        match self {
            Self::Https | Self::Quic | Self::Tls => true,
            Self::Tcp | Self::Udp => false,
        }
    }

    /// Whether DNS tells how long a connection lasts; the others tell it by themselves.
    fn is_lasting(self) -> bool {
        match self {
            Self::Tcp | Self::Tls => true,
            Self::Https | Self::Quic | Self::Udp => false,
        }
    }
}

fn rows_fit(reply: &mut Reply<'_>, query: &Query<'_>, section: Section, rows: &[Row<'_>]) -> bool {
    let written: Result<(), Full> = rows.iter().try_for_each(|row| {
        let owner = row.owner.name(&query.name);
        row.try_each(|data| reply.record(section, owner, (row.kind, row.ttl), data))
    });
    written.is_ok()
}

fn limit(edns: Option<&Edns<'_>>, transport: Transport) -> u16 {
    match transport {
        Transport::Https | Transport::Quic | Transport::Tcp | Transport::Tls => u16::MAX,
        Transport::Udp => edns.map_or(UDP_BYTES_MIN, |it| {
            it.payload.clamp(UDP_BYTES_MIN, UDP_BYTES_MAX)
        }),
    }
}

#[cfg(test)]
mod tests;
