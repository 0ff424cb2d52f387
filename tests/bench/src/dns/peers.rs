//! The servers that are compared: how each is started, and what it can do.

mod texts;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::zone::{self, Notation};

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Peer {
    Ours,
    /// Only receives and sends: what the machine's sockets can carry.
    Echo,
    Gdnsd,
    Knot,
    Nsd,
    Pdns,
    /// With a state of Lua that threads keep over queries.
    PdnsShared,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    Checked,
    Closest,
    Static,
    Weighted,
}

impl Peer {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ours,
        Self::Echo,
        Self::Gdnsd,
        Self::Knot,
        Self::Nsd,
        Self::Pdns,
        Self::PdnsShared,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Echo => "UDP echo",
            Self::Gdnsd => "gdnsd",
            Self::Knot => "Knot",
            Self::Nsd => "NSD",
            Self::Pdns => "PowerDNS",
            Self::PdnsShared => "PowerDNS, shared",
        }
    }

    pub(crate) fn address(self) -> SocketAddr {
        let port = match self {
            Self::Ours => 5300,
            Self::Echo => 5301,
            Self::Gdnsd => 5302,
            Self::Knot => 5303,
            Self::Nsd => 5304,
            Self::Pdns => 5305,
            Self::PdnsShared => 5306,
        };
        (Ipv4Addr::LOCALHOST, port).into()
    }

    pub(crate) fn can(self, kind: Kind) -> bool {
        match self {
            Self::Ours | Self::Gdnsd | Self::PdnsShared => true,
            // Its socket has no more to do for one kind than for another.
            Self::Echo | Self::Nsd => kind == Kind::Static,
            Self::Knot => matches!(kind, Kind::Closest | Kind::Static),
            // Shared or not, static answers are the same.
            Self::Pdns => kind != Kind::Static,
        }
    }

    /// The program, and the Debian package that has it; `None` of those that come with the bench.
    pub(crate) fn program(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Ours | Self::Echo => None,
            Self::Gdnsd => Some(("/usr/sbin/gdnsd", "gdnsd")),
            Self::Knot => Some(("/usr/sbin/knotd", "knot and knot-module-geoip")),
            Self::Nsd => Some(("/usr/sbin/nsd", "nsd")),
            Self::Pdns | Self::PdnsShared => Some((
                "/usr/sbin/pdns_server",
                "pdns-server, pdns-backend-bind and pdns-backend-geoip",
            )),
        }
    }

    fn notation(self) -> Notation {
        match self {
            Self::Ours | Self::Pdns | Self::PdnsShared => Notation::Lua,
            Self::Gdnsd => Notation::Plugins,
            Self::Knot => Notation::Replaced,
            Self::Echo | Self::Nsd => Notation::Static,
        }
    }
}

/// What all servers serve from.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    pub(crate) names: u32,
    pub(crate) database: &'a Path,
    /// Our server, and the program that this is part of.
    pub(crate) ours: &'a Path,
    pub(crate) bench: &'a Path,
    /// Each server has a directory of its own in it.
    pub(crate) directory: &'a Path,
}

impl Peer {
    pub(crate) fn directory(self, input: &Input<'_>) -> PathBuf {
        input.directory.join(format!("{self:?}").to_lowercase())
    }

    pub(crate) fn zone_file(self, input: &Input<'_>) -> PathBuf {
        let directory = self.directory(input);
        match self {
            // It takes all that lies there for zones.
            Self::Gdnsd => directory.join("zones/bench.test"),
            Self::Echo | Self::Knot | Self::Nsd | Self::Ours | Self::Pdns | Self::PdnsShared => {
                directory.join("bench.test.zone")
            }
        }
    }

    /// Writes what the server reads, with `more` in its zone; returns its command.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub(crate) fn prepare(self, input: &Input<'_>, more: &str) -> Result<Vec<String>> {
        let directory = self.directory(input);
        let zone = self.zone_file(input);
        write(&zone, &(zone::text(self.notation(), input.names) + more))?;
        for (name, text) in self.files(input) {
            write(&directory.join(name), &text)?;
        }
        if self == Self::Gdnsd {
            for name in ["run", "state", "geoip"] {
                fs::create_dir_all(directory.join(name))?;
            }
        }
        let command = self.command(input);
        Ok(command.split(' ').map(str::to_owned).collect())
    }

    /// What lies in the server's directory beside the zone.
    fn files(self, input: &Input<'_>) -> Vec<(&'static str, String)> {
        let directory = self.directory(input).display().to_string();
        let database = input.database.display().to_string();
        let (listen, port) = (self.address().to_string(), self.address().port());
        match self {
            Self::Echo | Self::Ours => Vec::new(),
            Self::Gdnsd => vec![("config", texts::gdnsd(&directory, &listen, &database))],
            Self::Knot => vec![
                ("geo.conf", texts::knot_places()),
                ("knot.conf", texts::knot(&directory, port, &database)),
            ],
            Self::Nsd => vec![("nsd.conf", texts::nsd(&directory, port))],
            Self::Pdns | Self::PdnsShared => {
                let is_shared = self == Self::PdnsShared;
                vec![
                    ("named.conf", texts::pdns_zones(&directory)),
                    (
                        "pdns.conf",
                        texts::pdns(&directory, port, &database, is_shared),
                    ),
                ]
            }
        }
    }

    /// Words between spaces, which no path of the measurement has.
    fn command(self, input: &Input<'_>) -> String {
        let directory = self.directory(input).display().to_string();
        let listen = self.address();
        let program = self.program().map_or("", |it| it.0);
        match self {
            Self::Ours => format!(
                "{} --listen {listen} --zone bench.test={} --geoip {} --admin 127.0.0.1:5399 --log warn",
                input.ours.display(),
                self.zone_file(input).display(),
                input.database.display(),
            ),
            Self::Echo => format!("{} dns-tool echo {listen}", input.bench.display()),
            Self::Gdnsd => format!("{program} -c {directory} start"),
            Self::Knot => format!("{program} -c {directory}/knot.conf"),
            Self::Nsd => format!("{program} -d -c {directory}/nsd.conf"),
            Self::Pdns | Self::PdnsShared => format!("{program} --config-dir={directory}"),
        }
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    let directory = path.parent().context("a file in a directory")?;
    fs::create_dir_all(directory)?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
