//! Two network namespaces and a cable between them, which go with the measurement.

use std::process::Command;

use anyhow::{Result, bail};

use crate::command;

/// What the measurement stands on.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) ends: [End; 2],
}

/// One end of the cable.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) namespace: String,
    /// Of the tunnel. Configuration sockets of all namespaces lie in one directory.
    pub(crate) interface: String,
    /// On the cable.
    pub(crate) outside: String,
    /// In the tunnel.
    pub(crate) inside: String,
}

/// What the cable's ends do for who sends and receives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Offloads {
    All,
    None,
}

/// Programs that every row needs, with the Debian packages that have them.
const TOOLS: [(&str, &str); 5] = [
    ("ethtool", "ethtool"),
    ("ip", "iproute2"),
    ("iperf3", "iperf3"),
    ("ping", "iputils-ping"),
    ("wg", "wireguard-tools"),
];

/// # Errors
///
/// Names the first program that is missing, and its package.
pub(crate) fn require_tools() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("network namespaces need root");
    }
    for (tool, package) in TOOLS {
        let mut command = Command::new(tool);
        command.arg("--version");
        if command::silent(&mut command).status().is_err() {
            bail!("{tool} is missing: apt-get install {package}");
        }
    }
    Ok(())
}

impl Ground {
    pub(crate) fn new(offloads: Offloads) -> Result<Self> {
        let ends = ["a", "b"].map(|side| {
            let pid = std::process::id();
            let number = if side == "a" { 1 } else { 2 };
            End {
                namespace: format!("cwbench-{pid}-{side}"),
                interface: format!("cwb{side}{pid}"),
                outside: format!("192.0.2.{number}"),
                inside: format!("10.78.0.{number}"),
            }
        });
        let ground = Self { ends };
        let [a, b] = &ground.ends;
        for end in [a, b] {
            command::run("ip", &["netns", "add", &end.namespace])?;
        }
        let cable = [
            "link",
            "add",
            "cable",
            "netns",
            &a.namespace,
            "type",
            "veth",
        ];
        let peer = ["peer", "name", "cable", "netns", &b.namespace];
        command::run("ip", &[&cable[..], &peer].concat())?;
        for end in [a, b] {
            end.run("ip", &["link", "set", "lo", "up"])?;
            let outside = format!("{}/24", end.outside);
            end.run("ip", &["address", "add", &outside, "dev", "cable"])?;
            end.run("ip", &["link", "set", "cable", "up"])?;
            if offloads == Offloads::None {
                // What is cut on the way out may be joined on the way in, as on a card.
                let settings = "tso off gso off gro on tx-udp-segmentation off";
                let settings: Vec<&str> = settings.split(' ').collect();
                end.run("ethtool", &[&["-K", "cable"], &settings[..]].concat())?;
            }
        }
        Ok(ground)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for end in &self.ends {
            // Whatever is left says so in the list of namespaces.
            let _ = command::run("ip", &["netns", "delete", &end.namespace]);
        }
    }
}

impl End {
    /// A command that runs in the namespace.
    pub(crate) fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command.args(arguments);
        command
    }

    /// Runs a command in the namespace to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut command = self.command(program, arguments);
        command::finish(&mut command, program)
    }
}
