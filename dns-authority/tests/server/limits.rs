//! What clients cannot do to others: gain by asking in their name, take all connections, or keep the
//! authority from answering.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use super::process::{Authority, HANG, eventually};
use super::zone;

/// Asks for `big.example.test` TXT, with EDNS for 1232 octets.
const BIG: &[u8] = b"\x12\x34\0\0\0\x01\0\0\0\0\0\x01\x03big\x07example\x04test\0\0\x10\0\x01\
    \0\0\x29\x04\xd0\0\0\0\0\0\0";
/// Asks for `www.example.test` A, with its length before it.
const FRAMED: &[u8] = b"\0\x22\0\x01\0\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01";

#[test]
fn who_asks_in_anothers_name_gains_nothing() {
    let texts: String = ('a'..='d')
        .map(|it| format!("big TXT {}\n", String::from(it).repeat(200)))
        .collect();
    let limits = [
        ("--rate-limit", "20"),
        ("--rate-limit-exempt", "192.0.2.0/24"),
    ];
    let authority = Authority::start(&zone(&texts), &limits);
    // The length of the options, which are its last, and one.
    let option = b"\0\x0c\0\x0a\0\x0801234567";
    let with_cookie = [&BIG[..BIG.len() - 2], option].concat();

    for query in [BIG, &with_cookie] {
        // The budget of this second.
        flood(authority.port(), query, 200);
        let started = Instant::now();
        let (sent, beyond, whole) = flood(authority.port(), query, 20_000);
        let seconds = started.elapsed().as_secs() + 2;
        // Answers within the limit are as long as they are.
        let budget = usize::try_from(seconds).unwrap() * 20;
        assert!(whole <= budget, "{whole} whole answers in {seconds} s");
        println!("{sent} octets sent, {beyond} received beyond the limit");
        assert!(2 * beyond <= 3 * sent, "{beyond} for {sent}");
        assert!(0 < beyond, "some slip");
    }

    // The way around it for those who are really there.
    let over_tcp = authority.kdig(&["big.example.test", "TXT", "+tcp", "+short"]);
    assert_eq!(over_tcp.lines().count(), 4, "{over_tcp}");
    let with_cookie = authority.dig(&["big.example.test", "TXT", "+short", "+tries=9"]);
    assert_eq!(with_cookie.lines().count(), 4, "{with_cookie}");
    let metrics = authority.get("/metrics");
    for fate in ["limited", "slipped", "cookie_wanted"] {
        let line = format!("messages_total{{transport=\"udp\",fate=\"{fate}\"}} ");
        let count = metrics.split_once(&line).unwrap().1;
        assert!(!count.starts_with("0\n"), "{fate} in {metrics}");
    }
}

#[test]
fn servers_with_one_secret_take_each_others_cookies() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    fs::write(&file, "e5e973e5a6b2a43f48e7dc849e37bfcf\n").unwrap();
    let flags = [("--cookie-secret-file", file.to_str().unwrap())];
    let one = Authority::start(&zone(""), &flags);
    let other = Authority::start(&zone(""), &flags);
    let cookie = |authority: &Authority| {
        let answer = authority.kdig(&["www.example.test", "A", "+cookie=0123456789abcdef"]);
        let cookie = answer.lines().find_map(|it| it.split_once("COOKIE: "));
        cookie.unwrap().1.trim().to_owned()
    };
    // Made within the same second or the next.
    eventually("the cookies are the same", || {
        cookie(&one) == cookie(&other)
    });

    fs::write(&file, "nonsense").unwrap();
    eventually("the mistake is told", || {
        one.log_has("the new secrets of cookies cannot be used")
    });
    fs::write(&file, "445536bcd2513298075a5d379663c962\n").unwrap();
    eventually("the new secret is taken", || {
        one.log_has("new secrets of cookies are in use")
            && other.log_has("new secrets of cookies are in use")
    });
    eventually("the cookies are the same", || {
        cookie(&one) == cookie(&other)
    });
}

#[test]
fn the_server_is_called_what_it_is_told() {
    let authority = Authority::start(&zone(""), &[("--nsid", "fra-1")]);
    let answer = authority.dig(&["www.example.test", "A", "+nsid"]);
    assert!(answer.contains("(\"fra-1\")"), "{answer}");
}

#[test]
fn connections_get_all_answers_in_order_and_no_more_than_their_time() {
    let authority = Authority::start(&zone(""), &[]);
    let mut stream = connect(&authority);
    let queries: Vec<u8> = (0..1000_u16)
        .flat_map(|it| {
            let mut query = FRAMED.to_vec();
            query[2..4].copy_from_slice(&it.to_be_bytes());
            query
        })
        .collect();
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for piece in queries.chunks(1001) {
            writing.write_all(piece).unwrap();
        }
    });
    for expected in 0..1000_u16 {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[..2], expected.to_be_bytes());
    }
    writer.join().unwrap();

    // Half a query, and silence.
    stream.write_all(&FRAMED[..9]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn who_takes_no_answers_loses_the_connection_and_nobody_else() {
    let texts: String = ('a'..='j')
        .map(|it| format!("big TXT {}\n", String::from(it).repeat(200)))
        .collect();
    let authority = Authority::start(&zone(&texts), &[]);
    let mut greedy = connect(&authority);
    let length = u16::try_from(BIG.len()).unwrap().to_be_bytes();
    let query = [&length, BIG].concat();
    greedy.set_write_timeout(Some(HANG)).unwrap();
    let started = Instant::now();
    // Until neither end has room for more, and then until the server has enough.
    let mut asked = 0;
    while greedy.write_all(&query).is_ok() {
        asked += 1;
        assert!(started.elapsed() < HANG, "{asked} queries without an end");
        if asked % 1000 == 0 {
            assert_eq!(
                authority.dig(&["www.example.test", "A", "+short", "+tcp"]),
                "192.0.2.1\n"
            );
        }
    }
    assert!(started.elapsed() < HANG, "the server waits");
    assert_eq!(
        authority.dig(&["www.example.test", "A", "+short"]),
        "192.0.2.1\n"
    );
}

#[test]
fn one_network_does_not_get_all_connections() {
    let authority = Authority::start(&zone(""), &[]);
    let many: Vec<TcpStream> = (0..300).map(|_| connect(&authority)).collect();
    let is_open = |mut stream: &TcpStream| {
        let answered = stream
            .write_all(FRAMED)
            .and_then(|()| stream.read_exact(&mut [0; 2]));
        answered.is_ok()
    };
    let open = many.iter().filter(|it| is_open(it)).count();
    assert_eq!(open, 250);
    let metrics = authority.get("/metrics");
    for line in [
        "connections{transport=\"tcp\"} 250\n",
        "connections_refused_total{transport=\"tcp\"} 50\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    let keepalive = ["+tcp", "+keepalive", "www.example.test", "A"];
    drop(many);
    eventually("there is room again", || {
        authority
            .dig(&keepalive)
            .contains("TCP KEEPALIVE: 10.0 secs")
    });
}

#[test]
fn real_clients_are_answered_in_a_flood_of_junk() {
    let authority = Authority::start(&zone(""), &[]);
    let port = authority.port();
    let is_over = AtomicBool::new(false);
    let (sent, answered, asked) = thread::scope(|scope| {
        let flooding = scope.spawn(|| junk(port, &is_over));
        let started = Instant::now();
        let (mut answered, mut asked) = (0, 0);
        // Half a second at least, and as long as it takes to ask a hundred times.
        while asked < 100 || started.elapsed() < Duration::from_millis(500) {
            asked += 1;
            let patience = ["www.example.test", "A", "+short", "+time=2", "+tries=5"];
            // It tells of what it had to repeat.
            let answer = authority.dig(&patience);
            answered += usize::from(answer.lines().any(|it| it == "192.0.2.1"));
            assert!(started.elapsed() < 4 * HANG, "{answered} of {asked}");
        }
        is_over.store(true, Ordering::Relaxed);
        let (sent, took) = flooding.join().unwrap();
        println!(
            "{:.0} junk messages per second",
            sent as f64 / took.as_secs_f64()
        );
        (sent, answered, asked)
    });

    println!("{answered} of {asked} queries answered");
    assert!(asked < sent, "{sent} junk messages");
    assert_eq!(answered, asked);
}

/// Sends messages that are no queries, as fast as they go; returns how many, in what time.
fn junk(port: u16, is_over: &AtomicBool) -> (usize, Duration) {
    let started = Instant::now();
    let mut sent = 0;
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    let sockets: Vec<UdpSocket> = (0..16).map(|_| client(port)).collect();
    while !is_over.load(Ordering::Relaxed) {
        for socket in &sockets {
            noise = (noise ^ (noise << 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            noise ^= noise >> 29;
            let mut message = [0; 48];
            for (place, octet) in message.iter_mut().zip(noise.to_le_bytes().iter().cycle()) {
                *place = *octet;
            }
            // Refused ones, malformed ones, answers.
            message[4..6].copy_from_slice(&[0, 1]);
            // A full buffer is as good.
            let _ = socket.send(&message);
            sent += 1;
        }
    }
    (sent, started.elapsed())
}

/// Sends `query` so often; returns the octets sent, those of short answers, and how many answers were
/// long.
fn flood(port: u16, query: &[u8], count: usize) -> (usize, usize, usize) {
    let socket = client(port);
    let (mut short, mut whole) = (0, 0);
    let mut receive = |socket: &UdpSocket| {
        let mut buffer = [0; 4096];
        while let Ok(length) = socket.recv(&mut buffer) {
            match length < 800 {
                true => short += length,
                false => whole += 1,
            }
        }
    };
    for sent in 0..count {
        socket.send(query).unwrap();
        if sent % 50 == 0 {
            receive(&socket);
        }
    }
    // Until it is quiet; what comes later would only be more.
    socket.set_nonblocking(false).unwrap();
    let quiet = Duration::from_millis(500);
    socket.set_read_timeout(Some(quiet)).unwrap();
    receive(&socket);
    (count * query.len(), short, whole)
}

fn client(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    socket
}

fn connect(authority: &Authority) -> TcpStream {
    let address = SocketAddr::from(([127, 0, 0, 1], authority.port()));
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream
}
