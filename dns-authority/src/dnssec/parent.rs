//! A door: asks what a zone's parent says of the zone's keys.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use hickory_proto::op::Message;
use hickory_proto::rr::RData;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::roll::Parent;
use crate::wire::query::{HEADER_BYTES, Record};
use crate::wire::{CLASS_IN, kind};

/// A server that has not answered after so long is asked again later.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is lost on the way is sent again.
const TRIES: usize = 3;
/// Of what comes over UDP.
const PAYLOAD_BYTES: u16 = 1232;

/// The DS records of the zone at `origin`, as a resolver or a server of the parent at `address` knows
/// them.
pub async fn ask(address: SocketAddr, origin: &[u8]) -> anyhow::Result<Parent> {
    let records = records(address, origin, kind::DS).await?;
    let ttl = records.iter().map(|it| u64::from(it.ttl)).max();
    Ok(Parent {
        ttl: ttl.unwrap_or_default(),
        ds: records.into_iter().map(|it| it.data).collect(),
    })
}

/// A record of an answer.
struct Answered {
    ttl: u32,
    data: Vec<u8>,
}

/// The servers that `address` names for the zone at `origin`, in lower case and in order, whether it
/// answers or refers.
pub async fn servers(address: SocketAddr, origin: &[u8]) -> anyhow::Result<Vec<String>> {
    let (answer, question) = exchange(address, origin, kind::NS).await?;
    let nonsense = || format!("{address} answers nonsense");
    read(&answer, &question, kind::NS).with_context(nonsense)?;
    let message = Message::from_vec(&answer).with_context(nonsense)?;
    let records = message.answers.iter().chain(&message.authorities);
    let names = records.filter_map(|it| {
        let RData::NS(name) = &it.data else {
            return None;
        };
        Some(name.0.to_lowercase().to_string())
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names.dedup();
    Ok(names)
}

/// The records of a type that `address` answers with.
async fn records(address: SocketAddr, name: &[u8], kind: u16) -> anyhow::Result<Vec<Answered>> {
    let (answer, question) = exchange(address, name, kind).await?;
    read(&answer, &question, kind).with_context(|| format!("{address} answers nonsense"))
}

/// The answer, and what it is to.
async fn exchange(
    address: SocketAddr,
    name: &[u8],
    kind: u16,
) -> anyhow::Result<(Vec<u8>, Vec<u8>)> {
    let context = || format!("cannot ask {address}");
    let question = question(rand::random(), name, kind);
    let mut answer = over_udp(address, &question).await.with_context(context)?;
    let is_truncated = answer[2] & 2 != 0;
    if is_truncated {
        let exchange = timeout(PATIENCE, over_tcp(address, &question));
        answer = exchange
            .await
            .with_context(context)?
            .with_context(context)?;
    }
    Ok((answer, question))
}

/// A query that wants recursion, and DNSSEC's records as they are.
fn question(id: u16, name: &[u8], kind: u16) -> Vec<u8> {
    let mut question = Vec::from(id.to_be_bytes());
    question.extend([1, 0x10, 0, 1, 0, 0, 0, 0, 0, 1]);
    question.extend_from_slice(name);
    question.extend(kind.to_be_bytes());
    question.extend(CLASS_IN.to_be_bytes());
    question.push(0);
    question.extend(kind::OPT.to_be_bytes());
    question.extend(PAYLOAD_BYTES.to_be_bytes());
    question.extend([0; 6]);
    question
}

async fn over_udp(address: SocketAddr, question: &[u8]) -> anyhow::Result<Vec<u8>> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    socket.connect(address).await?;
    let mut buffer = vec![0; usize::from(PAYLOAD_BYTES)];
    for _ in 0..TRIES {
        socket.send(question).await?;
        let answered = timeout(PATIENCE, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                let is_ours = HEADER_BYTES <= length && buffer[..2] == question[..2];
                if is_ours && buffer[2] & 0x80 != 0 {
                    return anyhow::Ok(length);
                }
            }
        });
        if let Ok(length) = answered.await {
            buffer.truncate(length?);
            return Ok(buffer);
        }
    }
    bail!("it does not answer")
}

async fn over_tcp(address: SocketAddr, question: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let length = u16::try_from(question.len())?;
    stream
        .write_all(&[&length.to_be_bytes(), question].concat())
        .await?;
    let length = usize::from(stream.read_u16().await?);
    ensure!(HEADER_BYTES <= length, "the answer is too short");
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

fn read(answer: &[u8], question: &[u8], kind: u16) -> anyhow::Result<Vec<Answered>> {
    let code = answer[3] & 0xf;
    // That there is no such name is an answer too: there are no such records.
    ensure!(matches!(code, 0 | 3), "response code {code}");
    let asked = &question[HEADER_BYTES..question.len() - 11];
    let echoed = answer.get(HEADER_BYTES..HEADER_BYTES + asked.len());
    ensure!(
        echoed.is_some_and(|it| it.eq_ignore_ascii_case(asked)),
        "it is to another question"
    );
    let count = u16::from_be_bytes([answer[6], answer[7]]);
    let mut records = Vec::new();
    let mut at = HEADER_BYTES + asked.len();
    for _ in 0..count {
        let record = Record::read(answer, at).context("a record is cut off")?;
        if record.kind == kind {
            records.push(Answered {
                ttl: u32::from_be_bytes(record.ttl),
                data: record.data.to_vec(),
            });
        }
        at = record.end;
    }
    Ok(records)
}
