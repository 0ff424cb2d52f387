//! Queries over a stream (RFC 7766), plain or encrypted: each with its length before it, any number per
//! connection, answered in the order they came.

use std::io;
use std::net::IpAddr;

use daemon::Drain;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::places::Place;
use super::{Outcome, Responder};

/// The most that a length can say. Queries are short; updates need not be.
const QUERY_BYTES_MAX: usize = 65_535;
/// What is read at once.
const READ_BYTES: usize = 4096;
/// Answers are sent together up to so much, to those who ask several things at once.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

/// The client at the other end of a stream.
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Its place among the connections.
    pub(super) place: Place,
}

/// Answers until the client leaves, falls silent or takes no answers, or the drain starts.
pub(super) async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: &Peer,
    responder: Responder,
    mut drain: Drain,
) -> io::Result<()> {
    let mut inbox = Inbox::default();
    let (mut answer, mut outbox) = (Vec::new(), Vec::new());
    loop {
        let patience = peer.place.patience();
        let responder = responder.with_patience(patience);
        tokio::select! {
            () = drain.started() => break,
            is_there = timeout(patience, inbox.fill(&mut stream)) => {
                if !is_there?? {
                    break;
                }
            }
        }
        while let Some(query) = inbox.query() {
            let client = peer.address.to_canonical();
            match responder.respond(query, client, &mut answer) {
                Outcome::Answered => enqueue(&answer, &mut outbox),
                Outcome::Unanswered => return Ok(()),
                Outcome::HandedOver(mut answers) => {
                    while let Some(answer) = answers.recv().await {
                        enqueue(&answer, &mut outbox);
                        send(&mut stream, &mut outbox, peer).await?;
                    }
                }
            }
            if TOGETHER_BYTES_MAX < outbox.len() {
                send(&mut stream, &mut outbox, peer).await?;
            }
        }
        send(&mut stream, &mut outbox, peer).await?;
    }
    // What encrypts says goodbye, if the other end takes it.
    timeout(peer.place.patience(), stream.shutdown()).await?
}

/// Puts an answer, with its length before it, to what is to be sent.
fn enqueue(answer: &[u8], outbox: &mut Vec<u8>) {
    let length = u16::try_from(answer.len()).expect("messages are at most 65,535 octets");
    outbox.extend(length.to_be_bytes());
    outbox.extend_from_slice(answer);
}

/// Sends what is in `outbox`, and empties it. Who reads slowly holds nothing but his own connection, and
/// that not for long.
async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    outbox: &mut Vec<u8>,
    peer: &Peer,
) -> io::Result<()> {
    let write = async {
        stream.write_all(outbox).await?;
        stream.flush().await
    };
    timeout(peer.place.patience(), write).await??;
    outbox.clear();
    Ok(())
}

/// What came and was not answered yet.
#[derive(Debug, Default)]
struct Inbox {
    bytes: Vec<u8>,
    /// Where the next query begins.
    start: usize,
}

impl Inbox {
    /// Reads until a whole query is there; false at the end of the stream, or of what is believed to
    /// be one. May be cancelled, and loses nothing.
    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
        self.bytes.drain(..self.start);
        self.start = 0;
        loop {
            match self.next() {
                Some(length) if QUERY_BYTES_MAX < length => return Ok(false),
                Some(length) if 2 + length <= self.bytes.len() => return Ok(true),
                _ => (),
            }
            self.bytes.reserve(READ_BYTES);
            if stream.read_buf(&mut self.bytes).await? == 0 {
                return Ok(false);
            }
        }
    }

    /// The next query, if it is there as a whole.
    fn query(&mut self) -> Option<&[u8]> {
        let length = self.next().filter(|it| *it <= QUERY_BYTES_MAX)?;
        let start = self.start + 2;
        let query = self.bytes.get(start..start + length)?;
        self.start = start + length;
        Some(query)
    }

    /// The announced length of the next query.
    fn next(&self) -> Option<usize> {
        let [high, low] = *self.bytes.get(self.start..)?.first_chunk()?;
        Some(usize::from(u16::from_be_bytes([high, low])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn takes_queries_as_they_come() {
        let (mut client, mut server) = tokio::io::duplex(64);
        let sending = tokio::spawn(async move {
            for byte in [0, 2, 7, 8, 0, 0, 0] {
                client.write_all(&[byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.write_all(&[1, 9, 0, 1, 5, 0]).await.unwrap();
        });
        let mut inbox = Inbox::default();
        let mut queries = Vec::new();
        while inbox.fill(&mut server).await.unwrap() {
            while let Some(query) = inbox.query() {
                queries.push(query.to_vec());
            }
        }
        sending.await.unwrap();

        assert_eq!(queries, [vec![7, 8], vec![], vec![9], vec![5]]);
    }

    #[tokio::test]
    async fn does_not_wait_for_what_is_too_long() {
        let mut announced = &[0, 1, 7, 0xff, 0xff][..];
        let mut inbox = Inbox::default();

        assert!(inbox.fill(&mut announced).await.unwrap());
        assert_eq!(inbox.query(), Some(&[7][..]));
        assert!(!inbox.fill(&mut announced).await.unwrap());
    }
}
