//! What goes through a tunnel while it is measured: iperf3's streams, and ping.

use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::engine::Tunnel;
use crate::command;
use crate::rounds::Sample;

const PORT: &str = "5201";

/// As WireGuard's users know it: the largest UDP payload in the tunnel's packets.
const DATAGRAM_BYTES: &str = "1372";

/// Round trips, and the seconds between them.
const PINGS: &str = "300";
const PING_INTERVAL_SECONDS: &str = "0.005";

/// TCP's gigabits in a second, as received.
pub(crate) fn tcp(tunnel: &Tunnel<'_>, streams: u32, seconds: u32) -> Result<Sample> {
    let streams = streams.to_string();
    // Not whatever the machine prefers: figures of several machines are compared.
    let sample = iperf(tunnel, &["-P", &streams, "-C", "cubic"], seconds)?;
    let received = sample.result["end"]["sum_received"]["bytes"].as_f64();
    let bytes = received.context("iperf3 told no bytes")?;
    let rate = sample.result["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(Sample {
        value: rate.context("iperf3 told no rate")? / 1e9,
        cost: Some(sample.cpu_seconds / (bytes / 1e9)),
    })
}

/// UDP's gigabits in a second, as received, when the sender does all it can.
pub(crate) fn udp(tunnel: &Tunnel<'_>, seconds: u32) -> Result<Sample> {
    let sample = iperf(tunnel, &["-u", "-b", "0", "-l", DATAGRAM_BYTES], seconds)?;
    let sum = &sample.result["end"]["sum"];
    let field = |name: &str| sum[name].as_f64().context("iperf3 told no sum");
    let bytes = field("bytes")? * (1.0 - field("lost_percent")? / 100.0);
    Ok(Sample {
        value: bytes * 8.0 / field("seconds")? / 1e9,
        cost: Some(sample.cpu_seconds / (bytes / 1e9)),
    })
}

/// The median of round trips, in microseconds.
pub(crate) fn ping(tunnel: &Tunnel<'_>) -> Result<Sample> {
    let [near, far] = &tunnel.ground.ends;
    let arguments = [
        "-c",
        PINGS,
        "-i",
        PING_INTERVAL_SECONDS,
        "-W",
        "1",
        &far.inside,
    ];
    let text = near.run("ping", &arguments)?;
    let times = text.lines().filter_map(|line| {
        let (_, rest) = line.split_once("time=")?;
        rest.split(' ').next()?.parse::<f64>().ok()
    });
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    let Some(middle) = times.get(times.len() / 2) else {
        bail!("no answer to ping");
    };
    Ok(Sample {
        value: middle * 1_000.0,
        cost: None,
    })
}

struct Measured {
    result: Value,
    cpu_seconds: f64,
}

fn iperf(tunnel: &Tunnel<'_>, arguments: &[&str], seconds: u32) -> Result<Measured> {
    let [near, far] = &tunnel.ground.ends;
    let mut server = far.command("iperf3", &["-s", "-1", "-p", PORT, "-B", &far.inside]);
    let _server = Server(command::silent(&mut server).spawn()?);
    let seconds = seconds.to_string();
    let all = ["-c", &far.inside, "-p", PORT, "-t", &seconds, "-J"];
    let before = tunnel.cpu_seconds();
    // The server says nothing when it listens, and refuses the first calls.
    for _attempt in 0..50 {
        thread::sleep(Duration::from_millis(100));
        let mut client = near.command("iperf3", &[&all[..], arguments].concat());
        let output = client.stdin(Stdio::null()).output()?;
        let result: Value = serde_json::from_slice(&output.stdout).context("iperf3's answer")?;
        match result["error"].as_str() {
            None => {
                return Ok(Measured {
                    result,
                    cpu_seconds: tunnel.cpu_seconds() - before,
                });
            }
            Some(error) if error.contains("Connection refused") => (),
            Some(error) => bail!("iperf3: {error}"),
        }
    }
    bail!("iperf3's server does not listen")
}

/// Ends with the measurement, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
