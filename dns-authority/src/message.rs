//! Reads queries from the wire and writes answers to it.

use std::net::IpAddr;

use crate::answer::{Answer, Client, Row, World, answer};
use crate::wire::edns::Edns;
use crate::wire::query::{Query, Received, read};
use crate::wire::reply::{Full, Options, Reply, Section, refuse};
use crate::wire::{CLASS_IN, code, kind};

/// How a query came, hence how long its answer may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// What became of a query, for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    /// `None` if the query could not be read that far.
    pub kind: Option<u16>,
    pub code: u16,
}

/// Answers are this long at most over UDP, whatever the client allows, so that they travel
/// unfragmented (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1232;
/// What every client takes without saying so (RFC 1035 section 2.3.4).
const UDP_BYTES_MIN: u16 = 512;

/// Answers the query `bytes` of `resolver`, and puts the answer into `response`, whose old content
/// is dropped. `None` if there is nothing to answer: not a query, or too short to be anything.
pub fn handle(
    world: &World,
    bytes: &[u8],
    resolver: IpAddr,
    transport: Transport,
    entropy: u64,
    response: &mut Vec<u8>,
) -> Option<Handled> {
    let (header, code) = match read(bytes) {
        Received::Nothing => return None,
        Received::Query(query) => {
            let client = Client {
                resolver,
                subnet: query.edns.and_then(|it| it.subnet),
            };
            let answer = match refusal(&query) {
                Some(code) => Answer::new(code),
                None => answer(world, &query.name, query.kind, client, entropy),
            };
            write(&query, &answer, transport, response);
            return Some(Handled {
                kind: Some(query.kind),
                code: answer.code,
            });
        }
        Received::Other(header) => (header, code::NOT_IMPLEMENTED),
        Received::Malformed(header) => (header, code::FORMAT_ERROR),
    };
    refuse(response, header, code);
    Some(Handled { kind: None, code })
}

/// Why a question that was understood is not looked up.
fn refusal(query: &Query<'_>) -> Option<u16> {
    if query.edns.is_some_and(|it| it.version != 0) {
        return Some(code::BAD_VERSION);
    }
    match query.kind {
        _ if query.class != CLASS_IN => Some(code::REFUSED),
        kind::AXFR | kind::IXFR => Some(code::REFUSED),
        kind::OPT | kind::SIG | kind::TSIG => Some(code::FORMAT_ERROR),
        _ => None,
    }
}

fn write(query: &Query<'_>, answer: &Answer<'_>, transport: Transport, response: &mut Vec<u8>) {
    let options = query.edns.map(|it| options(&it, answer));
    let options = options.as_ref();
    let limit = limit(query.edns.as_ref(), transport);
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

fn rows_fit(reply: &mut Reply<'_>, query: &Query<'_>, section: Section, rows: &[Row<'_>]) -> bool {
    let written: Result<(), Full> = rows.iter().try_for_each(|row| {
        let owner = row.owner.name(&query.name);
        row.try_each(|data| reply.record(section, owner, (row.kind, row.ttl), data))
    });
    written.is_ok()
}

fn options(asked: &Edns<'_>, answer: &Answer<'_>) -> Options<'static> {
    // "Forget me" is answered with a scope of 0, whatever the answer depends on.
    let scope = |prefix_length: u8| if prefix_length == 0 { 0 } else { answer.scope };
    Options {
        payload: UDP_BYTES_MAX,
        dnssec_ok: asked.dnssec_ok,
        error: answer.remark.map(|it| (it.number, it.text)),
        subnet: asked.subnet.map(|it| (it, scope(it.prefix_len()))),
        ..Options::default()
    }
}

fn limit(edns: Option<&Edns<'_>>, transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => edns.map_or(UDP_BYTES_MIN, |it| {
            it.payload.clamp(UDP_BYTES_MIN, UDP_BYTES_MAX)
        }),
    }
}

#[cfg(test)]
mod tests;
