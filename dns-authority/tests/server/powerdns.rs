//! LUA records beside Debian's PowerDNS: the same zone, the same places, the same questions.
//!
//! Where the two differ on purpose, it stands here:
//!
//! - What is chosen by a client's hash is compared by its properties, for PowerDNS's hash is not ours.
//! - Where nobody knows where a client is, `pickclosest` goes by chance here, and by 0°, 0° there; what
//!   `latlonloc` says then is a valid LOC record only here.
//! - A `view` that holds nobody gives no records here, and SERVFAIL there.
//! - Addresses are equal here if they look so, whatever ports PowerDNS keeps with them.
//! - PowerDNS 4.7 knows no `dblookup`, `GeoIPQueryAttribute`, `pickchashed`, `picknamehashed`,
//!   `pickselfweighted`, sets of `ifportup`, nor what `createForward` understands since 4.8.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use tempfile::TempDir;

use super::mmdb;
use super::process::{Authority, eventually};
use super::target::Target;

const A: u16 = 1;
const CNAME: u16 = 5;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;

/// Clients in Frankfurt, in Ashburn, and where nobody knows.
const CLIENTS: [&str; 3] = ["10.1.2.3", "10.2.2.3", "172.16.0.1"];

const RECORDS: &str = r#"
fixed A 192.0.2.99
fixed A 192.0.2.98
text TXT "some text"
constant LUA A "'192.0.2.1'"
list LUA A "{'192.0.2.1', '192.0.2.2'}"
all LUA A "all({'192.0.2.1', '192.0.2.2'})"
parted LUA TXT "'ab" "cd'"
closest LUA A "pickclosest({'192.0.2.1', '198.51.100.1'})"
country LUA A "country('DE') and '192.0.2.1' or '192.0.2.2'"
countries LUA A "country({'us', 'ca'}) and '192.0.2.1' or '192.0.2.2'"
continent LUA A "continent('EU') and '192.0.2.1' or '192.0.2.2'"
codes LUA TXT "countryCode() .. ' ' .. continentCode() .. ' ' .. regionCode()"
region LUA A "region({'he', 'by'}) and '192.0.2.1' or '192.0.2.2'"
asnum LUA A "asnum(64496) and '192.0.2.1' or '192.0.2.2'"
latlon LUA TXT "latlon()"
latlonloc LUA TXT "latlonloc()"
city LUA TXT ";return geoiplookup(bestwho:toString(), GeoIPQueryAttribute and GeoIPQueryAttribute.City or 1)"
netmask LUA A "netmask({'10.1.0.0/16', '192.168.0.0/16'}) and '192.0.2.1' or '192.0.2.2'"
view LUA A "view({{{'10.1.0.0/16'}, {'192.0.2.1'}}, {{'0.0.0.0/0'}, {'192.0.2.2'}}})"
viewcname LUA CNAME "view({{{'10.1.0.0/16'}, {'fixed.example.test'}}, {{'0.0.0.0/0'}, {'other.example.net'}}})"
qname LUA TXT "qname:toString()"
nodot LUA TXT "qname:toStringNoDot() .. ' ' .. zone:toString()"
labels LUA TXT "'' .. qname:countLabels()"
part LUA A "qname:isPartOf(newDN('example.test.')) and '192.0.2.1' or '192.0.2.2'"
who LUA TXT "who:toString() .. ' ' .. bestwho:toString()"
ecs LUA TXT "ecswho:toString()"
tcp LUA TXT "(tcp and 'tcp' or 'udp') .. ' ' .. (dnssecOK and 'do' or 'no')"
group LUA A "newNMG({'10.1.0.0/16'}):match(bestwho) and '192.0.2.1' or '192.0.2.2'"
sums LUA TXT "'' .. (1 + 2 * 3) % 4 .. ' ' .. #{'a', 'b'} .. ' ' .. string.upper('x')"
ordered LUA A "(1 < 2 and 'a' < 'b' and 1 ~= 2 and not (2 <= 1)) and '192.0.2.1' or '192.0.2.2'"
*.rev LUA PTR "createReverse('%1%-%2%.%3%.%4%.x.example.test.')"
*.rev5 LUA PTR "createReverse('%5%.x.example.test.', {['10.10.10.10'] = 'quad10.example.test.'})"
*.rev6 LUA PTR "createReverse('%6%.x.example.test.')"
*.fwd LUA A "createForward()"
*.filtered LUA A "filterForward(createForward(), newNMG({'127.0.0.0/8'}))"
*.fallback LUA A "filterForward(createForward(), newNMG({'127.0.0.0/8'}), '192.0.2.9')"
*.rev33 LUA PTR "createReverse6('%33%.x.example.test.')"
*.rev34 LUA PTR "createReverse6('%34%.%35%.%41%.%1%.%32%.x.example.test.', {['2001:db8::9'] = 'nine.example.test.'})"
* LUA AAAA "createForward6()"
*.magic LUA A "closestMagic()"
config LUA LUA "addresses = {'192.0.2.50', '192.0.2.51'} " "function first(all) return all[1] end"
script LUA A ";return '192.0.2.1'"
branch LUA A ";if continent('EU') then return '192.0.2.1' else return {'192.0.2.2', '192.0.2.3'} end"
included LUA A ";include('config') return first(addresses)"
loop LUA TXT ";local t = {} for i = 1, 3 do table.insert(t, 'n' .. i) end return t"
broken LUA A ";return nothing.at.all"
"#;

/// What is not asked for a client whom nobody knows.
const UNPLACED: &[&str] = &["closest", "latlonloc", "192-0-2-1.198-51-100-1.magic"];

/// What is asked, as names below the zone's, with types.
const QUESTIONS: &[(&str, u16)] = &[
    ("constant", A),
    ("list", A),
    ("all", A),
    ("parted", TXT),
    ("closest", A),
    ("country", A),
    ("countries", A),
    ("continent", A),
    ("codes", TXT),
    ("region", A),
    ("asnum", A),
    ("latlon", TXT),
    ("latlonloc", TXT),
    ("city", TXT),
    ("netmask", A),
    ("view", A),
    ("viewcname", CNAME),
    ("qname", TXT),
    ("nodot", TXT),
    ("labels", TXT),
    ("part", A),
    ("who", TXT),
    ("ecs", TXT),
    ("tcp", TXT),
    ("group", A),
    ("sums", TXT),
    ("ordered", A),
    ("5.0.0.127.rev", PTR),
    ("5.0.rev", PTR),
    ("10.10.10.10.rev5", PTR),
    ("4.3.2.1.rev5", PTR),
    ("15.0.0.127.rev6", PTR),
    ("127.0.0.5.fwd", A),
    ("127.0.0.5.more.fwd", A),
    ("ip40414243.fwd", A),
    ("nothing.fwd", A),
    ("127.0.0.5.filtered", A),
    ("128.0.0.5.filtered", A),
    ("127.0.0.5.fallback", A),
    ("128.0.0.5.fallback", A),
    (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.0.0.0.a.0.0.0.1.0.0.2.rev33",
        PTR,
    ),
    (
        "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.b.0.0.0.a.0.0.0.1.0.0.2.rev34",
        PTR,
    ),
    (
        "9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rev34",
        PTR,
    ),
    ("1.0.rev33", PTR),
    ("2001-a-b--1", AAAA),
    ("2001.db8.6.5.4.3.2.1", AAAA),
    ("192-0-2-1.198-51-100-1.magic", A),
    ("script", A),
    ("branch", A),
    ("included", A),
    ("loop", TXT),
    ("broken", A),
];

#[test]
fn answers_as_powerdns_does() {
    let pair = Pair::start(RECORDS);
    let mut different = Vec::new();
    for (name, kind) in QUESTIONS {
        let clients = match UNPLACED.contains(name) {
            true => &CLIENTS[..2],
            false => &CLIENTS,
        };
        for client in clients {
            let (ours, theirs) = pair.ask(name, *kind, client);
            if ours != theirs {
                different.push(format!(
                    "{name} for {client}: {ours:?}, PowerDNS {theirs:?}"
                ));
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

#[test]
fn chooses_by_chance_as_powerdns_does() {
    let pair = Pair::start(
        r#"
random LUA A "pickrandom({'192.0.2.1', '192.0.2.2'})"
weighted LUA A "pickwrandom({{1, '192.0.2.1'}, {3, '192.0.2.2'}})"
sample LUA A "pickrandomsample(2, {'192.0.2.1', '192.0.2.2', '192.0.2.3'})"
hashed LUA A "pickhashed({'192.0.2.1', '192.0.2.2'})"
whashed LUA A "pickwhashed({{1, '192.0.2.1'}, {3, '192.0.2.2'}})"
"#,
    );
    // Share of the answers that hold 192.0.2.1, among 400. Each bound is more than six deviations away:
    // the odds that chance alone goes beyond one of them are below 10^-8.
    for (name, least, most) in [
        ("random", 0.34, 0.66),
        ("weighted", 0.11, 0.39),
        ("sample", 0.51, 0.82),
        ("hashed", 0.34, 0.66),
        ("whashed", 0.11, 0.39),
    ] {
        let mut counts = BTreeMap::from([("ours", 0), ("theirs", 0)]);
        for number in 0..400 {
            let client = format!("10.{}.{}.{}", number % 7, number % 251, number);
            let client = client.split('.').map(|it| it.parse::<u32>().unwrap() % 256);
            let client: Vec<String> = client.map(|it| it.to_string()).collect();
            let (ours, theirs) = pair.ask(name, A, &client.join("."));
            for (whose, answer) in [("ours", &ours), ("theirs", &theirs)] {
                let wanted = if name == "sample" { 2 } else { 1 };
                assert_eq!(answer.1.len(), wanted, "{name}: {answer:?}");
                let is_first = answer.1.iter().any(|it| it == "192.0.2.1");
                *counts.get_mut(whose).unwrap() += i32::from(is_first);
            }
            if name.ends_with("hashed") {
                let again = pair.ask(name, A, &client.join("."));
                assert_eq!(
                    again,
                    (ours, theirs),
                    "the same client gets the same answer"
                );
            }
        }
        for (whose, count) in counts {
            let share = f64::from(count) / 400.0;
            assert!((least..most).contains(&share), "{name}, {whose}: {share}");
        }
    }
}

#[test]
fn checks_targets_as_powerdns_does() {
    let (first, second) = Target::pair("shop.example.test");
    let port = first.port();
    drop(second);
    let pair = Pair::start(&format!(
        r#"
up LUA A "ifportup({port}, {{'127.0.0.11', '127.0.0.12'}}, {{interval=1, timeout=1}})"
down LUA A "ifportup({port}, {{'127.0.0.12', '127.0.0.13'}}, {{backupSelector='all'}})"
url LUA A "ifurlup('http://shop.example.test:{port}/healthz', {{'127.0.0.12', '127.0.0.11'}})"
sets LUA A "ifurlup('http://shop.example.test:{port}/healthz', {{{{'127.0.0.12'}}, {{'127.0.0.11'}}}}, {{selector='all'}})"
missing LUA A "ifurlup('http://shop.example.test:{port}/gone', {{'127.0.0.11'}}, {{timeout='1'}})"
scripted LUA A ";local ips = {{'127.0.0.11', '127.0.0.12'}} return ifportup({port}, ips)"
"#
    ));
    for (name, expected) in [
        ("up", &["127.0.0.11"][..]),
        ("down", &["127.0.0.12", "127.0.0.13"]),
        ("url", &["127.0.0.11"]),
        ("sets", &["127.0.0.11"]),
        ("missing", &["127.0.0.11"]),
        ("scripted", &["127.0.0.11"]),
    ] {
        // PowerDNS begins to check with the first question, and knows nothing before.
        eventually(&format!("both answer {name} by health"), || {
            let (ours, theirs) = pair.ask(name, A, CLIENTS[0]);
            ours.1 == expected && theirs.1 == expected
        });
    }
}

/// Both servers with the same zone.
struct Pair {
    ours: Authority,
    theirs: PowerDns,
    socket: UdpSocket,
}

/// The code, and the data of the records, sorted.
type Answer = (String, Vec<String>);

impl Pair {
    fn start(records: &str) -> Self {
        let zone = super::zone(records);
        let directory = tempfile::tempdir().unwrap();
        let places = directory.path().join("places.mmdb");
        fs::write(&places, mmdb::places()).unwrap();
        let ours = Authority::start(&zone, &[("--geoip", places.to_str().unwrap())]);
        let theirs = PowerDns::start(&zone, directory);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(3)))
            .unwrap();
        let pair = Self {
            ours,
            theirs,
            socket,
        };
        eventually("PowerDNS answers", || {
            pair.one(pair.theirs.port, "www", A, CLIENTS[0]).is_some()
        });
        pair
    }

    fn ask(&self, name: &str, kind: u16, client: &str) -> (Answer, Answer) {
        let one = |port| (0..3).find_map(|_| self.one(port, name, kind, client));
        (
            one(self.ours.port()).unwrap(),
            one(self.theirs.port).unwrap(),
        )
    }

    fn one(&self, port: u16, name: &str, kind: u16, client: &str) -> Option<Answer> {
        let query = query(&format!("{name}.example.test"), kind, client);
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        self.socket.send_to(&query, server).unwrap();
        let mut buffer = [0; 4096];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).ok()?;
            // A late answer of the other one is not this one's.
            if from == server && buffer[..2] == query[..2] {
                let message = match Message::from_vec(&buffer[..length]) {
                    Ok(message) => message,
                    Err(error) => return Some((error.to_string(), Vec::new())),
                };
                let mut data: Vec<String> = message
                    .answers
                    .iter()
                    .map(|it| it.data.to_string())
                    .collect();
                data.sort();
                return Some((message.response_code.to_string(), data));
            }
        }
    }
}

/// A query with a client subnet of 32 bits.
fn query(name: &str, kind: u16, client: &str) -> Vec<u8> {
    static NUMBER: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(1);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut query = number.to_be_bytes().to_vec();
    query.extend([0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap());
        query.extend(label.bytes());
    }
    query.push(0);
    query.extend([kind.to_be_bytes(), [0, 1]].concat());
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 12, 0, 8, 0, 8, 0, 1, 32, 0]);
    query.extend(client.split('.').map(|it| it.parse::<u8>().unwrap()));
    query
}

/// Debian's PowerDNS; killed when it is dropped.
struct PowerDns {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl PowerDns {
    fn start(zone: &str, directory: TempDir) -> Self {
        let path = directory.path();
        let port = lab::free_address().port();
        write(path, "zone", zone);
        write(path, "places.yaml", "domains: []\n");
        let shown = path.display();
        write(
            path,
            "named.conf",
            &format!("zone \"example.test\" {{ type master; file \"{shown}/zone\"; }};\n"),
        );
        write(
            path,
            "pdns.conf",
            &format!(
                "launch=bind,geoip\nbind-config={shown}/named.conf\ngeoip-zones-file={shown}/places.yaml\n\
                 geoip-database-files=mmdb:{shown}/places.mmdb\nlocal-address=127.0.0.1\nlocal-port={port}\n\
                 enable-lua-records=shared\nedns-subnet-processing=yes\nsocket-dir={shown}\ndaemon=no\n\
                 guardian=no\ncache-ttl=0\nquery-cache-ttl=0\nnegquery-cache-ttl=0\n\
                 lua-health-checks-interval=1\n"
            ),
        );
        let log = fs::File::create(path.join("log")).unwrap();
        let child = Command::new("/usr/sbin/pdns_server")
            .arg(format!("--config-dir={shown}"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("apt-get install pdns-server pdns-backend-bind pdns-backend-geoip, or ./setup");
        Self {
            child,
            port,
            _directory: directory,
        }
    }
}

impl Drop for PowerDns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write(directory: &Path, name: &str, text: &str) {
    fs::write(directory.join(name), text).unwrap();
}
