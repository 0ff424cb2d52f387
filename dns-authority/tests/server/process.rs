//! Starts the binary, and asks it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far more than anything here takes: only what hangs needs longer.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// A running authority with one zone, `example.test`; killed when it is dropped.
pub(crate) struct Authority {
    child: Child,
    admin: String,
    /// In the order of its status: plain, then TLS, HTTPS and QUIC where they are asked for.
    ports: Vec<u16>,
    log: Arc<Mutex<Vec<String>>>,
    directory: TempDir,
}

impl Authority {
    /// Starts the binary with the text of a zone and further flags. The values of
    /// `--geo-overrides` and `--etcd-config` are the files' contents.
    pub(crate) fn start(zone: &str, flags: &[(&str, &str)]) -> Self {
        Self::start_by(binary(), zone, flags)
    }

    /// Starts it where `directory` is a disk of one page, which no other process sees.
    pub(crate) fn start_on_small_disk(
        directory: &Path,
        zone: &str,
        flags: &[(&str, &str)],
    ) -> Self {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=4k none \"$0\" && exec \"$@\"";
        command
            .args(["--mount", "--propagation=private", "sh", "-c", script])
            .arg(directory)
            .arg(env!("CARGO_BIN_EXE_dns-authority"));
        Self::start_by(command, zone, flags)
    }

    fn start_by(mut command: Command, zone: &str, flags: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("example.zone"), zone).unwrap();
        command.args(["--admin", "127.0.0.1:0"]);
        // A flag given twice is a mistake, so the test's own wins by standing alone.
        if flags.iter().all(|(flag, _)| *flag != "--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(["--log-format", "json"]);
        let zone_file = directory.path().join("example.zone");
        command
            .arg("--zone")
            .arg(format!("example.test={}", zone_file.display()));
        for (flag, value) in flags {
            command.arg(flag);
            match *flag {
                "--geo-overrides" => {
                    let file = directory.path().join("overrides.yaml");
                    fs::write(&file, value).unwrap();
                    command.arg(file)
                }
                "--api-key-file" | "--key-file" => {
                    let file = directory.path().join(flag.trim_start_matches('-'));
                    fs::write(&file, value).unwrap();
                    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
                    command.arg(file)
                }
                "--etcd-config" => {
                    let file = directory.path().join("etcd.yaml");
                    fs::write(&file, value).unwrap();
                    command.arg(file)
                }
                _ => command.arg(value),
            };
        }

        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::default();
        let admin = admin_address(&mut child, &log);
        let mut authority = Self {
            child,
            admin,
            ports: Vec::new(),
            log,
            directory,
        };
        eventually("it is ready", || {
            authority.get("/ready").contains("\"ready\":true")
        });
        let status: serde_json::Value = serde_json::from_str(&authority.get("/v1/status")).unwrap();
        let listen = status["listen"].as_array().unwrap().iter();
        let port =
            |it: &serde_json::Value| it.as_str().unwrap().rsplit_once(':').unwrap().1.parse();
        authority.ports = listen.map(|it| port(it).unwrap()).collect();
        authority
    }

    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    pub(crate) fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub(crate) fn log_has(&self, text: &str) -> bool {
        self.log.lock().unwrap().iter().any(|it| it.contains(text))
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How much time of processors it has used.
    pub(crate) fn busy(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // Behind the name, which may hold anything: user and system time in hundredths of a second.
        let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
        let ticks = fields.skip(11).take(2).map(|it| it.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    /// A path as the process sees it.
    pub(crate) fn seen(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.child.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    pub(crate) fn zone_file(&self) -> PathBuf {
        self.directory.path().join("example.zone")
    }

    pub(crate) fn dig(&self, arguments: &[&str]) -> String {
        self.dig_at("127.0.0.1", arguments)
    }

    /// Asks at one of the machine's addresses.
    pub(crate) fn dig_at(&self, address: &str, arguments: &[&str]) -> String {
        let defaults = ["+time=3", "+tries=2"];
        self.ask("dig", (address, self.port()), &defaults, arguments)
    }

    pub(crate) fn kdig(&self, arguments: &[&str]) -> String {
        self.kdig_at(self.port(), arguments)
    }

    /// Asks at one of its ports.
    pub(crate) fn kdig_at(&self, port: u16, arguments: &[&str]) -> String {
        let defaults = ["+time=3", "+retry=1"];
        self.ask("kdig", ("127.0.0.1", port), &defaults, arguments)
    }

    fn ask(
        &self,
        program: &str,
        (address, port): (&str, u16),
        defaults: &[&str],
        arguments: &[&str],
    ) -> String {
        let output = Command::new(program)
            .args([&format!("@{address}"), "-p", &port.to_string()])
            .args(defaults)
            .args(arguments)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The body that the admin endpoint serves at `path`.
    pub(crate) fn get(&self, path: &str) -> String {
        self.request("GET", path)
    }

    /// The body of the answer to an order.
    pub(crate) fn post(&self, path: &str) -> String {
        self.request("POST", path)
    }

    fn request(&self, method: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.admin).unwrap();
        stream.set_read_timeout(Some(HANG)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nContent-Length: 0\r\nHost: admin\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        response.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// Asks it to end; returns its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        wait(&mut self.child)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the binary where it is expected to end by itself; returns its exit code and what it wrote
/// to stderr beside the log.
pub(crate) fn run_to_end(arguments: &[&str]) -> (i32, String) {
    let mut command = binary();
    command.args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--log",
        "error",
    ]);
    // A flag given twice is a mistake, so the test's own wins by standing alone.
    if arguments.contains(&"--listen") {
        command = binary();
        command.args(["--admin", "127.0.0.1:0", "--log", "error"]);
    }
    let mut child = command
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let code = wait(&mut child);
    let mut error = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut error)
        .unwrap();
    (code, error)
}

/// Waits until `is_true`, and fails if that takes for ever.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < HANG, "waited too long until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn binary() -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_BIN_EXE_dns-authority")));
    command.env_clear();
    command
}

/// Reads the log up to the line that names the admin address; the rest is read and dropped.
fn admin_address(child: &mut Child, lines: &Arc<Mutex<Vec<String>>>) -> String {
    let lines = Arc::clone(lines);
    let log = BufReader::new(child.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            let event: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(admin) = event["admin"].as_str() {
                let _ = sender.send(admin.to_owned());
            }
            lines.lock().unwrap().push(line);
        }
    });
    receiver.recv_timeout(HANG).unwrap()
}

fn wait(child: &mut Child) -> i32 {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        assert!(start.elapsed() < HANG, "the process does not end");
        thread::sleep(Duration::from_millis(10));
    }
}
