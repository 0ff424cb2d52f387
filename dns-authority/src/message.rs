//! Reads queries from the wire and writes answers to it.

use std::iter;
use std::net::IpAddr;

use hickory_proto::op::{
    Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode, emit_message_parts,
};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Record, RecordType};
use hickory_proto::serialize::binary::BinEncoder;
use ipnet::IpNet;

use crate::answer::{Answer, Client, World, answer};

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
    pub kind: Option<RecordType>,
    pub code: ResponseCode,
}

/// Answers are this long at most over UDP, whatever the client allows, so that they travel
/// unfragmented (DNS flag day 2020).
const UDP_BYTES_MAX: u16 = 1232;
/// What every client takes without saying so (RFC 1035 section 2.3.4).
const UDP_BYTES_MIN: u16 = 512;
/// Octets of the header, which every message starts with.
const HEADER_BYTES: usize = 12;

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
    response.clear();
    match parse(bytes)? {
        Parsed::Query(request) => {
            let client = Client {
                resolver,
                subnet: request.subnet.map(|it| it.network),
            };
            let Query {
                name, query_type, ..
            } = &request.query;
            let answer = answer(world, name, *query_type, client, entropy);
            Some(respond(&request, &answer, transport, response))
        }
        Parsed::Refused(request, code) => {
            let answer = Answer::new(code);
            Some(respond(&request, &answer, transport, response))
        }
        Parsed::Unreadable(metadata, code) => {
            write_header(metadata, code, response);
            Some(Handled { kind: None, code })
        }
    }
}

/// A query that can be answered.
#[derive(Debug)]
struct Request {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
    subnet: Option<Subnet>,
}

/// The client subnet option of a query.
#[derive(Clone, Copy, Debug)]
struct Subnet {
    network: IpNet,
}

#[derive(Debug)]
enum Parsed {
    Query(Box<Request>),
    /// The question is understood, and not answered.
    Refused(Box<Request>, ResponseCode),
    /// Not even the question could be read.
    Unreadable(Metadata, ResponseCode),
}

fn parse(bytes: &[u8]) -> Option<Parsed> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let is_response = header[2] & 0x80 != 0;
    if is_response {
        return None;
    }
    let op_code = OpCode::from_u8((header[2] >> 3) & 0xf);
    let id = u16::from_be_bytes([header[0], header[1]]);
    let mut metadata = Metadata::new(id, MessageType::Response, op_code);
    metadata.recursion_desired = header[2] & 1 != 0;
    if op_code != OpCode::Query {
        return Some(Parsed::Unreadable(metadata, ResponseCode::NotImp));
    }
    // Looked at before the rest is decoded, which only serves one question.
    let questions_count = u16::from_be_bytes([header[4], header[5]]);
    if questions_count != 1 {
        return Some(Parsed::Unreadable(metadata, ResponseCode::FormErr));
    }
    let Ok(mut message) = Message::from_vec(bytes) else {
        return Some(Parsed::Unreadable(metadata, ResponseCode::FormErr));
    };
    let Some(query) = message.queries.pop() else {
        return Some(Parsed::Unreadable(metadata, ResponseCode::FormErr));
    };

    let metadata = Metadata::response_from_request(&message.metadata);
    let mut request = Box::new(Request {
        metadata,
        query,
        edns: message.edns,
        subnet: None,
    });
    Some(match refusal(&mut request) {
        Some(code) => Parsed::Refused(request, code),
        None => Parsed::Query(request),
    })
}

/// Looks at the rest of the query; returns why it is not answered, if so.
fn refusal(request: &mut Request) -> Option<ResponseCode> {
    let edns = request.edns.as_ref();
    if edns.is_some_and(|it| it.version() > 0) {
        return Some(ResponseCode::BADVERS);
    }
    if let Some(EdnsOption::Subnet(option)) = edns.and_then(|it| it.option(EdnsCode::Subnet)) {
        let Some(subnet) = subnet(option) else {
            return Some(ResponseCode::FormErr);
        };
        request.subnet = Some(subnet);
    }
    if request.query.query_class != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    let kind = request.query.query_type;
    if [RecordType::AXFR, RecordType::IXFR].contains(&kind) {
        return Some(ResponseCode::Refused);
    }
    let is_no_question = [RecordType::OPT, RecordType::SIG, RecordType::TSIG].contains(&kind);
    is_no_question.then_some(ResponseCode::FormErr)
}

/// The option's network, unless it breaks RFC 7871 section 7.1.2: a scope, or bits beyond the
/// prefix.
fn subnet(option: &ClientSubnet) -> Option<Subnet> {
    let network = IpNet::new(option.addr(), option.source_prefix()).ok()?;
    let is_clean = network.trunc() == network && option.scope_prefix() == 0;
    is_clean.then_some(Subnet { network })
}

fn respond(
    request: &Request,
    answer: &Answer<'_>,
    transport: Transport,
    response: &mut Vec<u8>,
) -> Handled {
    let mut metadata = request.metadata;
    metadata.response_code = answer.code;
    metadata.authoritative = answer.authoritative;

    let edns = request.edns.as_ref().map(|_| edns(request, answer));
    let bytes_max = bytes_max(request.edns.as_ref(), transport);
    let sections = |additionals| Sections {
        answers: &answer.answers,
        authorities: &answer.authorities,
        additionals,
    };
    let write = |metadata, sections, response: &mut Vec<u8>| {
        write(
            metadata,
            &request.query,
            sections,
            edns.as_ref(),
            bytes_max,
            response,
        )
    };

    // Additional records are a courtesy and go first when space is short; then the client is told
    // to come back over TCP, with nothing that it could mistake for the whole answer.
    let complete = write(metadata, sections(&answer.additionals), response)
        || (!answer.additionals.is_empty() && write(metadata, sections(&[]), response));
    if !complete {
        metadata.truncation = true;
        if !write(metadata, Sections::default(), response) {
            write_header(metadata, ResponseCode::ServFail, response);
        }
    }
    Handled {
        kind: Some(request.query.query_type),
        code: answer.code,
    }
}

fn edns(request: &Request, answer: &Answer<'_>) -> Edns {
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    // RFC 3225 section 3: what the client said about DNSSEC comes back.
    let asked = request.edns.as_ref();
    edns.set_dnssec_ok(asked.is_some_and(|it| it.flags().dnssec_ok));
    if let Some(Subnet { network }) = request.subnet {
        // "Forget me" is answered with a scope of 0, whatever the answer depends on.
        let scope = if network.prefix_len() == 0 {
            0
        } else {
            answer.scope
        };
        let option = ClientSubnet::new(network.addr(), network.prefix_len(), scope);
        edns.options_mut().insert(EdnsOption::Subnet(option));
    }
    edns
}

fn bytes_max(edns: Option<&Edns>, transport: Transport) -> u16 {
    match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => edns.map_or(UDP_BYTES_MIN, |it| {
            it.max_payload().clamp(UDP_BYTES_MIN, UDP_BYTES_MAX)
        }),
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Sections<'a> {
    answers: &'a [Record],
    authorities: &'a [Record],
    additionals: &'a [Record],
}

/// Writes a message; returns whether all of it fits into `bytes_max`.
fn write(
    metadata: Metadata,
    query: &Query,
    sections: Sections<'_>,
    edns: Option<&Edns>,
    bytes_max: u16,
    response: &mut Vec<u8>,
) -> bool {
    response.clear();
    let mut encoder = BinEncoder::new(response);
    encoder.set_max_size(bytes_max);
    let written = emit_message_parts(
        &metadata,
        &mut iter::once(query),
        &mut sections.answers.iter(),
        &mut sections.authorities.iter(),
        &mut sections.additionals.iter(),
        edns,
        None,
        &mut encoder,
    );
    written.is_ok_and(|header| header.metadata.truncation == metadata.truncation)
}

/// Writes a message that is only a header, for queries whose question could not be read.
fn write_header(metadata: Metadata, code: ResponseCode, response: &mut Vec<u8>) {
    let [high, low] = metadata.id.to_be_bytes();
    let flags = 0x80 | u8::from(metadata.op_code) << 3 | u8::from(metadata.recursion_desired);
    response.clear();
    response.extend([high, low, flags, code.low()]);
    response.resize(HEADER_BYTES, 0);
}

#[cfg(test)]
mod tests;
