//! Debian's etcdctl against both servers: the same commands print the same.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use crate::support::{Kind, Running, etcdctl};

/// Commands in their order. `LEASE` stands for the lease that was granted last, `SELF` for the only
/// member, `FILE` for a file that does not exist yet; what follows `<<` is typed in.
const COMMANDS: &str = r#"
put a/1 one
put a/2 two
put a/2 zwei --prev-kv
put a/3
put a/3 << from stdin
put a/1 --ignore-value
put a/1 x --ignore-value
put none --ignore-value
put a/1 eins --ignore-lease
put none x --ignore-lease
put "" x
put b/1 x --lease=7777
put -- b/2 -dash
put b/3 x -w json
put b/3 y --prev-kv -w json
put b/3 z --prev-kv -w fields
put b/3 zz
get a/1
get none
get ""
get a/ --prefix
get "" --prefix
get "" --prefix --keys-only
get "" --from-key
get a/2 --from-key
get a/1 a/3
get a/3 a/1
get a/ --prefix --keys-only
get a/ --prefix --print-value-only
get a/ --prefix --limit=2
get a/ --prefix --limit=2 -w json
get a/ --prefix --count-only -w fields
get a/ --prefix --count-only
get a/ --prefix --order=DESCEND
get a/ --prefix --order=ASCEND --sort-by=MODIFY
get a/ --prefix --order=DESCEND --sort-by=MODIFY
get a/ --prefix --order=DESCEND --sort-by=CREATE
get a/ --prefix --order=ASCEND --sort-by=VERSION
get a/ --prefix --order=ASCEND --sort-by=VALUE
get a/ --prefix --order=DESCEND --sort-by=KEY
get a/ --prefix --sort-by=NONSENSE
get a/ --prefix --rev=3
get a/ --prefix --rev=3 -w fields
get a/1 --rev=1000
get a/1 --consistency=s
get a/1 --consistency=l
get a/1 --hex
get a/1 -w json
get a/1 -w json --hex
get a/1 -w fields
get a/1 -w table
get a/1 --prefix --from-key
get
del none
del a/2
del a/1 --prev-kv
del a/ --prefix --prev-kv
del b/1 b/3
del b/ --from-key
del a/1 --prefix --from-key
del b/3 -w json
del
txn << value("t") = "1"||put t a|put u a||get t|put t 1
txn << value("t") = "1"||put t 2|get t||put t wrong
txn << create("t") > "0"|mod("t") > "1"|version("t") = "2"||get t|del t||
txn << version("t") = "0"||put t again --lease=0|get --prefix t||
txn << lease("t") = "0"||del t|put other x||
txn << value("other") < "y"|value("other") != "w"||get other||
txn << create("other") != "5000"||put twice 1|put twice 2||
txn << mod("nothing") = "0"||get nothing|del nothing||
txn << nonsense("t") = "0"||get t||
txn << value("t") = "x"||frobnicate t||
txn -w json << create("t") = "0"||put t json|get t||
lease grant 1000
lease timetolive LEASE
put leased/1 x --lease=LEASE
lease timetolive LEASE --keys
lease timetolive LEASE --keys -w json
lease timetolive LEASE --keys -w fields
lease keep-alive --once LEASE
lease keep-alive --once 1234
lease list
lease list -w json
get leased/ --prefix -w json
put leased/1 z --ignore-lease
txn << lease("leased/1") != "0"||get leased/1||get leased/2
lease revoke LEASE
lease revoke LEASE
lease revoke nonsense
lease timetolive LEASE
lease timetolive LEASE -w json
get leased/ --prefix
lease grant 0
lease grant -5
lease grant 9000000001
lease grant nonsense
compaction 5
get a/ --prefix --rev=4
get a/ --prefix --rev=5
compaction 5
compaction 4
compaction 10000
compaction 12 --physical
compaction nonsense
endpoint health
endpoint status -w json
endpoint status -w fields
member list
member list -w json
member list -w table
member remove 1234
member remove nonsense
member update 1234 --peer-urls=http://127.0.0.1:1
member update 1234
member promote 1234
member remove SELF
member promote SELF
member add
member add x
move-leader SELF
move-leader 1234
move-leader nonsense
alarm list
alarm disarm
alarm disarm -w json
defrag
endpoint hashkv
endpoint hashkv -w json
snapshot save
snapshot save /nonexistent/file
snapshot status FILE
snapshot save FILE
check nonsense
check perf --load=nonsense
lock name echo locked
version
get a/1 --command-timeout=0s
frobnicate
"#;

#[test]
fn etcdctl_prints_the_same_with_both() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (ours, theirs) = runtime.block_on(async {
        (
            Running::start(Kind::Embedded).await,
            Running::start(Kind::Etcd).await,
        )
    });
    let (our_side, their_side) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| transcript(&ours));
        let theirs = scope.spawn(|| transcript(&theirs));
        (ours.join().unwrap(), theirs.join().unwrap())
    });

    let pairs = our_side.into_iter().zip(their_side);
    let differences: Vec<_> = pairs.filter(|(ours, theirs)| ours != theirs).collect();
    assert!(differences.is_empty(), "{differences:#?}");
    drop((ours, theirs));
}

/// Each command with what it printed and how it ended.
fn transcript(server: &Running) -> Vec<String> {
    let address = server.address();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("snapshot").display().to_string();
    let members = String::from_utf8(run(address, "member list", "").stdout).unwrap();
    let member = members.split(',').next().unwrap();
    let mut lease = String::from("0");
    let mut transcript = Vec::new();
    for line in COMMANDS.lines().filter(|it| !it.is_empty()) {
        let (arguments, input) = line.split_once(" << ").unwrap_or((line, ""));
        let arguments = arguments
            .replace("LEASE", &lease)
            .replace("SELF", member)
            .replace("FILE", &file);
        let output = run(address, &arguments, &input.replace('|', "\n"));
        let text = String::from_utf8_lossy(&output.stdout);
        if let Some(granted) = text.strip_prefix("lease ")
            && text.contains("granted")
        {
            lease = granted.split(' ').next().unwrap_or("0").to_owned();
        }
        let errors = String::from_utf8_lossy(&output.stderr);
        let error = errors.lines().find(|it| it.starts_with("Error: "));
        transcript.push(format!(
            "{line} => {} {} {}",
            output.status.code().unwrap_or(-1),
            mask(&text, server).replace(&file, "FILE"),
            mask(error.unwrap_or_default(), server).replace(&file, "FILE"),
        ));
    }
    transcript
}

fn run(address: SocketAddr, arguments: &str, input: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{input}\n\n")).unwrap();
    etcdctl(address)
        .args(arguments.split(' ').map(|it| it.trim_matches('"')))
        .stdin(std::fs::File::open(file.path()).unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap()
}

/// Hides what differs between any two clusters: addresses, ids, terms, sizes and times.
fn mask(text: &str, server: &Running) -> String {
    let mut text = text.replace(&server.address().to_string(), "ADDRESS");
    if let Some(peer_url) = server.peer_url() {
        // A cluster of one member in one process has none.
        text = text.replace(&format!("\"peerURLs\":[\"{peer_url}\"],"), "");
        text = text.replace(&peer_url, "");
    }
    if text.contains("+--") {
        // Columns are as wide as what is in them.
        text = text.replace(['-', '+', ' '], "");
    }
    let lines = text.lines().map(|line| {
        let words = line.split_inclusive([' ', ',', ':', '}', ']', '/', '(', '"', '|']);
        let mut masked: String = words.map(mask_word).collect();
        for name in VARYING {
            masked = mask_after(&masked, name);
        }
        masked
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// What comes before numbers that differ.
const VARYING: &[&str] = &[
    "\"raft_term\":",
    "\"RaftTerm\" : ",
    "\"raftTerm\":",
    "\"RaftIndex\" : ",
    "\"raftIndex\":",
    "\"RaftAppliedIndex\" : ",
    "\"raftAppliedIndex\":",
    "\"DBSize\" : ",
    "\"DBSizeInUse\" : ",
    "\"dbSize\":",
    "\"dbSizeInUse\":",
    "\"ClusterID\" : ",
    "\"MemberID\" : ",
    "\"Leader\" : ",
    "remaining(",
    "\"ttl\":",
    "\"TTL\" : ",
    "\"hash\":",
    // A checksum of the keys, each server's own.
    "ADDRESS, ",
];

fn mask_word(word: &str) -> &str {
    let digits = word.trim_end_matches([' ', ',', ':', '}', ']', '/', '(', '"', ')', '|']);
    let is_id = 12 <= digits.len() && digits.chars().all(|it| it.is_ascii_hexdigit());
    if is_id { "ID " } else { word }
}

fn mask_after(text: &str, name: &str) -> String {
    let mut parts = text.split(name);
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str(name);
        masked.push('N');
        masked.push_str(part.trim_start_matches(|it: char| it.is_ascii_digit()));
    }
    masked
}
