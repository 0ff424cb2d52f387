//! The same zones, the same questions: what NSD and Knot answer, against what we do.
//!
//! Zones and questions come out of a seed, which is printed and taken back: `CONFORMANCE_SEED`, and
//! `CONFORMANCE_QUESTIONS` for longer runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, UdpSocket};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{Record, RecordType};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::peers::Peer;
use super::process::{Authority, HANG};
use super::zone;

const ZONES: usize = 20;
const QUESTIONS: usize = 100_000;
/// Questions that wait for answers at once: as many as every socket holds.
const BATCH: usize = 50;
/// How often a question is asked that nobody answers.
const ATTEMPTS: u32 = 6;
const LABELS: [&str; 5] = ["a", "b", "c", "d", "*"];
const TYPES: [(&str, u16); 8] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
    ("DNAME", 39),
];

#[test]
fn answers_as_nsd_and_knot_do() {
    let number = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seed = number("CONFORMANCE_SEED").unwrap_or_else(rand::random);
    let questions =
        number("CONFORMANCE_QUESTIONS").map_or(QUESTIONS, |it: u64| usize::try_from(it).unwrap());
    println!("CONFORMANCE_SEED={seed}");
    let mut chance = SmallRng::seed_from_u64(seed);

    let directory = tempfile::tempdir().unwrap();
    let zones: Vec<String> = (0..ZONES).map(|it| generate(it, &mut chance)).collect();
    let mut flags = Vec::new();
    for (index, text) in zones.iter().enumerate() {
        let file = directory.path().join(format!("z{index}.test"));
        fs::write(&file, text).unwrap();
        flags.push(format!("z{index}.test={}", file.display()));
    }
    let flags: Vec<(&str, &str)> = flags.iter().map(|it| ("--zone", it.as_str())).collect();
    let ours = Authority::start(&zone(""), &flags);
    let nsd = Peer::nsd(directory.path(), ZONES);
    let knot = Peer::knot(directory.path(), ZONES);
    let ours_address = SocketAddr::from(([127, 0, 0, 1], ours.port()));
    let sockets = [ours_address, nsd.address, knot.address].map(socket);

    let mut differences = BTreeMap::new();
    let mut agreed = [0; 2];
    let mut shapes = BTreeMap::new();
    for _ in 0..questions / BATCH {
        let asked: Vec<(String, u16)> = (0..BATCH).map(|_| question(&mut chance)).collect();
        let [ours, nsd, knot] = [0, 1, 2].map(|it| ask(&sockets[it], &asked));
        for (index, (name, kind)) in asked.iter().enumerate() {
            let views = [&ours, &nsd, &knot].map(|it| View::of(&it[index], name));
            *shapes.entry(views[1].shape()).or_insert(0_usize) += 1;
            agreed[0] += usize::from(views[0] == views[1]);
            agreed[1] += usize::from(views[0] == views[2]);
            // What the peers do not agree upon, the standards leave open, or one is wrong.
            if views[1] == views[2] && views[0] != views[1] {
                differences.entry((name.clone(), *kind)).or_insert(views);
            }
        }
    }
    println!(
        "{questions} questions; as NSD {}, as Knot {}",
        agreed[0], agreed[1]
    );
    println!("{shapes:#?}");
    for ((name, kind), [ours, peers, _]) in differences.iter().take(10) {
        println!("{name} {kind}:\n  ours  {ours:?}\n  peers {peers:?}");
    }
    assert!(
        differences.is_empty(),
        "{} differences, seed {seed}",
        differences.len()
    );
    for shape in SHAPES {
        assert!(shapes.contains_key(shape), "nobody was answered {shape}");
    }
    assert!(questions * 9 / 10 < agreed[0].max(agreed[1]), "{agreed:?}");
}

/// What of an answer has to be the same.
#[derive(Debug, PartialEq)]
struct View {
    code: ResponseCode,
    authoritative: bool,
    truncated: bool,
    /// Owner, type and data. Times to live are not looked at: they differ for what is made of a
    /// DNAME, which RFC 6672 leaves to servers.
    answers: BTreeSet<(String, RecordType, String)>,
    /// The SOA that says for how long nothing is there, or the servers that know more. Servers that
    /// add the zone's own servers to answers may (RFC 1034 section 6.2.1), and others need not.
    authorities: BTreeSet<(String, RecordType, String)>,
}

/// Some that have to come up, for a run to mean something: code, types of answers, of authorities.
const SHAPES: [&str; 6] = [
    "NoError A ",
    "NoError  NS",
    "NoError  SOA",
    "NoError CNAME SOA",
    "NXDomain  SOA",
    "NXDomain CNAME+DNAME SOA",
];

impl View {
    /// What kind of answer it is.
    fn shape(&self) -> String {
        let kinds = |records: &BTreeSet<(String, RecordType, String)>| {
            let kinds: BTreeSet<u16> = records.iter().map(|it| it.1.into()).collect();
            let kinds = kinds.into_iter().map(|it| RecordType::from(it).to_string());
            let mut kinds: Vec<String> = kinds.collect();
            // An alias before what it leads to.
            kinds.sort_by_key(|it| it != "CNAME");
            kinds.join("+")
        };
        let code = format!("{:?}", self.code);
        format!(
            "{code} {} {}",
            kinds(&self.answers),
            kinds(&self.authorities)
        )
    }

    fn of(message: &Message, name: &str) -> Self {
        let set = |records: &[Record]| -> BTreeSet<_> {
            let text = |it: &Record| {
                let data = it.data.to_string().to_lowercase();
                (it.name.to_string().to_lowercase(), it.record_type(), data)
            };
            records.iter().map(text).collect()
        };
        let zone = name.rsplit('.').nth(2).map(|it| format!("{it}.test."));
        let mut authorities = set(&message.authorities);
        authorities
            .retain(|(owner, kind, _)| *kind != RecordType::NS || Some(owner) != zone.as_ref());
        Self {
            code: message.metadata.response_code,
            authoritative: message.metadata.authoritative,
            truncated: message.metadata.truncation,
            answers: set(&message.answers),
            authorities,
        }
    }
}

/// A zone of few labels, so that names meet: wildcards, aliases that loop, cuts, DNAMEs, and names
/// that exist only for those below.
fn generate(index: usize, chance: &mut SmallRng) -> String {
    let origin = format!("z{index}.test.");
    let mut text = format!(
        "$ORIGIN {origin}\n$TTL 300\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 192.0.2.53\n"
    );
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    for _ in 0..30 {
        let owner = owner(chance);
        let kind = [
            "A", "A", "TXT", "MX", "AAAA", "CNAME", "CNAME", "NS", "DNAME",
        ][chance.random_range(0..9)];
        // A star below a star, or a star that delegates, means nothing that servers agree on.
        let is_star = owner.starts_with('*');
        let is_below = |upper: &String| owner.ends_with(&format!(".{upper}"));
        let is_above = |lower: &String| lower.ends_with(&format!(".{owner}"));
        let hides = |kind: &str| ["DNAME", "NS"].contains(&kind);
        let is_hidden = taken.iter().any(|(it, kind)| hides(kind) && is_below(it));
        let would_hide = hides(kind) && (is_star || taken.keys().any(is_above));
        if taken.contains_key(&owner) || is_hidden || would_hide {
            continue;
        }
        taken.insert(owner.clone(), kind);
        let target = match chance.random_range(0..4) {
            0 => "elsewhere.example.".to_owned(),
            _ => self::owner(chance),
        };
        let data = match kind {
            "A" => format!("192.0.2.{}", chance.random_range(1..250)),
            "AAAA" => "2001:db8::1".to_owned(),
            "TXT" => "\"text\"".to_owned(),
            "MX" => format!("10 {target}"),
            _ if target.starts_with('*') => "elsewhere.example.".to_owned(),
            _ => target,
        };
        writeln!(text, "{owner} {kind} {data}").unwrap();
    }
    text
}

/// One to three labels; a star only at the front.
fn owner(chance: &mut SmallRng) -> String {
    let count = chance.random_range(1..=3);
    let labels = (0..count).map(|it| LABELS[chance.random_range(0..if it == 0 { 5 } else { 4 })]);
    labels.collect::<Vec<_>>().join(".")
}

fn question(chance: &mut SmallRng) -> (String, u16) {
    let zone = chance.random_range(0..ZONES);
    let count = chance.random_range(0..=4);
    let labels: Vec<&str> = (0..count)
        .map(|_| LABELS[chance.random_range(0..5)])
        .collect();
    let (_, kind) = TYPES[chance.random_range(0..TYPES.len())];
    let dot = if count == 0 { "" } else { "." };
    (format!("{}{dot}z{zone}.test.", labels.join(".")), kind)
}

/// Asks all, and what is not answered again: datagrams get lost where the machine is busy.
fn ask(socket: &UdpSocket, questions: &[(String, u16)]) -> Vec<Message> {
    let mut answers: BTreeMap<u16, Message> = BTreeMap::new();
    let mut buffer = [0; 4096];
    for _ in 0..ATTEMPTS {
        for (number, (name, kind)) in (0_u16..).zip(questions) {
            if !answers.contains_key(&number) {
                socket.send(&query(number, name, *kind)).unwrap();
            }
        }
        while answers.len() < questions.len() {
            let Ok(length) = socket.recv(&mut buffer) else {
                break;
            };
            let message = Message::from_vec(&buffer[..length]).unwrap();
            answers.insert(message.metadata.id, message);
        }
    }
    let is_missing = |it: &(u16, _)| !answers.contains_key(&it.0);
    let missing: Vec<_> = (0..).zip(questions).filter(is_missing).collect();
    let server = socket.peer_addr().unwrap();
    assert!(missing.is_empty(), "{server} does not answer {missing:?}");
    answers.into_values().collect()
}

pub(crate) fn query(number: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut query = number.to_be_bytes().to_vec();
    query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.trim_end_matches('.').split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.push(0);
    query.extend(kind.to_be_bytes());
    query.extend([0, 1, 0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0]);
    query
}

pub(crate) fn socket(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(Some(HANG / ATTEMPTS)).unwrap();
    socket
}
