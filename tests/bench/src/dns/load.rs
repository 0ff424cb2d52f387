//! The client: asks over UDP as fast as answers come, or at a given pace, and times every answer.

use std::fs;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use lab::now;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::query;

#[derive(Debug, clap::Args)]
pub(crate) struct LoadOptions {
    /// Whom to ask
    #[arg(long)]
    pub(crate) server: SocketAddr,

    /// What to ask, over and over: lines of a name and perhaps the client's network
    #[arg(long, value_name = "FILE")]
    pub(crate) questions: PathBuf,

    /// For how long
    #[arg(long, default_value = "3")]
    pub(crate) seconds: f64,

    /// Questions in a second; without it, as many as are answered
    #[arg(long)]
    pub(crate) rate: Option<f64>,

    /// How many questions may wait for answers
    #[arg(long, default_value = "256")]
    pub(crate) window: usize,
}

/// What came of it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Tally {
    pub(crate) sent: u64,
    pub(crate) answered: u64,
    pub(crate) seconds: f64,
    /// Answers with another code than NOERROR.
    pub(crate) refused: u64,
    /// Records in all answers.
    pub(crate) records: u64,
    pub(crate) p50_microseconds: f64,
    pub(crate) p99_microseconds: f64,
    pub(crate) longest_microseconds: f64,
}

impl Tally {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

/// Sockets, so that servers with several can spread what they get.
const LANES: usize = 4;
/// Datagrams in one call.
const BATCH: usize = 32;
/// A question that waited so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// Latencies that are kept; of more, the first.
const LATENCIES_MAX: usize = 4 << 20;
/// How long to wait for the socket at a time, so that the pace is kept.
const NAP: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000,
};

/// Asks, and writes the tally to stdout as JSON.
///
/// # Errors
///
/// If the questions make no sense, or the machine refuses sockets.
pub(crate) fn run(options: &LoadOptions) -> Result<()> {
    let text = fs::read_to_string(&options.questions).context("cannot read the questions")?;
    let questions: Result<Vec<Vec<u8>>> = text.lines().map(query::encode).collect();
    let questions = questions?;
    if questions.is_empty() {
        bail!("{} asks nothing", options.questions.display());
    }
    let tally = Client::new(options, &questions)?.run()?;
    let json = serde_json::to_string(&tally)?;
    Ok(writeln!(std::io::stdout(), "{json}")?)
}

struct Client<'a> {
    options: &'a LoadOptions,
    questions: &'a [Vec<u8>],
    next: usize,
    lanes: Vec<Lane>,
    start: Instant,
    tally: Tally,
    nanoseconds: Vec<u32>,
}

/// A socket, and what was asked through it.
struct Lane {
    socket: UdpSocket,
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<[u8; 2048]>,
    /// By the question's number: nanoseconds since the start when it was sent, 0 if none waits.
    sent_at: Vec<u64>,
    number: u16,
    waiting: usize,
}

impl<'a> Client<'a> {
    fn new(options: &'a LoadOptions, questions: &'a [Vec<u8>]) -> Result<Self> {
        let lanes: Result<Vec<Lane>> = (0..LANES).map(|_| Lane::new(options.server)).collect();
        Ok(Self {
            options,
            questions,
            next: 0,
            lanes: lanes?,
            start: now(),
            tally: Tally::default(),
            nanoseconds: Vec::with_capacity(LATENCIES_MAX),
        })
    }

    fn run(mut self) -> Result<Tally> {
        let end = Duration::from_secs_f64(self.options.seconds);
        self.start = now();
        let mut swept = Duration::ZERO;
        loop {
            let elapsed = now() - self.start;
            let is_over = end <= elapsed;
            let mut is_busy = false;
            for lane in 0..LANES {
                if !is_over {
                    is_busy |= self.ask(lane)?;
                }
                is_busy |= self.hear(lane)?;
            }
            if LOST_AFTER <= elapsed - swept {
                swept = elapsed;
                let before = nanoseconds(elapsed).saturating_sub(nanoseconds(LOST_AFTER));
                self.lanes.iter_mut().for_each(|it| it.forget(before));
            }
            let waiting: usize = self.lanes.iter().map(|it| it.waiting).sum();
            if is_over && (waiting == 0 || end + LOST_AFTER <= elapsed) {
                break;
            }
            if !is_busy {
                self.nap()?;
            }
        }
        self.tally.seconds = self.options.seconds;
        Ok(self.finish())
    }

    /// Sends what is due through a lane; returns whether that was anything.
    fn ask(&mut self, lane: usize) -> Result<bool> {
        let room = (self.options.window / LANES).saturating_sub(self.lanes[lane].waiting);
        let wanted = match self.options.rate {
            None => room,
            Some(rate) => self.due(rate).min(BATCH / LANES),
        };
        let wanted = wanted.min(BATCH);
        if wanted == 0 {
            return Ok(false);
        }
        let sent = self.lanes[lane].send(self.questions, self.next, wanted, self.start)?;
        self.next = (self.next + sent) % self.questions.len();
        self.tally.sent += sent as u64;
        Ok(sent != 0)
    }

    /// How many questions more should have been sent by now.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "never negative, and far less than a core can send"
    )]
    fn due(&self, rate: f64) -> usize {
        let due = (now() - self.start).as_secs_f64() * rate;
        (due - self.tally.sent as f64).max(0.0) as usize
    }

    /// Takes the answers that have come through a lane; returns whether there were any.
    fn hear(&mut self, lane: usize) -> Result<bool> {
        let lane = &mut self.lanes[lane];
        let mut slices: Vec<[IoSliceMut<'_>; 1]> = lane
            .buffers
            .iter_mut()
            .map(|it| [IoSliceMut::new(it)])
            .collect();
        let socket = lane.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let results = recvmmsg(socket, &mut lane.headers, slices.iter_mut(), flags, None);
        let count = match results {
            Ok(results) => results.count(),
            // The server is gone, or not there yet.
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED) => 0,
            Err(error) => return Err(error).context("cannot receive"),
        };
        let at = nanoseconds(now() - self.start);
        for answer in &lane.buffers[..count] {
            let number = u16::from_be_bytes([answer[0], answer[1]]);
            let sent_at = std::mem::take(&mut lane.sent_at[usize::from(number)]);
            if sent_at == 0 {
                continue;
            }
            lane.waiting -= 1;
            self.tally.answered += 1;
            self.tally.refused += u64::from(answer[3] & 15 != 0);
            self.tally.records += u64::from(answer[7]);
            if self.nanoseconds.len() < LATENCIES_MAX {
                let took = u32::try_from(at - sent_at).unwrap_or(u32::MAX);
                self.nanoseconds.push(took);
            }
        }
        Ok(count != 0)
    }

    fn nap(&self) -> Result<()> {
        let sockets = self.lanes.iter().map(|it| it.socket.as_fd());
        let mut sockets: Vec<PollFd<'_>> = sockets
            .map(|it| PollFd::from_borrowed_fd(it, PollFlags::IN))
            .collect();
        match poll(&mut sockets, Some(&NAP)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("cannot wait for answers"),
        }
    }

    fn finish(mut self) -> Tally {
        self.nanoseconds.sort_unstable();
        let count = self.nanoseconds.len();
        let at = |percent: usize| {
            let place = count.saturating_sub(1) * percent / 100;
            self.nanoseconds
                .get(place)
                .map_or(0.0, |it| f64::from(*it) / 1000.0)
        };
        Tally {
            p50_microseconds: at(50),
            p99_microseconds: at(99),
            longest_microseconds: at(100),
            ..self.tally
        }
    }
}

impl Lane {
    fn new(server: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").context("cannot make a socket")?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        // What the kernel refuses to enlarge stays as it is.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 4 << 20);
        Ok(Self {
            socket,
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![[0; 2048]; BATCH],
            sent_at: vec![0; 1 << 16],
            number: 0,
            waiting: 0,
        })
    }

    /// Sends some questions, from `next` on; returns how many the kernel took.
    fn send(
        &mut self,
        questions: &[Vec<u8>],
        next: usize,
        count: usize,
        start: Instant,
    ) -> Result<usize> {
        let numbers: Vec<[u8; 2]> = (0..count)
            .map(|_| self.take_number().to_be_bytes())
            .collect();
        let questions = questions.iter().cycle().skip(next);
        let slices: Vec<[IoSlice<'_>; 2]> = numbers
            .iter()
            .zip(questions)
            .map(|(number, question)| [IoSlice::new(number), IoSlice::new(&question[2..])])
            .collect();
        let nobody = [None; BATCH];
        let at = nanoseconds(now() - start).max(1);
        let socket = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let sent = sendmmsg(socket, &mut self.headers, &slices, nobody, [], flags);
        let sent = match sent {
            Ok(sent) => sent.count(),
            Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNREFUSED | Errno::ENOBUFS) => 0,
            Err(error) => return Err(error).context("cannot send"),
        };
        for number in &numbers[..sent] {
            self.sent_at[usize::from(u16::from_be_bytes(*number))] = at;
        }
        self.waiting += sent;
        Ok(sent)
    }

    /// A number that no waiting question has.
    fn take_number(&mut self) -> u16 {
        while self.sent_at[usize::from(self.number)] != 0 {
            self.number = self.number.wrapping_add(1);
        }
        let number = self.number;
        self.number = self.number.wrapping_add(1);
        number
    }

    /// Gives up what was sent before then.
    fn forget(&mut self, before: u64) {
        for at in self
            .sent_at
            .iter_mut()
            .filter(|it| (1..before).contains(*it))
        {
            *at = 0;
            self.waiting -= 1;
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
