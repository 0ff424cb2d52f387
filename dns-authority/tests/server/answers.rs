//! What clients are answered, with whatever they ask.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use super::process::{Authority, HANG, eventually};
use super::{OVERRIDES, zone};

#[test]
fn dig_and_kdig_get_static_answers() {
    let authority = Authority::start(&zone(""), &[]);

    assert_eq!(
        authority.dig(&["www.example.test", "A", "+short"]),
        "192.0.2.1\n"
    );
    assert_eq!(
        authority.dig(&["www.example.test", "A", "+short", "+tcp"]),
        "192.0.2.1\n"
    );
    let unknown = authority.dig(&["gone.example.test", "A"]);
    assert!(
        unknown.contains("status: NXDOMAIN") && unknown.contains("SOA"),
        "{unknown}"
    );
    assert!(unknown.contains("flags: qr aa"), "{unknown}");
    let elsewhere = authority.dig(&["example.com", "A"]);
    assert!(elsewhere.contains("status: REFUSED"), "{elsewhere}");
    let mixed = authority.dig(&["wWw.ExAmPlE.test", "A", "+noall", "+answer"]);
    assert!(mixed.starts_with("wWw.ExAmPlE.test."), "{mixed}");

    assert_eq!(
        authority.kdig(&["alias.example.test", "A", "+short"]),
        "www.example.test.\n192.0.2.1\n"
    );
    let pipelined = [
        "+tcp",
        "+keepopen",
        "www.example.test",
        "A",
        "+short",
        "mail.example.test",
        "MX",
        "+short",
    ];
    let answers = authority.kdig(&pipelined);
    let answers: Vec<&str> = answers.lines().filter(|it| !it.is_empty()).collect();
    assert_eq!(answers, ["192.0.2.1", "10 www.example.test."]);
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let free = lab::free_address();
    let both = format!("0.0.0.0:{0},[::]:{0}", free.port());
    for (listen, addresses) in [
        ("0.0.0.0:0", ["127.0.0.1", "127.0.0.53", "127.9.9.9"]),
        ("[::]:0", ["::1", "127.0.0.1", "127.0.0.53"]),
        (&*both, ["127.0.0.53", "::1", "127.0.0.1"]),
    ] {
        let authority = Authority::start(&zone(""), &[("--listen", listen)]);
        for address in addresses {
            // Connected, so that the system drops what comes from elsewhere; no answer is "".
            let answer = authority.dig_at(address, &["www.example.test", "A", "+short"]);
            assert_eq!(answer, "192.0.2.1\n", "{listen} asked at {address}");
        }
    }
}

#[test]
fn big_answers_fall_back_to_tcp() {
    let texts: String = ('a'..='j')
        .map(|it| format!("big TXT {}\n", String::from(it).repeat(200)))
        .collect();
    let authority = Authority::start(&zone(&texts), &[]);

    let truncated = authority.dig(&["big.example.test", "TXT", "+ignore"]);
    assert!(truncated.contains("flags: qr aa tc"), "{truncated}");
    assert!(truncated.contains("ANSWER: 0"), "{truncated}");
    let whole = authority.dig(&["big.example.test", "TXT", "+short"]);
    assert_eq!(whole.lines().count(), 10, "{whole}");
}

#[test]
fn the_client_subnet_decides_and_comes_back_with_its_scope() {
    let lua = "near LUA A \"pickclosest({'192.0.2.11', '198.51.100.11'})\"\n";
    let authority = Authority::start(&zone(lua), &[("--geo-overrides", OVERRIDES)]);

    for (subnet, address) in [
        ("10.1.7.0/24", "192.0.2.11"),
        ("10.2.7.0/24", "198.51.100.11"),
    ] {
        let answer = authority.dig(&["near.example.test", "A", &format!("+subnet={subnet}")]);
        assert!(answer.contains(&format!("A\t{address}\n")), "{answer}");
        assert!(
            answer.contains(&format!("CLIENT-SUBNET: {subnet}/16")),
            "{answer}"
        );
    }
    let indifferent = authority.kdig(&["www.example.test", "A", "+subnet=10.1.7.0/24"]);
    assert!(indifferent.contains("10.1.7.0/24/0"), "{indifferent}");
}

#[test]
fn a_message_that_is_long_is_read_to_its_end() {
    let authority = Authority::start(&zone(""), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", authority.port())).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    stream.write_all(&5000_u16.to_be_bytes()).unwrap();
    stream.write_all(&[0; 5000]).unwrap();

    let mut answer = [0; 14];
    stream.read_exact(&mut answer).unwrap();

    // A header alone, which says that the message makes no sense.
    assert_eq!((&answer[..2], answer[5] & 0xf), (&[0, 12][..], 1));
}

#[test]
fn what_comes_at_once_is_answered_wholly() {
    let authority = Authority::start(&zone(""), &[("--udp-threads", "1")]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(HANG)).unwrap();
    let mut query = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01".to_vec();
    for id in 0..150_u16 {
        query[..2].copy_from_slice(&id.to_be_bytes());
        let to = ("127.0.0.1", authority.port());
        socket.send_to(&query, to).unwrap();
    }
    let mut answered: Vec<u16> = (0..150)
        .map(|_| {
            let mut answer = [0; 512];
            let length = socket.recv(&mut answer).unwrap();
            assert!(answer[..length].ends_with(&[192, 0, 2, 1]));
            u16::from_be_bytes([answer[0], answer[1]])
        })
        .collect();
    answered.sort_unstable();

    assert!(answered.into_iter().eq(0..150));
}

#[test]
fn nobody_is_told_what_runs_here() {
    let authority = Authority::start(&zone(""), &[]);
    for name in ["version.bind", "id.server", "hostname.bind"] {
        let answer = authority.dig(&[name, "CH", "TXT"]);
        assert!(answer.contains("status: REFUSED"), "{answer}");
    }
    let answer = authority.dig(&["www.example.test", "A", "+nsid"]);
    assert!(!answer.contains("NSID"), "{answer}");
}

#[test]
fn noise_does_not_keep_it_from_answering() {
    let authority = Authority::start(&zone(""), &[]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut noise = 0x2545_f491_4f6c_dd1d_u64;
    for length in 0..3000 {
        let bytes: Vec<u8> = (0..length % 600)
            .map(|_| {
                noise = (noise ^ (noise << 13)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                noise ^= noise >> 29;
                noise.to_le_bytes()[3]
            })
            .collect();
        socket
            .send_to(&bytes, ("127.0.0.1", authority.port()))
            .unwrap();
    }

    eventually("it answers", || {
        authority.dig(&["www.example.test", "A", "+short"]) == "192.0.2.1\n"
    });
}
