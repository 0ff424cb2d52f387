//! Many datagrams with one call: queries in, answers out, in buffers that are made once.
//!
//! A socket on `0.0.0.0` or `[::]` hears what is sent to any address of the machine, and a resolver
//! drops an answer from another address than the one it asked. So each query comes with the address
//! it was sent to, and its answer leaves from there.

use std::array;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrStorage,
    recvmmsg, sendmmsg, sendmsg,
};
use tokio::sync::mpsc;
use tracing::debug;

use crate::serve::Outcome;

/// Datagrams of one call. More would save little, and make the first wait for the last.
const BATCH: usize = 64;
/// Queries are short; what is longer is cut and cannot be read.
const QUERY_BYTES_MAX: usize = 4096;
/// What answers over UDP have at most, so that their buffers never grow.
const ANSWER_BYTES_MAX: usize = 1232;

/// Datagrams that came together, and the answers to them.
pub(super) struct Batch {
    /// Whether there are several addresses to answer from.
    is_wild: bool,
    incoming: MultiHeaders<SockaddrStorage>,
    outgoing: MultiHeaders<SockaddrStorage>,
    queries: Box<[u8]>,
    arrivals: Vec<Arrival>,
    answers: Vec<Vec<u8>>,
    /// Of `arrivals`, those that have an answer.
    answered: Vec<usize>,
    /// Those that are answered later, and where their answers come from.
    errands: Vec<(Arrival, mpsc::Receiver<Vec<u8>>)>,
    /// Where to, of those that are sent by one call.
    clients: Vec<Option<SockaddrStorage>>,
}

/// A query's length and its way, which its answer goes back.
#[derive(Clone, Copy)]
struct Arrival {
    length: usize,
    client: SockaddrStorage,
    /// `None` if there is only one address to answer from.
    asked: Option<Asked>,
}

/// The address that a query was sent to, as the system wants it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    V4(u32),
    /// Also of an IPv4 query to a socket on `[::]`, as a mapped address.
    V6([u8; 16]),
}

impl Batch {
    /// Buffers for a socket on `address`.
    pub(super) fn new(address: SocketAddr) -> Self {
        // Exactly what the system puts there: it goes by what was there the last time.
        let control = || match address {
            _ if !address.ip().is_unspecified() => None,
            SocketAddr::V4(_) => Some(cmsg_space!(in_pktinfo)),
            SocketAddr::V6(_) => Some(cmsg_space!(in6_pktinfo)),
        };
        Self {
            is_wild: address.ip().is_unspecified(),
            incoming: MultiHeaders::preallocate(BATCH, control()),
            outgoing: MultiHeaders::preallocate(BATCH, control()),
            queries: vec![0; BATCH * QUERY_BYTES_MAX].into(),
            arrivals: Vec::with_capacity(BATCH),
            answers: (0..BATCH)
                .map(|_| Vec::with_capacity(ANSWER_BYTES_MAX))
                .collect(),
            answered: Vec::with_capacity(BATCH),
            errands: Vec::new(),
            clients: Vec::with_capacity(BATCH),
        }
    }

    /// Takes what waits, without waiting; false if that is nothing.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> bool {
        self.arrivals.clear();
        let mut chunks = self.queries.chunks_mut(QUERY_BYTES_MAX);
        let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
            array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let flags = MsgFlags::MSG_DONTWAIT;
        let descriptor = socket.as_raw_fd();
        match recvmmsg(
            descriptor,
            &mut self.incoming,
            slices.iter_mut(),
            flags,
            None,
        ) {
            Ok(messages) => self.arrivals.extend(messages.map(|it| arrival(&it))),
            Err(Errno::EAGAIN) => (),
            // An ICMP error about an earlier answer, which nobody waits for.
            Err(error) => debug!(%error, "receiving failed"),
        }
        !self.arrivals.is_empty()
    }

    /// Whether there were as many as one call brings.
    pub(super) fn is_full(&self) -> bool {
        self.arrivals.len() == BATCH
    }

    /// Has every query answered by `respond`.
    pub(super) fn answer(
        &mut self,
        mut respond: impl FnMut(&[u8], IpAddr, &mut Vec<u8>) -> Outcome,
    ) {
        self.answered.clear();
        let queries = self.queries.chunks(QUERY_BYTES_MAX);
        let queries = self.arrivals.iter().zip(queries).zip(&mut self.answers);
        for (index, ((arrival, query), answer)) in queries.enumerate() {
            let Some(client) = socket_address(&arrival.client) else {
                continue;
            };
            // The system always tells; an answer from another address would help nobody.
            if self.is_wild && arrival.asked.is_none() {
                continue;
            }
            match respond(&query[..arrival.length], client.ip(), answer) {
                Outcome::Answered => self.answered.push(index),
                Outcome::HandedOver(answers) => self.errands.push((*arrival, answers)),
                Outcome::Unanswered => (),
            }
        }
    }

    /// What sends the answers that come later, as they come; each blocks its thread.
    pub(super) fn errands<'s>(
        &'s mut self,
        socket: &'s Arc<UdpSocket>,
    ) -> impl Iterator<Item = impl FnOnce() + Send + use<>> + 's {
        self.errands.drain(..).map(move |(arrival, mut answers)| {
            let socket = Arc::clone(socket);
            move || {
                while let Some(answer) = answers.blocking_recv() {
                    if let Err(error) = send_one(&socket, &arrival, &answer) {
                        debug!(%error, "an answer could not be sent");
                    }
                }
            }
        })
    }

    /// Sends the answers.
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        let answered = std::mem::take(&mut self.answered);
        let asked = |it: usize| self.arrivals[it].asked;
        for run in answered.chunk_by(|one, other| asked(*one) == asked(*other)) {
            let sender = Sender {
                socket,
                arrivals: &self.arrivals,
                answers: &self.answers,
                outgoing: &mut self.outgoing,
                clients: &mut self.clients,
            };
            sender.send(run);
        }
        self.answered = answered;
    }
}

/// What sending needs of a batch.
struct Sender<'a> {
    socket: &'a UdpSocket,
    arrivals: &'a [Arrival],
    answers: &'a [Vec<u8>],
    outgoing: &'a mut MultiHeaders<SockaddrStorage>,
    clients: &'a mut Vec<Option<SockaddrStorage>>,
}

impl Sender<'_> {
    /// Sends the answers `run`, which leave from one address. One that cannot be sent does not keep
    /// back the others.
    fn send(mut self, mut run: &[usize]) {
        while !run.is_empty() {
            let sent = match self.send_once(run) {
                Ok(sent) => sent,
                Err(Errno::EINTR) => 0,
                Err(error) => {
                    debug!(%error, "an answer could not be sent");
                    1
                }
            };
            run = &run[sent.min(run.len())..];
        }
    }

    /// How many were sent before one that could not be.
    fn send_once(&mut self, run: &[usize]) -> nix::Result<usize> {
        self.clients.clear();
        let clients = run.iter().map(|it| Some(self.arrivals[*it].client));
        self.clients.extend(clients);
        let slices: [[IoSlice<'_>; 1]; BATCH] = array::from_fn(|place| {
            let answer = run.get(place).map(|it| &*self.answers[*it]);
            [IoSlice::new(answer.unwrap_or_default())]
        });
        let descriptor = self.socket.as_raw_fd();
        with_source(self.arrivals[run[0]].asked, |control| {
            let flags = MsgFlags::empty();
            let sent = sendmmsg(
                descriptor,
                &mut *self.outgoing,
                &slices,
                &*self.clients,
                control,
                flags,
            );
            sent.map(Iterator::count)
        })
    }
}

/// Sends one answer back the way that its query came.
fn send_one(socket: &UdpSocket, arrival: &Arrival, answer: &[u8]) -> nix::Result<()> {
    with_source(arrival.asked, |control| {
        let parts = [IoSlice::new(answer)];
        let client = Some(&arrival.client);
        sendmsg(
            socket.as_raw_fd(),
            &parts,
            control,
            MsgFlags::empty(),
            client,
        )
    })
    .map(drop)
}

/// Has something sent from the address that was asked.
fn with_source<T>(asked: Option<Asked>, send: impl FnOnce(&[ControlMessage<'_>]) -> T) -> T {
    match asked {
        None => send(&[]),
        Some(Asked::V4(address)) => send(&[ControlMessage::Ipv4PacketInfo(&in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: in_addr { s_addr: address },
            ipi_addr: in_addr { s_addr: 0 },
        })]),
        Some(Asked::V6(address)) => send(&[ControlMessage::Ipv6PacketInfo(&in6_pktinfo {
            ipi6_addr: in6_addr { s6_addr: address },
            ipi6_ifindex: 0,
        })]),
    }
}

fn arrival(message: &RecvMsg<'_, '_, SockaddrStorage>) -> Arrival {
    let asked = message.cmsgs().ok().and_then(|mut it| it.find_map(asked));
    Arrival {
        length: message.bytes,
        client: message.address.expect("datagrams come from somewhere"),
        asked,
    }
}

fn asked(message: ControlMessageOwned) -> Option<Asked> {
    // The interface is left to the routes: the way back may be another one.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other kind is asked for")]
    match message {
        ControlMessageOwned::Ipv4PacketInfo(it) => Some(Asked::V4(it.ipi_spec_dst.s_addr)),
        ControlMessageOwned::Ipv6PacketInfo(it) => Some(Asked::V6(it.ipi6_addr.s6_addr)),
        _ => None,
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|it| (*it).into());
    v4.or_else(|| address.as_sockaddr_in6().map(|it| (*it).into()))
}
