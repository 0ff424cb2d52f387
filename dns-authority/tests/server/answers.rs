//! What clients are answered, with whatever they ask.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};

use super::process::{Authority, eventually};
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
    for (listen, addresses) in [
        ("0.0.0.0:0", ["127.0.0.1", "127.0.0.53", "127.9.9.9"]),
        ("[::]:0", ["::1", "127.0.0.1", "127.0.0.53"]),
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
fn a_message_that_is_too_long_for_a_query_ends_its_connection() {
    let authority = Authority::start(&zone(""), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", authority.port())).unwrap();
    stream.write_all(&5000_u16.to_be_bytes()).unwrap();
    stream.write_all(&[0; 5000]).unwrap();

    let mut answer = Vec::new();
    // The end may come as a reset, because not all was read.
    let _ = stream.read_to_end(&mut answer);

    assert!(answer.is_empty(), "{answer:?}");
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
