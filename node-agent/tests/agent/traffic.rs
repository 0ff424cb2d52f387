//! Real servers and clients; the clients are in the agent's cgroup, because the whole test is.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::world::{self, World};

const VIRTUAL: &str = "10.111.0.10:80";

/// A hang, not a measurement.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A backend that answers TCP and UDP with its own address.
pub(crate) struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(world: &World, address: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let endpoint = format!("{address}:8080");
        let (listener, socket) = world.inside(move || {
            (
                TcpListener::bind(&endpoint).unwrap(),
                UdpSocket::bind(&endpoint).unwrap(),
            )
        });
        listener.set_nonblocking(true).unwrap();
        socket.set_read_timeout(Some(PAUSE)).unwrap();
        let (stop_tcp, stop_udp) = (Arc::clone(&stop), Arc::clone(&stop));
        let tcp = thread::spawn(move || {
            while !stop_tcp.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut connection, _)) => connection.write_all(address.as_bytes()).unwrap(),
                    Err(_) => thread::sleep(PAUSE),
                }
            }
        });
        let udp = thread::spawn(move || {
            let mut request = [0; 16];
            while !stop_udp.load(Ordering::Relaxed) {
                if let Ok((_, client)) = socket.recv_from(&mut request) {
                    socket.send_to(address.as_bytes(), client).unwrap();
                }
            }
        });
        Self {
            stop,
            threads: vec![tcp, udp],
        }
    }
}

const PAUSE: Duration = Duration::from_millis(1);

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// Connects one after the other until it is stopped.
pub(crate) struct Flow {
    stop: Arc<AtomicBool>,
    exchanges: Arc<AtomicUsize>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Flow {
    pub(crate) fn start(world: &World) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let exchanges = Arc::<AtomicUsize>::default();
        let (stopped, ended) = (Arc::clone(&stop), Arc::clone(&exchanges));
        let namespace = world.namespace().to_owned();
        let thread = thread::spawn(move || {
            world::enter(&namespace);
            let mut succeeded = 0;
            let mut failed = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                match ask_tcp().and_then(|_| ask_udp()) {
                    Ok(_) => succeeded += 1,
                    Err(error) => failed.push(error.to_string()),
                }
                ended.fetch_add(1, Ordering::Relaxed);
            }
            (succeeded, failed)
        });
        Self {
            stop,
            exchanges,
            thread,
        }
    }

    /// Waits for as many more exchanges as show something, however they end.
    pub(crate) fn go_on(&self, world: &World) {
        let before = self.exchanges.load(Ordering::Relaxed);
        world.wait_until("the flow goes on", || {
            before + 40 < self.exchanges.load(Ordering::Relaxed)
        });
    }

    /// How many exchanges succeeded, and why others did not.
    pub(crate) fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(&address.parse().unwrap(), TIMEOUT)
}

/// Who answers behind the virtual address, which must be what the socket shows as its peer.
pub(crate) fn ask_tcp() -> io::Result<String> {
    let mut connection = connect(VIRTUAL)?;
    connection.set_read_timeout(Some(TIMEOUT))?;
    assert_eq!(connection.peer_addr()?.to_string(), VIRTUAL);
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    Ok(answer)
}

/// The same from a socket of IPv6, as dual-stack programs use them.
pub(crate) fn ask_mapped() -> io::Result<(String, String)> {
    let mapped = format!("[::ffff:{}", VIRTUAL.replace(":80", "]:80"));
    let mut connection = connect(&mapped)?;
    let mut over_tcp = String::new();
    assert_eq!(connection.peer_addr()?, mapped.parse().unwrap());
    connection.read_to_string(&mut over_tcp)?;

    let socket = UdpSocket::bind("[::]:0")?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.send_to(b"who", &mapped)?;
    let mut over_udp = [0; 32];
    let (length, from) = patiently(|| socket.recv_from(&mut over_udp))?;
    assert_eq!(from, mapped.parse().unwrap());
    Ok((
        over_tcp,
        String::from_utf8_lossy(&over_udp[..length]).into_owned(),
    ))
}

/// The same by one datagram each way, without connecting.
pub(crate) fn ask_udp() -> io::Result<String> {
    let socket = udp()?;
    socket.send_to(b"who", VIRTUAL)?;
    receive(&socket)
}

/// Everyone who answers one connected socket.
pub(crate) fn ask_connected_udp() -> io::Result<BTreeSet<String>> {
    let socket = udp()?;
    socket.connect(VIRTUAL)?;
    assert_eq!(socket.peer_addr()?.to_string(), VIRTUAL);
    let mut answers = BTreeSet::new();
    for _ in 0..16 {
        socket.send(b"who")?;
        answers.insert(receive(&socket)?);
    }
    Ok(answers)
}

pub(crate) fn send_udp(address: &str) -> io::Result<usize> {
    udp()?.send_to(b"plaintext", address.parse::<SocketAddr>().unwrap())
}

fn udp() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket) -> io::Result<String> {
    let mut answer = [0; 32];
    let (length, from) = patiently(|| socket.recv_from(&mut answer))?;
    assert_eq!(from.to_string(), VIRTUAL);
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

/// Repeats a wait that a signal cut short, as one may while other threads start processes.
fn patiently<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            outcome => return outcome,
        }
    }
}
