//! A path that does to datagrams what a test says, one by one and always the same.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::other::point;
use super::pair::{PORT, Pair};

/// Stands between the east and the west, in the west's namespace; dropping it ends it.
pub(crate) struct Path {
    treatment: Arc<Mutex<Treatment>>,
    answers: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
}

/// What becomes of a datagram from east to west: any number of datagrams.
type Treatment = Box<dyn FnMut(&[u8]) -> Vec<Vec<u8>> + Send>;

/// The first byte of an answer to a handshake.
const RESPONSE: u8 = 2;

/// How soon the carriers notice that they are not needed any more.
const ATTENTION: Duration = Duration::from_millis(50);

impl Path {
    /// From now on the ends reach each other over the path alone, which is perfect so far.
    pub(crate) fn between(pair: &Pair) -> Self {
        let front = Arc::new(socket(pair));
        let back = Arc::new(socket(pair));
        let west = SocketAddr::new(pair.west.outside, PORT);
        let east = Arc::new(Mutex::new(SocketAddr::new(pair.east.outside, PORT)));
        let treatment: Treatment = Box::new(|it| vec![it.to_vec()]);
        let treatment = Arc::new(Mutex::new(treatment));
        let is_over = Arc::new(AtomicBool::new(false));
        let answers = Arc::new(AtomicU32::new(0));

        let to_west = carry(&front, &is_over, {
            let (back, east) = (Arc::clone(&back), Arc::clone(&east));
            let treatment = Arc::clone(&treatment);
            move |datagram, from| {
                *east.lock().unwrap() = from;
                let treated = treatment.lock().unwrap()(datagram);
                for datagram in treated {
                    back.send_to(&datagram, west).ok();
                }
            }
        });
        let to_east = carry(&back, &is_over, {
            let (front, answers) = (Arc::clone(&front), Arc::clone(&answers));
            move |datagram, _| {
                let is_answer = datagram.first() == Some(&RESPONSE);
                answers.fetch_add(u32::from(is_answer), Ordering::Relaxed);
                let east = *east.lock().unwrap();
                front.send_to(datagram, east).ok();
            }
        });
        point(&pair.east, &pair.west, front.local_addr().unwrap());
        point(&pair.west, &pair.east, back.local_addr().unwrap());
        Self {
            treatment,
            answers,
            is_over,
            carriers: vec![to_west, to_east],
        }
    }

    pub(crate) fn treat(&self, treatment: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        *self.treatment.lock().unwrap() = Box::new(treatment);
    }

    /// How many handshakes of the east the west has answered so far.
    pub(crate) fn answers(&self) -> u32 {
        self.answers.load(Ordering::Relaxed)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            carrier.join().ok();
        }
    }
}

fn socket(pair: &Pair) -> UdpSocket {
    let socket = pair.west.udp(pair.west.outside, 0);
    socket.set_read_timeout(Some(ATTENTION)).unwrap();
    socket
}

fn carry(
    from: &Arc<UdpSocket>,
    is_over: &Arc<AtomicBool>,
    mut forward: impl FnMut(&[u8], SocketAddr) + Send + 'static,
) -> JoinHandle<()> {
    let (from, is_over) = (Arc::clone(from), Arc::clone(is_over));
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while !is_over.load(Ordering::Relaxed) {
            // Also a wait that was too long, or interrupted.
            if let Ok((length, source)) = from.recv_from(&mut buffer) {
                forward(&buffer[..length], source);
            }
        }
    })
}
